local mock = require "luamig.mock"

local SCRIPT = "scripts/close_customers.lua"

describe("close_customers", function()
  it("closes those of the file, and enqueues a job for each", function()
    local world = mock.new {
      tables = {
        customers = { columns = { id = "int8", closed_for = "text" }, primary_key = { "id" },
          rows = { { id = 1 }, { id = 2 }, { id = 3, closed_for = "before" } } },
        jobs = { columns = { id = "serial", kind = "text", customer_id = "int8" },
          primary_key = { "id" } },
      },
      base = function(tables)
        local rows = {}
        for _, record in ipairs(tables.input) do
          for _, customer in ipairs(tables.customers) do
            if customer.id == record.id and customer.closed_for == nil then
              table.insert(rows, { line = record.line, id = record.id, reason = record.reason })
            end
          end
        end
        return rows
      end,
    }
    local result = world:run(SCRIPT, { input = {
      { id = 2, reason = "moved" }, { id = 3, reason = "again" }, { id = 9, reason = "unknown" },
    } })
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "customers", {
      { id = 1 }, { id = 2, closed_for = "moved" }, { id = 3, closed_for = "before" },
    })
    mock.assert_rows(world, "jobs", { { kind = "tell", customer_id = 2 } })
  end)
end)
