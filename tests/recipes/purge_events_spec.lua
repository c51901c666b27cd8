local mock = require "luamig.mock"

local SCRIPT = "scripts/purge_events.lua"

describe("purge_events", function()
  it("deletes what happened before the day", function()
    local world = mock.new {
      tables = { logged = { columns = { id = "int8", happened_on = "date" }, primary_key = { "id" },
        rows = { { id = 1, happened_on = "2023-12-31" }, { id = 2, happened_on = "2024-01-01" },
          { id = 3 } } } },
      base = { from = "logged", where = function(row, args)
        return row.happened_on ~= nil and row.happened_on < args.before
      end },
    }
    assert.equal("done", world:run(SCRIPT, { args = { before = "2024-01-01" } }).state)
    mock.assert_rows(world, "logged", { { id = 2 }, { id = 3 } })
  end)
end)
