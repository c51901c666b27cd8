local mock = require "luamig.mock"

local SCRIPT = "scripts/hash_emails.lua"

local OF_ANN = "1910ee9900e5730f4b5c7244728fe9f790a4f1e65b8d702c6733aaf227e7419b"

describe("hash_emails", function()
  it("hashes what is not hashed", function()
    mock.only_pg()
    local world = mock.new {
      tables = { readers = { columns = { id = "int4", email = "text", email_hash = "text" },
        primary_key = { "id" }, rows = {
          { id = 1, email = "ANN@x" }, { id = 2, email = "bob@x", email_hash = "known" } } } },
      base = { from = "readers", where = function(row) return row.email_hash == nil end },
    }
    assert.equal("done", world:run(SCRIPT).state)
    mock.assert_rows(world, "readers",
      { { id = 1, email_hash = OF_ANN }, { id = 2, email_hash = "known" } })
  end)
end)
