local mock = require "luamig.mock"

local SCRIPT = "scripts/date_visits.lua"

describe("date_visits", function()
  it("writes the day that it was in Berlin", function()
    local days = { "2024-04-01", "2024-03-31", [4] = "2024-01-01" }
    local world = mock.new {
      tables = { visits = { columns = { id = "int4", visited_at = "timestamptz",
        visited_on = "date" }, primary_key = { "id" }, rows = {
          { id = 1, visited_at = "2024-03-31 22:30:00+00" },
          { id = 2, visited_at = "2024-03-30 23:30:00+00" }, { id = 3 },
          { id = 4, visited_at = "2023-12-31 23:00:00+00" },
        } } },
      base = {
        from = "visits", where = function(row)
          return row.visited_on == nil and row.visited_at ~= nil
        end,
        select = { "id", day = function(row) return days[row.id] end },
      },
    }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "visits", {
      { id = 1, visited_on = "2024-04-01" }, { id = 2, visited_on = "2024-03-31" },
      { id = 3, visited_on = require "luamig".NULL }, { id = 4, visited_on = "2024-01-01" },
    })
  end)
end)
