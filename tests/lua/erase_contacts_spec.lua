local mock = require "luamig.mock"

local SCRIPT = "scripts/erase_contacts.lua"

local function new_world()
  return mock.new {
    tables = {
      contacts = {
        columns = {
          id = "int8", tenant_id = "int8", name = "text", email = "text", phone = "text",
          erased = "bool",
        },
        primary_key = { "id" }, not_null = { "tenant_id", "name", "erased" },
        unique = { { "email" } },
        rows = {
          { id = 1, tenant_id = 5, name = "Ann", email = "ann@x", phone = "1", erased = false },
          { id = 2, tenant_id = 6, name = "Bob", email = "bob@x", phone = "2", erased = false },
          { id = 3, tenant_id = 5, name = "Zoë", erased = false },
        },
      },
    },
    base = {
      from = "contacts", select = { "id" },
      -- The arguments of the run come along, as they do for a base_query that is a function.
      where = function(row, args)
        return row.tenant_id == args.tenant and not row.erased
      end,
    },
  }
end

local function names(world)
  local list = {}
  for i, contact in ipairs(world:rows "contacts") do
    list[i] = contact.name
  end
  return list
end

describe("erase_contacts", function()
  it("erases the contacts of that tenant, and of no other", function()
    local world = new_world()
    assert.equal(2, world:run(SCRIPT, { args = { tenant = 5 } }).rows)
    assert.same({ "erased", "Bob", "erased" }, names(world))
    assert.same({ id = 1, tenant_id = 5, name = "erased", email = "erased-1@example.invalid",
      erased = true }, world:rows("contacts")[1])
  end)

  it("does not begin without a tenant, or with one that is no number", function()
    local world = new_world()
    for _, args in ipairs { {}, { tenant = "five" }, { tenant = 5.5 }, { tenants = 5 } } do
      local ok, err = pcall(world.run, world, SCRIPT, { args = args })
      assert.is_false(ok)
      assert.matches("tenant", tostring(err), 1, true)
    end
    assert.same({ "Ann", "Bob", "Zoë" }, names(world))
  end)

  it("is another run for another tenant", function()
    local world = new_world()
    world:run(SCRIPT, { args = { tenant = 5 } })
    assert.equal(0, world:run(SCRIPT, { args = { tenant = 5 } }).rows)
    assert.equal(1, world:run(SCRIPT, { args = { tenant = 6 } }).rows)
    assert.same({ "erased", "erased", "erased" }, names(world))
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    local args = { tenant = 5 }
    mock.assert_resumable(SCRIPT, new_world, { args = args, batch_size = 1 })
    mock.assert_idempotent(SCRIPT, new_world, { args = args })
    mock.assert_batch_size_independent(SCRIPT, new_world, { args = args })
    mock.assert_workers_independent(SCRIPT, new_world, { args = args })
  end)
end)
