local mock = require "luamig.mock"

local SCRIPT = "scripts/lower_logins.lua"

local function new_world()
  return mock.new {
    tables = { accounts = { columns = { id = "int4", login = "text" }, primary_key = { "id" },
      unique = { { "login" } }, rows = {
        { id = 1, login = "bob" }, { id = 2, login = "Bob" }, { id = 3, login = "EVE" },
        { id = 4, login = "Eve" }, { id = 5, login = "Ann" },
      } } },
    base = { from = "accounts", where = function(row) return row.login ~= row.login:lower() end },
  }
end

describe("lower_logins", function()
  it("keeps one of each login", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "accounts",
      { { id = 1, login = "bob" }, { id = 3, login = "eve" }, { id = 5, login = "ann" } })
  end)

  it("fails for other reasons than a twin", function()
    local world = new_world()
    world:fail { on = "update", sqlstate = "23514", message = "too short" }
    assert.equal("23514", world:run(SCRIPT).error.sqlstate)
  end)

  it("does not care which twins share a batch, or where it is killed", function()
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 2 })
  end)
end)
