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
    base = {
      from = "users", select = { "id" },
      where = function(row)
        return row.onboarding_step == nil
      end,
    },
  }
end

describe("onboarding", function()
  it("welcomes the users that have no step, and nobody else", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(2, result.rows)
    local users = world:rows "users"
    assert.equal("welcome", users[1].onboarding_step)
    assert.equal("profile", users[2].onboarding_step)
    assert.equal("welcome", users[3].onboarding_step)
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
    assert.is_nil(world:rows("users")[3].onboarding_step)
    result = world:run(SCRIPT, { batch_size = 1 })
    assert.equal("done", result.state)
    assert.equal(1, result.rows)
    assert.equal("welcome", world:rows("users")[3].onboarding_step)
  end)
end)
