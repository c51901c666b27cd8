local mock = require "luamig.mock"

local SCRIPT = "scripts/fold_names.lua"

-- What the server's lower() makes of the names here.
local LOWER = { ["ÄRGER"] = "ärger", ["Björk"] = "björk", ["ärger"] = "ärger" }

describe("fold_names", function()
  it("writes what the server makes of a name", function()
    local world = mock.new {
      tables = { artists = { columns = { id = "int4", name = "text" }, primary_key = { "id" },
        rows = { { id = 1, name = "ÄRGER" }, { id = 2, name = "ärger" },
          { id = 3, name = "Björk" } } } },
      base = {
        from = "artists", where = function(row) return LOWER[row.name] ~= row.name end,
        select = { "id", folded = function(row) return LOWER[row.name] end },
      },
    }
    assert.equal("done", world:run(SCRIPT).state)
    mock.assert_rows(world, "artists",
      { { id = 1, name = "ärger" }, { id = 2, name = "ärger" }, { id = 3, name = "björk" } })
  end)
end)
