local digest = require "openssl.digest"
local luamig = require "luamig"
local mock = require "luamig.mock"

local SCRIPT = "scripts/hash_avatars.lua"

-- Who runs the specs starts a server that says "avatar PATH", knows no "/gone", and lets nobody see
-- "/secret".
describe("hash_avatars", function()
  it("hashes what the server has", function()
    local world = mock.new {
      tables = { avatars = { columns = { id = "int4", path = "text", sha256 = "bytea" },
        primary_key = { "id" }, rows = { { id = 1, path = "/1" }, { id = 2, path = "/gone" },
          { id = 3, path = "/secret" }, { id = 4, path = "/4" } } } },
      base = { from = "avatars", where = function(row) return row.sha256 == nil end },
    }
    local result = world:run(SCRIPT)
    assert.equal("done_with_failures", result.state, tostring(result.error))
    assert.equal(1, result.failures)
    mock.assert_rows(world, "avatars", {
      { id = 1, sha256 = digest.new("sha256"):final "avatar /1" }, { id = 2, sha256 = luamig.NULL },
      { id = 3, sha256 = luamig.NULL }, { id = 4, sha256 = digest.new("sha256"):final "avatar /4" },
    })
  end)
end)
