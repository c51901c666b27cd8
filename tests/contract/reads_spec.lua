--- repo:get and repo:select: rows of a table, without SQL.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local run_failed, said, three = contract.run_failed, contract.said, contract.three

local function ran(world, body)
  return contract.ended("done", contract.run(world, body))
end

local function raises(body, message)
  run_failed(contract.numbers(3), body, nil, message)
end

describe("get", function()
  teardown(contract.clean)

  it("returns the row with that key, whole", function()
    local world = three [[
      local row = repo:get("t", { id = 2 })
      run.log(row.id .. " " .. row.n .. " " .. row.s)]]
    assert.equal("2 20 s2", said(world))
  end)

  it("returns nil if there is none", function()
    assert.equal("nil", said(three [[run.log(tostring(repo:get("t", { id = 9 })))]]))
  end)

  it("returns the columns that it is asked for, and no others", function()
    local world = contract.numbers(2)
    contract.failed(contract.run(world, [[
      local row = repo:get("t", { id = 2 }, { columns = { "n" } })
      run.log(tostring(row.n))
      return row.s]]), nil, 'column "s" was not returned by the query')
    assert.equal("20", said(world))
  end)

  it("reads NULL as nil", function()
    local world = contract.world({ n = "int4" }, { { id = 1 } })
    ran(world, [[run.log(tostring(repo:get("t", { id = 1 }).n))]])
    assert.equal("nil", said(world))
  end)

  it("takes any unique columns for the key", function()
    local world = contract.numbers(3, { unique = { { "n", "s" } } })
    ran(world, [[run.log(tostring(repo:get("t", { n = 30, s = "s3" }).id))]])
    assert.equal("3", said(world))
  end)

  it("sees what the batch has written before", function()
    local world = three [[
      repo:update("t", { id = 1 }, { n = 99 })
      repo:insert("t", { id = 7, n = 70 })
      repo:delete("t", { id = 3 })
      run.log(repo:get("t", { id = 1 }).n .. " " .. repo:get("t", { id = 7 }).n .. " "
        .. tostring(repo:get("t", { id = 3 })))]]
    assert.equal("99 70 nil", said(world))
  end)

  it("hands out a copy", function()
    local world = three [[repo:get("t", { id = 1 }).n = 5]]
    assert.same({ 10, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("raises if several rows match, and the script may go on", function()
    local world = contract.world({ n = "int4" }, { { id = 1, n = 1 }, { id = 2, n = 1 } })
    ran(world, [[
      local ok, err = pcall(repo.get, repo, "t", { n = 1 })
      run.log(tostring(ok) .. " " .. tostring(err))
      repo:update("t", { id = 1 }, { n = 5 })]])
    assert.truthy(said(world):find('repo:get got more than one row of "t"', 1, true), said(world))
    assert.same({ 5, 1 }, contract.column(world, "t", "n"))
  end)

  it("converts the key to the type of its column", function()
    local world = contract.world({ d = "numeric(6,2)" }, { { id = 1, d = luamig.decimal "1.50" } })
    ran(world, [[
      run.log(tostring(repo:get("t", { d = luamig.decimal "1.5" }).id)
        .. tostring(repo:get("t", { d = "1.5" }).id))]])
    assert.equal("11", said(world))
  end)

  it("refuses a value that its column cannot have", function()
    run_failed(contract.numbers(1), 'repo:get("t", { id = "x" })', nil, 'column "id" of "t"')
  end)

  it("refuses tables and columns that do not exist", function()
    run_failed(contract.numbers(1), 'repo:get("tt", { id = 1 })', "42P01")
    run_failed(contract.numbers(1), 'repo:get("t", { m = 1 })', "42703")
    run_failed(contract.numbers(1), 'repo:get("t", { id = 1 }, { columns = { "m" } })', "42703")
  end)

  it("refuses a NULL in the key", function()
    raises('repo:get("t", { id = luamig.NULL })', "NULL")
  end)

  it("refuses a key that lacks a column which the line has passed before", function()
    raises([[
      for _, row in ipairs(rows) do
        repo:get("t", { id = row.id, n = row.id == 1 and row.n or nil })
      end]], '"n"')
  end)

  it("refuses what is no key, and other options", function()
    raises('repo:get("t", 1)', "the key")
    raises('repo:get("t", {})', "the key")
    raises('repo:get("t", { id = 1 }, { column = { "n" } })',
      'repo:get: unknown option "column"; did you mean "columns"?')
    raises('repo:get("t", { id = 1 }, { columns = "n" })',
      "repo:get: columns must be a list of column names")
    raises('repo:get("t", { id = 1 }, { columns = {} })', "repo:get: columns is empty")
  end)
end)

describe("select", function()
  teardown(contract.clean)

  local IDS = [[
    local ids = {}
    for i, row in ipairs(found) do ids[i] = row.id end
    table.sort(ids)
    run.log(#found .. ": " .. table.concat(ids, " "))]]

  it("returns the rows that have these values", function()
    local world = contract.world({ n = "int4" },
      { { id = 1, n = 1 }, { id = 2, n = 2 }, { id = 3, n = 1 } })
    ran(world, 'local found = repo:select("t", { n = 1 })' .. IDS)
    assert.equal("2: 1 3", said(world))
  end)

  it("returns an empty list if there are none, and knows the columns", function()
    local world = contract.numbers(2)
    ran(world, [[
      local found = repo:select("t", { n = 5 }, { columns = { "s", "id" } })
      run.log(#found .. table.concat(found.columns, ","))]])
    assert.equal("0s,id", said(world))
  end)

  it("finds NULL with luamig.NULL", function()
    local world = contract.world({ n = "int4", m = "int4" },
      { { id = 1, m = 1 }, { id = 2, n = 2, m = 1 }, { id = 3 } })
    ran(world, 'local found = repo:select("t", { n = luamig.NULL, m = 1 })' .. IDS)
    assert.equal("1: 1", said(world))
  end)

  it("returns every row for luamig.ALL", function()
    local world = contract.numbers(3)
    ran(world, 'local found = repo:select("t", luamig.ALL)' .. IDS)
    assert.equal("3: 1 2 3", said(world))
  end)

  it("sees what the batch has written before", function()
    local world = contract.numbers(2)
    ran(world, 'repo:update("t", { id = 1 }, { n = 20 }) local found = repo:select("t", { n = 20 })'
      .. IDS)
    assert.equal("2: 1 2", said(world))
  end)

  it("hands out copies", function()
    local world = three [[for _, row in ipairs(repo:select("t", luamig.ALL)) do row.n = 0 end]]
    assert.same({ 10, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("refuses SQL, and a condition that is empty", function()
    raises('repo:select("t", "n > 1")', "use repo:query for SQL")
    raises('repo:select("t")', "the condition is missing or nil")
    raises('repo:select("t", {})', "for every row, pass luamig.ALL")
  end)

  it("refuses a condition that lacks a column which the line has passed before", function()
    raises([[
      for _, row in ipairs(rows) do
        repo:select("t", { id = row.id, n = row.id == 1 and row.n or nil })
      end]], '"n"')
  end)

  it("can be made to fail", function()
    local world = contract.numbers(2)
    world:fail { on = "select", sqlstate = "40001" }
    world:fail { on = "get", sqlstate = "40001" }
    local result = ran(world, 'repo:select("t", { n = 1 }) repo:get("t", { id = 1 })')
    assert.equal(2, result.retries)
  end)

  it("is in the log, as get is", function()
    local world = contract.numbers(1)
    ran(world, 'repo:select("t", { n = 1 }) repo:get("t", { id = 1 })')
    local log = {}
    for _, entry in ipairs(world.log) do
      log[entry.verb] = entry
    end
    assert.same({ "t", 1 }, { log.select.table, log.select.where.n })
    assert.same({ "t", 1 }, { log.get.table, log.get.key.id })
  end)
end)
