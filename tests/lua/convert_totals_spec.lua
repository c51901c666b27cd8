local luamig = require "luamig"
local mock = require "luamig.mock"

local SCRIPT = "scripts/convert_totals.lua"

local function new_world(rows)
  return mock.new {
    tables = {
      invoices = {
        columns = { tenant_id = "int8", id = "int8", total = "numeric", total_cents = "int8" },
        primary_key = { "tenant_id", "id" },
        rows = rows or {
          { tenant_id = 1, id = 1, total = "19.99" }, { tenant_id = 2, id = 1, total = "0.1" },
          { tenant_id = 1, id = 2, total = "-5" }, { tenant_id = 10, id = 1, total = "7.00" },
          { tenant_id = 2, id = 2 }, { tenant_id = 2, id = 3, total = "3.00", total_cents = 299 },
        },
      },
    },
    base = {
      from = "invoices", select = { "tenant_id", "id", "total" },
      where = function(row)
        return row.total ~= nil and row.total_cents == nil
      end,
    },
  }
end

local function cents(world)
  local list = {}
  for i, invoice in ipairs(world:rows "invoices") do
    list[i] = ("%d/%d %s"):format(invoice.tenant_id, invoice.id, invoice.total_cents)
  end
  return list
end

describe("convert_totals", function()
  it("fills what is empty, exactly, and leaves drafts and what is there", function()
    local world = new_world()
    assert.equal("done", world:run(SCRIPT).state)
    assert.same({ "1/1 1999", "1/2 -500", "2/1 10", "2/2 nil", "2/3 299", "10/1 700" },
      cents(world))
  end)

  it("goes on in the middle of a tenant", function()
    local world = new_world()
    assert.equal("killed", world:run(SCRIPT, { batch_size = 1, kill = { batch = 1 } }).state)
    assert.same({ "1/1 1999", "1/2 nil", "2/1 nil", "2/2 nil", "2/3 299", "10/1 nil" },
      cents(world))
    assert.equal(3, world:run(SCRIPT).rows)
    assert.same({ "1/1 1999", "1/2 -500", "2/1 10", "2/2 nil", "2/3 299", "10/1 700" },
      cents(world))
  end)

  it("reads sums that a float cannot hold", function()
    local total = luamig.decimal "90071992547409.93"
    local world = new_world { { tenant_id = 1, id = 1, total = total } }
    world:run(SCRIPT)
    assert.same({ "1/1 9007199254740993" }, cents(world))
  end)

  it("stops at a fraction of a cent, and goes on when it is corrected", function()
    for _, total in ipairs { "1.005", "NaN", "1e30" } do
      local world = new_world { { tenant_id = 7, id = 1, total = "1" },
        { tenant_id = 7, id = 2, total = total } }
      local result = world:run(SCRIPT, { batch_size = 1 })
      assert.equal("failed", result.state)
      assert.matches("invoice 2 of tenant 7 has a total of", result.error.message, 1, true)
      assert.same({ "7/1 100", "7/2 nil" }, cents(world))
    end
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 2 })
    mock.assert_idempotent(SCRIPT, new_world)
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_workers_independent(SCRIPT, new_world)
  end)
end)
