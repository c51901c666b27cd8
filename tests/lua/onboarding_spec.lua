local mock = require "luamig.mock"

local SCRIPT = "scripts/onboarding.lua"

local function new_world(rows)
  return mock.new {
    tables = {
      users = {
        columns = { id = "int8", email = "text", onboarding_step = "text" },
        primary_key = { "id" }, not_null = { "email" }, unique = { { "email" } },
        rows = rows or {
          { id = 1, email = "a@example.org" },
          { id = 2, email = "b@example.org", onboarding_step = "profile" },
          { id = 3, email = "c@example.org" },
        },
      },
    },
    -- Stands for the base query; the mock does not read SQL.
    base = {
      from = "users", select = { "id" },
      where = function(row)
        return row.onboarding_step == nil
      end,
    },
  }
end

local function steps(world)
  local list = {}
  for i, user in ipairs(world:rows "users") do
    list[i] = user.onboarding_step or "none"
  end
  return list
end

describe("onboarding", function()
  it("welcomes the users that have no step, and nobody else", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(2, result.rows)
    assert.same({ "welcome", "profile", "welcome" }, steps(world))
  end)

  it("has nothing to do in an empty table", function()
    local result = new_world({}):run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(0, result.rows)
  end)

  it("goes on after it was killed inside a batch", function()
    local world = new_world()
    local result = world:run(SCRIPT, { batch_size = 1, kill = { batch = 2, call = 1 } })
    assert.equal("killed", result.state)
    assert.same({ "welcome", "profile", "none" }, steps(world))
    assert.equal(1, world:run(SCRIPT).rows)
    assert.same({ "welcome", "profile", "welcome" }, steps(world))
  end)

  it("begins a batch again when somebody else was faster", function()
    local world = new_world()
    world:fail { on = "update", nth = 2, sqlstate = "40001" }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(1, result.retries)
    assert.same({ "welcome", "profile", "welcome" }, steps(world))
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 1 })
    mock.assert_idempotent(SCRIPT, new_world)
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_workers_independent(SCRIPT, new_world)
  end)
end)
