--- Properties that would hold whatever the script does: there is nothing to judge, and the message
-- says what to add.

local contract = dofile "tests/contract/contract.lua"
local mock = require "luamig.mock"

local PROPERTIES = {
  "assert_idempotent", "assert_resumable", "assert_batch_size_independent", "assert_complete",
  "assert_workers_independent",
}

--- A function that makes a world with so many users whose email is not lower case.
local function users(count, where)
  return function()
    local rows = {}
    for id = 1, count do
      rows[id] = { id = id, email = "A" .. id }
    end
    return mock.new {
      tables = {
        users = {
          columns = { id = "int8", email = "text", nick = "text" }, primary_key = { "id" },
          not_null = { "email" }, rows = rows,
        },
        log = { columns = { id = "bigserial", note = "text" }, primary_key = { "id" } },
      },
      base = { from = "users", where = where },
    }
  end
end

local function is_upper(row)
  return row.email:match "%u" ~= nil
end
local ALL = { query = "SELECT * FROM users" }
local UPPER = { query = "SELECT * FROM users WHERE email ~ '[A-Z]'" }

local LOWER = [[
  for _, user in ipairs(rows) do
    repo:update("users", { id = user.id }, { email = user.email:lower() })
  end]]

--- Asserts that a property raises, at the line of the spec, all of these texts.
local function refused(property, path, make_world, ...)
  local ok, err = pcall(mock[property], path, make_world)
  assert.is_false(ok, property .. " holds")
  err = tostring(err)
  for _, part in ipairs { "mock." .. property .. " cannot test " .. path, ... } do
    assert.truthy(err:find(part, 1, true), ("expected %q in: %s"):format(part, err))
  end
end

describe("a property has nothing to judge", function()
  teardown(contract.clean)

  for _, property in ipairs(PROPERTIES) do
    it("where the base query returns no row: " .. property, function()
      local path = contract.script(LOWER, UPPER)
      refused(property, path, users(0, is_upper), "the base query returns no row",
        "Add rows that it returns to the world")
      mock[property](path, users(2, is_upper)) -- the hint, followed
    end)
  end

  for _, property in ipairs { PROPERTIES[1], PROPERTIES[2], PROPERTIES[3], PROPERTIES[5] } do
    it("where migrate writes nothing: " .. property, function()
      local path = contract.script([[ for _ in ipairs(rows) do end ]], ALL)
      refused(property, path, users(3), "the run changes no table",
        "Add rows that the script changes to the world")
    end)
  end

  it("where migrate writes what is there already", function()
    local path = contract.script([[
      for _, user in ipairs(rows) do
        repo:update("users", { id = user.id }, { email = user.email })
      end]], ALL)
    refused("assert_idempotent", path, users(3), "the run changes no table")
  end)

  it("where a write is taken back", function()
    local path = contract.script([[
      repo:savepoint(function()
        repo:update("users", { id = rows[1].id }, { email = "x" })
        error "no"
      end)]], ALL)
    refused("assert_idempotent", path, users(3), "the run changes no table")
  end)

  for _, property in ipairs { PROPERTIES[1], PROPERTIES[3] } do
    it("where all rows are set aside: " .. property, function()
      local path = contract.script([[
        for _, user in ipairs(rows) do
          repo:update("users", { id = user.id }, { email = luamig.NULL })
        end]], { config = 'on_error = "quarantine"', query = ALL.query })
      refused(property, path, users(3), "all rows are failed rows")
    end)
  end

  it("where all batches are the same size", function()
    local path = contract.script(LOWER, UPPER)
    refused("assert_batch_size_independent", path, users(1, is_upper),
      "the base query returns one row", "at least two rows can show a difference")
    mock.assert_batch_size_independent(path, users(2, is_upper)) -- the hint, followed
  end)

  it("where one worker gets all rows", function()
    local path = contract.script(LOWER, UPPER)
    refused("assert_workers_independent", path, users(1, is_upper),
      "the base query returns one row", "at least two rows can show a difference")
    mock.assert_workers_independent(path, users(2, is_upper)) -- the hint, followed
  end)

  it("where a one-shot has neither batches nor a base query", function()
    local path = contract.one_shot [[ repo:insert("log", { note = "x" }) ]]
    refused("assert_batch_size_independent", path, users(2), "a one-shot has no batches")
    refused("assert_workers_independent", path, users(2), "a one-shot has no batches")
    refused("assert_complete", path, users(2), "a one-shot has no base query",
      "mock.assert_rows")
    mock.assert_resumable(path, users(2))
  end)

  it("where a one-shot writes nothing", function()
    local path = contract.one_shot ""
    refused("assert_resumable", path, users(2), "the run changes no table")
    refused("assert_idempotent", path, users(2), "the run changes no table")
  end)

  it("but what does not hold is told all the same", function()
    local path = contract.script([[ for _ in ipairs(rows) do end ]], UPPER)
    local ok, err = pcall(mock.assert_complete, path, users(2, is_upper))
    assert.is_false(ok)
    assert.truthy(tostring(err):find("is not complete", 1, true), tostring(err))
  end)
end)

describe("assert_resumable", function()
  teardown(contract.clean)

  it("takes batches so small that a kill between them is seen", function()
    local path = contract.script([[
      count = count + #rows
      repo:update("users", { id = rows[#rows].id }, { nick = "after " .. count })]],
      { head = "local count = 0", query = ALL.query })
    local ok, err = pcall(mock.assert_resumable, path, users(3))
    assert.is_false(ok)
    assert.truthy(tostring(err):find("is not resumable: killed after batch 1", 1, true),
      tostring(err))
  end)
end)

describe("assert_rows", function()
  it("refuses rows that name no column, which hold for any row", function()
    local ok, err = pcall(mock.assert_rows, users(2)(), "users", { { id = 1 }, {} })
    assert.is_false(ok)
    assert.truthy(err:find("cannot test row 2: it names no column", 1, true), err)
  end)

  it("refuses one row where a list is meant, which would read as no rows", function()
    local ok, err = pcall(mock.assert_rows, users(0)(), "users", { id = 1, email = "a" })
    assert.is_false(ok)
    assert.truthy(err:find("must be a list of tables, { { id = 1 }, ... }", 1, true), err)
  end)

  it("refuses a list with a hole, behind which nothing would be compared", function()
    local ok, err = pcall(mock.assert_rows, users(1)(), "users", { { id = 1 }, [3] = { id = 9 } })
    assert.is_false(ok)
    assert.truthy(err:find("must be a list", 1, true), err)
  end)

  it("takes no rows for a table that is to be empty", function()
    mock.assert_rows(users(0)(), "users", {})
    assert.is_false(pcall(mock.assert_rows, users(1)(), "users", {}))
  end)
end)
