local mock = require "luamig.mock"

local SCRIPT = "scripts/merge_customers.lua"

-- The base query computes a column and looks at several rows at a time. The mock has no SQL, so
-- what the query returns is a table of its own here, and a row of it counts while its customer is
-- there. Whether the query finds the right duplicates is for a run on PostgreSQL to show.
local function new_world()
  local world
  world = mock.new {
    tables = {
      customers = {
        columns = { id = "int8", email = "text" }, primary_key = { "id" },
        rows = {
          { id = 1, email = "ann@example.org" }, { id = 2, email = "bob@example.org" },
          { id = 3, email = "Ann@example.org" }, { id = 4 }, { id = 5 },
          { id = 6, email = "ANN@example.org" }, { id = 7, email = "Bob@example.org" },
        },
      },
      orders = {
        columns = { id = "int8", customer_id = "int8" }, primary_key = { "id" },
        not_null = { "customer_id" },
        rows = {
          { id = 1, customer_id = 1 }, { id = 2, customer_id = 3 }, { id = 3, customer_id = 3 },
          { id = 4, customer_id = 4 }, { id = 5, customer_id = 7 },
        },
      },
      duplicates = {
        columns = { id = "int8", keep_id = "int8" }, primary_key = { "id" },
        rows = { { id = 3, keep_id = 1 }, { id = 6, keep_id = 1 }, { id = 7, keep_id = 2 } },
      },
    },
    base = {
      from = "duplicates",
      where = function(row)
        for _, customer in ipairs(world:rows "customers") do
          if customer.id == row.id then
            return true
          end
        end
      end,
    },
  }
  return world
end

local function column(world, name, from)
  local list = {}
  for i, row in ipairs(world:rows(from)) do
    list[i] = row[name]
  end
  return list
end

describe("merge_customers", function()
  it("keeps the oldest, and everybody without an address", function()
    local world = new_world()
    assert.equal("done", world:run(SCRIPT).state)
    assert.same({ 1, 2, 4, 5 }, column(world, "id", "customers"))
  end)

  it("loses no order", function()
    local world = new_world()
    world:run(SCRIPT)
    assert.same({ 1, 1, 1, 4, 2 }, column(world, "customer_id", "orders"))
  end)

  it("does not care which twins share a batch, or where it is killed", function()
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_workers_independent(SCRIPT, new_world)
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 2 })
    mock.assert_idempotent(SCRIPT, new_world)
  end)

  it("tries again when an order arrives between its reading and its deleting", function()
    local world = new_world()
    world:fail { on = "delete", nth = 2, sqlstate = "23503", message = "still referenced" }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(0, result.failures)
    assert.same({ 1, 2, 4, 5 }, column(world, "id", "customers"))
  end)

  it("sets a customer aside who cannot be deleted, with the orders", function()
    local world = new_world()
    -- In a batch of one row the culprit is known at once.
    world:fail { on = "delete", sqlstate = "23503", message = "still referenced" }
    local result = world:run(SCRIPT, { batch_size = 1 })
    assert.equal("done_with_failures", result.state)
    assert.equal(1, result.failures)
    assert.same({ 1, 2, 3, 4, 5 }, column(world, "id", "customers"))
    assert.same({ 1, 3, 3, 4, 2 }, column(world, "customer_id", "orders"))
  end)
end)
