--- What becomes of a batch that fails, by its error: attempts, sizes, and rows set aside.

local contract = dofile "tests/contract/contract.lua"

local said = contract.said

-- Says the batch, the attempt and the ids of its rows, and adds one to n of each.
local COUNT = [[
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = tostring(row.id) end
  run.log(run.batch .. "/" .. run.attempt .. ":" .. table.concat(ids, ","))
  for _, row in ipairs(rows) do repo:update("t", { id = row.id }, { n = row.n + 1 }) end]]

local function world_of(count, faults)
  local world = contract.numbers(count)
  for _, fault in ipairs(faults or {}) do
    world:fail(fault)
  end
  return world
end

--- Several faults of one kind.
local function times(count, on, sqlstate)
  local faults = {}
  for i = 1, count do
    faults[i] = { on = on, sqlstate = sqlstate, message = "in the way" }
  end
  return faults
end

--- Asserts that each row was migrated once, but those set aside.
local function migrated(world, aside)
  for i, n in ipairs(contract.column(world, "t", "n")) do
    assert.equal(aside and aside[i] and i * 10 or i * 10 + 1, n)
  end
end

describe("a batch that fails", function()
  teardown(contract.clean)

  -- SQLSTATE, what is said then in batches of four of six rows, retries.
  local SURVIVED = {
    { "40001", "1/1:1,2,3,4 1/2:1,2,3,4 2/1:5,6", 1 },
    { "40P01", "1/1:1,2,3,4 1/2:1,2,3,4 2/1:5,6", 1 },
    { "55P03", "1/1:1,2,3,4 1/2:1,2 2/1:3,4,5,6", 1 },
    { "57014", "1/1:1,2,3,4 1/2:1,2 2/1:3,4,5,6", 1 },
    { "57P01", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "57P02", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "08006", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "25P03", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "25P04", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "57P03", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "57P05", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 0 },
    { "0A000", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 1 },
    { "26000", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 1 },
    { "42P05", "1/1:1,2,3,4 1/1:1,2,3,4 2/1:5,6", 1 },
    { "53200", "1/1:1,2,3,4 1/2:1,2,3,4 2/1:5,6", 1 },
  }
  for _, case in ipairs(SURVIVED) do
    for _, on in ipairs { "update", "commit" } do
      it(("with %s in %s is tried again"):format(case[1], on), function()
        local world = world_of(6, times(1, on, case[1]))
        local result = contract.ended("done", contract.run(world, COUNT, nil, { batch_size = 4 }))
        assert.equal(case[2], said(world))
        assert.equal(case[3], result.retries)
        assert.equal(2, result.batches)
        migrated(world)
      end)
    end
  end

  -- What a row's values may raise in the base query: its page is cut.
  local CUTS = { ["23505"] = true, ["22012"] = true, XX000 = true, P0001 = true, P0002 = true }

  for sqlstate in pairs(CUTS) do
    it(("with %s in page meets its rows in smaller pages"):format(sqlstate), function()
      local world = world_of(6, times(1, "page", sqlstate))
      local result = contract.ended("done", contract.run(world, COUNT, nil, { batch_size = 4 }))
      assert.equal("1/1:1,2 2/1:3 3/1:4 4/1:5,6", said(world))
      assert.equal(1, result.retries)
      migrated(world)
    end)
  end

  it("is not tried for ever where its page fails and is of one row at most", function()
    local world = world_of(2, times(2, "page", "22012"))
    contract.failed(contract.run(world, COUNT, nil, { batch_size = 1 }), "22012",
      "the base query fails, but not at a row that it returns: in the way")
    assert.same({ 10, 20 }, contract.column(world, "t", "n"))
  end)

  for _, sqlstate in ipairs { "23505", "22012", "25006", "42P01", "57P04", "58030", "XX000",
    "40002", "40003", "P0001", "P0002" } do
    for _, on in ipairs { "update", "commit", not CUTS[sqlstate] and "page" or nil } do
      it(("with %s in %s ends the run"):format(sqlstate, on), function()
        local world = world_of(2, times(1, on, sqlstate))
        local path = contract.script(COUNT)
        local result = contract.failed(world:run(path), sqlstate, "in the way")
        assert.equal(0, result.retries)
        assert.same({ 10, 20 }, contract.column(world, "t", "n"))
        contract.ended("done", world:run(path))
        migrated(world)
      end)
    end
  end

  it("is given up after config.retries, however it fails in between", function()
    for _, case in ipairs {
      { 3, "40001", 1, "1/1:1 1/2:1 1/3:1" }, { 3, "55P03", 1, "1/1:1 1/2:1 1/3:1" },
      { 3, "55P03", 2, "1/1:1,2 1/2:1 1/3:1" }, { 5, "40001", 2, "1/1:1,2 1/2:1,2 1/3:1,2 1/3:1" },
    } do
      local world = world_of(2, times(case[1], "update", case[2]))
      local result = contract.failed(contract.run(world, COUNT, { config = "retries = 2" },
        { batch_size = case[3] }), case[2])
      local lasted = case[2] == "40001" and " in %d+m?s" or ""
      assert.matches("^gave up after 3 attempts" .. lasted .. ": in the way$", result.error.message)
      assert.equal(case[4], said(world))
    end
  end)

  it("is not tried again at all when config.retries is 0, but on another connection", function()
    local world = world_of(1, times(1, "update", "40001"))
    local result = contract.failed(contract.run(world, COUNT, { config = "retries = 0" }), "40001")
    assert.matches("^gave up after 1 attempt in %d+m?s: in the way$", result.error.message)
    world = world_of(1, times(3, "update", "57P01"))
    contract.ended("done", contract.run(world, COUNT, { config = "retries = 0" }))
    assert.equal("1/1:1 1/1:1 1/1:1 1/1:1", said(world))
  end)

  it("for what the server lacks is tried for longer than config.retries says", function()
    local world = world_of(1, times(2, "update", "53200"))
    local result = contract.ended("done", contract.run(world, COUNT, { config = "retries = 1" }))
    assert.equal("1/1:1 1/2:1 1/3:1", said(world))
    assert.equal(2, result.retries)
  end)

  it("for statements that are out of date is tried once more, not twice", function()
    local world = world_of(1, times(2, "update", "0A000"))
    contract.failed(contract.run(world, COUNT), "0A000", "in the way")
    assert.equal("1/1:1 1/1:1", said(world))
  end)

  it("grows again, doubling, to its size", function()
    local world = world_of(15, times(3, "update", "55P03"))
    contract.ended("done", contract.run(world, COUNT, nil, { batch_size = 8 }))
    assert.equal("1/1:1,2,3,4,5,6,7,8 1/2:1,2,3,4 1/2:1,2 1/2:1 2/1:2,3 3/1:4,5,6,7 "
      .. "4/1:8,9,10,11,12,13,14,15", said(world))
    migrated(world)
  end)

  it("of an odd number is halved downwards", function()
    local world = world_of(7, times(1, "update", "55P03"))
    contract.ended("done", contract.run(world, COUNT, nil, { batch_size = 5 }))
    assert.equal("1/1:1,2,3,4,5 1/2:1,2 2/1:3,4,5,6 3/1:7", said(world))
  end)

  it("counts attempts afresh in the next batch", function()
    local world = world_of(2, { { on = "update", sqlstate = "40001" },
      { on = "update", sqlstate = "40001", nth = 3 } })
    local result = contract.ended("done", contract.run(world, COUNT, { config = "retries = 1" },
      { batch_size = 1 }))
    assert.equal("1/1:1 1/2:1 2/1:2 2/2:2", said(world))
    assert.equal(2, result.retries)
  end)

  it("ends with the first error of the server, whatever the script raises then", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      pcall(function() return repo:insert("t", { id = 1 }).affected end)
      error "mine"]]), "23505", "duplicate key")
    contract.failed(contract.run(world, [[
      pcall(function() return repo:insert("t", { id = 1 }).affected end)
      repo:update("t", { id = 1 }, { n = 5 })]]), "23505", "duplicate key")
    world = world_of(1, times(1, "update", "40001"))
    contract.ended("done", contract.run(world, [[
      if run.attempt == 1 then
        pcall(repo.update, repo, "t", { id = 1 }, { n = 5 })
        error "mine"
      end]]))
  end)

  it("tells later calls what was first", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      pcall(function() return repo:insert("t", { id = 1 }).affected end)
      local ok, err = pcall(repo.update, repo, "t", { id = 1 }, { n = 5 })
      run.log(tostring(ok) .. " " .. err.kind .. " " .. tostring(err.sqlstate) .. " " .. err.message
        .. ": " .. err.detail)]]), "23505")
    assert.equal("false script nil transaction has failed: duplicate key value violates unique "
      .. 'constraint "t_pkey"', said(world))
  end)
end)

describe("a savepoint", function()
  teardown(contract.clean)

  it("returns what its function has raised, rather than what that had caught", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      local ok, err = repo:savepoint(function()
        pcall(function() return repo:insert("t", { id = 1 }).affected end)
        error("mine", 0)
      end)
      run.log(tostring(ok) .. " " .. err)
      repo:update("t", { id = 1 }, { n = 11 })]]))
    assert.equal("false mine", said(world))
    migrated(world)
  end)

  it("returns any value that is raised", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      for _, value in ipairs { "text", 5, 1.5, true, false } do
        local ok, err = repo:savepoint(function() error(value, 0) end)
        run.log(tostring(ok) .. tostring(err))
      end
      local results = table.pack(repo:savepoint(function() error() end))
      run.log(results.n .. tostring(results[2]))]]))
    assert.equal("falsetext false5 false1.5 falsetrue falsefalse 2nil", said(world))
  end)

  it("contains P0001 of the server, and not P0002, which is the repo's own", function()
    for _, case in ipairs { { "P0001", true }, { "22012", true }, { "P0002", false },
      { "0A001", false }, { "25P01", false } } do
      local world = world_of(1, times(1, "update", case[1]))
      local result = contract.run(world, [[
        repo:savepoint(function() repo:update("t", { id = 1 }, { n = 11 }) end)]])
      if case[2] then
        contract.ended("done", result)
      else
        contract.failed(result, case[1], "in the way")
      end
    end
  end)

  it("cannot be made once the batch has failed", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      pcall(function() return repo:insert("t", { id = 1 }).affected end)
      local ok, err = pcall(repo.savepoint, repo, function() run.log "called" end)
      run.log(tostring(ok) .. " " .. err.message)]]), "23505")
    assert.equal("false transaction has failed", said(world))
  end)
end)

describe("a callback that fails", function()
  teardown(contract.clean)

  local CALLBACKS = [[
    on_start = function(repo, run)
      run.log("start" .. run.attempt)
      repo:insert("t", { id = 100, n = 1000 })
    end,
    throttle = function(repo, run)
      run.log("ask" .. run.batch .. "/" .. run.attempt)
      return repo:scalar("SELECT 1 AS n") == 2
    end,
    on_complete = function(repo, run)
      run.log("complete" .. run.batch .. "/" .. run.attempt)
      repo:delete("t", { id = 100 })
    end,
    on_stop = function(run, reason) run.log(reason .. run.batch .. "/" .. run.attempt) end,]]

  local function called(fault)
    local world = world_of(2, { fault })
    world:stub("SELECT 1 AS n", { rows = { { n = 1 } } })
    local path = contract.script('run.log(run.batch .. "/" .. run.attempt .. ":" .. #rows)',
      { more = CALLBACKS })
    return world, world:run(path, { batch_size = 2 }), path
  end

  -- What fails, what is said then.
  local CASES = {
    { { on = "insert", sqlstate = "40001" },
      "start1 start2 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1", 1 },
    { { on = "commit", sqlstate = "57P01" },
      "start1 start1 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1", 0 },
    { { on = "insert", sqlstate = "55P03" },
      "start1 start2 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1", 1 },
    { { on = "scalar", sqlstate = "55P03" },
      "start1 ask0/1 ask0/2 1/2:2 ask1/1 2/1:1 complete2/1", 1 },
    { { on = "scalar", sqlstate = "40001" },
      "start1 ask0/1 ask0/2 1/2:2 ask1/1 2/1:1 complete2/1", 1 },
    { { on = "scalar", sqlstate = "55P03", nth = 2 },
      "start1 ask0/1 1/1:2 ask1/1 ask1/2 2/2:1 complete2/1", 1 },
    { { on = "page", sqlstate = "40001" },
      "start1 ask0/1 ask0/2 1/2:2 ask1/1 2/1:1 complete2/1", 1 },
    { { on = "delete", sqlstate = "55P03" },
      "start1 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1 complete2/2", 1 },
    { { on = "commit", sqlstate = "40P01", nth = 4 },
      "start1 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1 complete2/2", 1 },
    { { on = "commit", sqlstate = "57P01", nth = 4 },
      "start1 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1 ask2/1 complete2/1", 0 },
  }
  for _, case in ipairs(CASES) do
    it(("is tried again: %s in %s, %d"):format(case[1].sqlstate, case[1].on, case[1].nth or 1),
      function()
        local world, result = called(case[1])
        contract.ended("done", result)
        assert.equal(case[2], said(world))
        assert.equal(case[3], result.retries)
        assert.same({ 1, 2 }, contract.column(world, "t", "id"))
      end)
  end

  local ENDED = {
    { { on = "insert", sqlstate = "23505" }, "start1 error0/1", { 1, 2 }, 0 },
    { { on = "commit", sqlstate = "23505" }, "start1 error0/1", { 1, 2 }, 0 },
    { { on = "scalar", sqlstate = "22012" }, "start1 ask0/1 error0/1", { 1, 2, 100 }, 0 },
    { { on = "delete", sqlstate = "23503" },
      "start1 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1 error2/1", { 1, 2, 100 }, 3 },
    { { on = "commit", sqlstate = "23505", nth = 4 },
      "start1 ask0/1 1/1:2 ask1/1 2/1:1 complete2/1 error2/1", { 1, 2, 100 }, 3 },
  }
  for _, case in ipairs(ENDED) do
    it(("ends the run: %s in %s, %d"):format(case[1].sqlstate, case[1].on, case[1].nth or 1),
      function()
        local world, result, path = called(case[1])
        contract.failed(result, case[1].sqlstate)
        assert.equal(case[2], said(world))
        assert.same(case[3], contract.column(world, "t", "id"))
        assert.equal(case[4], result.rows)
        contract.ended("done", world:run(path))
        assert.same({ 1, 2 }, contract.column(world, "t", "id"))
      end)
  end

  -- What throttle answers, what is said then.
  local ANSWERS = {
    { "true, true, false", "ask ask ask batch", "done" }, { "0", "ask batch", "done" },
    { "5", "ask batch", "done" }, { "1.5", "ask batch", "done" }, { "nil", "ask batch", "done" },
    { "-1", "ask", "failed" }, { "1 / 0", "ask", "failed" }, { "0 / 0", "ask", "failed" },
    { "{}", "ask", "failed" }, { "'5'", "ask", "failed" },
  }
  for _, case in ipairs(ANSWERS) do
    it("or not: throttle answers " .. case[1], function()
      local world = world_of(1)
      local result = contract.run(world, 'run.log "batch"', { head = "local nr = 0",
        more = ([[throttle = function(repo, run)
          nr = nr + 1
          run.log "ask"
          return (table.pack(%s))[nr]
        end,]]):format(case[1]) })
      assert.equal(case[2], said(world))
      if case[3] == "done" then
        contract.ended("done", result)
      else
        contract.failed(result, nil, "throttle must return true, false, nil or milliseconds")
      end
    end)
  end

  it("fails the spec when throttle never lets the run go on", function()
    local function ask(waits)
      return contract.run(world_of(1), 'run.log "batch"', { head = "local nr = 0",
        more = ("throttle = function() nr = nr + 1 return nr <= %d end,"):format(waits) })
    end
    contract.ended("done", ask(99))
    assert.matches("throttle asked to wait 100 times in a row", contract.raised(ask, 100), 1, true)
  end)

  it("is not asked before no batches", function()
    local world = world_of(0)
    contract.ended("done", contract.run(world, "", {
      more = 'throttle = function(repo, run) run.log "ask" end,' }))
    assert.equal("", said(world))
  end)
end)

describe("quarantine", function()
  teardown(contract.clean)

  --- A script in which these rows are bad.
  local function script(bad, config)
    return contract.script(([[
      local bad = { %s }
      local ids = {}
      for i, row in ipairs(rows) do ids[i] = tostring(row.id) end
      run.log(run.batch .. "/" .. run.attempt .. ":" .. table.concat(ids, ","))
      for _, row in ipairs(rows) do
        if bad[row.id] then error("row " .. row.id) end
        repo:update("t", { id = row.id }, { n = row.n + 1 })
      end]]):format(bad), { config = 'on_error = "quarantine"' .. (config or "") })
  end

  -- How many rows, batch size, bad ones, what is said, retries.
  local HALVES = {
    { 4, 1, "[1] = true, [4] = true", "1/1:1 1/1:2 2/1:3 3/1:4", 0 },
    { 8, 8, "[3] = true",
      "1/1:1,2,3,4,5,6,7,8 1/1:1,2,3,4 1/1:1,2 2/1:3 2/1:4 3/1:5,6 4/1:7,8", 2 },
    { 8, 8, "[8] = true",
      "1/1:1,2,3,4,5,6,7,8 1/1:1,2,3,4 2/1:5,6 3/1:7 4/1:8", 1 },
    { 7, 7, "[4] = true, [5] = true",
      "1/1:1,2,3,4,5,6,7 1/1:1,2,3 2/1:4,5 2/1:4 2/1:5 2/1:6 3/1:7", 2 },
    { 9, 3, "[2] = true, [6] = true",
      "1/1:1,2,3 1/1:1 2/1:2 2/1:3 3/1:4,5 4/1:6,7,8 4/1:6 4/1:7 5/1:8,9", 2 },
  }
  for _, case in ipairs(HALVES) do
    local count, size, bad, wanted, retries = table.unpack(case)
    it(("halves batches of %d of %d rows to find %s"):format(size, count, bad), function()
      local world = world_of(count)
      local result = contract.ended("done_with_failures", world:run(script(bad),
        { batch_size = size }))
      local aside, number = {}, 0
      for id in bad:gmatch "%d+" do
        aside[tonumber(id)] = true
        number = number + 1
      end
      migrated(world, aside)
      assert.equal(number, result.failures)
      assert.equal(count - number, result.rows)
      assert.equal(wanted, said(world))
      assert.equal(retries, result.retries)
    end)
  end

  it("goes on where it was killed, and does not set the same row aside again", function()
    local world = world_of(6)
    local path = script "[2] = true, [5] = true"
    contract.ended("killed", world:run(path, { batch_size = 2, kill = { batch = 2 } }))
    local result = contract.ended("done_with_failures", world:run(path, { batch_size = 2 }))
    assert.equal(1, result.failures)
    migrated(world, { [2] = true, [5] = true })
    contract.ended("done", world:run(path))
    assert.equal(0, world:run(path).failures)
  end)

  it("counts towards max_failures what earlier calls set aside", function()
    local world = world_of(6)
    local path = script("[1] = true, [3] = true, [5] = true", ", max_failures = 1")
    local result = contract.ended("failed", world:run(path, { batch_size = 1 }))
    assert.equal(1, result.failures)
    assert.matches("more rows have failed than config.max_failures = 1 allows: .*row 3",
      result.error.message)
    result = contract.ended("failed", world:run(path, { batch_size = 1 }))
    assert.equal(0, result.failures)
    assert.same({ 10, 21, 30, 40, 50, 60 }, contract.column(world, "t", "n"))
  end)

  it("sets nothing aside when max_failures is 0", function()
    local result = contract.ended("failed", world_of(2):run(script("[1] = true",
      ", max_failures = 0")))
    assert.equal(0, result.failures)
  end)

  it("does not count towards a limit the rows set aside", function()
    local world = world_of(6)
    local result = contract.ended("stopped", world:run(script "[1] = true",
      { batch_size = 1, limit = 2 }))
    assert.equal(2, result.rows)
    assert.equal(1, result.failures)
    migrated(world, { [1] = true, [4] = true, [5] = true, [6] = true })
  end)

  -- SQLSTATE of an error in the write of a single row, how the run ends.
  for _, case in ipairs {
    { "23505", "done_with_failures" }, { "22012", "done_with_failures" },
    { "P0001", "done_with_failures" }, { "P0002", "failed" }, { "42P01", "failed" },
    { "XX000", "failed" }, { "40001", "done" }, { "57P01", "done" }, { "53200", "done" },
  } do
    it(("of a row that fails with %s: %s"):format(case[1], case[2]), function()
      for _, on in ipairs { "update", "commit" } do
        local world = world_of(1, times(1, on, case[1]))
        contract.ended(case[2], world:run(script ""))
      end
    end)
  end

  it("is not for a page that fails without a row, nor for callbacks", function()
    contract.failed(world_of(1, times(2, "page", "22012")):run(script "", { batch_size = 1 }),
      "22012")
    local world = contract.numbers(1)
    for _, name in ipairs { "throttle", "on_start", "on_complete" } do
      local result = contract.failed(contract.run(world, "", { config = 'on_error = "quarantine"',
        more = name .. ' = function() error("no", 0) end,' }), nil, "no")
      assert.equal("no", result.error.message)
      assert.equal(0, result.failures)
    end
  end)

  it("is for a change of the pages' key, as for any mistake of the script", function()
    local world = contract.numbers(2)
    local result = contract.run(world, 'repo:update("t", { id = rows[1].id }, { id = 9 })',
      { config = 'on_error = "quarantine"' })
    contract.ended("done_with_failures", result)
    assert.equal(2, result.failures)
  end)
end)
