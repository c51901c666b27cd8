local mock = require "luamig.mock"

local SCRIPT = "scripts/merge_people.lua"

local function of_person(more, rows)
  local columns = { person_id = "int8" }
  for name, type in pairs(more.columns) do
    columns[name] = type
  end
  return { columns = columns, primary_key = more.key, rows = rows,
    foreign_keys = { { columns = { "person_id" }, references = "people" } } }
end

local function new_world()
  return mock.new {
    tables = {
      people = { columns = { id = "int8", email = "text" }, primary_key = { "id" }, rows = {
        { id = 1, email = "ann@x" }, { id = 2, email = "bob@x" }, { id = 3, email = "Ann@x" },
        { id = 4, email = "ANN@x" },
      } },
      orders = of_person({ columns = { id = "int4" }, key = { "id" } },
        { { id = 1, person_id = 3 }, { id = 2, person_id = 2 } }),
      notes = of_person({ columns = { id = "int4" }, key = { "id" } },
        { { id = 1, person_id = 4 } }),
      profiles = of_person({ columns = { bio = "text" }, key = { "person_id" } },
        { { person_id = 3, bio = "of 3" }, { person_id = 4, bio = "of 4" } }),
      members = of_person({ columns = { club_id = "int4" }, key = { "person_id", "club_id" } },
        { { person_id = 1, club_id = 7 }, { person_id = 3, club_id = 7 },
          { person_id = 4, club_id = 8 } }),
    },
    base = function(tables)
      local oldest, rows = {}, {}
      for _, person in ipairs(tables.people) do
        local email = person.email:lower()
        oldest[email] = math.min(oldest[email] or person.id, person.id)
      end
      for _, person in ipairs(tables.people) do
        local keep_id = oldest[person.email:lower()]
        if keep_id < person.id then
          table.insert(rows, { id = person.id, keep_id = keep_id })
        end
      end
      return rows
    end,
  }
end

describe("merge_people", function()
  it("gives everything to the oldest", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "people", { { id = 1 }, { id = 2 } })
    mock.assert_rows(world, "orders", { { id = 1, person_id = 1 }, { id = 2, person_id = 2 } })
    mock.assert_rows(world, "notes", { { id = 1, person_id = 1 } })
    mock.assert_rows(world, "profiles", { { person_id = 1, bio = "of 3" } })
    mock.assert_rows(world, "members",
      { { person_id = 1, club_id = 7 }, { person_id = 1, club_id = 8 } })
  end)

  it("does not care which twins share a batch, or where it is killed", function()
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 2 })
  end)
end)
