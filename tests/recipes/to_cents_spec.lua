local luamig = require "luamig"
local mock = require "luamig.mock"

local SCRIPT = "scripts/to_cents.lua"

describe("to_cents", function()
  it("rounds half a cent to the even one", function()
    local amounts = { ["1.0050"] = 100, ["1.0150"] = 102, ["-1.0050"] = -100, ["1.0051"] = 101 }
    local rows, expected = {}, {}
    for amount, cents in pairs(amounts) do
      table.insert(rows, { id = #rows + 1, amount = luamig.decimal(amount) })
      table.insert(expected, { id = #rows, cents = cents })
    end
    local world = mock.new {
      tables = { payments = { columns = { id = "int4", amount = "numeric(14,4)", cents = "int8" },
        primary_key = { "id" }, rows = rows } },
      base = { from = "payments", where = function(row) return row.cents == nil end },
    }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "payments", expected)
  end)
end)
