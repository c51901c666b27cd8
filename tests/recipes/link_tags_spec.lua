local mock = require "luamig.mock"

local SCRIPT = "scripts/link_tags.lua"

local function new_world()
  local world = mock.new {
    tables = {
      tags = { columns = { id = "serial", name = "text", uses = "int8" }, primary_key = { "id" },
        unique = { { "name" } }, defaults = { uses = 0 },
        rows = { { id = 1, name = "red", uses = 0 } } },
      taggings = { columns = { id = "int8", tag = "text", tag_id = "int4" }, primary_key = { "id" },
        rows = { { id = 1, tag = "red" }, { id = 2, tag = "blue" }, { id = 3, tag = "red" } } },
    },
    base = { from = "taggings", where = function(row) return row.tag_id == nil end },
  }
  local function is_in(list, name)
    for _, each in ipairs(list) do
      if each == name then return true end
    end
  end
  world:stub("SELECT id, name FROM tags WHERE name = ANY ($1)", function(params, tables)
    local rows = {}
    for _, tag in ipairs(tables.tags) do
      if is_in(params[1], tag.name) then
        table.insert(rows, { id = tag.id, name = tag.name })
      end
    end
    return rows
  end)
  world:stub([[
    UPDATE tags SET uses = (SELECT count(*) FROM taggings WHERE tag_id = tags.id)
     WHERE name = ANY ($1)]],
    function(params, tables)
      local affected = 0
      for _, tag in ipairs(tables.tags) do
        if is_in(params[1], tag.name) then
          tag.uses, affected = 0, affected + 1
          for _, tagging in ipairs(tables.taggings) do
            tag.uses = tag.uses + (tagging.tag_id == tag.id and 1 or 0)
          end
        end
      end
      return affected
    end)
  return world
end

describe("link_tags", function()
  it("finds one tag, creates the other, and counts both", function()
    local world = new_world()
    local result = world:run(SCRIPT, { batch_size = 2 })
    assert.equal("done", result.state, tostring(result.error))
    local uses, names = {}, {}
    for _, tag in ipairs(world:rows "tags") do
      uses[tag.name], names[tag.id] = tag.uses, tag.name
    end
    assert.same({ red = 2, blue = 1 }, uses)
    for _, tagging in ipairs(world:rows "taggings") do
      assert.equal(tagging.tag, names[tagging.tag_id])
    end
  end)
end)
