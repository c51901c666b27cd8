local luamig = require "luamig"
local mock = require "luamig.mock"

local SCRIPT = "scripts/upgrade_settings.lua"

--- A world with one account for each document.
local function new_world(documents)
  local rows = {}
  for id, settings in ipairs(documents) do
    rows[id] = { id = id, settings = settings }
  end
  return mock.new {
    tables = {
      accounts = {
        columns = { id = "int8", settings = "jsonb" },
        primary_key = { "id" }, not_null = { "settings" }, rows = rows,
      },
    },
    base = {
      from = "accounts",
      where = function(row)
        return (row.settings.version or 1) < 3
      end,
    },
  }
end

local function upgraded(settings)
  local world = new_world { settings }
  assert.equal("done", world:run(SCRIPT).state)
  return world:rows("accounts")[1].settings
end

describe("upgrade_settings", function()
  it("takes a document through all versions", function()
    assert.same({ version = 3, channels = { "mail" }, display = { theme = "dark" } },
      upgraded { version = 1, mail = true, theme = "dark" })
  end)

  it("begins where the document is", function()
    assert.same({ version = 3, channels = { "sms" }, display = { theme = "dark" } },
      upgraded { version = 2, channels = { "sms" }, theme = "dark" })
  end)

  it("takes a document without a version for the first, also an empty one", function()
    local settings = upgraded(luamig.object {})
    assert.same({ version = 3, channels = {}, display = {} }, settings)
    -- An empty table says what it is by its metatable: [] and {} are different documents.
    assert.equal(getmetatable(luamig.array {}), getmetatable(settings.channels))
    assert.equal(getmetatable(luamig.object {}), getmetatable(settings.display))
  end)

  it("takes JSON's null for no", function()
    assert.same({}, upgraded({ mail = luamig.json.null }).channels)
  end)

  it("keeps what it does not know", function()
    local settings = upgraded { name = "Zoë", limit = luamig.json.null, tags = { "a", { b = 1 } } }
    assert.equal("Zoë", settings.name)
    assert.equal(luamig.json.null, settings.limit)
    assert.same({ "a", { b = 1 } }, settings.tags)
  end)

  it("leaves documents alone that are of this version, or a later one", function()
    local world = new_world { { version = 3, mail = true }, { version = 4 } }
    assert.equal(0, world:run(SCRIPT).rows)
    assert.same({ version = 3, mail = true }, world:rows("accounts")[1].settings)
  end)

  it("may be killed anywhere, repeated, and run in batches of any size by any workers", function()
    local function world()
      return new_world { { mail = true }, { version = 2, channels = { "sms" } }, { version = 3 } }
    end
    mock.assert_resumable(SCRIPT, world, { batch_size = 1 })
    mock.assert_idempotent(SCRIPT, world)
    mock.assert_batch_size_independent(SCRIPT, world)
    mock.assert_workers_independent(SCRIPT, world)
  end)
end)
