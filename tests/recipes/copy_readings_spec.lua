local mock = require "luamig.mock"

local SCRIPT = "scripts/copy_readings.lua"

local function day(n)
  return { columns = { id = "int8", taken_on = "date", value = "int4" }, rows = n,
    primary_key = { "id", "taken_on" } }
end

describe("copy_readings", function()
  it("copies what the trigger has not written", function()
    local world = mock.new {
      tables = {
        readings = { columns = { id = "int8", taken_on = "date", value = "int4" },
          primary_key = { "id" }, rows = {
            { id = 1, taken_on = "2024-01-01", value = 10 },
            { id = 2, taken_on = "2024-01-02", value = 20 },
          } },
        readings_by_day = day { { id = 2, taken_on = "2024-01-02", value = 21 } },
      },
      base = { from = "readings" },
    }
    world:stub([[
      INSERT INTO readings_by_day SELECT r.* FROM readings AS r WHERE
      ((r."id") OPERATOR(pg_catalog.<=) ($1::pg_catalog.int8)) FOR SHARE ON CONFLICT DO NOTHING]],
      function(params, tables)
        local there, affected = {}, 0
        for _, copy in ipairs(tables.readings_by_day) do
          there[copy.id] = true
        end
        for _, reading in ipairs(tables.readings) do
          if reading.id <= params[1] and not there[reading.id] then
            table.insert(tables.readings_by_day, reading)
            affected = affected + 1
          end
        end
        return affected
      end)
    assert.equal("done", world:run(SCRIPT).state)
    mock.assert_rows(world, "readings_by_day", {
      { id = 1, taken_on = "2024-01-01", value = 10 },
      { id = 2, taken_on = "2024-01-02", value = 21 },
    })
  end)
end)
