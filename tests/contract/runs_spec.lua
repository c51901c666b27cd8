--- Runs: transactions, resuming, retries, the latch, callbacks, quarantine.

local contract = dofile "tests/contract/contract.lua"

local COUNT, numbers, said = contract.COUNT, contract.numbers_of, contract.said

describe("a batch", function()
  teardown(contract.clean)

  it("that fails leaves nothing of itself, and all of those before it", function()
    local world = contract.numbers(3)
    local result = contract.run(world, COUNT .. '\nif run.batch == 2 then error "stop here" end',
      nil, { batch_size = 1 })
    contract.failed(result, nil, "stop here")
    assert.equal("11 20 30", numbers(world))
    assert.equal(1, result.batches)
    assert.equal(1, result.rows)
  end)

  it("that failed is where the same command goes on", function()
    local world = contract.numbers(3, { not_null = { "s" } })
    local path = contract.script(COUNT .. '\nif rows[1].s == "s2" then error "stop here" end')
    contract.failed(world:run(path, { batch_size = 1 }), nil, "stop here")
    contract.failed(world:run(path, { batch_size = 1 }), nil, "stop here")
    assert.equal("11 20 30", numbers(world))
    contract.ended("done", world:run(contract.one_shot [[
      repo:update("t", { id = 2 }, { s = "mended" })]]))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.equal("11 21 31", numbers(world))
  end)

  it("does not outlive its repo", function()
    local world = contract.numbers(2)
    contract.failed(contract.run(world, [[
      if kept then kept:update("t", { id = 1 }, { n = 0 }) end
      kept = repo]], { head = "local kept" }, { batch_size = 1 }), nil,
      "the repo is used after its function has returned")
    assert.equal("10 20", numbers(world))
  end)

  it("does not outlive its repo, though it failed", function()
    local world = contract.numbers(1)
    world:fail { on = "update", sqlstate = "40001" }
    contract.failed(contract.run(world, [[
      if kept then kept:delete("t", { id = 1 }) end
      kept = repo
      repo:update("t", { id = 1 }, { n = 0 })]], { head = "local kept" }), nil,
      "the repo is used after its function has returned")
    assert.equal("10", numbers(world))
  end)

  it("does not outlive its handles", function()
    local world = contract.numbers(2)
    contract.failed(contract.run(world, [[
      if kept then run.log(tostring(kept.affected)) end
      kept = repo:update("t", { id = 1 }, { n = 0 })]], { head = "local kept" },
      { batch_size = 1 }), nil, "the handle is used after its batch has ended")
  end)

  it("has a number and an attempt", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, 'run.log(run.batch .. "/" .. run.attempt)', nil,
      { batch_size = 1 }))
    assert.equal("1/1 2/1", said(world))
  end)

  it("keeps what Lua keeps", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, "count = count + 1; run.log(tostring(count))",
      { head = "local count = 0" }, { batch_size = 1 }))
    assert.equal("1 2", said(world))
  end)
end)

describe("a run that is killed", function()
  teardown(contract.clean)

  for _, kill in ipairs { { 1, 1 }, { 1, 2 }, { 2, 1 }, { 2, 2 }, { 3, 1 } } do
    it(("in call %d of batch %d migrates each row once"):format(kill[2], kill[1]), function()
      local world = contract.numbers(5)
      local path = contract.script(COUNT)
      contract.ended("killed", world:run(path,
        { batch_size = 2, kill = { batch = kill[1], call = kill[2] } }))
      local done = (kill[1] - 1) * 2
      for i, n in ipairs(contract.column(world, "t", "n")) do
        assert.equal(i <= done and i * 10 + 1 or i * 10, n)
      end
      local result = contract.ended("done", world:run(path, { batch_size = 2 }))
      assert.equal(5 - done, result.rows)
      assert.equal("11 21 31 41 51", numbers(world))
    end)
  end

  for batch = 1, 3 do
    it(("after batch %d migrates each row once"):format(batch), function()
      local world = contract.numbers(5)
      local path = contract.script(COUNT)
      contract.ended("killed", world:run(path, { batch_size = 2, kill = { batch = batch } }))
      contract.ended("done", world:run(path, { batch_size = 2 }))
      assert.equal("11 21 31 41 51", numbers(world))
    end)
  end

  it("goes on with the number of its next batch", function()
    local world = contract.numbers(3)
    local path = contract.script "run.log(tostring(run.batch))"
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 1 } }))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.equal("1 2 3", said(world))
  end)

  it("goes on with other batches when it is told another size", function()
    local world = contract.numbers(5)
    local path = contract.script(COUNT)
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 2 } }))
    contract.ended("done", world:run(path, { batch_size = 5 }))
    assert.equal("11 21 31 41 51", numbers(world))
  end)

  it("keeps the bound with which it began", function()
    local world = contract.numbers(2)
    local path = contract.script [[
      run.log(tostring(rows[1].id))
      repo:insert("t", { id = rows[1].id + 100 })]]
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 1 } }))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.equal("1 2", said(world))
  end)

  it("dies for good, whatever the script catches", function()
    for _, body in ipairs {
      'pcall(repo.update, repo, "t", { id = 1 }, { n = 5 }) run.log "alive"',
      [[pcall(repo.update, repo, "t", { id = 1 }, { n = 5 })
        pcall(repo.update, repo, "t", { id = 1 }, { n = 6 })]],
      'repo:savepoint(function() error "caught" end) repo:update("t", { id = 1 }, { n = 5 })',
    } do
      local world = contract.numbers(1)
      local path = contract.script(body)
      contract.ended("killed", world:run(path, { kill = { batch = 1, call = 1 } }))
      assert.equal("10", numbers(world))
      contract.ended("done", world:run(path))
    end
    local world = contract.numbers(1)
    contract.ended("killed", contract.run(world, [[
      repo:savepoint(function() repo:update("t", { id = 1 }, { n = 5 }) end)
      run.log "alive"]], nil, { kill = { batch = 1, call = 2 } }))
    assert.equal("", said(world))
  end)

  it("is to be killed where it gets to: else the spec fails", function()
    local world = contract.numbers(2)
    assert.matches("the run did not reach the kill in batch 2", contract.raised(contract.run, world,
      COUNT, nil, { batch_size = 1, kill = { batch = 2, call = 9 } }), 1, true)
  end)

  it("in a one-shot begins it again", function()
    local world = contract.numbers(1)
    local path = contract.one_shot [[
      repo:update_all("t", { n = 5 }, { n = 10 })
      repo:insert("t", { id = 2, n = 0 })]]
    contract.ended("killed", world:run(path, { kill = { batch = 1, call = 2 } }))
    assert.equal("10", numbers(world))
    contract.ended("done", world:run(path))
    assert.equal("5 0", numbers(world))
  end)

  it("before its end still calls on_complete, once", function()
    local world = contract.numbers(2, { tables = { seen = { columns = { what = "text" } } } })
    local path = contract.script(COUNT, {
      more = 'on_complete = function(repo) repo:insert("seen", { what = "end" }) end,' })
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 1 } }))
    assert.same({}, contract.column(world, "seen", "what"))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.same({ "end" }, contract.column(world, "seen", "what"))
  end)
end)

describe("a conflict (40001)", function()
  teardown(contract.clean)

  it("that pcall swallows is a conflict all the same", function()
    local world = contract.numbers(1)
    world:fail { on = "update", sqlstate = "40001" }
    local result = contract.ended("done", contract.run(world, [[
      pcall(function() repo:update("t", { id = 1 }, { n = 5 }) end)]]))
    assert.equal(1, result.retries)
    assert.equal("5", numbers(world))
  end)

  it("is not contained by a savepoint", function()
    local world = contract.numbers(1)
    world:fail { on = "update", sqlstate = "40001" }
    local result = contract.ended("done", contract.run(world, [[
      local ok = repo:savepoint(function() repo:update("t", { id = 1 }, { n = 5 }) end)
      run.log(tostring(ok))]]))
    assert.equal("true", said(world))
    assert.equal(1, result.retries)
  end)

  it("does not lose what on_start wrote", function()
    local world = contract.numbers(1, { tables = { seen = { columns = { what = "text" } } } })
    world:fail { on = "update", sqlstate = "40001" }
    contract.ended("done", contract.run(world, COUNT, {
      more = 'on_start = function(repo) repo:insert("seen", { what = "start" }) end,' }))
    assert.same({ "start" }, contract.column(world, "seen", "what"))
  end)

  it("from the third attempt on halves the batch", function()
    local world = contract.numbers(4)
    for _ = 1, 3 do
      world:fail { on = "update", sqlstate = "40001" }
    end
    contract.ended("done", contract.run(world, "run.log(tostring(#rows))\n" .. COUNT, nil,
      { batch_size = 4 }))
    assert.equal("11 21 31 41", numbers(world))
    assert.equal("4 4 4 2 2", said(world))
  end)
end)

describe("a callback", function()
  teardown(contract.clean)

  local SEEN = { tables = { seen = { columns = { nr = "bigserial", what = "text" },
    primary_key = { "nr" } } } }
  local function saw(world)
    return table.concat(contract.column(world, "seen", "what"), " ")
  end
  local ALL = [[
    on_start = function(repo, run) repo:insert("seen", { what = "start" .. run.batch }) end,
    on_complete = function(repo, run) repo:insert("seen", { what = "complete" .. run.batch }) end,
    on_stop = function(run, reason) run.log("stop " .. reason .. " " .. run.batch) end,]]
  local NOTE = 'repo:insert("seen", { what = "batch" .. run.batch })'

  it("is called in order, each once", function()
    local world = contract.numbers(2, SEEN)
    contract.ended("done", contract.run(world, NOTE, { more = ALL }, { batch_size = 1 }))
    assert.equal("start0 batch1 batch2 complete2", saw(world))
    assert.equal("", said(world))
  end)

  it("is called around no batches, too", function()
    local world = contract.numbers(0, SEEN)
    contract.ended("done", contract.run(world, NOTE, { more = ALL }))
    assert.equal("start0 complete0", saw(world))
  end)

  it("on_complete is not called at a limit, on_stop is", function()
    local world = contract.numbers(2, SEEN)
    local path = contract.script(NOTE, { more = ALL })
    contract.ended("stopped", world:run(path, { batch_size = 1, limit = 1 }))
    assert.equal("start0 batch1", saw(world))
    assert.equal("stop stop 1", said(world))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.equal("start0 batch1 batch2 complete2", saw(world))
  end)

  it("on_stop is told of an error", function()
    local world = contract.numbers(2, SEEN)
    contract.ended("failed", contract.run(world, 'error "x"', { more = ALL }))
    assert.equal("stop error 0", said(world))
  end)

  it("on_start adds rows to the run", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, "run.log(tostring(rows[1].id))", {
      more = 'on_start = function(repo) repo:insert("t", { id = 7 }) end,' }, { batch_size = 1 }))
    assert.equal("1 7", said(world))
  end)

  it("on_start that fails leaves nothing, and is called again", function()
    local world = contract.numbers(1, SEEN)
    local path = contract.script("", { more = [[
      on_start = function(repo, run)
        repo:insert("seen", { what = "x" })
        error "not yet"
      end,]] })
    contract.failed(world:run(path), nil, "not yet")
    contract.failed(world:run(path), nil, "not yet")
    assert.equal("", saw(world))
  end)

  it("on_complete that fails fails the run, and leaves the batches", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, COUNT, {
      more = [[on_complete = function(repo)
        repo:update("t", { id = 1 }, { n = 0 })
        error "too late"
      end,]] }), nil, "too late")
    assert.equal("11", numbers(world))
  end)

  it("on_stop that fails changes nothing", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, 'error "first"', {
      more = 'on_stop = function() error "second" end,' }), nil, "first")
  end)

  for _, case in ipairs { { 'update("t", { id = 1 }, { n = 0 })', "UPDATE" },
    { 'update_all("t", { n = 0 }, luamig.ALL)', "UPDATE" }, { 'insert("t", { id = 9 })', "INSERT" },
    { 'insert_all("t", { { id = 9 } })', "INSERT" }, { 'delete("t", { id = 1 })', "DELETE" },
    { 'delete_all("t", luamig.ALL)', "DELETE" } } do
    it("throttle must not write: " .. case[1], function()
      local world = contract.numbers(1)
      contract.failed(contract.run(world, COUNT, {
        more = ("throttle = function(repo) repo:%s end,"):format(case[1]) }), "25006",
        ("cannot execute %s in a read-only transaction"):format(case[2]))
      assert.equal("10", numbers(world))
    end)
  end

  it("throttle is asked before each batch", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, 'run.log("batch")', {
      more = 'throttle = function(repo, run) run.log("ask" .. run.batch) end,' },
      { batch_size = 1 }))
    assert.equal("ask0 batch ask1 batch", said(world))
  end)

  it("of a one-shot commits with it", function()
    local world = contract.numbers(1)
    contract.failed(world:run(contract.one_shot('repo:update("t", { id = 1 }, { n = 5 })',
      'on_complete = function() error "no" end,')), nil, "no")
    assert.equal("10", numbers(world))
  end)
end)

describe("a one-shot", function()
  teardown(contract.clean)

  it("runs once", function()
    local world = contract.numbers(2)
    local path = contract.one_shot 'repo:update_all("t", { n = 5 }, luamig.ALL) run.log("ran")'
    local result = contract.ended("done", world:run(path))
    assert.equal(1, result.batches)
    result = contract.ended("done", world:run(path))
    assert.equal(0, result.batches)
    assert.equal("ran", said(world))
    assert.equal("5 5", numbers(world))
  end)

  it("that is killed when it is done is done", function()
    local world = contract.numbers(1)
    local path = contract.one_shot 'repo:update("t", { id = 1 }, { n = 5 }) run.log("ran")'
    contract.ended("killed", world:run(path, { kill = { batch = 1 } }))
    contract.ended("done", world:run(path))
    assert.equal("ran", said(world))
    assert.equal("5", numbers(world))
  end)

  it("may change any key", function()
    local world = contract.numbers(1)
    contract.ended("done", world:run(contract.one_shot 'repo:update("t", { id = 1 }, { id = 9 })'))
    assert.same({ 9 }, contract.column(world, "t", "id"))
  end)

  it("that fails leaves nothing", function()
    local world = contract.numbers(1)
    contract.failed(world:run(contract.one_shot [[
      repo:update("t", { id = 1 }, { n = 5 })
      repo:insert("t", { id = 1 })]]), "23505")
    assert.equal("10", numbers(world))
  end)
end)

describe("quarantine", function()
  teardown(contract.clean)

  local QUARANTINE = 'on_error = "quarantine"'

  local function add_one(bad, more)
    return ([[
      for _, row in ipairs(rows) do
        local bad = { %s }
        if bad[row.id] then %s end
        repo:update("t", { id = row.id }, { n = row.n + 1 })
      end]]):format(bad, more or 'error("row " .. row.id)')
  end

  it("sets aside the row that raises, and migrates all others", function()
    local world = contract.numbers(5)
    local result = contract.run(world, add_one "[3] = true", { config = QUARANTINE })
    contract.ended("done_with_failures", result)
    assert.equal("11 21 30 41 51", numbers(world))
    assert.equal(1, result.failures)
  end)

  it("sets aside each row at fault, wherever they are", function()
    local world = contract.numbers(6)
    local result = contract.run(world, add_one "[1] = true, [4] = true, [6] = true",
      { config = QUARANTINE }, { batch_size = 3 })
    contract.ended("done_with_failures", result)
    assert.equal("10 21 31 40 51 60", numbers(world))
    assert.equal(3, result.failures)
  end)

  it("sets aside rows that break a constraint", function()
    local world = contract.numbers(3)
    local result = contract.run(world, add_one("[2] = true", 'repo:insert("t", { id = 1 })'),
      { config = QUARANTINE })
    contract.ended("done_with_failures", result)
    assert.equal("11 20 31", numbers(world))
  end)

  it("sets no row aside for a name that does not exist", function()
    local world = contract.numbers(3)
    local result = contract.run(world, add_one("[2] = true", 'repo:insert("tt", { id = 1 })'),
      { config = QUARANTINE })
    contract.failed(result, "42P01")
  end)

  it("ends the run at one row more than max_failures", function()
    local world = contract.numbers(4)
    local result = contract.run(world, add_one "[1] = true, [2] = true, [3] = true",
      { config = QUARANTINE .. ", max_failures = 2" }, { batch_size = 1 })
    contract.ended("failed", result)
    assert.equal(2, result.failures)
    assert.equal("10 20 30 40", numbers(world))
  end)

  it("is done when there was nothing to set aside", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, add_one "", { config = QUARANTINE }))
    assert.equal("11 21", numbers(world))
  end)

  it("does not do for on_complete", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, COUNT, { config = QUARANTINE,
      more = 'on_complete = function() error "no" end,' }), nil, "no")
  end)
end)

describe("the run object", function()
  teardown(contract.clean)

  it("has the arguments, with their types and defaults", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      run.log(math.type(run.args.count) .. run.args.count .. tostring(run.args.loud)
        .. tostring(run.args.label))]], { more = [[args = {
          count = { type = "integer", required = true },
          loud = { type = "boolean", default = true },
          label = { type = "string" },
        },]] }, { args = { count = 7 } }))
    assert.equal("integer7truenil", said(world))
  end)

  it("refuses an argument that is not declared", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, "return run.args.tenant"), nil, '"tenant"')
  end)

  it("refuses a field that it does not have", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, "return run.attemt"), nil,
      'run has no field "attemt" (did you mean "attempt"?)')
  end)

  it("has a number that a run keeps, and the script's name", function()
    local world = contract.numbers(2)
    local path = contract.script 'run.log(run.id .. run.script:gsub("%d", ""))'
    contract.ended("stopped", world:run(path, { batch_size = 1, limit = 1 }))
    contract.ended("done", world:run(path, { batch_size = 1 }))
    contract.ended("done", world:run(path, { again = true }))
    contract.ended("done", contract.run(world, "run.log(tostring(run.id))"))
    assert.equal("1script  1script  2script  3", said(world))
  end)

  it("has the number of the worker, also in callbacks", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, "run.log(run.worker)", {
      config = "batch_size = 1, workers = 1", more = [[
        throttle = function(_, run) run.log(run.worker) end,
        on_start = function(_, run) run.log(run.worker) end,
        on_complete = function(_, run) run.log(run.worker) end]],
    }))
    assert.equal("1 1 1 1 1 1", said(world))
  end)

  it("may have as many workers as the world has", function()
    for _, order in ipairs { "round", "reverse", 7, { 2, 1, 2 } } do
      local world = contract.numbers(5)
      local result = contract.run(world, contract.COUNT, { config = "batch_size = 2" },
        { workers = 2, order = order })
      contract.ended("done", result)
      assert.equal(5, result.rows)
      assert.equal("11 21 31 41 51", contract.numbers_of(world))
      for _, entry in ipairs(world.log) do
        assert.is_true(entry.worker == 1 or entry.worker == 2)
      end
    end
  end)

  it("says that this is no dry run", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, "run.log(tostring(run.dry_run))"))
    assert.equal("false", said(world))
  end)

  it("logs texts and numbers, and a table beside them; nothing else", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, 'run.log(5) run.log(1.5) run.log("x", { a = 1 })'))
    assert.equal("5 1.5 x", said(world))
    assert.same({ a = 1 }, world.log[#world.log].fields)
    for _, args in ipairs { "", "nil", "{}", "true", '"x", 5', '"x", "y"' } do
      contract.failed(contract.run(contract.numbers(1), ("run.log(%s)"):format(args)))
    end
  end)

  it("logs also what is rolled back", function()
    local world = contract.numbers(1)
    contract.ended("failed", contract.run(world, 'run.log("here") error "x"'))
    assert.equal("here", said(world))
  end)
end)

describe("a secret", function()
  teardown(contract.clean)

  it("is a plain text to the script, and another one goes on with the same run", function()
    local world = contract.numbers(2)
    local path = contract.script([[
      repo:update("t", { id = rows[1].id }, { s = run.args.token })]],
      { more = 'args = { token = { type = "string", secret = true } },' })
    contract.ended("stopped",
      world:run(path, { args = { token = "one" }, batch_size = 1, limit = 1 }))
    contract.ended("done", world:run(path, { args = { token = "two" }, batch_size = 1 }))
    assert.same({ "one", "two" }, contract.column(world, "t", "s"))
    contract.ended("done", world:run(path, { args = { token = "three" }, batch_size = 1 }))
    assert.same({ "one", "two" }, contract.column(world, "t", "s"))
  end)
end)
