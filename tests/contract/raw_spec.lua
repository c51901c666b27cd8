--- Raw SQL: what the calls return, and how statements find their stubs. On PostgreSQL the
-- statements run, and each stub says what the server answers.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local said = contract.said

local function ran(world, body, state)
  return contract.ended(state or "done", contract.run(world, body))
end

--- The mistake of the spec for which a run raises.
local function complaint(world, body)
  return contract.raised(function()
    contract.run(world, body)
  end)
end

describe("a query", function()
  teardown(contract.clean)

  it("returns rows, in which a NULL reads nil, and knows its columns", function()
    local world = contract.numbers(3)
    world:stub("SELECT n, id, nullif(n, 30) AS m FROM t WHERE id > $1 ORDER BY id", {
      params = { 1 }, columns = { "n", "id", "m" },
      rows = { { id = 2, n = 20, m = 20 }, { id = 3, n = 30, m = luamig.NULL } },
    })
    ran(world, [[
      local found = repo:query("SELECT n, id, nullif(n, 30) AS m FROM t WHERE id > $1 ORDER BY id",
        1)
      run.log(#found .. ": " .. table.concat(found.columns, ","))
      for _, row in ipairs(found) do run.log(row.id .. " " .. row.n .. " " .. tostring(row.m)) end
      found[1].n = 99]])
    assert.equal("2: n,id,m 2 20 20 3 30 nil", said(world))
    assert.same({ 10, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("that finds nothing returns no rows, and knows its columns all the same", function()
    local world = contract.numbers(1)
    world:stub("SELECT n FROM t WHERE id = 9", { rows = {}, columns = { "n" } })
    ran(world, [[
      local found = repo:query "SELECT n FROM t WHERE id = 9"
      run.log(#found .. table.concat(found.columns, ","))]])
    assert.equal("0n", said(world))
  end)

  it("refuses a column that it did not return", function()
    local world = contract.numbers(1)
    world:stub("SELECT id FROM t", { rows = { { id = 1 } } })
    contract.failed(contract.run(world, 'return repo:query("SELECT id FROM t")[1].n'), nil,
      'column "n" was not returned by the query')
  end)

  it("takes luamig.NULL and nil for NULL, and counts the parameters that end with it", function()
    local world = contract.numbers(1)
    world:stub("SELECT $1::text AS a, $2::text AS b, $3::text AS c", {
      params = { luamig.NULL, "x" }, rows = { { b = "x" } }, columns = { "a", "b", "c" },
    })
    ran(world, [[
      local row = repo:one("SELECT $1::text AS a, $2::text AS b, $3::text AS c", luamig.NULL, "x",
        nil)
      run.log(tostring(row.a) .. row.b .. tostring(row.c))]])
    assert.equal("nilxnil", said(world))
  end)

  it("may stand behind luamig.ALL", function()
    local world = contract.numbers(2)
    world:stub("UPDATE t SET s = 'x'", { affected = 2 })
    ran(world, [[run.log(tostring(repo:execute(luamig.ALL, "UPDATE t SET s = 'x'").affected))]])
    assert.equal("2", said(world))
  end)

  it("gives documents and arrays as tables of the script's own", function()
    local world = contract.numbers(1)
    local sql = [[SELECT '{"a": [1]}'::jsonb AS j, ARRAY[1, NULL] AS l FROM generate_series(1, 2)]]
    local row = { j = luamig.object { a = luamig.array { 1 } }, l = { 1, luamig.NULL } }
    world:stub(sql, { rows = { row, row } })
    ran(world, ([[
      local found = repo:query(%q)
      found[1].j.a[1], found[1].l[1] = 5, 5
      run.log(found[2].j.a[1] .. " " .. found[2].l[1] .. " " .. tostring(found[2].l[2]))
      run.log(tostring(repo:query(%q)[1].j.a[1]))]]):format(sql, sql))
    assert.equal("1 1 luamig.NULL 1", said(world))
  end)
end)

describe("one and scalar", function()
  teardown(contract.clean)

  it("return the row, and its first column", function()
    local world = contract.numbers(2)
    world:stub("SELECT n, id FROM t WHERE id = $1", {
      params = { 2 }, rows = { { id = 2, n = 20 } }, columns = { "n", "id" },
    })
    ran(world, [[
      run.log(tostring(repo:one("SELECT n, id FROM t WHERE id = $1", 2).id))
      run.log(tostring(repo:scalar("SELECT n, id FROM t WHERE id = $1", 2)))]])
    assert.equal("2 20", said(world))
  end)

  it("return nil when nothing is found, and when it is NULL", function()
    local world = contract.numbers(1)
    world:stub("SELECT n FROM t WHERE id = 9", { rows = {}, columns = { "n" } })
    world:stub("SELECT NULL::int AS n", { rows = { { n = luamig.NULL } } })
    ran(world, [[
      run.log(tostring(repo:one "SELECT n FROM t WHERE id = 9"))
      run.log(tostring(repo:scalar "SELECT n FROM t WHERE id = 9"))
      run.log(tostring(repo:scalar "SELECT NULL::int AS n"))]])
    assert.equal("nil nil nil", said(world))
  end)

  for _, verb in ipairs { "one", "scalar" } do
    it("refuse several rows: " .. verb, function()
      local world = contract.numbers(2)
      world:stub("SELECT id FROM t ORDER BY id", { rows = { { id = 1 }, { id = 2 } } })
      contract.failed(contract.run(world, ("repo:%s 'SELECT id FROM t ORDER BY id'"):format(verb)),
        nil, ("repo:%s got 2 rows, but at most one is allowed"):format(verb))
    end)
  end
end)

describe("execute", function()
  teardown(contract.clean)

  it("tells how many rows it has affected", function()
    local world = contract.numbers(3)
    world:stub("UPDATE t SET s = $1 WHERE id > $2", { params = { "x", 1 }, affected = 2 })
    ran(world, 'run.log(tostring(repo:execute("UPDATE t SET s = $1 WHERE id > $2", "x", 1)'
      .. ".affected))")
    assert.equal("2", said(world))
  end)

  it("raises the server's error, with its fields, and a savepoint contains it", function()
    local world = contract.numbers(1)
    world:stub("INSERT INTO t (id) VALUES ($1)", { error = {
      sqlstate = "23505", message = 'duplicate key value violates unique constraint "t_pkey"',
      detail = "Key (id)=(1) already exists.", table = "t", constraint = "t_pkey",
    } })
    ran(world, [[
      local ok, err = repo:savepoint(function()
        return repo:execute("INSERT INTO t (id) VALUES ($1)", 1).affected
      end)
      run.log(err.kind .. " " .. err.sqlstate .. " " .. err.message .. " " .. err.detail)
      run.log(err.table .. " " .. err.constraint .. " " .. err.sql)]])
    assert.equal('database 23505 duplicate key value violates unique constraint "t_pkey" '
      .. "Key (id)=(1) already exists. t t_pkey INSERT INTO t (id) VALUES ($1)", said(world))
  end)

  it("that fails ends the batch, though pcall has caught it", function()
    local world = contract.numbers(1)
    world:stub("SELECT 1 / 0 AS n", { error = {
      sqlstate = "22012", message = "division by zero" } })
    contract.failed(contract.run(world, 'pcall(repo.query, repo, "SELECT 1 / 0 AS n")'), "22012",
      "division by zero")
  end)

  it("that loses against another transaction is tried again", function()
    local world = contract.numbers(1)
    world:stub("UPDATE t SET n = n + 1 WHERE id = 1", { affected = 1, times = 2 })
    world:stub("SELECT 2 AS n", { rows = { { n = 2 } }, times = 2 })
    world:fail { on = "execute", sqlstate = "40001", nth = 2 }
    local result = ran(world, [[
      repo:execute("UPDATE t SET n = n + 1 WHERE id = 1")
      repo:query("SELECT 2 AS n")
      if run.attempt == 1 then repo:execute("UPDATE t SET n = n + 1 WHERE id = 1") end]])
    assert.equal(1, result.retries)
  end)

  for _, sql in ipairs { "COMMIT", "begin", "Rollback", "SAVEPOINT x", "release x", "END",
    "abort", "START TRANSACTION", "/* now */ commit;", "PREPARE TRANSACTION 'x'" } do
    it("refuses to begin, end or divide a transaction: " .. sql, function()
      local world = contract.numbers(1)
      contract.failed(contract.run(world, ("pcall(repo.execute, repo, %q)"):format(sql)), nil,
        "a script must not begin or end transactions")
    end)
  end
end)

describe("a stub", function()
  teardown(contract.clean)

  local SAME = {
    { "spacing", "SELECT  1\n AS  n" }, { "the case of words", "select 1 As N" },
    { "comments", "SELECT /* one /* and */ two */ 1 -- three\n AS n" },
    { "a semicolon at the end", "SELECT 1 AS n ;" },
  }
  for _, case in ipairs(SAME) do
    it("is found whatever is different in " .. case[1], function()
      local world = contract.numbers(1)
      world:stub(case[2], { rows = { { n = 1 } } })
      ran(world, 'run.log(tostring(repo:scalar "SELECT 1 AS n"))')
      assert.equal("1", said(world))
    end)
  end

  local OTHERS = {
    { "a string", "SELECT 'A' AS n", "SELECT 'a' AS n" },
    { "a quoted name", 'SELECT 1 AS "N"', 'SELECT 1 AS "n"' },
    { "a quote in a string", "SELECT 'it''s' AS n", "SELECT 'it''S' AS n" },
    { "an escape string", [[SELECT E'a\'b' AS n]], [[SELECT E'a\'B' AS n]] },
    { "a dollar-quoted string", "SELECT $q$a b$q$ AS n", "SELECT $q$a  b$q$ AS n" },
    { "a number", "SELECT 1 AS n", "SELECT 10 AS n" },
    { "an operator", "SELECT 1 < 2 AS n", "SELECT 1 <> 2 AS n" },
    { "where a word ends", "SELECT 1 AS n", "SELECT1 AS n" },
    { "what looks like a comment in a string", "SELECT '-- a' AS n", "SELECT '-- b' AS n" },
  }
  for _, case in ipairs(OTHERS) do
    it("is for another statement when they differ in " .. case[1], function()
      local world = contract.numbers(1)
      world:stub(case[3], { rows = { { n = 0 } } })
      local message = complaint(world, ("pcall(repo.scalar, repo, %q)"):format(case[2]))
      assert.is_truthy(message:find("unexpected statement: " .. case[2], 1, true)
        or message:find("the run used the stub 0 of 1 times: " .. case[3], 1, true), message)
    end)
  end

  it("for some parameters is not for others", function()
    local world = contract.numbers(1)
    for _, given in ipairs { 1, 2 } do
      world:stub("SELECT $1::int AS n", { params = { given }, rows = { { n = given } } })
    end
    ran(world, [[
      run.log(tostring(repo:scalar("SELECT $1::int AS n", 2)))
      run.log(tostring(repo:scalar("SELECT $1::int AS n", 1)))]])
    assert.equal("2 1", said(world))
  end)

  it("that is used as often as it says is not used again: the next one is", function()
    local world = contract.numbers(1)
    world:stub("SELECT count(*) AS n FROM t", { rows = { { n = 1 } }, times = 2 })
    world:stub("SELECT count(*) AS n FROM t", { rows = { { n = 2 } } })
    ran(world, [[
      for id = 2, 4 do
        run.log(tostring(repo:scalar("SELECT count(*) AS n FROM t")))
        if id == 3 then repo:insert("t", { id = id }) end
      end]])
    assert.equal("1 1 2", said(world))
  end)

  it("without use fails the spec that declares it", function()
    local world = contract.numbers(1)
    world:stub("SELECT 1 AS n", { rows = { { n = 1 } } })
    world:stub("SELECT 2 AS n", { rows = { { n = 2 } }, times = 3 })
    assert.equal("the run used the stub 0 of 1 times: SELECT 1 AS n\n"
      .. "the run used the stub 1 of 3 times: SELECT 2 AS n",
      (complaint(world, 'repo:one "SELECT 2 AS n"'):gsub("^[^ ]+: ", "")))
  end)

  it("is not missed by a call that runs nothing, because the run is done", function()
    local world = contract.numbers(1)
    local path = contract.script ""
    contract.ended("done", world:run(path))
    world:stub("SELECT 1 AS n", { rows = { { n = 1 } } })
    contract.ended("done", world:run(path))
  end)

  it("that may be used in order only is not used out of it", function()
    local world = contract.numbers(1)
    world:stub("SELECT 1 AS n", { rows = { { n = 1 } }, order = 1 })
    world:stub("SELECT 2 AS n", { rows = { { n = 2 } }, order = 2 })
    ran(world, [[repo:one "SELECT 1 AS n" repo:one "SELECT 1 AS n" repo:one "SELECT 2 AS n"]])
  end)

  local REFUSED = {
    { '""', "{}", "takes SQL text" }, { '"SELECT 1"', "{ zz = 1 }", 'unknown option "zz"' },
    { '"SELECT 1"', "{ times = 0 }", "times must be an integer of at least 1" },
    { '"SELECT 1"', "{ affected = -1 }", "affected must be an integer of at least 0" },
    { '"SELECT 1"', "{ order = 0 }", "order must be an integer of at least 1" },
    { '"SELECT 1"', "{ rows = 5 }", "rows must be a list of tables" },
    { '"SELECT 1"', "{ rows = { 5 } }", "rows must be a list of tables" },
    { '"SELECT 1"', "{ rows = { { a = print } } }", "rows hold a function" },
    { '"SELECT 1"', "{ params = 5 }", "params must be a list" },
    { '"SELECT 1"', "{ params = { a = 1 } }", "params must be a list" },
    { '"SELECT 1"', '{ error = { message = "x" } }', "error needs sqlstate" },
    { '"SELECT 1"', '{ error = { sqlstate = "23505" } }', "error needs sqlstate" },
  }
  for _, case in ipairs(REFUSED) do
    it(("is refused: %s, %s"):format(case[1], case[2]), function()
      local world = contract.numbers(1)
      local message = contract.raised(load(("local world = ... world:stub(%s, %s)"):format(case[1],
        case[2])), world)
      assert.is_truthy(message:find(case[3], 1, true), message)
    end)
  end
end)

describe("an injected error", function()
  teardown(contract.clean)

  it("that is not reached fails the spec", function()
    local world = contract.numbers(1)
    world:fail { on = "delete", sqlstate = "40001" }
    assert.matches('the run did not reach world:fail on "delete"', complaint(world, ""), 1, true)
  end)

  it("is one that there is, in a place that there is", function()
    for spec, wanted in pairs {
      ['{ on = "nowhere", sqlstate = "40001" }'] = 'not "nowhere"',
      ['{ on = "update", sqlstate = "4000" }'] = "sqlstate must be five digits or capital letters",
      ['{ on = "update", sqlstate = "40001", nth = 0 }'] = "nth must be an integer of at least 1",
      ['{ on = "update", sqlstate = "40001", message = 5 }'] = "message must be a string",
      ['{ on = "update", sqlstate = "40001", zz = 5 }'] = 'unknown option "zz"',
      ["5"] = "takes a table",
    } do
      local message = contract.raised(load(("local world = ... world:fail(%s)"):format(spec)),
        contract.numbers(1))
      assert.is_truthy(message:find(wanted, 1, true), message)
    end
    local world = contract.numbers(1)
    world:fail { on = "update", sqlstate = "XX000" }
    assert.equal("injected error", contract.failed(contract.run(world,
      'repo:update("t", { id = 1 }, { n = 1 })'), "XX000").error.message)
  end)

  it("counts how often its place is reached, over batches and attempts", function()
    local world = contract.numbers(3)
    world:fail { on = "update", nth = 2, sqlstate = "40001" }
    world:fail { on = "update", nth = 4, sqlstate = "40P01" }
    local result = contract.ended("done", contract.run(world,
      'run.log(run.batch .. "/" .. run.attempt) repo:update("t", { id = rows[1].id }, { n = 1 })',
      nil, { batch_size = 1 }))
    assert.equal("1/1 2/1 2/2 3/1 3/2", said(world))
    assert.equal(2, result.retries)
  end)

  for _, call in ipairs {
    { "insert", 'insert("t", { id = 9 })' }, { "delete", 'delete("t", { id = 1 })' },
    { "insert_all", 'insert_all("t", { { id = 9 } })' }, { "savepoint", "savepoint(print)" },
    { "update_all", 'update_all("t", { n = 1 }, luamig.ALL)' },
    { "delete_all", 'delete_all("t", luamig.ALL)' },
    { "update", 'update("t", { id = 1 }, { n = 1 })' },
  } do
    it("strikes in " .. call[1], function()
      local world = contract.numbers(1)
      world:fail { on = call[1], sqlstate = "XX000", message = "out of order" }
      contract.failed(contract.run(world, "repo:" .. call[2]), "XX000", "out of order")
      assert.same({ 10 }, contract.column(world, "t", "n"))
    end)
  end

  it("strikes in each raw call", function()
    for _, verb in ipairs { "query", "one", "scalar", "execute" } do
      local world = contract.numbers(1)
      world:fail { on = verb, sqlstate = "XX000", message = "out of order" }
      contract.failed(contract.run(world, ('repo:%s "SELECT 1 AS n"'):format(verb)), "XX000",
        "out of order")
    end
  end)
end)
