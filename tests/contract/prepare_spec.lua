-- Work outside of the transaction: what prepare gets, when it gets it again, and what migrate
-- finds.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"
local mock = require "luamig.mock"

-- Says which rows it gets, and makes a text of each.
local PREPARE = [[
  prepare = function(rows, run)
    local results, ids = {}, {}
    for i, row in ipairs(rows) do
      ids[i], results[row.id] = row.id, "p" .. row.n
    end
    run.log("[" .. table.concat(ids, ",") .. "]")
    return results
  end,]]

-- Writes that text, and says which rows it gets.
local MIGRATE = [[
  local ids = {}
  for i, row in ipairs(rows) do
    ids[i] = row.id
    repo:update("t", { id = row.id }, { s = run.prepared[row.id] })
  end
  run.log("(" .. table.concat(ids, ",") .. ")")]]

local function run(world, opts, config, prepare, body)
  return contract.run(world, body or MIGRATE, { more = prepare or PREPARE, config = config }, opts)
end

local said = contract.said

local function texts(world)
  return table.concat(contract.column(world, "t", "s"), " ")
end

describe("prepare", function()
  teardown(contract.clean)

  it("gets the rows of each batch before migrate does", function()
    local world = contract.numbers(3)
    local result = contract.ended("done", run(world, { batch_size = 2 }))
    assert.equal("[1,2] (1,2) [3] (3)", said(world))
    assert.equal("p10 p20 p30", texts(world))
    assert.same({ 3, 2, 0 }, { result.rows, result.batches, result.retries })
  end)

  it("gets rows that are read like others, and the run", function()
    local world = contract.numbers(2)
    contract.ended("done", run(world, nil, nil, [[
      prepare = function(rows, run)
        run.log(("%s %s %d%d"):format(table.concat(rows.columns, ","), rows[1].s, run.batch,
          run.attempt))
        assert(not pcall(function() return rows[1].x end))
        rows[1].n = 7 -- nobody else sees this
        return { [1] = false }
      end,]], [[
      run.log(rows[1].n .. tostring(run.prepared[1]) .. tostring(run.prepared[2]))]]))
    assert.matches("^[dins,]+ s1 11 10falsenil$", said(world))
  end)

  it("gets the rows of a large batch in several calls", function()
    local world = contract.numbers(20)
    contract.ended("done", run(world, nil, nil, [[
      prepare = function(rows, run)
        run.log(rows[1].id .. "+" .. #rows)
        return { [rows[1].id] = "p" }
      end,]], [[
      run.log(run.prepared[1] .. run.prepared[9])]]))
    assert.equal("1+8 9+12 pp", said(world))
  end)

  it("has results by row where the key has several columns", function()
    local world = contract.world({ a = "text", n = "int4" },
      { { id = 1, a = "x,y" }, { id = 1, a = "é" }, { id = 2, a = "x,y" } },
      { primary_key = { "a", "id" } })
    contract.ended("done", run(world, nil, 'key = { "a", "id" }', [[
      prepare = function(rows)
        local results = {}
        for _, row in ipairs(rows) do results[row] = #row.a * 10 + row.id end
        return results
      end,]], [[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id, a = row.a }, { n = run.prepared[row] })
        run.log(tostring(run.prepared[{ a = row.a, id = row.id }]))
      end]]))
    assert.equal("31 32 21", said(world))
    assert.equal("31 32 21", contract.numbers_of(world))
  end)

  for _, case in ipairs {
    { "numeric", luamig.decimal "1.50" }, { "text", "a b" }, { "date", "2024-01-31" },
    { "bool", true }, { "float8", 0.1 }, { "float8", 1e17 },
    { "uuid", "00000000-0000-0000-0000-000000000001" },
  } do
    it(("knows a row by a key of type %s: %s"):format(case[1], tostring(case[2])), function()
      local world = contract.world({ k = case[1], n = "int4" }, { { id = 1, k = case[2] } },
        { primary_key = { "k" } })
      contract.ended("done", run(world, nil, 'key = "k"', [[
        prepare = function(rows) return { [rows[1].k] = 5 } end,]], [[
        local row = rows[1]
        repo:update("t", { k = row.k }, { n = run.prepared[row.k] + run.prepared[row] })
        run.log(run.key_of(row))]]))
      assert.equal("10", contract.numbers_of(world))
      assert.matches("^[%w%-_.~%%,]+$", said(world))
    end)
  end

  -- -- what others do -------------------------------------------------------------------

  it("gets a row again that has changed meanwhile, and no other", function()
    local world = contract.numbers(3)
    world:between(function(tables, n)
      if n == 1 then
        tables.t[2].n = 21
      end
    end)
    local result = contract.ended("done", run(world))
    assert.equal("[1,2,3] [2] (1,2,3)", said(world))
    assert.equal("p10 p21 p30", texts(world))
    assert.equal(0, result.retries)
  end)

  it("gets a row again of which a column has become NULL, and is empty no more", function()
    local world = contract.world({ s = "text", n = "int4" },
      { { id = 1, s = "", n = 1 }, { id = 2, n = 2 }, { id = 3, s = "x", n = 3 } })
    world:between(function(tables, n)
      if n == 1 then
        tables.t[1].s, tables.t[2].s = luamig.NULL, ""
      end
    end)
    contract.ended("done", run(world))
    assert.equal("[1,2,3] [1,2] (1,2,3)", said(world))
  end)

  it("is not called again for a column that the base query does not return", function()
    local world = mock.new {
      tables = { t = { columns = { id = "int8", n = "int4", s = "text" }, primary_key = { "id" },
        rows = { { id = 1, n = 10 }, { id = 2, n = 20 } } } },
      base = { from = "t", select = { "id", "n" } },
    }
    world:between(function(tables) tables.t[1].s = "other" end)
    contract.ended("done", contract.run(world, MIGRATE,
      { more = PREPARE, query = "SELECT id, n FROM t" }))
    assert.equal("[1,2] (1,2)", said(world))
  end)

  it("leaves out rows that are gone", function()
    local world = contract.numbers(4)
    world:between(function(tables, n)
      if n == 1 then
        table.remove(tables.t, 1)
        table.remove(tables.t)
      end
    end)
    local result = contract.ended("done", run(world, { batch_size = 3 }))
    assert.equal("[1,2,3] (2,3)", said(world))
    assert.equal(2, result.rows)
  end)

  it("has nothing to do if all rows are gone", function()
    local world = contract.numbers(4)
    world:between(function(tables, n)
      if n == 1 then
        table.remove(tables.t, 1)
        table.remove(tables.t, 1)
      end
    end)
    local result = contract.ended("done", run(world, { batch_size = 2 }))
    assert.equal("[1,2] [3,4] (3,4)", said(world))
    assert.same({ 2, 1 }, { result.rows, result.batches })
  end)

  it("gets rows that are new between the others", function()
    local world = contract.world({ n = "int4", s = "text" },
      { { id = 10, n = 1 }, { id = 20, n = 2 }, { id = 30, n = 3 } })
    world:between(function(tables, n)
      if n == 1 then
        table.insert(tables.t, { id = 15, n = 9 })
      end
    end)
    contract.ended("done", run(world, { batch_size = 4 }))
    assert.equal("[10,20,30] [15] (10,15,20,30)", said(world))
  end)

  it("keeps the size of a batch, and what is prepared of the rest", function()
    local world = contract.world({ n = "int4", s = "text" },
      { { id = 10, n = 1 }, { id = 20, n = 2 }, { id = 30, n = 3 }, { id = 40, n = 4 } })
    world:between(function(tables, n)
      if n == 1 then
        table.insert(tables.t, { id = 15, n = 9 })
      end
    end)
    local result = contract.ended("done", run(world, { batch_size = 3 }))
    assert.equal("[10,20,30] [15] (10,15,20) [40] (30,40)", said(world))
    assert.equal(5, result.rows)
  end)

  it("takes no row above the last one of its batch for one that is gone", function()
    local world = contract.numbers(4)
    world:between(function(tables, n)
      if n == 1 then
        table.remove(tables.t, 2)
      end
    end)
    contract.ended("done", run(world, { batch_size = 2 }))
    assert.equal("[1,2] (1) [3,4] (3,4)", said(world))
  end)

  it("goes on to rows that come behind the last one, if the run follows them", function()
    local world = contract.numbers(3)
    world:between(function(tables, n)
      if n == 2 then
        table.insert(tables.t, { id = 4, n = 40 })
      end
    end)
    contract.ended("done", run(world, { batch_size = 2 }, "follow_new = true"))
    assert.equal("[1,2] (1,2) [3] (3) [4] (4)", said(world))
  end)

  it("stops exactly at a limit, though rows come", function()
    local world = contract.world({ n = "int4", s = "text" },
      { { id = 10, n = 1 }, { id = 20, n = 2 }, { id = 30, n = 3 } })
    world:between(function(tables, n)
      if n == 1 then
        table.insert(tables.t, { id = 15, n = 9 })
      end
    end)
    local result = contract.ended("stopped", run(world, { limit = 2 }))
    assert.equal("[10,20] [15] (10,15)", said(world))
    assert.equal(2, result.rows)
  end)

  it("is done at a limit that all rows reach", function()
    local world = contract.numbers(3)
    contract.ended("done", run(world, { limit = 3 }))
  end)

  it("halves a batch in which a row changes all the time, and fails that row", function()
    local world = contract.numbers(4)
    world:between(function(tables, n)
      tables.t[3].n = 100 + n
    end)
    local result = contract.ended("done_with_failures",
      run(world, nil, 'on_error = "quarantine", retries = 1'))
    assert.equal("[1,2,3,4] [3] [3] [3] (1,2) [3] [3] [3] [3] [3] [3] (4)", said(world))
    assert.same({ 3, 1 }, { result.rows, result.failures })
    assert.equal("p10 p20 s3 p40", texts(world))
  end)

  it("fails with a row that changes all the time", function()
    local world = contract.numbers(1)
    world:between(function(tables, n)
      tables.t[1].n = n
    end)
    local result = run(world, nil, "retries = 2")
    contract.failed(result, nil, "the row was changed 3 times while it was prepared")
    assert.matches('The last time, column "n" had another value.', tostring(result.error), 1, true)
    assert.matches("Leave out columns", tostring(result.error), 1, true)
    assert.equal("[1] [1] [1]", said(world))
  end)

  -- -- batches that are tried again -----------------------------------------------------

  for _, sqlstate in ipairs { "40001", "55P03", "08006" } do
    it("keeps its results when the batch fails with " .. sqlstate, function()
      local world = contract.numbers(2)
      world:fail { on = "update", nth = 2, sqlstate = sqlstate }
      contract.ended("done", run(world))
      assert.equal(1, select(2, said(world):gsub("%[", "")))
      assert.equal("p10 p20", texts(world))
    end)
  end

  it("keeps its results while a failing row is searched", function()
    local world = contract.numbers(4)
    local result = contract.ended("done_with_failures", run(world, nil, 'on_error = "quarantine"',
      nil, [[
      for _, row in ipairs(rows) do
        if row.id == 3 then error "three" end
        repo:update("t", { id = row.id }, { s = run.prepared[row.id] })
      end]]))
    assert.equal("[1,2,3,4]", said(world))
    assert.equal(1, result.failures)
    assert.equal("p10 p20 s3 p40", texts(world))
  end)

  it("hands out its tables as they were when the batch is tried again", function()
    local world = contract.numbers(3)
    world:fail { on = "update", nth = 3, sqlstate = "40001" }
    contract.ended("done", run(world, nil, nil, [[
      prepare = function(rows)
        local shared, results = { "x" }, {}
        for _, row in ipairs(rows) do
          results[row.id] = { list = luamig.array { "p" .. row.n, "second" }, row = row, shared }
        end
        return results
      end,]], [[
      for _, row in ipairs(rows) do
        local result = run.prepared[row.id]
        assert(result.row.n == row.n and result == run.prepared[row])
        result.row.n, result[1][1] = 0, result[1][1] .. row.id
        repo:update("t", { id = row.id }, { s = table.remove(result.list, 1) .. result[1][1] })
      end]]))
    assert.equal("p10x1 p20x12 p30x123", texts(world))
  end)

  it("may be read in a loop, in the order of the rows", function()
    local world = contract.numbers(3)
    contract.ended("done", run(world, { batch_size = 2 }, nil, [[
      prepare = function(rows)
        local results = {}
        for _, row in ipairs(rows) do results[row.id] = row.id ~= 2 and "p" .. row.n or nil end
        return results
      end,]], [[
      for id, result in pairs(run.prepared) do
        repo:update("t", { id = id }, { s = result })
      end]]))
    assert.equal("p10 s2 p30", texts(world))
  end)

  it("may be read in a loop by row where the key has several columns", function()
    local world = contract.world({ a = "bool", n = "int4" },
      { { id = 1, a = false }, { id = 1, a = true } }, { primary_key = { "a", "id" } })
    contract.ended("done", run(world, nil, 'key = { "a", "id" }', [[
      prepare = function(rows)
        local first, second = rows[1], rows[2]
        return { [first] = 1, [second] = 2 }
      end,]], [[
      for row, result in pairs(run.prepared) do
        run.log(tostring(row.a) .. result)
      end]]))
    assert.equal("false1 true2", said(world))
  end)

  it("may fail at a row, which is searched among those without results", function()
    local world = contract.numbers(12)
    local result = contract.ended("done_with_failures", run(world, nil, 'on_error = "quarantine"',
      [[
      prepare = function(rows, run)
        local results, ids = {}, {}
        for i, row in ipairs(rows) do
          ids[i], results[row.id] = row.id, "p" .. row.n
        end
        run.log("[" .. table.concat(ids, ",") .. "]")
        for _, row in ipairs(rows) do
          if row.id == 10 then error "ten" end
        end
        return results
      end,]]))
    assert.equal(1, result.failures)
    assert.matches("^%[1,2,3,4,5,6,7,8%] %[9,10,11,12%] %(1,2,3,4,5,6%)", said(world))
    assert.equal(1, select(2, said(world):gsub("%[1,", "")))
    assert.equal("p10 p20 p30 p40 p50 p60 p70 p80 p90 s10 p110 p120", texts(world))
  end)

  it("is called anew in another call of the run", function()
    local world = contract.numbers(2)
    local path = contract.script(MIGRATE, { more = PREPARE })
    assert.equal("killed", world:run(path, { kill = { batch = 1, call = 2 } }).state)
    contract.ended("done", world:run(path))
    assert.equal("[1,2] [1,2] (1,2)", said(world))
  end)

  it("is called in a dry run if that says so", function()
    local world = contract.numbers(2)
    local body = [[run.log(tostring(run.prepared[1]))]]
    contract.ended("done", run(world, { dry_run = true }, nil, nil, body))
    contract.ended("done", run(world, { dry_run = true, prepare = true }, nil, nil, body))
    assert.equal("nil [1,2] p10", said(world))
  end)

  it("cannot settle in a dry run whose on_start gives other values each time", function()
    local world = contract.numbers(2)
    local path = contract.script(MIGRATE, { config = "retries = 1", more = PREPARE .. [[
      on_start = (function()
        local times = 0
        return function(repo)
          times = times + 1
          repo:update("t", { id = 1 }, { n = times })
        end
      end)(),]] })
    local result = world:run(path, { dry_run = true, prepare = true, batch_size = 1 })
    contract.failed(result, nil, "the row was changed 2 times while it was prepared")
    assert.matches("A dry run calls on_start again", tostring(result.error), 1, true)
    contract.ended("done", world:run(path))
    assert.equal("p20", contract.column(world, "t", "s")[2])
  end)

  it("works for several workers", function()
    local world = contract.numbers(6)
    contract.ended("done", run(world, { workers = 2, batch_size = 2, order = "reverse" }))
    assert.equal("p10 p20 p30 p40 p50 p60", texts(world))
  end)

  it("gets the lines of a file", function()
    local world = mock.new { tables = { t = { columns = { id = "int8", s = "text" },
      primary_key = { "id" } } } }
    local path = contract.script([[
      for _, row in ipairs(rows) do
        repo:insert("t", { id = row.id, s = run.prepared[row.line] .. run.prepared[row] })
      end]], {
      input = 'input = { format = "csv", columns = { id = "int8", s = "text" } }',
      more = [[prepare = function(rows)
        local results = {}
        for _, row in ipairs(rows) do results[row.line] = row.s .. row.line end
        return results
      end,]],
    })
    local lines = { { id = 7, s = "a" }, { id = 8, s = "b" } }
    contract.ended("done", world:run(path, { input = lines }))
    assert.equal("a2a2 b3b3", texts(world))
  end)

  -- -- mistakes ---------------------------------------------------------------------------

  for _, case in ipairs {
    { "return", "prepare must return a table of results by key, not nil" },
    { "return 'x'", 'prepare must return a table of results by key, not "x"' },
    { "return { 'a', 'b', 'c' }", "prepare returned a result for 3, which is not the key of a row "
      .. "that it got" },
    { "local row = rows[1]; return { [row] = 1, [row.id] = 2 }",
      "prepare returned two results for one row: by its key, and by the row itself" },
    { "return { [rows] = 1 }", "prepare returned a result for a table, which is not" },
  } do
    it("tells a wrong result: " .. case[1], function()
      contract.failed(run(contract.numbers(2), nil, nil, ([[
        prepare = function(rows) %s end,]]):format(case[1])), nil, case[2])
    end)
  end

  it("has no results yet while it is at work", function()
    contract.failed(run(contract.numbers(2), nil, nil, [[
      prepare = function(_, run) return { run.prepared[1] } end,]]), nil,
      "run.prepared is for migrate: prepare makes the results, and has none yet")
  end)

  for _, case in ipairs {
    { "return run.prepared[3]", "run.prepared has no 3: it is not the key of a row of this batch" },
    { "return run.prepared.id", 'run.prepared has no "id": it is not the key' },
    { "return run.prepared[{}]", "run.prepared has no such row: it is not the key" },
    { "run.prepared[1] = 2", "run.prepared cannot be changed: it has what prepare returns" },
    { "return #run.prepared", "run.prepared has no length: it has results by key" },
    { "run.key_of(1)", "run.key_of takes a row with its key (id), not 1" },
    { "run.key_of { n = 1 }", "run.key_of takes a row with its key (id), not a table" },
    { "run.retry()", "run.retry takes a message: run.retry(message)" },
  } do
    it("tells a mistake in migrate: " .. case[1], function()
      local result = run(contract.numbers(2), nil, nil, nil, case[1])
      contract.failed(result, nil, case[2])
      assert.matches("s%d+%.lua:%d+: ", tostring(result.error))
    end)
  end
end)

describe("run.key_of", function()
  teardown(contract.clean)

  it("is the same text for a row, and another for each other", function()
    local world = contract.numbers(3)
    world:fail { on = "update", nth = 3, sqlstate = "40001" }
    local body = [[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { s = run.key_of(row) })
      end]]
    contract.ended("done", contract.run(world, body, nil, { batch_size = 2 }))
    local first = contract.column(world, "t", "s")
    for id = 1, 3 do
      assert.matches("%-" .. id .. "$", first[id])
    end
    local path = contract.script(body)
    contract.ended("done", world:run(path))
    local second = contract.column(world, "t", "s")
    contract.ended("done", world:run(path, { again = true }))
    local third = contract.column(world, "t", "s")
    assert.is_not.equal(first[1], second[1])
    assert.is_not.equal(second[1], third[1])
  end)
end)

describe("run.retry", function()
  teardown(contract.clean)

  local AWAY = [[
    prepare = function(rows, run)
      run.log("[" .. run.attempt .. "]")
      if run.attempt < %d then run.retry "the service is away" end
      return {}
    end,]]

  it("waits for a service, and no row fails by it", function()
    local world = contract.numbers(2)
    local result = contract.ended("done",
      run(world, nil, 'on_error = "quarantine", retries = 1', AWAY:format(4), "run.log 'm'"))
    assert.equal("[1] [2] [3] [4] m", said(world))
    assert.same({ 3, 0, 2 }, { result.retries, result.failures, result.rows })
  end)

  it("gives up at last", function()
    local world = contract.numbers(1)
    local result = run(world, nil, 'on_error = "quarantine"', AWAY:format(1000))
    contract.ended("failed", result)
    assert.equal("LM011", result.error.sqlstate)
    assert.matches("gave up after ten minutes: the service is away", result.error.message, 1, true)
  end)

  it("works in each function", function()
    local world = contract.numbers(1)
    local path = contract.one_shot([[
      repo:insert("t", { id = 8 + run.attempt })
      if run.attempt == 1 then run.retry "later" end]])
    contract.ended("done", world:run(path))
    contract.ended("done", contract.run(world, "", { more = [[
      on_start = function(_, run)
        if run.attempt == 1 then run.retry "later" end
        run.log("a" .. run.attempt)
      end,]] }))
    assert.equal("a2", said(world))
    assert.same({ 1, 10 }, contract.column(world, "t", "id"))
  end)

  it("rolls back what migrate has written", function()
    local world = contract.numbers(1)
    local result = contract.ended("done", contract.run(world, contract.COUNT
      .. [[ if run.attempt == 1 then run.retry "later" end]]))
    assert.equal("11", contract.numbers_of(world))
    assert.equal(1, result.retries)
  end)
end)

describe("world:between", function()
  teardown(contract.clean)

  it("is an error if nothing was prepared", function()
    local world = contract.numbers(1)
    world:between(function() end)
    assert.matches("the run did not reach world:between",
      contract.raised(contract.run, world, "run.log 'x'"), 1, true)
  end)

  it("tells what its function has done wrong", function()
    local world = contract.numbers(1)
    world:between(function(tables) tables.t[1].x = 1 end)
    assert.matches("the function of world:between failed: .*x", contract.raised(run, world))
    for _, act in ipairs {
      function(tables) tables.t[1] = nil end,
      function(tables) tables.t[0] = { id = 9 } end,
    } do
      local holed = contract.numbers(3)
      holed:between(act)
      assert.matches("the rows of table \"t\" must have the keys 1, 2, 3, ....*table.remove",
        contract.raised(run, holed))
    end
    assert.matches("world:between takes a function, not 1",
      contract.raised(world.between, world, 1), 1, true)
    assert.matches("world:run: prepare is for a dry run", contract.raised(run, world,
      { prepare = true }), 1, true)
  end)
end)

describe("a script that prepares", function()
  teardown(contract.clean)

  it("has the properties of one that does not", function()
    local path = contract.script(MIGRATE, { more = PREPARE })
    mock.assert_resumable(path, function() return contract.numbers(1) end)
    local function make_world()
      return mock.pure.new {
        tables = { t = { columns = { id = "int8", n = "int4", s = "text" }, primary_key = { "id" },
          rows = { { id = 1, n = 1 }, { id = 2, n = 2 }, { id = 3, n = 3 } } } },
        base = { from = "t" },
      }
    end
    mock.pure.assert_batch_size_independent(path, make_world)
    mock.pure.assert_workers_independent(path, make_world)
  end)
end)
