local mock = require "luamig.mock"

local SCRIPT = "scripts/fix_payloads.lua"

describe("fix_payloads", function()
  it("renames a field, and keeps numbers and order", function()
    local world = mock.new {
      tables = { hooks = { columns = { id = "int4", body = "text", version = "int4" },
        primary_key = { "id" }, rows = {
          { id = 1, version = 1, body = '{"price": 1.10, "z": [], "id": 9007199254740993}' },
          { id = 2, version = 1, body = "no JSON" }, { id = 3, version = 2, body = "{}" },
        } } },
      base = { from = "hooks", where = function(row) return row.version < 2 end },
    }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    local json = require "luamig".json
    local body = json.decode(world:rows("hooks")[1].body)
    assert.equal(1.1, body.amount)
    assert.equal(9007199254740993, body.id)
    assert.equal("[]", json.encode(body.z))
    mock.assert_rows(world, "hooks", { { id = 1, version = 2 },
      { id = 2, version = 1, body = "no JSON" }, { id = 3, version = 2, body = "{}" } })
    assert.same({ id = 2 }, world.log[#world.log].fields)
  end)
end)
