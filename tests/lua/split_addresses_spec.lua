local mock = require "luamig.mock"

local SCRIPT = "scripts/split_addresses.lua"

local function new_world()
  return mock.new {
    tables = {
      users = {
        columns = {
          id = "int8", email = "text", street = "text", postal_code = "text", city = "text",
          address_moved = "bool",
        },
        primary_key = { "id" }, not_null = { "email", "address_moved" },
        rows = {
          { id = 1, email = "a@example.org", street = "Überseering 30", postal_code = "22297",
            city = "Hamburg", address_moved = false },
          { id = 2, email = "b@example.org", city = "Lyon", address_moved = false },
          { id = 3, email = "c@example.org", address_moved = false },
          { id = 4, email = "d@example.org", city = "before it moved", address_moved = true },
          { id = 5, email = "e@example.org", street = "1 High St", address_moved = false },
        },
      },
      addresses = {
        columns = { user_id = "int8", street = "text", postal_code = "text", city = "text" },
        primary_key = { "user_id" },
        rows = { { user_id = 4, city = "Oslo" } },
      },
    },
    base = {
      from = "users", select = { "id", "street", "postal_code", "city" },
      where = function(row)
        return not row.address_moved
      end,
    },
  }
end

describe("split_addresses", function()
  it("moves every address, also one that has NULLs", function()
    local world = new_world()
    assert.equal("done", world:run(SCRIPT).state)
    local addresses = world:rows "addresses"
    assert.equal(4, #addresses)
    assert.same({ user_id = 1, street = "Überseering 30", postal_code = "22297",
      city = "Hamburg" }, addresses[1])
    assert.same({ user_id = 2, city = "Lyon" }, addresses[2])
    assert.same({ user_id = 4, city = "Oslo" }, addresses[3])
    assert.same({ user_id = 5, street = "1 High St" }, addresses[4])
  end)

  it("marks every user, also those who have no address", function()
    local world = new_world()
    world:run(SCRIPT)
    for _, user in ipairs(world:rows "users") do
      assert.is_true(user.address_moved)
    end
  end)

  it("leaves marker and address as they were when it is killed between the two", function()
    local world = new_world()
    -- The calls of the batch: three times insert, then update.
    assert.equal("killed", world:run(SCRIPT, { kill = { batch = 1, call = 4 } }).state)
    assert.equal(1, #world:rows "addresses")
    assert.is_false(world:rows("users")[1].address_moved)
    assert.equal(4, world:run(SCRIPT).rows)
    assert.equal(4, #world:rows "addresses")
  end)

  it("copies an address once when the user's row changes meanwhile", function()
    local world = new_world()
    world:fail { on = "update", sqlstate = "40001" }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(1, result.retries)
    assert.equal(4, #world:rows "addresses")
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 2 })
    mock.assert_idempotent(SCRIPT, new_world)
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_workers_independent(SCRIPT, new_world)
  end)
end)
