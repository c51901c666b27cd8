--- config.source: the base query and run.source read another database, the repo writes to its own.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"
local mock = require "luamig.mock"

local said = contract.said

local COPY = [[
  for _, row in ipairs(rows) do
    repo:insert("t", { id = row.id, s = row.s })
  end]]

--- A world whose source has a table t with that many rows; its own table t is empty.
local function world_of(count, more)
  local rows = {}
  for id = 1, count do
    rows[id] = { id = id, s = "s" .. id }
  end
  more = more or {}
  return mock.new {
    tables = {
      t = { columns = { id = "int8", s = "text" }, primary_key = { "id" }, rows = more.own },
    },
    source = {
      t = { columns = { id = "int8", s = "text" }, primary_key = { "id" }, rows = rows },
    },
    base = { from = "t", where = more.where },
  }
end

local function run(world, body, parts, opts)
  parts = parts or {}
  parts.config = 'source = "old", ' .. (parts.config or "")
  return contract.run(world, body, parts, opts)
end

local function ids(world)
  return table.concat(contract.column(world, "t", "id"), " ")
end

describe("config.source", function()
  teardown(contract.clean)

  it("reads there and writes here", function()
    local world = world_of(3)
    local result = contract.ended("done", run(world, COPY, nil, { batch_size = 2 }))
    assert.equal(3, result.rows)
    assert.equal(2, result.batches)
    assert.equal("1 2 3", ids(world))
    assert.same({ "s1", "s2", "s3" }, contract.column(world, "t", "s"))
    assert.same({ "s1", "s2", "s3" }, contract.column(world.source, "t", "s"))
  end)

  it("does not page rows of its own database", function()
    local world = world_of(2, { own = { { id = 9, s = "own" } } })
    contract.ended("done", run(world, COPY))
    assert.equal("1 2 9", ids(world))
  end)

  it("goes on where it was killed, and copies each row once", function()
    local world, path = world_of(5), contract.script(COPY, { config = 'source = "old"' })
    local kill = { batch_size = 2, kill = { batch = 2, call = 2 } }
    assert.equal("killed", world:run(path, kill).state)
    assert.equal("1 2", ids(world))
    assert.equal(3, contract.ended("done", world:run(path)).rows)
    assert.equal("1 2 3 4 5", ids(world))
  end)

  it("lets the script write columns that have the key's name", function()
    local world = world_of(1, { own = { { id = 7, s = "x" } } })
    contract.ended("done", run(world, [[repo:update("t", { s = "x" }, { id = 8 })]]))
    assert.equal("8", ids(world))
  end)

  it("records a row that cannot be copied", function()
    local world = world_of(3, { own = { { id = 2, s = "there" } } })
    local result = run(world, COPY, { config = 'on_error = "quarantine"' })
    assert.equal("done_with_failures", result.state)
    assert.equal(1, result.failures)
    assert.same({ "s1", "there", "s3" }, contract.column(world, "t", "s"))
  end)

  it("tries a batch again after a conflict", function()
    local world = world_of(2)
    world:fail { on = "insert", sqlstate = "40001" }
    local result = contract.ended("done", run(world, COPY))
    assert.equal(1, result.retries)
    assert.equal("1 2", ids(world))
  end)

  it("commits nothing in a dry run", function()
    local world = world_of(2)
    contract.ended("done", run(world, COPY, nil, { dry_run = true }))
    assert.equal("", ids(world))
  end)

  it("lets the script prepare rows of the source", function()
    local world = world_of(3)
    local result = run(world, [[
      for _, row in ipairs(rows) do
        repo:insert("t", { id = row.id, s = run.prepared[row.id] })
      end]], { more = [[
      prepare = function(rows)
        local results = {}
        for _, row in ipairs(rows) do results[row.id] = row.s .. "!" end
        return results
      end,]] }, { batch_size = 2 })
    contract.ended("done", result)
    assert.same({ "s1!", "s2!", "s3!" }, contract.column(world, "t", "s"))
  end)

  it("needs a world with a source", function()
    contract.raised('reads source "old"; pass source to mock.new', function()
      run(contract.numbers(1), "")
    end)
  end)

  it("must be set in a world with a source", function()
    contract.raised("has no config.source; do not pass source to mock.new", function()
      contract.run(world_of(1), "")
    end)
  end)
end)

describe("run.source", function()
  local ALL, ONE, COUNT = "SELECT id, s FROM t ORDER BY id", "SELECT s FROM t WHERE id = $1",
    "SELECT count(*) FROM t"

  teardown(contract.clean)

  it("reads rows, a row and a value of the source", function()
    local world = world_of(2)
    world.source:stub(ALL, { rows = { { id = 1, s = "s1" }, { id = 2, s = "s2" } } })
    world.source:stub(ONE, { params = { 2 }, rows = { { s = "s2" } } })
    world.source:stub(ONE, { params = { 9 }, rows = {}, columns = { "s" } })
    world.source:stub(COUNT, { rows = { { count = 2 } } })
    contract.ended("done", run(world, ([[
      run.log(#run.source:query "%s" .. " " .. run.source:one("%s", 2).s .. " "
        .. tostring(run.source:one("%s", 9)) .. " " .. run.source:scalar "%s")]]):format(ALL, ONE,
      ONE, COUNT)))
    assert.equal("2 s2 nil 2", said(world))
  end)

  it("does not see what the batch writes", function()
    local world = world_of(2)
    world.source:stub(COUNT, { rows = { { count = 2 } } })
    contract.ended("done", run(world, COPY .. ('\nrun.log("" .. run.source:scalar "%s")'):format(
      COUNT)))
    assert.equal("2", said(world))
  end)

  it("is there in on_start, throttle and on_complete, and not in on_stop", function()
    local world = world_of(1)
    world.source:stub(COUNT, { rows = { { count = 1 } } })
    local read = ('run.log("" .. run.source:scalar "%s")'):format(COUNT)
    contract.ended("failed", run(world, 'error("stop")', { more = ([[
      on_start = function(repo, run) %s end,
      throttle = (function()
        local called = false
        return function(repo, run)
          if not called then %s end
          called = true
        end
      end)(),
      on_stop = function(run) run.log(tostring(pcall(function() return run.source end))) end,
    ]]):format(read, read) }))
    assert.equal("1 1 false", said(world))
  end)

  it("computes its answer from the tables of the source", function()
    local world = world_of(3)
    world.source:stub(COUNT, function(_, tables) return { { count = #tables.t } } end)
    contract.ended("done", run(world, ('run.log("" .. run.source:scalar "%s")'):format(COUNT)))
    assert.equal("3", said(world))
  end)

  it("only reads", function()
    local world = world_of(1)
    local result = run(world, [[run.source:query("DELETE FROM t WHERE id = 1 RETURNING id")]])
    contract.failed(result, "25006", "cannot execute DELETE in a read-only transaction")
    assert.matches("run.source only reads", result.error.hint)
    assert.same({ 1 }, contract.column(world.source, "t", "id"))
  end)

  for _, verb in ipairs { "execute", "insert", "update", "savepoint", "get", "select" } do
    it("has no method " .. verb, function()
      contract.failed(run(world_of(1), ("run.source:%s()"):format(verb)), nil,
        ('run.source has no field "%s"'):format(verb))
    end)
  end

  it("is not there without config.source", function()
    contract.failed(contract.run(contract.numbers(1), "return run.source"), nil,
      'run has no field "source"')
  end)

  it("ends the batch with its error, also if pcall catches it", function()
    local world = world_of(2)
    world.source:stub("SELECT 1 / 0", { error = { sqlstate = "22012",
      message = "division by zero" } })
    contract.failed(run(world, [[
      pcall(run.source.scalar, run.source, "SELECT 1 / 0")
      local ok, err = pcall(repo.insert, repo, "t", { id = 5 })
      run.log(tostring(ok) .. " " .. err.message)]]), "22012", "division by zero")
    assert.equal("false transaction has failed", said(world))
    assert.equal("", ids(world))
  end)

  it("is not caught by a savepoint", function()
    local world = world_of(2)
    world.source:stub("SELECT 1 / 0", { error = { sqlstate = "22012",
      message = "division by zero" } })
    contract.failed(run(world, [[
      repo:savepoint(function() run.source:scalar "SELECT 1 / 0" end)
      run.log "after"]]), "22012", "division by zero")
    assert.equal("", said(world))
  end)

  it("is refused after an error of the repo", function()
    local world = world_of(1, { own = { { id = 1, s = "there" } } })
    contract.failed(run(world, [[
      pcall(function() return repo:insert("t", { id = 1 }).affected end)
      run.source:scalar "SELECT 1"]]), "23505")
  end)

  it("can be kept no longer than the repo", function()
    local world = world_of(2)
    world.source:stub(COUNT, { rows = { { count = 2 } } })
    contract.failed(run(world, [[
      if kept then kept:scalar "SELECT count(*) FROM t" end
      kept = run.source]], { head = "local kept" }, { batch_size = 1 }), nil,
      "used after its function has returned")
  end)

  it("takes the server's place in the log", function()
    local world = world_of(1)
    world.source:stub(COUNT, { rows = { { count = 1 } } })
    contract.ended("done", run(world, ('run.source:scalar "%s"'):format(COUNT)))
    local entry = world.log[2]
    assert.equal("scalar", entry.verb)
    assert.is_true(entry.source)
    assert.equal(COUNT, entry.sql)
  end)

  it("connects again if it is lost", function()
    local world = world_of(2)
    world.source:stub(COUNT, { rows = { { count = 2 } } })
    world:fail { on = "scalar", sqlstate = "57P01" }
    contract.ended("done", run(world, COPY .. ('\nrun.source:scalar "%s"'):format(COUNT)))
    assert.equal("1 2", ids(world))
  end)

  it("reads in a one-shot", function()
    local world = world_of(2)
    world.source:stub(COUNT, { rows = { { count = 2 } } })
    local path = contract.one_shot(('repo:insert("t", { id = run.source:scalar "%s" })'):format(
      COUNT), 'config = { source = "old" },')
    contract.ended("done", world:run(path))
    assert.equal("2", ids(world))
  end)

  it("reads NULL as nil, and takes nil for a parameter", function()
    local world = world_of(1)
    local sql = "SELECT $1::text"
    world.source:stub(sql, { params = { luamig.NULL }, rows = { {} }, columns = { "text" } })
    contract.ended("done", run(world, ('run.log(tostring(run.source:scalar("%s", nil)))'):format(
      sql)))
    assert.equal("nil", said(world))
  end)
end)
