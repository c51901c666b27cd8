local mock = require "luamig.mock"

local SCRIPT = "scripts/hash_emails.lua"

local HASHES = {
  ["ANN@x"] = "1910ee9900e5730f4b5c7244728fe9f790a4f1e65b8d702c6733aaf227e7419b",
}

describe("hash_emails", function()
  it("hashes what is not hashed", function()
    local world = mock.new {
      tables = { readers = { columns = { id = "int4", email = "text", email_hash = "text" },
        primary_key = { "id" }, rows = {
          { id = 1, email = "ANN@x" }, { id = 2, email = "bob@x", email_hash = "known" } } } },
      base = { from = "readers", where = function(row) return row.email_hash == nil end },
    }
    world:stub([[
      UPDATE readers SET email_hash = encode(sha256(convert_to(lower(email), 'UTF8')), 'hex')
       WHERE email_hash IS NULL AND (("id") OPERATOR(pg_catalog.<=) ($1::pg_catalog.int4))]],
      function(params, tables)
        local affected = 0
        for _, reader in ipairs(tables.readers) do
          if reader.email_hash == nil and reader.id <= params[1] then
            reader.email_hash, affected = HASHES[reader.email], affected + 1
          end
        end
        return affected
      end)
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "readers",
      { { id = 1, email_hash = HASHES["ANN@x"] }, { id = 2, email_hash = "known" } })
  end)
end)
