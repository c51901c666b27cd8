--- Migrations with a mistake that people make, and what tells them.
--
-- Each is caught by a property or by strictness, and the message says what is wrong, and where.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"
local mock = require "luamig.mock"

local function world()
  return mock.new {
    tables = {
      users = {
        columns = { id = "int8", email = "text", nick = "text", seen = "int4", spent = "numeric" },
        primary_key = { "id" }, not_null = { "seen" }, unique = { { "email" } },
        rows = {
          { id = 1, email = "A@x", seen = 0, spent = luamig.decimal "9.50" },
          { id = 2, email = "b@x", nick = "bee", seen = 0, spent = luamig.decimal "10.00" },
          { id = 3, email = "C@x", seen = 0, spent = luamig.decimal "100.00" },
          { id = 4, nick = "dee", seen = 0 },
        },
      },
      totals = {
        columns = { name = "text", count = "int8" }, primary_key = { "name" },
        rows = { { name = "users", count = 0 } },
      },
    },
    base = { from = "users" },
  }
end

local function script(body, head)
  return contract.script(body, {
    head = head, query = "SELECT * FROM users", config = "batch_size = 2",
  })
end

--- Asserts that a property, or the run itself, fails and says all of these things.
local function caught(by, path, ...)
  local message
  if by == "run" then
    local result = world():run(path)
    message = tostring(contract.ended("failed", result).error)
  else
    local err = contract.raised(mock[by], path, world)
    message = type(err) == "table" and tostring(err) or err
  end
  for _, part in ipairs { ... } do
    if not message:find(part, 1, true) then
      error(("expected %q in: %s"):format(part, message), 2)
    end
  end
end

describe("a migration that", function()
  teardown(contract.clean)

  it("takes only the first row of its batch depends on the batch size", function()
    caught("assert_batch_size_independent", script [[
      local user = rows[1]
      repo:update("users", { id = user.id }, { nick = "user " .. user.id })]],
      "depends on the batch size: in batches of 1 it leaves other rows than in one batch of 4",
      'users: the row (id)=(2): nick is "user 2", expected "bee"',
      "migrate must do the same for a row, whatever other rows are in its batch")
  end)

  it("adds is not idempotent", function()
    caught("assert_idempotent", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { id = user.id }, { seen = user.seen + 1 })
      end]],
      "is not idempotent: run once more, its batch 1 of 1 row, keys (id) from (1) to (1) changes",
      "users: the row (id)=(1): seen is 2, expected 1",
      "Let the base query leave out migrated rows")
  end)

  it("counts in a Lua variable is not resumable", function()
    caught("assert_resumable", script([[
      count = count + #rows
      repo:update("totals", { name = "users" }, { count = count })]], "local count = 0"),
      "is not resumable: killed after batch 1, keys (id) from (1) to (2), and resumed",
      "totals: the row (name)=(users): count is 2, expected 4",
      "Lua variables are lost when luamig dies. Keep what later batches need in a table")
  end)

  it("counts in a Lua variable cannot have several workers", function()
    caught("assert_workers_independent", script([[
      count = count + #rows
      repo:update("totals", { name = "users" }, { count = count })]], "local count = 0"),
      "depends on Lua variables", "totals: the row (name)=(users): count is ",
      "Keep a total in a table of the database",
      "If the script needs one worker, set config.workers to 1 and remove this assertion.")
  end)

  it("remembers in a Lua variable what was rolled back is not resumable", function()
    caught("assert_resumable", script([[
      for _, user in ipairs(rows) do
        if not done[user.id] then repo:update("users", { id = user.id }, { seen = 1 }) end
        done[user.id] = true
      end]], "local done = {}"),
      "cannot be retried: after a conflict at its end and a retry, batch 1, "
        .. "keys (id) from (1) to (2) leaves other rows than without the conflict",
      "users: the row (id)=(1): seen is 0, expected 1",
      "A rollback undoes changes in the database, not in Lua variables")
  end)

  it("remembers rows of the batch before depends on the batch size", function()
    caught("assert_batch_size_independent", script([[
      for _, user in ipairs(rows) do
        if run.batch == 1 then repo:update("users", { id = user.id }, { seen = 1 }) end
      end]]), "depends on the batch size", "users: the row (id)=(2): seen is 0, expected 1")
  end)

  it("misspells a column that it reads", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        if user.nik == nil then repo:update("users", { id = user.id }, { nick = "x" }) end
      end]],
      'column "nik" was not returned by the query (did you mean "nick"?)', ".lua:9")
  end)

  it("compares a decimal with a text", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        if user.spent > "10" then repo:update("users", { id = user.id }, { nick = "big" }) end
      end]], "a decimal can be combined with decimals and integers, not with", '"10"')
  end)

  it("swallows an error of the server", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        pcall(repo.update, repo, "users", { id = user.id }, { email = "same@x" })
      end]],
      'duplicate key value violates unique constraint "users_email_key"',
      "Key (email)=(same@x) already exists.")
  end)

  it("updates with a key whose value is nil", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { email = user.mail or nil }, { nick = "x" })
      end]], 'column "mail" was not returned by the query')
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { nick = rawget(user, "nick") }, { seen = 1 })
      end]], "repo:update: the key is empty")
  end)

  it("forgets that a column may be NULL", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { id = user.id }, { email = user.email:lower() })
      end]], "attempt to index a nil value (field 'email')", ".lua:9")
  end)

  it("asks the rows for a column of one", function()
    caught("run", script [[ repo:update("users", { id = rows.id }, { nick = "x" }) ]],
      'the list of rows has no field "id"; loop over the list: for _, row in ipairs(rows) do',
      ".lua:8")
  end)

  it("has repo and rows the wrong way round", function()
    caught("run", script([[
      swapped(repo, rows) ]], [[local function swapped(rows, repo)
        for _, user in ipairs(rows) do repo:update("users", { id = user.id }, { nick = "x" }) end
      end]]),
      "repo is not a list; functions get (rows, repo, run), (range, repo, run) or (repo, run), in "
        .. "this order", ".lua:3")
  end)

  it("misspells a method", function()
    caught("run", script [[ repo:updateall("users", { nick = "x" }, { id = 1 }) ]],
      'repo has no field "updateall" (did you mean "update_all"?)', ".lua:8")
  end)

  it("forgets the repo, or where the arguments are", function()
    caught("run", script [[ update("users", { id = 1 }, { nick = "x" }) ]],
      'global "update" is not defined (did you mean repo:update?)', ".lua:8")
    caught("run", script [[ run.log(args.prefix) ]],
      'global "args" is not defined (did you mean run.args?)')
    caught("run", script [[ repo:update("users", { id = 1 }, { nick = NULL }) ]],
      'global "NULL" is not defined (did you mean luamig.NULL?)')
  end)

  it("writes an empty table into a document", function()
    local path = contract.script([[
      for _, row in ipairs(rows) do repo:update("t", { id = row.id }, { doc = { tags = {} } }) end
    ]])
    local result = contract.world({ doc = "jsonb" }):run(path)
    contract.failed(result, nil, "at tags: an empty table may be an array or an object")
    assert.equal("Write luamig.array{} or luamig.object{}.", result.error.hint)
  end)

  it("takes nil for NULL leaves the column as it was", function()
    -- { nick = nil } is an empty table.
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { id = user.id }, { nick = nil })
      end]], "repo:update: the table of changes is empty")
  end)

  it("writes to the key of its pages", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { id = user.id }, { id = user.id + 1000 })
      end]],
      'column "id" of "users" belongs to the key of the run and must not be changed',
      "Page by another unique key with config.key, or change the key in a one-shot script.")
  end)

  it("writes a float where an integer belongs", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:update("users", { id = user.id }, { seen = user.id / 2 })
      end]],
      'row id = 1, column "seen" of "users": a float cannot be written to type integer',
      "Use math.tointeger, // or math.floor to make an integer of it.")
  end)

  it("updates rows that another one has deleted", function()
    caught("run", script [[
      for _, user in ipairs(rows) do
        repo:delete("users", { id = user.id })
        repo:update("users", { id = user.id }, { nick = "gone" })
      end]],
      'update of "users" matched no row with id = 1',
      'Pass { missing = "ignore" } as the last argument if the row may be gone.')
  end)
end)

describe("a migration without a mistake", function()
  teardown(contract.clean)

  local function notes()
    return mock.new {
      tables = {
        t = { columns = { id = "int8", done = "bool" }, primary_key = { "id" },
          rows = { { id = 1 }, { id = 2 }, { id = 3 } } },
        notes = {
          columns = { id = "bigserial", t_id = "int8", at = "timestamptz" },
          primary_key = { "id" },
          defaults = { at = { sql = "clock_timestamp()",
            value = function() return os.date "!%Y-%m-%d %H:%M:%S+00" end } },
        },
      },
      base = { from = "t", where = function(row) return row.done == nil end },
    }
  end
  local QUERY = "SELECT * FROM t WHERE done IS NULL"

  it("may write rows whose number and time the database gives", function()
    local path = contract.script([[
      for _, row in ipairs(rows) do
        repo:insert("notes", { t_id = row.id })
        repo:update("t", { id = row.id }, { done = true })
      end]], { query = QUERY, config = "batch_size = 2" })
    for _, property in ipairs { "idempotent", "resumable", "batch_size_independent", "complete" } do
      mock["assert_" .. property](path, notes)
    end
  end)

  it("may go through rows with pairs, and insert them as they are", function()
    local path = contract.script([[
      local copies = {}
      for i, row in pairs(rows) do copies[i] = row.id * 10 end
      run.log(table.concat(copies, ","))
      repo:insert_all("notes", repo:query "SELECT 7::bigint AS t_id")
      repo:insert_all("other", rows)]])
    local one = contract.world({}, { { id = 1 }, { id = 2 } }, { tables = {
      notes = { columns = { t_id = "int8" }, primary_key = { "t_id" } },
      other = { columns = { id = "int8" }, primary_key = { "id" } },
    } })
    one:stub("SELECT 7::bigint AS t_id", { rows = { { t_id = 7 } } })
    contract.ended("done", one:run(path))
    assert.equal("10,20", contract.said(one))
    assert.same({ 7 }, contract.column(one, "notes", "t_id"))
    assert.same({ 1, 2 }, contract.column(one, "other", "id"))
  end)

  it("looks for nothing that it leaves as it is", function()
    local path = contract.script([[
      for _, row in ipairs(rows) do
        if row.id ~= 2 then repo:update("t", { id = row.id }, { done = true }) end
      end]], { query = QUERY })
    local err = contract.raised(mock.assert_complete, path, notes)
    assert.matches("the base query still returns 1 row:\n  (id)=(2)\n", tostring(err), 1, true)
  end)
end)

describe("mock.assert_rows", function()
  teardown(contract.clean)

  local function items()
    return mock.new { tables = { items = {
      columns = { id = "int8", name = "text", price = "numeric", tags = "jsonb" },
      primary_key = { "id" },
      rows = { { id = 1, name = "a", price = 5, tags = { "x" } }, { id = 2, name = "b" },
        { id = 3, name = "c" } },
    } } }
  end

  it("tells a float from the decimal that a numeric is", function()
    local books = mock.new {
      tables = { bills = { columns = { id = "int4", total = "numeric" }, primary_key = { "id" },
        rows = { { id = 1, total = luamig.decimal "1.5" } } } },
      base = { from = "bills" },
    }
    assert.matches("total is the decimal 1.5, expected the float 1.5",
      contract.raised(mock.assert_rows, books, "bills", { { id = 1, total = 1.5 } }), 1, true)
  end)

  it("holds for rows that have what it names", function()
    mock.assert_rows(items(), "items", {
      { id = 3 }, { id = 1, name = "a", price = 5, tags = { "x" } },
      { id = 2, price = luamig.NULL },
    })
    mock.assert_rows(items(), "items", { { name = "c" }, { name = "a" }, { name = "b" } })
  end)

  it("shows the columns that differ, rows that are missing, and those that are more", function()
    local message = contract.raised(mock.assert_rows, items(), "items", {
      { id = 1, name = "A", price = 5, tags = { "y" } }, { id = 2, name = "b" },
      { id = 4, name = "d" },
    })
    for _, line in ipairs {
      "the rows of items differ from the expected rows:",
      '  the row (id)=(1): name is "a", expected "A"; tags is { "x" }, expected { "y" }',
      '  a row is missing: id = 4, name = "d"',
      '  there is an extra row: id = 3, name = "c"',
    } do
      assert.is_truthy(message:find(line, 1, true), message)
    end
    assert.is_nil(message:find("(2)", 1, true))
  end)

  it("refuses tables and columns that are not there", function()
    assert.matches('there is no table "item" (did you mean "items"?)',
      contract.raised(mock.assert_rows, items(), "item", {}), 1, true)
    assert.matches('table "items" has no column "nam" (did you mean "name"?)',
      contract.raised(mock.assert_rows, items(), "items", { { nam = 1 } }), 1, true)
  end)
end)
