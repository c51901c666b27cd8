local mock = require "luamig.mock"

local SCRIPT = "scripts/widen_ids.lua"

local function new_world()
  local world = mock.new {
    tables = { events = {
      columns = { id = "int4", id_wide = "int8" }, primary_key = { "id" },
      rows = { { id = 1 }, { id = 2, id_wide = 2 }, { id = 5 }, { id = 9 } },
    } },
    base = { from = "events", where = function(row) return row.id_wide == nil end },
  }
  -- The first range has no lower end.
  local function widen(above, upto)
    return function(params, tables)
      local affected = 0
      for _, event in ipairs(tables.events) do
        local low, high = above and params[above], params[upto]
        if event.id_wide == nil and (not low or event.id > low) and event.id <= high then
          event.id_wide = event.id
          affected = affected + 1
        end
      end
      return affected
    end
  end
  local update = "UPDATE events AS e SET id_wide = id WHERE id_wide IS NULL AND "
  world:stub(update .. '((e."id") OPERATOR(pg_catalog.<=) ($1::pg_catalog.int4))', widen(nil, 1))
  world:stub(update .. '((e."id") OPERATOR(pg_catalog.>) ($1::pg_catalog.int4)'
    .. ' AND (e."id") OPERATOR(pg_catalog.<=) ($2::pg_catalog.int4))', widen(1, 2))
  return world
end

describe("widen_ids", function()
  it("fills what the trigger has not", function()
    local world = new_world()
    assert.equal("done", world:run(SCRIPT, { batch_size = 2 }).state)
    mock.assert_rows(world, "events", {
      { id = 1, id_wide = 1 }, { id = 2, id_wide = 2 }, { id = 5, id_wide = 5 },
      { id = 9, id_wide = 9 },
    })
  end)
end)
