local cipher = require "openssl.cipher"
local mock = require "luamig.mock"

local SCRIPT = "scripts/rotate_secrets.lua"
local OLD, NEW = ("01"):rep(32), ("ab"):rep(32)
local START = ("s"):rep(16)

local function crypt(how, key, start, text)
  local bytes = key:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
  local with = cipher.new "aes-256-cbc"
  return with[how](with, bytes, start):final(text)
end

local function new_world()
  return mock.new {
    tables = { tokens = { columns = { id = "int4", secret = "bytea", key_number = "int4" },
      primary_key = { "id" }, rows = {
        { id = 1, key_number = 1, secret = START .. crypt("encrypt", OLD, START, "one") },
        { id = 2, key_number = 2, secret = "of the new key" },
      } } },
    base = { from = "tokens", where = function(row) return row.key_number == 1 end },
  }
end

describe("rotate_secrets", function()
  it("changes the key and not the secret", function()
    local world = new_world()
    local result = world:run(SCRIPT, { args = { from = OLD, to = NEW } })
    assert.equal("done", result.state, tostring(result.error))
    local secret = world:rows("tokens")[1].secret
    assert.equal("one", crypt("decrypt", NEW, secret:sub(1, 16), secret:sub(17)))
    mock.assert_rows(world, "tokens",
      { { id = 1, key_number = 2 }, { id = 2, secret = "of the new key" } })
  end)

  it("stops at a secret of another key", function()
    local world = new_world()
    local result = world:run(SCRIPT, { args = { from = NEW, to = OLD } })
    assert.equal("failed", result.state)
    mock.assert_rows(world, "tokens", { { id = 1, key_number = 1 }, { id = 2, key_number = 2 } })
  end)
end)
