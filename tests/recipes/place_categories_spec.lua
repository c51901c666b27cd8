local mock = require "luamig.mock"

local SCRIPT = "scripts/place_categories.lua"

describe("place_categories", function()
  it("writes the way from the root, and leaves a circle", function()
    local world = mock.new {
      tables = { categories = {
        columns = { id = "int4", parent_id = "int4", slug = "text", path = "text" },
        primary_key = { "id" }, rows = {
          { id = 1, slug = "leaf", parent_id = 2 }, { id = 2, slug = "branch", parent_id = 3 },
          { id = 3, slug = "root" }, { id = 4, slug = "a", parent_id = 5 },
          { id = 5, slug = "b", parent_id = 4 },
        },
      } },
      base = function(tables)
        local by_id, rows = {}, {}
        for _, category in ipairs(tables.categories) do
          by_id[category.id] = category
        end
        for _, category in ipairs(tables.categories) do
          local up, place, depth = category, category.slug, 1
          while up.parent_id and depth < 50 do
            up, depth = by_id[up.parent_id], depth + 1
            place = up.slug .. "/" .. place
          end
          if category.path == nil then
            table.insert(rows, { id = category.id, place = up.parent_id == nil and place or nil })
          end
        end
        return rows
      end,
    }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "categories", {
      { id = 1, path = "root/branch/leaf" }, { id = 2, path = "root/branch" },
      { id = 3, path = "root" }, { id = 4, path = require "luamig".NULL },
      { id = 5, path = require "luamig".NULL },
    })
    assert.same({ id = 5 }, world.log[#world.log].fields)
  end)
end)
