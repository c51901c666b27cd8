local mock = require "luamig.mock"

local SCRIPT = "scripts/normalize_phones.lua"

--- A world with one contact for each phone number.
local function new_world(phones)
  local rows = {}
  for id, phone in ipairs(phones) do
    rows[id] = { id = id, tenant_id = 1, name = "contact " .. id, phone = phone or nil,
      erased = false }
  end
  return mock.new {
    tables = {
      contacts = {
        columns = {
          id = "int8", tenant_id = "int8", name = "text", phone = "text", erased = "bool",
        },
        primary_key = { "id" }, not_null = { "tenant_id", "name", "erased" }, rows = rows,
      },
    },
    base = {
      from = "contacts", select = { "id", "phone" },
      where = function(row)
        local digits = row.phone and row.phone:match "^%+([1-9]%d+)$" or ""
        return row.phone ~= nil and (#digits < 7 or #digits > 15)
      end,
    },
  }
end

local function phones(world)
  local list = {}
  for i, contact in ipairs(world:rows "contacts") do
    list[i] = contact.phone or "none"
  end
  return list
end

local MIXED = { "030 / 1234-56", "n/a", "0049 (0)30 123456", false, "+4930123456", "" }

describe("normalize_phones", function()
  it("makes numbers international", function()
    local world = new_world { "030 / 1234-56", "0049 (0)30 123456", "+49 (0)30.123456",
      "(030) 123456", "+4930123456" }
    assert.equal("done", world:run(SCRIPT).state)
    for _, phone in ipairs(phones(world)) do
      assert.equal("+4930123456", phone)
    end
  end)

  it("takes the country of the arguments", function()
    local world = new_world { "01 42 68 53 00", "+49 30 123456" }
    world:run(SCRIPT, { args = { country = 33 } })
    assert.same({ "+33142685300", "+4930123456" }, phones(world))
  end)

  it("sets bad numbers aside and migrates their neighbours", function()
    local world = new_world(MIXED)
    local result = world:run(SCRIPT)
    assert.equal("done_with_failures", result.state)
    assert.equal(2, result.rows)
    assert.equal(2, result.failures)
    assert.same({ "+4930123456", "n/a", "+4930123456", "none", "+4930123456", "" }, phones(world))
  end)

  it("sets aside what only looks like a number", function()
    local bad = { "030", "+0 30 123456", "030 1234567890123456", "０３０１２３４５６", "030-CALL-ME",
      "+49+30123456" }
    local world = new_world(bad)
    assert.equal(#bad, world:run(SCRIPT).failures)
    assert.same(bad, phones(world))
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    local function world()
      return new_world(MIXED)
    end
    mock.assert_resumable(SCRIPT, world, { batch_size = 2 })
    mock.assert_idempotent(SCRIPT, world)
    mock.assert_batch_size_independent(SCRIPT, world)
    mock.assert_workers_independent(SCRIPT, world)
  end)
end)
