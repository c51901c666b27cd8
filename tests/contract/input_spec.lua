--- Scripts that read a file, which a spec gives as rows.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"
local mock = require "luamig.mock"

local said = contract.said

local CSV = 'input = { format = "csv", columns = { id = "int8", s = "text" } }'
local JSONL = 'input = { format = "jsonl", columns = { id = "int8", s = "text" } }'
local SHOW = [[
  for _, row in ipairs(rows) do
    run.log(("%d:%s:%s"):format(row.line, row.id, row.s))
  end]]
local ROWS = { { id = 7, s = "a" }, { id = 8 }, { id = 9, s = "c" } }

local function script(body, input, more, config)
  return contract.script(body, { input = input, more = more, config = config })
end

--- A world in which scripts find only what they read.
local function empty(tables, base)
  return mock.new { tables = tables or {}, base = base }
end

describe("a file #versions", function()
  teardown(contract.clean)

  it("has its records in the order of their lines", function()
    local world = empty()
    local result = contract.ended("done", world:run(script(SHOW, CSV), { input = ROWS }))
    assert.equal("2:7:a 3:8:nil 4:9:c", said(world))
    assert.same({ 3, 1 }, { result.rows, result.batches })
  end)

  it("has lines of its own format", function()
    for _, case in ipairs {
      { JSONL, "1:7:a\nb 2:8:nil" },
      { CSV, "2:7:a\nb 4:8:nil" },
      { CSV, "2:7:a\rb 4:8:nil", "a\rb" },
      { CSV, "2:7:a\r\n\r\rb\nc 7:8:nil", "a\r\n\r\rb\nc" },
      { CSV:gsub("} }$", '}, header = { "s", "id" } }'), "1:7:a\nb 3:8:nil" },
    } do
      local world = empty()
      contract.ended("done", world:run(script(SHOW, case[1]), {
        input = { { id = 7, s = case[3] or "a\nb" }, { id = 8, s = luamig.NULL } } }))
      assert.equal(case[2], said(world))
    end
  end)

  it("gives values of its columns' types", function()
    local world = empty()
    local input = 'input = { format = "jsonl", columns = { n = "numeric(4,2)", j = "jsonb", '
      .. 'b = "boolean", y = "bytea", f = "float8", a = "text[]", d = "date" } }'
    contract.ended("done", world:run(script([[
      local row = rows[1]
      run.log(table.concat({ tostring(row.n), row.j.k[2], tostring(row.b), row.y, row.f, row.a[2],
        row.d }, " "))]], input), { input = { {
      n = luamig.decimal "1.5", j = { k = { 1, "x" } }, b = true, y = luamig.bytea "hi", f = 0.5,
      a = { "p", "q" }, d = "2024-02-29",
    } } }))
    assert.equal("1.50 x true hi 0.5 q 2024-02-29", said(world))
  end)

  it("is not needed to go on", function()
    local world = empty()
    local path = script(SHOW, CSV)
    contract.ended("stopped", world:run(path, { input = ROWS, limit = 1 }))
    contract.ended("done", world:run(path))
    assert.equal("2:7:a 3:8:nil 4:9:c", said(world))
  end)

  it("is not read twice, and another one is another run", function()
    local world = empty()
    local path = script(SHOW, CSV)
    contract.ended("done", world:run(path, { input = ROWS }))
    contract.ended("done", world:run(path, { input = ROWS }))
    contract.ended("stopped", world:run(path, { input = { ROWS[3], ROWS[1] }, limit = 1 }))
    contract.ended("done", world:run(path, { input = { ROWS[3], ROWS[1] } }))
    assert.equal("2:7:a 3:8:nil 4:9:c 2:9:c 3:7:a", said(world))
  end)

  it("may be empty", function()
    local world = empty()
    local result = contract.ended("done", world:run(script(SHOW, CSV), { input = {} }))
    assert.same({ 0, "" }, { result.rows, said(world) })
  end)

  it("is read in batches, each of which commits with its records", function()
    local world = contract.numbers(3)
    local path = script([[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { s = row.s or "none" })
      end]], CSV)
    local input = { { id = 1, s = "x" }, { id = 2 }, { id = 3, s = "z" } }
    contract.ended("killed", world:run(path, {
      input = input, batch_size = 1, kill = { batch = 2, call = 1 },
    }))
    assert.same({ "x", "s2", "s3" }, contract.column(world, "t", "s"))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.same({ "x", "none", "z" }, contract.column(world, "t", "s"))
  end)

  it("has failed rows, known by their line", function()
    local world = contract.numbers(2)
    local path = script([[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { n = 1 })
      end]], CSV, nil, 'on_error = "quarantine"')
    local result = contract.ended("done_with_failures", world:run(path, {
      input = { { id = 1 }, { id = 5 }, { id = 2 } },
    }))
    assert.same({ 2, 1 }, { result.rows, result.failures })
    assert.equal("1 1", contract.numbers_of(world))
  end)

  it("is a table for a base query of its own", function()
    local t = { columns = { id = "int8", s = "text" }, primary_key = { "id" }, rows = ROWS }
    local world = empty({ t = t }, function(tables, args)
      local rows = {}
      for _, row in ipairs(tables.input) do
        for _, one in ipairs(tables.t) do
          if one.id == row.id and row.line > args.after then
            table.insert(rows, { line = row.line, id = one.id, s = one.s })
          end
        end
      end
      return rows
    end)
    local path = script(SHOW, CSV .. [[,
      base_query = function(args, input)
        return "SELECT i.line, t.id, t.s FROM " .. input
          .. " i JOIN t USING (id) WHERE i.line > $1", args.after
      end]], 'args = { after = { type = "integer" } },')
    contract.ended("done", world:run(path, {
      args = { after = 2 }, input = { { id = 9, s = "other" }, { id = 8 }, { id = 7 }, { id = 1 } },
    }))
    assert.equal("3:8:nil 4:7:a", said(world))
  end)

  it("is only read in a dry run", function()
    local world = empty()
    local path = script(SHOW, CSV)
    contract.ended("done", world:run(path, { input = ROWS, dry_run = true }))
    contract.ended("done", world:run(path, { input = ROWS }))
    assert.equal("2:7:a 3:8:nil 4:9:c 2:7:a 3:8:nil 4:9:c", said(world))
  end)

  it("leaves columns out that the script does not name", function()
    local world = empty()
    local input = CSV:gsub("} }$", "}, ignore_others = true }")
    contract.ended("done", world:run(script(SHOW, input), { input = { { id = 1, x = 2 } } }))
    assert.equal("2:1:nil", said(world))
  end)

  it("is refused where no file could have such rows", function()
    for _, case in ipairs {
      { { { x = 1 } }, 'row 1 of input has a column "x"' },
      { { { line = 1 } }, 'row 1 of input has a column "line"' },
      { { 1 }, "input must be a list of rows" },
      { { { id = 1 }, {} }, "row 2 of input would be an empty line",
        'input = { format = "csv", columns = { id = "int8" } }' },
    } do
      local err = contract.raised(function()
        empty():run(script("", case[3] or CSV), { input = case[1] })
      end)
      assert.is_truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end
    local err = contract.raised(function()
      contract.numbers(1):run(contract.script(SHOW), { input = ROWS })
    end)
    assert.is_truthy(tostring(err):find("reads no file", 1, true), tostring(err))
  end)
end)
