local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

after_each(support.clean)

-- A script that notes every id it sees, and the table it notes them in.
local NOTE = [[
  base_query = "SELECT id FROM items",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do repo:insert("seen", { id = row.id }) end
  end,
]]

local function new_world(ids)
  local rows = {}
  for i, id in ipairs(ids or { 3, 1, 5, 2, 4 }) do
    rows[i] = { id = id, n = 0 }
  end
  return mock.new {
    tables = {
      items = { columns = { id = type(rows[1].id) == "string" and "text" or "int8", n = "int8" },
        not_null = { "id" }, rows = rows },
      seen = { columns = { id = type(rows[1].id) == "string" and "text" or "int8" } },
      settings = { columns = { name = "text" } },
    },
    base = { from = "items" },
  }
end

local function seen(world)
  local ids = {}
  for i, row in ipairs(world:rows "seen") do
    ids[i] = row.id
  end
  return ids
end

local function note(fields)
  return support.script("return { " .. NOTE .. (fields or "") .. " }")
end

local function log_of(world, verb)
  local list = {}
  for _, entry in ipairs(world.log) do
    if entry.verb == verb then
      list[#list + 1] = entry
    end
  end
  return list
end

describe("pages", function()
  it("follow the key, in batches, and end without an empty page", function()
    for size = 1, 6 do
      local world = new_world()
      local result = world:run(note(), { batch_size = size })
      assert.same({
        state = "done", rows = 5, batches = math.ceil(5 / size), retries = 0, failures = 0,
      }, result)
      assert.same({ 1, 2, 3, 4, 5 }, seen(world))
      assert.equal(result.batches, #log_of(world, "page"))
    end
  end)

  it("have batch_size rows whatever target_ms says", function()
    local world = new_world()
    local path = support.script('return { config = { batch_size = 2, target_ms = 1 }, '
      .. 'base_query = "SELECT id FROM items", migrate = function() end }')
    assert.equal(3, world:run(path).batches)
  end)

  it("order text by its bytes", function()
    local world = new_world { "b", "a", "é", "B", "", "aa" }
    world:run(note(), { batch_size = 2 })
    assert.same({ "", "B", "a", "aa", "b", "é" }, seen(world))
  end)

  it("order composite keys column by column", function()
    local world = mock.new {
      tables = {
        items = {
          rows = { { a = 2, b = "x" }, { a = 1, b = "y" }, { a = 1, b = "x" } },
          primary_key = { "a", "b" },
        },
        seen = { columns = { id = "text" } },
      },
      base = { from = "items" },
    }
    world:run(support.script [[
      return { config = { key = { "a", "b" }, start_after = { 1, "x" } },
        base_query = "SELECT a, b FROM items",
        migrate = function(rows, repo)
          repo:insert("seen", { id = rows[1].a .. rows[1].b })
        end }
    ]], { batch_size = 1 })
    assert.same({ "1y", "2x" }, seen(world))
  end)

  it("give rows that raise on columns the query did not return", function()
    local world = new_world()
    local result = world:run(support.script [[
      return { base_query = "SELECT id, n FROM items", migrate = function(rows)
        assert(rows.columns[1] == "id" and rows.columns[2] == "n" and #rows == 5)
        return rows[1].idd
      end }
    ]])
    assert.matches('s.lua:%d+: column "idd" was not returned by the query %(did you mean "id"%?%)',
      result.error.message)
  end)

  it("say that base.select lacks a column that the table has #mock", function()
    local world = mock.new {
      tables = { items = { rows = { { id = 1, n = 0 } } } },
      base = { from = "items", select = { "id" } },
    }
    local result = world:run(support.script [[
      return { base_query = "SELECT id, n FROM items", migrate = function(rows)
        return rows[1].n
      end }
    ]])
    assert.matches('column "n" was not returned by the query '
      .. "(base.select of the spec does not name it)", result.error.message, 1, true)
  end)

  it("give rows that are copies", function()
    local world = new_world()
    world:run(support.script [[
      return { base_query = "SELECT id, n FROM items", migrate = function(rows)
        rows[1].n = 99
      end }
    ]])
    assert.equal(0, world:rows("items")[1].n)
  end)

  it("stop at the highest key that existed when the run began, unless follow_new", function()
    local body = [[
      base_query = "SELECT id FROM items", migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          if row.id < 8 then repo:insert("items", { id = row.id + 5 }) end
        end
      end ]]
    local world = new_world()
    assert.equal(5, world:run(support.script("return { " .. body .. "}"), { batch_size = 2 }).rows)
    world = new_world()
    assert.equal(12, world:run(support.script("return { config = { follow_new = true }, " .. body
      .. "}"), { batch_size = 2 }).rows)
  end)

  it("of an empty base end at once, without a bound that lets later rows in", function()
    local world = mock.new {
      tables = { items = { columns = { id = "int8" }, not_null = { "id" } } },
      base = { from = "items" },
    }
    assert.same({ state = "done", rows = 0, batches = 0, retries = 0, failures = 0 },
      world:run(note()))
  end)

  it("start after a key", function()
    local world = new_world()
    world:run(note "config = { start_after = 3 }")
    assert.same({ 4, 5 }, seen(world))
  end)

  it("refuse a key the base does not return", function()
    local err = support.raised(function()
      new_world():run(note "config = { key = 'idd' }")
    end)
    assert.equal('the base query does not return the key column "idd"', err.message)
  end)

  it("refuse a key that is NULL and one that occurs twice #mock", function()
    local world = mock.new {
      tables = { items = { rows = { { id = 1 }, { x = 1 } } } }, base = { from = "items" },
    }
    assert.equal('key column "id" is NULL in a row of table "items"',
      world:run(note()).error.message)
    world = new_world { 1, 2, 2 }
    assert.equal("two rows of the base query have the same key: (id)=(2)",
      world:run(note(), { batch_size = 1 }).error.message)
    assert.equal("done", new_world({ 1, 2, 2 }):run(note "config = { assume_unique = true }").state)
  end)

  it("must not have their key changed", function()
    for _, call in ipairs { 'update("items", { id = 1 }, { id = 9 })',
      'update_all("items", { id = 9 }, { id = 1 })' } do
      local result = new_world():run(support.script(([[
        return { base_query = "SELECT id FROM items", migrate = function(_, repo) repo:%s end }
      ]]):format(call)))
      assert.equal('column "id" of "items" belongs to the key of the run and must not be changed',
        result.error.message)
    end
  end)

  it("make the spec fail when base.where fails", function()
    local world = mock.new {
      tables = { items = { rows = { { id = 1 } } } },
      base = { from = "items", where = function(row)
        return row.idd
      end },
    }
    local err = support.raised(world.run, world, note())
    assert.matches("base.where failed", tostring(err))
  end)
end)

describe("a run", function()
  it("rolls a failed batch back and can be resumed", function()
    local world = new_world()
    local flag = support.directory() .. "/flag"
    local path = support.script(([[
      return { base_query = "SELECT id FROM items", migrate = function(rows, repo, run)
        for _, row in ipairs(rows) do
          repo:insert("seen", { id = row.id })
          if row.id == 4 and not io.open(%q) then error "four" end
        end
      end }
    ]]):format(flag))
    local result = world:run(path, { batch_size = 2 })
    assert.equal("failed", result.state)
    assert.equal(2, result.rows)
    assert.matches("/s.lua:4: four$", result.error.message)
    assert.matches("s.lua:4: in", result.error.traceback)
    assert.same({ 1, 2 }, seen(world))
    assert.is_false(log_of(world, "insert")[3].committed)
    support.write(flag:match "^(.*)/", "flag", "")
    assert.same({ state = "done", rows = 3, batches = 2, retries = 0, failures = 0 },
      world:run(path, { batch_size = 2 }))
    assert.same({ 1, 2, 3, 4, 5 }, seen(world))
  end)

  it("that is done is reported and not repeated, unless asked", function()
    local world, path = new_world(), note()
    assert.equal(5, world:run(path).rows)
    assert.same({ state = "done", rows = 0, batches = 0, retries = 0, failures = 0 },
      world:run(path))
    assert.equal(5, world:run(path, { again = true }).rows)
    assert.equal(10, #seen(world))
    path = note "config = { repeatable = true }"
    assert.equal(5, world:run(path).rows)
    assert.equal(5, world:run(path).rows)
  end)

  it("is another one with other args", function()
    local world = new_world()
    local path = note 'args = { tenant = { type = "integer", default = 1 } }'
    assert.equal(5, world:run(path).rows)
    assert.equal(0, world:run(path, { args = { tenant = 1 } }).rows)
    assert.equal(5, world:run(path, { args = { tenant = 2 } }).rows)
  end)

  it("stops at a limit of rows", function()
    local world, path = new_world(), note()
    assert.same({ state = "stopped", rows = 3, batches = 2, retries = 0, failures = 0 },
      world:run(path, { batch_size = 2, limit = 3 }))
    assert.same({ state = "done", rows = 2, batches = 1, retries = 0, failures = 0 },
      world:run(path, { limit = 2 }))
    assert.same({ 1, 2, 3, 4, 5 }, seen(world))
  end)

  it("does every row once, wherever it is killed", function()
    for batch = 1, 3 do
      for call = 0, batch < 3 and 2 or 1 do
        local world, path = new_world(), note()
        local kill = { batch = batch, call = call > 0 and call or nil }
        local result = world:run(path, { batch_size = 2, kill = kill })
        assert.equal("killed", result.state)
        assert.is_nil(result.error)
        assert.equal(call == 0 and batch or batch - 1, result.batches)
        assert.equal("done", world:run(path, { batch_size = 2 }).state)
        assert.same({ 1, 2, 3, 4, 5 }, seen(world))
      end
    end
  end)

  it("cannot swallow being killed", function()
    local world = new_world()
    local result = world:run(support.script [[
      return { on_stop = error, base_query = "SELECT id FROM items", migrate = function(rows, repo)
        repo:insert("seen", { id = 1 })
        pcall(repo.insert, repo, "seen", { id = 2 })
        repo:savepoint(function() error "x" end)
      end }
    ]], { kill = { batch = 1, call = 2 } })
    assert.equal("killed", result.state)
    assert.same({}, seen(world))
  end)

  it("makes the spec fail when the run does not reach a kill", function()
    local err = support.raised(function()
      new_world():run(note(), { kill = { batch = 9 } })
    end)
    assert.matches("mock_run_spec.lua:%d+: the run did not reach the kill in batch 9", err)
  end)

  it("refuses to go on with another key", function()
    local world = new_world()
    local dir = support.directory()
    local path = support.write(dir, "s.lua", "return { " .. NOTE .. " }")
    world:run(path, { limit = 1 })
    support.write(dir, "s.lua", "return { config = { key = 'n' }, "
      .. NOTE:gsub("SELECT id FROM items", "SELECT id, n FROM items WHERE n IS NOT NULL") .. " }")
    local err = support.raised(world.run, world, path)
    assert.matches("the key was %(id%) when run 1 began", err.message)
  end)

  it("tells the script who it is", function()
    local world = new_world()
    local path = support.script [[
      return { name = "me", args = { a = { type = "integer", default = 7 } },
        base_query = "SELECT id FROM items",
        migrate = function(rows, repo, run)
          run.log("batch", { id = run.id, batch = run.batch, attempt = run.attempt,
            script = run.script, dry_run = run.dry_run, a = run.args.a })
        end }
    ]]
    world:run(path, { batch_size = 3, limit = 3 })
    world:run(path)
    local expected = { id = 1, batch = 1, attempt = 1, script = "me", dry_run = false, a = 7 }
    local logged = log_of(world, "log")
    assert.same(expected, logged[1].fields)
    expected.batch = 2
    assert.same(expected, logged[2].fields)
  end)

  it("starts with fresh locals of the script, and leaks nothing into another world", function()
    local path = support.script [[
      local calls = 0
      return { base_query = "SELECT id FROM items", migrate = function(rows, repo, run)
        calls = calls + 1
        run.log("calls", { calls = calls })
      end }
    ]]
    for _ = 1, 2 do
      local world = new_world()
      world:run(path)
      assert.equal(1, log_of(world, "log")[1].fields.calls)
      assert.equal(2, #world.log)
    end
  end)
end)

describe("errors of the database", function()
  it("are retried when they pass", function()
    for _, sqlstate in ipairs { "40001", "40P01" } do
      local world = new_world()
      world:fail { on = "insert", nth = 2, sqlstate = sqlstate }
      local result = world:run(note())
      assert.equal("done", result.state)
      assert.equal(1, result.retries)
      assert.same({ 1, 2, 3, 4, 5 }, seen(world))
    end
  end)

  it("are survived when they end the session", function()
    for _, sqlstate in ipairs { "08006", "57P01" } do
      local world = new_world()
      world:fail { on = "insert", nth = 2, sqlstate = sqlstate }
      assert.equal("done", world:run(note()).state)
      assert.same({ 1, 2, 3, 4, 5 }, seen(world))
    end
  end)

  it("are retried as often as config.retries says", function()
    local world, path = new_world(), note "config = { retries = 2, batch_size = 1 }"
    for _ = 1, 2 do
      world:fail { on = "page", sqlstate = "40001", message = "no" }
    end
    local result = world:run(path)
    assert.equal("done", result.state)
    world = new_world()
    for nth = 1, 3 do
      world:fail { on = "commit", nth = nth, sqlstate = "40001", message = "no" }
    end
    result = world:run(path)
    assert.equal("failed", result.state)
    assert.equal(2, result.retries)
    assert.matches("^gave up after 3 attempts in [%d.]+m?s: no$", result.error.message)
    assert.same({}, seen(world))
    assert.equal("done", world:run(path).state)
  end)

  it("stop the run otherwise", function()
    local world = new_world()
    world:fail { on = "page", nth = 2, sqlstate = "42501", message = "permission denied" }
    local result = world:run(note(), { batch_size = 2 })
    assert.equal("failed", result.state)
    assert.equal("42501", result.error.sqlstate)
    assert.equal(0, result.retries)
    assert.same({ 1, 2 }, seen(world))
  end)

  it("count attempts", function()
    local world = new_world()
    world:fail { on = "commit", sqlstate = "40001" }
    world:run(note())
    local inserts = log_of(world, "insert")
    assert.equal(10, #inserts)
    assert.equal(1, inserts[1].attempt)
    assert.is_false(inserts[1].committed)
    assert.equal(2, inserts[6].attempt)
    assert.is_true(inserts[6].committed)
  end)

  it("that were injected and not reached make the spec fail", function()
    local world = new_world()
    world:fail { on = "delete", sqlstate = "40001" }
    local err = support.raised(function()
      world:run(note())
    end)
    assert.matches('mock_run_spec.lua:%d+: the run did not reach world:fail on "delete"', err)
  end)
end)

describe("callbacks", function()
  local CALLBACKS = [[
    on_start = function(repo, run)
      repo:insert("settings", { name = "start" })
      run.log "on_start"
    end,
    on_complete = function(repo, run)
      repo:insert("settings", { name = "complete" })
      run.log "on_complete"
    end,
    on_stop = function(run, reason) run.log("on_stop", { reason = reason }) end,
  ]]

  local function called(world)
    local list = {}
    for i, entry in ipairs(log_of(world, "log")) do
      list[i] = entry.message .. (entry.fields and " " .. entry.fields.reason or "")
    end
    return list
  end

  it("are called once in the life of a run", function()
    local world, path = new_world(), note(CALLBACKS)
    world:run(path, { batch_size = 2, limit = 2 })
    world:run(path, { batch_size = 2, kill = { batch = 2 } })
    world:fail { on = "page", sqlstate = "42501" }
    world:run(path)
    world:run(path)
    world:run(path)
    assert.same({ "on_start", "on_stop stop", "on_stop error", "on_complete" }, called(world))
    assert.equal(2, #world:rows "settings")
  end)

  it("are called for a one-shot migration, on_complete in its transaction", function()
    local world = new_world()
    local path = support.script("return { " .. CALLBACKS .. [[
      run = function(repo) repo:insert("settings", { name = "run" }) end } ]])
    world:fail { on = "insert", nth = 3, sqlstate = "42501" }
    assert.equal("failed", world:run(path).state)
    assert.equal(1, #world:rows "settings")
    assert.same({ state = "done", rows = 0, batches = 1, retries = 0, failures = 0 },
      world:run(path))
    assert.same({ "on_start", "on_stop error", "on_complete" }, called(world))
    assert.equal(3, #world:rows "settings")
    assert.equal(0, world:run(path).batches)
  end)

  it("fail the run when they fail, and are called again", function()
    local world, path = new_world(), note(CALLBACKS)
    world:fail { on = "insert", sqlstate = "42501" }
    assert.equal("failed", world:run(path).state)
    assert.same({}, seen(world))
    world:fail { on = "insert", nth = 7, sqlstate = "42501" }
    assert.equal("failed", world:run(path).state)
    assert.same({ 1, 2, 3, 4, 5 }, seen(world))
    assert.equal("done", world:run(path).state)
    assert.same({ 1, 2, 3, 4, 5 }, seen(world))
    assert.equal(2, #world:rows "settings")
  end)

  it("see what on_start wrote, also for the bound", function()
    local world = new_world()
    local path = note [[ on_start = function(repo) repo:insert("items", { id = 9 }) end ]]
    assert.equal(6, world:run(path).rows)
  end)
end)

describe("throttle", function()
  it("is asked before every batch until it agrees", function()
    local world = new_world()
    world:stub("SELECT 0 AS lag", { rows = { { lag = 0 } } })
    world:run(support.script([[
      local asked = 0
      return { throttle = function(repo, run)
        asked = asked + 1
        run.log "asked"
        return repo:scalar "SELECT 0 AS lag" == 0 and asked % 2 == 1
      end, ]] .. NOTE .. "}"), { batch_size = 2 })
    assert.equal(6, #log_of(world, "log"))
    assert.same({ 1, 2, 3, 4, 5 }, seen(world))
  end)

  it("must not write, nor answer nonsense, nor wait for ever", function()
    local result = new_world():run(note [[
      throttle = function(repo) repo:insert("seen", { id = 1 }) end ]])
    assert.equal("25006", result.error.sqlstate)
    result = new_world():run(note [[ throttle = function() return "x" end ]])
    assert.matches("throttle must return true, false, nil or milliseconds, not",
      result.error.message)
    assert.error_matches(function()
      new_world():run(note [[ throttle = function() return true end ]])
    end, "throttle asked to wait 100 times in a row")
  end)
end)

describe("rows at fault", function()
  local QUARANTINE = [[ config = { on_error = "quarantine", max_failures = %d },
    base_query = "SELECT id FROM items",
    migrate = function(rows, repo)
      for _, row in ipairs(rows) do
        if row.id == 3 or row.id == 5 then error("odd row " .. row.id) end
        repo:insert("seen", { id = row.id })
      end
    end ]]

  local function script(max)
    return support.script("return {" .. QUARANTINE:format(max) .. "}")
  end

  it("are set aside, and all others are migrated once", function()
    local path = script(100)
    for size = 1, 6 do
      local world = new_world()
      local result = world:run(path, { batch_size = size })
      assert.equal("done_with_failures", result.state)
      assert.same({ 3, 2 }, { result.rows, result.failures })
      assert.same({ 1, 2, 4 }, seen(world))
      assert.equal("done", world:run(path).state)
    end
  end)

  it("stop the run when there are too many", function()
    local world = new_world()
    local result = world:run(script(1))
    assert.equal("failed", result.state)
    assert.matches("more rows have failed than config.max_failures = 1 allows",
      result.error.message)
    assert.same({ 1, 2, 4 }, seen(world))
  end)

  it("are not looked for after a conflict", function()
    local world = new_world()
    world:fail { on = "commit", nth = 1, sqlstate = "40001", message = "conflict" }
    local result = world:run(script(100), { batch_size = 2 })
    assert.same({ 2, 3 }, { result.failures, result.rows })
  end)
end)

describe("letters that Lua does not know", function()
  it("are warned of once a run, also in what stands for the server #mock", function()
    local world = new_world { "École", "Été" }
    world.base.where = function(row) return row.id:lower() ~= "x" end
    for run = 1, 2 do
      local path = note('name = "run' .. run .. '"')
      assert.equal("done", world:run(path).state)
      local said = log_of(world, "warning")
      assert.equal(run, #said)
      assert.matches("mock_run_spec.lua:%d+: string.lower changes ASCII letters only",
        said[run].message)
    end
    assert.equal("école", ("éCOLE"):lower())
    assert.equal(2, #log_of(world, "warning"))
  end)
end)
