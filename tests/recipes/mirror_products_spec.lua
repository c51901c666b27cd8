local luamig = require "luamig"
local mock = require "luamig.mock"

local SCRIPT = "scripts/mirror_products.lua"

local function new_world()
  return mock.new {
    tables = { products = { columns = { id = "int4", name = "text", price = "numeric",
      in_stock = "bool" }, primary_key = { "id" }, rows = {
        { id = 1, name = "old name", price = 1, in_stock = true },
        { id = 9, name = "only here", price = 1, in_stock = true },
      } } },
    source = { products = { columns = { id = "int4", name = "text", price = "numeric",
      sold_out = "bool" }, primary_key = { "id" }, rows = {
        { id = 1, name = "hat", price = luamig.decimal "9.50", sold_out = true },
        { id = 2, name = "coat", price = 80, sold_out = false },
      } } },
    base = { from = "products" },
  }
end

describe("mirror_products", function()
  it("writes what the old shop has", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "products", {
      { id = 1, name = "hat", price = luamig.decimal "9.50", in_stock = false },
      { id = 2, name = "coat", in_stock = true }, { id = 9, name = "only here" },
    })
  end)

  it("may run again, and be killed anywhere", function()
    mock.assert_idempotent(SCRIPT, new_world)
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 1 })
  end)
end)
