-- The pieces of docs/testing.md, see tests/cli/test_pages.py.

local luamig = require "luamig"
local mock = require "luamig.mock"

describe("the declaration of orders", function()
  it("has its defaults, rules and keys", function()
    local tables = dofile "spec/orders.lua"
    tables.users = { columns = { id = "int8" }, primary_key = { "id" }, rows = { { id = 1 } } }
    tables.orders.rows = { { user_id = 1, n = 2 } }
    local world = mock.new { tables = tables }
    mock.assert_rows(world, "orders", { { id = 1, user_id = 1, n = 2, total = 4, state = "new" } })
  end)
end)

describe("the assertion on rows", function()
  local function world_of(...)
    return mock.new { tables = { users = {
      columns = { id = "int8", email = "text", nick = "text" }, primary_key = { "id" },
      rows = { ... },
    } } }
  end

  local function hold(world)
    assert(loadfile "spec/rows.lua")(mock, luamig, world)
  end

  it("holds for these rows in any order", function()
    hold(world_of({ id = 2, email = "b@x" }, { id = 1, email = "a@x", nick = "any" }))
  end)

  it("says what differs", function()
    local world = world_of({ id = 1, email = "A@x" }, { id = 2, email = "b@x" },
      { id = 3, email = "c@x" })
    local ok, message = pcall(hold, world)
    assert.is_false(ok)
    local file = assert(io.open "spec/shown.txt")
    local shown = file:read "a":gsub("^[^:]+:%d+: ", "")
    file:close()
    assert.equal(shown, tostring(message):gsub("^[^:]+:%d+: ", "") .. "\n")
  end)
end)
