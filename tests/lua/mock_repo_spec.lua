local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

after_each(support.clean)

local function new_world()
  return mock.new {
    tables = {
      users = {
        columns = { id = "int8", email = "text", age = "int4", nick = "text" },
        primary_key = { "id" }, not_null = { "email" }, unique = { { "email" } },
        rows = { { id = 1, email = "a", age = 30 }, { id = 2, email = "b", age = 30 },
          { id = 3, email = "c", nick = "cc" } },
      },
      notes = { rows = { { id = 1, body = "x" } } },
      empty = {},
      papers = { columns = { id = "int8", j = "jsonb" }, primary_key = { "id" },
        rows = { { id = 1 } } },
    },
  }
end

--- Runs a one-shot script whose body may use repo, run, luamig and NULL.
local function run(world, body, opts)
  local path = support.script(([[
    local luamig = require "luamig"
    local NULL, ALL = luamig.NULL, luamig.ALL
    return { run = function(repo, run)
      assert(repo and run and NULL and ALL)
      %s
    end }
  ]]):format(body))
  return world:run(path, opts)
end

local function must_work(world, body)
  local result = run(world, body)
  assert.equal("done", result.state, tostring(result.error))
end

describe("repo", function()
  -- What every world refuses is in tests/contract; this is the mock's own.
  local refusals = {
    -- body, message, sqlstate, hint
    { "repo.update('users', { id = 1 }, { age = 1 })", "call repo:update(...) with a colon" },
    { "repo:updaet('users')", 'repo has no field "updaet" (did you mean "update"?)' },
    { "repo.x = 1", "repo cannot be changed" },
    { "local t = {} t[1] = { t } repo:update('papers', { id = 1 }, { j = t })",
      'row id = 1, column "j" of "papers": at [1][1]: the table contains itself' },
    { "repo:update(5, { id = 1 }, { age = 1 })", "table name must be a string, not 5" },
    { "repo:update('usrs', { id = 1 }, { age = 1 })", 'relation "usrs" does not exist',
      "42P01", 'Did you mean "users"?' },
    { "repo:update('users', { id = 1 }, { agee = 1 })",
      'column "agee" of relation "users" does not exist', "42703", 'Did you mean "age"?' },
    { "repo:update('notes', { id = 1 }, { boddy = 'x' })",
      'column "boddy" of relation "notes" does not exist', "42703", 'Did you mean "body"?' },
    { "repo:insert('empty', { id = 1 })", 'column "id" of relation "empty" does not exist',
      "42703" },
    { "repo:update('users', { id = 1 }, { age = 1 }, { missing = true })",
      'repo:update: option "missing" must be "ignore"' },
    { "repo:update('users', { id = 1 }, { id = 2 })",
      'duplicate key value violates unique constraint "users_pkey"', "23505" },
    { "repo:delete('users', { age = 30, email = 'c' })",
      'delete of "users" matched no row with age = 30, email = c', "P0002" },
    { "repo:insert('users', { id = 4 })",
      'null value in column "email" of relation "users" violates not-null constraint', "23502",
      "If the column has a default, declare it: defaults = { email = value }." },
    { "repo:insert_all('users', nil)",
      "repo:insert_all: the list of rows must be a table, not nil" },
    { "repo:update_all('users', { age = 1 }, 5)",
      "repo:update_all: the condition is number; pass a table of columns" },
    { "repo:query(5)", "repo:query takes SQL text, not 5" },
    { "repo:query('')", 'repo:query takes SQL text, not ""' },
    { "repo:query('SELECT $1', ALL)", "luamig.ALL cannot be written to type parameter" },
    { "repo:query('SELECT $1', { print })", "a function cannot be written to" },
    { "repo:savepoint('x')", 'repo:savepoint takes a function, not "x"' },
    { "return repo:delete_all('users', ALL).affectd",
      'a handle has no field "affectd", only "affected" and "row"' },
    { "run:log('x')", "run.log takes a message and, optionally, a table" },
  }
  for _, case in ipairs(refusals) do
    it("refuses " .. case[1], function()
      local world = new_world()
      local result = run(world, case[1])
      assert.equal("failed", result.state)
      assert.is_truthy(result.error.message:find(case[2], 1, true), result.error.message)
      assert.equal(case[3], result.error.sqlstate)
      if case[4] then
        assert.equal(case[4], result.error.hint)
      end
      assert.matches("s%.lua:?", tostring(result.error))
      assert.equal(3, #world:rows "users")
      assert.equal(30, world:rows("users")[1].age)
    end)
  end

  it("gives the position of the call in its errors", function()
    local result = run(new_world(), "\nrepo:update('users', { id = 7 }, { age = 1 })")
    assert.matches("/s%.lua:6$", result.error.where)
    assert.matches('/s%.lua:6: update of "users"', tostring(result.error))
    result = run(new_world(), [[

      local _, err = pcall(repo.update, repo, "users", { id = 7 }, { age = "x" })
      error(err) ]])
    assert.matches("/s%.lua:6$", result.error.where)
  end)

  it("updates, with NULL", function()
    local world = new_world()
    must_work(world, [[
      assert(repo:update("users", { id = 1 }, { age = NULL, nick = "n" }).affected == 1)
      assert(repo:update("users", { id = 7 }, { age = 1 }, { missing = "ignore" }).affected == 0)
    ]])
    assert.is_nil(world:rows("users")[1].age)
    assert.equal("n", world:rows("users")[1].nick)
  end)

  it("inserts and deletes", function()
    local world = new_world()
    must_work(world, [[
      repo:insert("users", { id = 5, email = "e", nick = NULL })
      assert(repo:insert_all("users", { { id = 4, email = "d" }, { id = 6, email = "f" } })
        .affected == 2)
      assert(repo:insert_all("users", {}).affected == 0)
      assert(repo:delete("users", { email = "b" }).affected == 1)
      assert(repo:delete("users", { id = 2 }, { missing = "ignore" }).affected == 0)
    ]])
    local ids = {}
    for i, user in ipairs(world:rows "users") do
      ids[i] = user.id
    end
    assert.same({ 1, 3, 4, 5, 6 }, ids)
  end)

  it("changes many rows by an equality table, where NULL means IS NULL", function()
    local world = new_world()
    must_work(world, [[
      assert(repo:update_all("users", { nick = "x" }, { nick = NULL, age = 30 }).affected == 2)
      assert(repo:update_all("users", { age = 5 }, ALL).affected == 3)
      assert(repo:update_all("users", { age = 5 }, { id = 9 }).affected == 0)
      assert(repo:delete_all("users", { nick = "x" }).affected == 2)
      assert(repo:delete_all("users", ALL).affected == 1)
    ]])
    assert.equal(0, #world:rows "users")
  end)

  it("keeps NULLs apart in a unique constraint", function()
    local world = mock.new { tables = { t = { unique = { { "a", "b" } }, rows = { { a = 1 } } } } }
    must_work(world, 'repo:insert("t", { a = 1 }) repo:insert("t", { a = 1, b = 1 })')
    assert.equal(3, #world:rows "t")
  end)

  it("is not changed through the tables it was given", function()
    local world = new_world()
    must_work(world, [[
      local row = { id = 9, email = "z" }
      repo:insert("users", row)
      row.email = "changed"
    ]])
    assert.equal("z", world:rows("users")[4].email)
    assert.equal("z", world.log[1].row.email)
  end)

  it("logs its calls", function()
    local world = new_world()
    world:stub("SELECT 1", { rows = { { n = 1 } } })
    must_work(world, [[
      repo:update("users", { id = 1 }, { age = 5 })
      repo:query("SELECT 1", 5, nil)
    ]])
    local update, query = world.log[1], world.log[2]
    assert.same({ id = 1 }, update.key)
    assert.same({ age = 5 }, update.changes)
    assert.equal("users", update.table)
    assert.equal(5, update.line)
    assert.matches("s.lua$", update.file)
    assert.is_true(update.committed)
    assert.same({ 5, nil, n = 2 }, query.params)
    assert.equal("SELECT 1", query.sql)
    assert.equal("query", query.verb)
  end)

  it("is latched after a database error, whatever the script does", function()
    local world = new_world()
    local result = run(world, [[
      local ok = pcall(repo.update, repo, "users", { id = 7 }, { age = 1 })
      assert(not ok)
      local again, err = pcall(repo.update, repo, "users", { id = 1 }, { age = 1 })
      run.log(err.message, { again = again })
    ]])
    assert.equal("failed", result.state)
    assert.equal('update of "users" matched no row with id = 7', result.error.message)
    assert.equal("transaction has failed", world.log[#world.log].message)
    assert.equal(30, world:rows("users")[1].age)
  end)

  it("raises when it is used after the callback", function()
    local path = support.script [[
      local kept
      return {
        on_start = function(repo) kept = repo end,
        run = function() kept:delete_all("users", require("luamig").ALL) end,
      }
    ]]
    local result = new_world():run(path)
    assert.equal("the repo is used after its function has returned", result.error.message)
    assert.matches("s.lua:4", result.error.where)
  end)
end)

describe("raw SQL", function()
  it("is answered by stubs", function()
    local world = new_world()
    world:stub("SELECT n, m FROM t WHERE a = $1", {
      params = { 5 }, rows = { { n = 1, m = 2 }, { n = 3 } }, columns = { "n", "m" },
    })
    world:stub("SELECT count(*) FROM t", { rows = { { count = 7 } } })
    world:stub("SELECT * FROM nothing", { rows = {}, columns = { "a", "b" } })
    world:stub("UPDATE t SET x = 1", { affected = 4 })
    must_work(world, [[
      local rows = repo:query("select n, m from t  where a = $1;", 5)
      assert(#rows == 2 and rows[1].m == 2 and rows[2].m == nil)
      assert(rows.columns[1] == "n" and rows.columns[2] == "m")
      local ok, err = pcall(function() return rows[1].mm end)
      assert(not ok and err:find 'column "mm" was not returned by the query')
      assert(repo:scalar("SELECT count(*) FROM t") == 7)
      assert(repo:one("SELECT count(*) FROM t").count == 7)
      assert(repo:one("SELECT * FROM nothing") == nil)
      assert(repo:execute("UPDATE t SET x = 1").affected == 4)
      assert(repo:execute(ALL, "UPDATE t SET x = 1").affected == 4)
      assert(repo:query(ALL, "SELECT n, m FROM t WHERE a = $1", 5)[1].m == 2)
      assert(repo:scalar(ALL, "SELECT count(*) FROM t") == 7)
      assert(repo:one(ALL, "SELECT count(*) FROM t").count == 7)
    ]])
  end)

  it("gives copies of a stub's rows", function()
    local world = new_world()
    world:stub("SELECT 1", { rows = { { n = 1 } } })
    must_work(world, [[
      repo:one("SELECT 1").n = 2
      assert(repo:one("SELECT 1").n == 1)
    ]])
  end)

  it("tells stubs apart by their parameters, NULL included", function()
    local world = new_world()
    world:stub("SELECT $1", { params = { 1 }, rows = { { n = "one" } } })
    world:stub("SELECT $1", { params = { require("luamig").NULL }, rows = { { n = "null" } } })
    must_work(world, [[
      assert(repo:scalar("SELECT $1", NULL) == "null" and repo:scalar("SELECT $1", nil) == "null")
      assert(repo:scalar("SELECT $1", 1) == "one")
    ]])
  end)

  it("fails the transaction when the stub says so", function()
    local world = new_world()
    world:stub("SELECT 1", { error = { sqlstate = "P0001", message = "not today", detail = "D." } })
    local result = run(world, 'repo:execute "SELECT 1"')
    assert.equal("not today", result.error.message)
    assert.equal("D.", result.error.detail)
    assert.equal("P0001", result.error.sqlstate)
    assert.equal("SELECT 1", result.error.sql)
  end)

  it("must give one row where one is expected", function()
    local world = new_world()
    world:stub("SELECT 1", { rows = { { n = 1 }, { n = 2 } } })
    assert.matches("repo:one got 2 rows, but at most one is allowed$",
      run(world, 'repo:one "SELECT 1"').error.message)
  end)

  local mistakes = {
    { "an unexpected statement", {}, 'repo:query("SELECT 2", 5)',
      "unexpected statement: SELECT 2 with $1 = 5" },
    { "an unexpected statement that the script hides", {}, 'pcall(repo.query, repo, "SELECT 2")',
      "unexpected statement: SELECT 2" },
    { "other parameters", { "SELECT 1", { params = { 1 }, rows = {} } },
      'repo:query("SELECT 1", 2)', "A stub for this statement has other params." },
    { "a statement that is nearly that of a stub", { "SELECT price FROM t", { rows = {} } },
      'repo:query "SELECT prise FROM t"',
      "The nearest stub is for another statement: SELECT price FROM t" },
    { "a stub used too often", { "SELECT 1", { times = 1, rows = {} } },
      'repo:query("SELECT 1") repo:query("SELECT 1")', "Its stub answers only 1 time." },
    { "an unused stub", { "SELECT 1", {} }, "", "the run used the stub 0 of 1 times: SELECT 1" },
    { "a stub used too seldom", { "SELECT 1", { times = 2, rows = {} } }, 'repo:query("SELECT 1")',
      "the run used the stub 1 of 2 times: SELECT 1" },
    { "a stub without rows", { "SELECT 1", {} }, 'repo:query("SELECT 1")',
      "the stub has no rows: SELECT 1" },
    { "a scalar of two columns", { "SELECT 1", { rows = { { a = 1, b = 2 } } } },
      'repo:scalar("SELECT 1")', "the stub for repo:scalar must have one column: SELECT 1" },
  }
  for _, case in ipairs(mistakes) do
    it("fails the spec for " .. case[1], function()
      local world = new_world()
      if case[2][1] then
        world:stub(table.unpack(case[2]))
      end
      local err = support.raised(run, world, case[3])
      assert.is_truthy(tostring(err):find(case[4], 1, true), tostring(err))
    end)
  end

  it("fails the spec when stubs are used out of order", function()
    local world = new_world()
    world:stub("SELECT 1", { order = 1, rows = {} }):stub("SELECT 2", { order = 2, rows = {} })
    local err = support.raised(run, world, 'repo:query("SELECT 2") repo:query("SELECT 1")')
    assert.matches("Its stub has order 1, but a stub with order 2 was used before.", err, 1, true)
  end)

  it("raises when an affected count is read that the stub does not give", function()
    local world = new_world()
    world:stub("UPDATE t SET x = 1", {})
    local result = run(world, 'return repo:execute("UPDATE t SET x = 1").affected')
    assert.matches("the stub has no affected count: UPDATE t SET x = 1", result.error.message)
  end)
end)

describe("repo:savepoint", function()
  it("returns what the function returns", function()
    local world = new_world()
    must_work(world, [[
      local ok, a, b, c = repo:savepoint(function(x, y)
        repo:update("users", { id = 1 }, { age = 1 })
        return x, y, nil
      end, "x", 2)
      assert(ok and a == "x" and b == 2 and c == nil)
    ]])
    assert.equal(1, world:rows("users")[1].age)
  end)

  it("contains data errors and errors raised in Lua", function()
    local world = new_world()
    must_work(world, [[
      repo:update("users", { id = 2 }, { age = 2 })
      for _, spoil in ipairs {
        function() repo:update("users", { id = 1 }, { email = "b" }) end,
        function() repo:update("users", { id = 7 }, { email = "b" }) end,
        function() error "x" end,
        function() pcall(repo.update, repo, "users", { id = 7 }, { age = 1 }) end,
      } do
        local ok, err = repo:savepoint(function()
          repo:update("users", { id = 1 }, { age = 1 })
          spoil()
        end)
        assert(ok == false and err ~= nil)
      end
      repo:update("users", { id = 3 }, { age = 3 })
    ]])
    local users = world:rows "users"
    assert.same({ 30, 2, 3 }, { users[1].age, users[2].age, users[3].age })
    local committed = {}
    for _, entry in ipairs(world.log) do
      if entry.verb == "update" and entry.committed then
        committed[#committed + 1] = entry.key.id
      end
    end
    assert.same({ 2, 3 }, committed)
  end)

  it("gives the error to the script", function()
    must_work(new_world(), [[
      local ok, err = repo:savepoint(function()
        repo:update("users", { id = 1 }, { email = "b" })
      end)
      assert(not ok and err.sqlstate == "23505" and err.constraint == "users_email_key")
      assert(tostring(err):find "s.lua:%d+: duplicate key")
    ]])
  end)

  it("nests", function()
    local world = new_world()
    must_work(world, [[
      repo:savepoint(function()
        repo:update("users", { id = 1 }, { age = 1 })
        local ok = repo:savepoint(function()
          repo:update("users", { id = 2 }, { age = 2 })
          error "inner"
        end)
        assert(not ok)
      end)
    ]])
    assert.equal(1, world:rows("users")[1].age)
    assert.equal(30, world:rows("users")[2].age)
  end)

  it("does not contain anything else", function()
    local world = new_world()
    world:stub("SELECT 1", { error = { sqlstate = "42501", message = "permission denied" } })
    local result = run(world, [[
      repo:savepoint(function() pcall(repo.execute, repo, "SELECT 1") end)
      error "not reached"
    ]])
    assert.equal("permission denied", result.error.message)
  end)
end)
