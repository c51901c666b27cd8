--- Pages: the order of keys, the size of batches, and where a run begins and ends.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"
local mock = require "luamig.mock"

local decimal = luamig.decimal
local said = contract.said

-- Says the ids of each batch.
local SAY = [[
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = tostring(row.id) end
  run.log(run.batch .. ":" .. table.concat(ids, ","))]]

-- Type of the key, keys in their order.
local ORDERS = {
  { "int4", { -10, -9, 0, 2, 10, 100 } },
  { "int8", { math.mininteger, -1, 9, 10, math.maxinteger } },
  { "numeric", { decimal "-1.5", decimal "0", decimal "0.10", decimal "2", decimal "10",
    decimal "NaN" } },
  { "float8", { -math.huge, -0.5, 2.0, 10.0, math.huge, 0 / 0 } },
  { "uuid", { "00000000-0000-0000-0000-00000000000a", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "f0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" } },
  { "date", { "-infinity", "0999-12-31", "2024-01-31", "2024-02-01", "infinity" } },
  { "timestamptz", { "-infinity", "2024-01-31 12:00:00+00", "2024-01-31 12:00:00.45+00",
    "2024-01-31 12:00:00.5+00", "2024-01-31 12:00:01+00", "infinity" } },
  { "bytea", { "", "\0", "\0\0", "a", "\255" } },
  { "int2", { -32768, -1, 0, 32767 } },
  { "oid", { 0, 5, 4294967295 } },
  { "float4", { -1e30, -0.1, 0.0, 0.1, 1e10 } },
  { "numeric", { decimal "-1e20", decimal "-12345678901234567890.2",
    decimal "-12345678901234567890.1", decimal "1e-9", decimal "12345678901234567890.1",
    decimal "12345678901234567890.2", decimal "NaN" } },
  { "numeric(5,2)", { decimal "-10", decimal "-9.99", decimal "0", decimal "9.99", decimal "10" } },
  { "time", { "00:00:00", "12:00:00", "12:00:00.000001", "23:59:59.5" } },
  { "timestamp", { "-infinity", "0001-01-01 00:00:00", "2024-01-01 00:00:00",
    "2024-01-01 00:00:00.1", "infinity" } },
  { "char(3)", { "", "B", "a", "a b", "b" } },
  { "varchar(3)", { "", " a", "A", "a", "a " } },
}

describe("the key", function()
  teardown(contract.clean)

  --- The positions of keys as they come in batches of one; the run is killed after two of them,
  -- and goes on.
  local function order_of(type_name, keys)
    local rows = {}
    for i, key in ipairs(keys) do
      table.insert(rows, 1 + #rows * (i % 2), { id = key, place = i })
    end
    local world = mock.new {
      tables = { t = { columns = { id = type_name, place = "int4" }, primary_key = { "id" },
        rows = rows } },
      base = { from = "t" },
    }
    local path = contract.script "run.log(tostring(rows[1].place))"
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 2 } }))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    return said(world)
  end

  for _, case in ipairs(ORDERS) do
    it("orders " .. case[1] .. " by value", function()
      local wanted = {}
      for i = 1, #case[2] do
        wanted[i] = i
      end
      assert.equal(table.concat(wanted, " "), order_of(case[1], case[2]))
    end)
  end

  it("orders bool: false before true", function()
    local world = contract.world({ b = "bool" }, { { id = 1, b = true }, { id = 2, b = false } },
      { not_null = { "b" }, unique = { { "b" } } })
    contract.ended("done", contract.run(world, SAY, { config = 'key = "b"' }, { batch_size = 1 }))
    assert.equal("1:2 2:1", said(world))
  end)

  it('orders text by its bytes, which is the collation "C"', function()
    local keys = { "", "10", "9", "B", "a", "a b", "aa", "b", "é" }
    assert.equal("1 2 3 4 5 6 7 8 9",
      order_of("text", keys))
  end)

  it("of several columns orders by the first that differs", function()
    local rows = {}
    for _, pair in ipairs { { 1, "b" }, { 2, "a" }, { 1, "a" }, { 10, "a" } } do
      rows[#rows + 1] = { a = pair[1], b = pair[2] }
    end
    local world = mock.new {
      tables = { t = { columns = { a = "int4", b = "text" }, primary_key = { "a", "b" },
        rows = rows } },
      base = { from = "t" },
    }
    contract.ended("done", contract.run(world, "run.log(rows[1].a .. rows[1].b)",
      { config = 'key = { "a", "b" }' }, { batch_size = 1 }))
    assert.equal("1a 1b 2a 10a", said(world))
  end)

  it("need not be the primary key", function()
    local world = contract.world({ n = "int4" },
      { { id = 1, n = 30 }, { id = 2, n = 10 }, { id = 3, n = 20 } },
      { unique = { { "n" } }, not_null = { "n" } })
    contract.ended("done", contract.run(world, SAY, { config = 'key = "n"' }, { batch_size = 2 }))
    assert.equal("1:2,3 2:1", said(world))
  end)

  local function twice()
    return contract.world({ n = "int4" }, { { id = 1, n = 1 }, { id = 2, n = 2 }, { id = 3, n = 5 },
      { id = 4, n = 5 }, { id = 5, n = 7 } }, { not_null = { "n" } })
  end
  local SAY_N = 'for _, row in ipairs(rows) do run.log(run.batch .. ":" .. row.n) end'

  -- Batch size, what is said.
  for _, case in ipairs { { 1, "1:1 2:2" }, { 2, "1:1 1:2" }, { 3, "" }, { 10, "" } } do
    it(("that occurs twice fails the batch of %d that it is in, or ends"):format(case[1]),
      function()
        local world = twice()
        local result = contract.failed(contract.run(world, SAY_N, { config = 'key = "n"' },
          { batch_size = case[1] }), nil, "two rows of the base query have the same key: (n)")
        assert.equal(case[2], said(world))
        assert.equal(case[2] == "" and 0 or 2, result.rows)
      end)
  end

  -- Batch size, what is said, of how many rows.
  for _, case in ipairs { { 3, "1:1 1:2 1:5 2:7", 4 }, { 4, "1:1 1:2 1:5 1:5 2:7", 5 } } do
    it(("that is assumed to be unique passes over what is on the next page: %d"):format(case[1]),
      function()
        local world = twice()
        local result = contract.ended("done", contract.run(world, SAY_N,
          { config = 'key = "n", assume_unique = true' }, { batch_size = case[1] }))
        assert.equal(case[2], said(world))
        assert.equal(case[3], result.rows)
      end)
  end

  it("is among the columns of the base query", function()
    assert.matches('key column "zz"', contract.raised(contract.run, contract.numbers(1), "",
      { config = 'key = { "id", "zz" }' }), 1, true)
  end)

  it("may not be written, in whichever column of it and by whichever call", function()
    for _, call in ipairs { 'update("t", { id = 1 }, { b = 5 })',
      'update_all("t", { a = 5 }, { id = 1 })',
      'insert("t", { id = 9 }, { on_conflict = { columns = { "id" }, update = { "b" } } })',
      'insert_all("t", {}, { on_conflict = { columns = { "id" }, update = { "a" } } })' } do
      local world = contract.world({ a = "int4", b = "int4" }, { { id = 1, a = 1, b = 1 } },
        { not_null = { "a", "b" }, unique = { { "a", "b" } } })
      contract.failed(contract.run(world, ("pcall(function() repo:%s end)"):format(call),
        { config = 'key = { "a", "b" }' }), nil, "belongs to the key of the run")
    end
  end)
end)

describe("a base", function()
  teardown(contract.clean)

  for _, case in ipairs {
    { { from = "tt" }, 'base.from must name a table of this world, not "tt" (did you mean "t"?)' },
    { { from = "t", select = { "id", "m" } }, 'base.select: table "t" has no column "m"' },
    { { from = "t", select = {} }, "base.select must be a list of columns" },
    { { from = "t", where = "n > 1" }, "base.where must be a function" },
    { { from = "t", limit = 1 }, 'unknown option "limit"' },
  } do
    it("is refused: " .. case[2], function()
      local message = contract.raised(mock.new, {
        tables = { t = { columns = { id = "int8", n = "int4" }, primary_key = { "id" } } },
        base = case[1],
      })
      assert.is_truthy(message:find(case[2], 1, true), message)
    end)
  end
end)

describe("batches", function()
  teardown(contract.clean)

  local SIZES = {
    { 1, 1, "1:1" }, { 2, 1, "1:1 2:2" }, { 3, 2, "1:1,2 2:3" }, { 4, 2, "1:1,2 2:3,4" },
    { 5, 5, "1:1,2,3,4,5" }, { 5, 10, "1:1,2,3,4,5" },
  }
  for _, case in ipairs(SIZES) do
    it(("of %d rows, %d each, are: %s"):format(case[1], case[2], case[3]), function()
      local world = contract.numbers(case[1])
      local result = contract.run(world, SAY, { config = "batch_size = " .. case[2] })
      contract.ended("done", result)
      assert.equal(case[3], said(world))
      assert.equal(case[1], result.rows)
      assert.equal(select(2, case[3]:gsub(":", "")), result.batches)
    end)
  end

  it("of no rows are none", function()
    local world = contract.numbers(0)
    local result = contract.run(world, SAY)
    contract.ended("done", result)
    assert.equal("", said(world))
    assert.equal(0, result.batches)
  end)

  it("have the size of the options rather than that of the script", function()
    local world = contract.numbers(3)
    contract.ended("done", contract.run(world, SAY, { config = "batch_size = 1" },
      { batch_size = 3 }))
    assert.equal("1:1,2,3", said(world))
  end)

  it("leave out what the base query does not match", function()
    local world = contract.numbers(4, { where = function(row) return row.n > 15 end })
    contract.ended("done", contract.run(world, SAY, { query = "SELECT * FROM t WHERE n > 15" }))
    assert.equal("1:2,3,4", said(world))
  end)

  it("see what batches before them wrote", function()
    local world = contract.numbers(3, { where = function(row) return row.s ~= "gone" end })
    contract.ended("done", contract.run(world, SAY .. [[
      repo:update_all("t", { s = "gone" }, { id = rows[1].id + 1 })]],
      { query = "SELECT * FROM t WHERE s <> 'gone'" }, { batch_size = 1 }))
    assert.equal("1:1 2:3", said(world))
  end)

  it("know their columns", function()
    local world = mock.new {
      tables = { t = { columns = { id = "int8", b = "text" }, primary_key = { "id" },
        rows = { { id = 1 } } } },
      base = { from = "t", select = { "id", "b" } },
    }
    contract.ended("done", contract.run(world, 'run.log(table.concat(rows.columns, ","))',
      { query = "SELECT id, b FROM t" }))
    assert.equal("id,b", said(world))
  end)
end)

describe("a run begins and ends", function()
  teardown(contract.clean)

  -- Each batch puts a row after all others.
  local GROW = SAY .. [[
    if run.batch < 4 then repo:insert("t", { id = 100 + run.batch }) end]]

  it("at the bound: rows that come after it are left alone", function()
    local world = contract.numbers(3)
    contract.ended("done", contract.run(world, GROW, nil, { batch_size = 1 }))
    assert.equal("1:1 2:2 3:3", said(world))
  end)

  it("with follow_new at the end of the table", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, GROW, { config = "follow_new = true" },
      { batch_size = 1 }))
    assert.equal("1:1 2:2 3:101 4:102 5:103", said(world))
  end)

  it("with rows that come before the bound", function()
    local world = contract.world({}, { { id = 1 }, { id = 50 } })
    contract.ended("done", contract.run(world, SAY .. [[
      if run.batch == 1 then repo:insert("t", { id = 20 }) end]], nil, { batch_size = 1 }))
    assert.equal("1:1 2:20 3:50", said(world))
  end)

  it("without rows that come before the cursor", function()
    local world = contract.world({}, { { id = 10 }, { id = 50 } })
    contract.ended("done", contract.run(world, SAY .. [[
      if run.batch == 1 then repo:insert("t", { id = 5 }) end]], nil, { batch_size = 1 }))
    assert.equal("1:10 2:50", said(world))
  end)

  it("with whatever the script has written ahead of it, and without what it has deleted", function()
    local world = contract.numbers(6)
    contract.ended("done", contract.run(world, [[
      for _, row in ipairs(rows) do run.log(run.batch .. ":" .. row.id .. row.s) end
      if run.batch == 1 then
        repo:delete("t", { id = 3 })
        repo:update("t", { id = 4 }, { s = "new" })
        repo:update("t", { id = 2 }, { s = "late" })
      elseif run.batch == 2 then
        repo:delete_all("t", { id = 6 })
      end]], nil, { batch_size = 2 }))
    assert.equal("1:1s1 1:2s2 2:4new 2:5s5", said(world))
  end)

  it("with the row at the bound, also when others before it are gone", function()
    local world = contract.numbers(5)
    contract.ended("done", contract.run(world, SAY .. [[
      repo:delete_all("t", { n = 20 }) repo:delete_all("t", { n = 50 })]], nil, { batch_size = 1 }))
    assert.equal("1:1 2:3 3:4", said(world))
  end)

  it("without a row when start_after is behind all of them", function()
    local world = contract.numbers(2)
    local result = contract.ended("done", contract.run(world, SAY, { config = "start_after = 2" }))
    assert.equal(0, result.batches)
  end)

  it("anew at start_after when it is told to run again", function()
    local world = contract.numbers(3)
    local path = contract.script(SAY, { config = "start_after = 1" })
    contract.ended("done", world:run(path))
    contract.ended("done", world:run(path, { again = true }))
    assert.equal("1:2,3 1:2,3", said(world))
  end)

  it("after start_after", function()
    local world = contract.numbers(4)
    contract.ended("done", contract.run(world, SAY, { config = "start_after = 2" }))
    assert.equal("1:3,4", said(world))
  end)

  it("after the start_after of a key of several columns", function()
    local world = mock.new {
      tables = { t = { columns = { a = "int4", b = "int4" }, primary_key = { "a", "b" },
        rows = { { a = 1, b = 1 }, { a = 1, b = 2 }, { a = 2, b = 1 } } } },
      base = { from = "t" },
    }
    contract.ended("done", contract.run(world,
      "for _, row in ipairs(rows) do run.log(row.a .. row.b) end",
      { config = 'key = { "a", "b" }, start_after = { 1, 1 }' }))
    assert.equal("12 21", said(world))
  end)

  it("at the limit, stopped, and goes on from there", function()
    local world = contract.numbers(5)
    local path = contract.script(SAY)
    local result = contract.ended("stopped", world:run(path, { limit = 3, batch_size = 2 }))
    assert.equal(3, result.rows)
    assert.equal(2, result.batches)
    result = contract.ended("done", world:run(path, { batch_size = 2 }))
    assert.equal(2, result.rows)
    assert.equal("1:1,2 2:3 3:4,5", said(world))
  end)

  it("at each limit that it is told, counted afresh", function()
    local world = contract.numbers(6)
    local path = contract.script(SAY)
    for _, case in ipairs { { 1, 1 }, { 4, 4 }, { 1, 1 } } do
      local result = world:run(path, { batch_size = 3, limit = case[1] })
      contract.ended(case[1] == 1 and said(world):find "6" and "done" or "stopped", result)
      assert.equal(case[2], result.rows)
    end
    assert.equal("1:1 2:2,3,4 3:5 4:6", said(world))
  end)

  it("again only when it is done: an unfinished run goes on", function()
    local world = contract.numbers(3)
    local path = contract.script(SAY)
    contract.ended("stopped", world:run(path, { batch_size = 2, limit = 2 }))
    contract.ended("done", world:run(path, { batch_size = 2, again = true }))
    contract.ended("done", world:run(path, { batch_size = 3, again = true }))
    assert.equal("1:1,2 2:3 1:1,2,3", said(world))
  end)

  it("at a limit that is just all rows, done", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, SAY, nil, { limit = 2 }))
  end)

  it("once: a run that is done is not repeated", function()
    local world = contract.numbers(2)
    local path = contract.script(SAY)
    contract.ended("done", world:run(path))
    local result = contract.ended("done", world:run(path))
    assert.equal(0, result.rows)
    assert.equal("1:1,2", said(world))
  end)

  it("again when told to", function()
    local world = contract.numbers(2)
    local path = contract.script(SAY)
    contract.ended("done", world:run(path))
    contract.ended("done", world:run(path, { again = true }))
    assert.equal("1:1,2 1:1,2", said(world))
  end)

  it("again when it is repeatable", function()
    local world = contract.numbers(2)
    local path = contract.script(SAY, { config = "repeatable = true" })
    contract.ended("done", world:run(path))
    contract.ended("done", world:run(path))
    assert.equal("1:1,2 1:1,2", said(world))
  end)

  it("apart for each set of arguments", function()
    local world = contract.numbers(3, {
      where = function(row, args) return args.low == nil or row.id >= args.low end })
    local path = contract.script('run.log("from " .. run.args.low .. " " .. #rows)', {
      query = "SELECT * FROM t WHERE id >= 0",
      more = 'args = { low = { type = "integer", required = true } },',
    })
    contract.ended("done", world:run(path, { args = { low = 0 } }))
    contract.ended("done", world:run(path, { args = { low = 0 } }))
    contract.ended("done", world:run(path, { args = { low = 1 } }))
    assert.equal("from 0 3 from 1 3", said(world))
  end)
end)
