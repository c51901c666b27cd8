local mock = require "luamig.mock"

local SCRIPT = "scripts/close_tickets.lua"

describe("close_tickets", function()
  it("closes those of one tenant", function()
    local world = mock.new {
      tables = { tickets = { columns = { id = "int4", tenant_id = "int4", open = "bool" },
        primary_key = { "id" }, rows = { { id = 1, tenant_id = 7, open = true },
          { id = 2, tenant_id = 8, open = true } } } },
      base = { from = "tickets", where = function(row, args)
        return row.open and row.tenant_id == args.tenant
      end },
    }
    assert.equal("done", world:run(SCRIPT, { args = { tenant = 7 } }).state)
    mock.assert_rows(world, "tickets", { { id = 1, open = false }, { id = 2, open = true } })
  end)
end)
