--- Structured writes: what they match, count, refuse and leave behind.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local run_failed, said, three = contract.run_failed, contract.said, contract.three

--- A world in which n may be NULL: it is in the row 2.
local function with_null(more)
  return contract.world({ n = "int4", s = "text" },
    { { id = 1, n = 1, s = "a" }, { id = 2, s = "b" }, { id = 3, n = 3, s = "a" } }, more)
end

local UNIQUE = { unique = { { "n" } } }
local PAIR = { unique = { { "n", "s" } } }

describe("NULL", function()
  teardown(contract.clean)

  it("reads nil", function()
    local world = with_null()
    contract.ended("done", contract.run(world, "run.log(tostring(rows[2].n))"))
    assert.equal("nil", said(world))
  end)

  it("is written with luamig.NULL", function()
    local world = three 'repo:update("t", { id = 1 }, { n = luamig.NULL })'
    assert.same({ "NULL", 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("is not written by nil, which a table cannot hold", function()
    local world = three 'repo:update("t", { id = 1 }, { n = nil, s = "x" })'
    assert.same({ 10, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("is what or_null makes of nil", function()
    local world = three 'repo:update("t", { id = 1 }, { n = luamig.or_null(nil) })'
    assert.same({ "NULL", 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("is nothing that or_null makes of false", function()
    local world = contract.world { b = "bool" }
    contract.ended("done", contract.run(world,
      'repo:update("t", { id = 1 }, { b = luamig.or_null(false) })'))
    assert.same({ false }, contract.column(world, "t", "b"))
  end)

  it("is found by a condition that says NULL", function()
    local world = with_null()
    contract.ended("done", contract.run(world,
      'run.log(tostring(repo:update_all("t", { s = "x" }, { n = luamig.NULL }).affected))'))
    assert.equal("1", said(world))
    assert.same({ "a", "x", "a" }, contract.column(world, "t", "s"))
  end)

  it("is not found by a condition with a value", function()
    local world = with_null()
    contract.ended("done", contract.run(world,
      'run.log(tostring(repo:delete_all("t", { n = 1 }).affected))'))
    assert.equal("1", said(world))
    assert.same({ 2, 3 }, contract.column(world, "t", "id"))
  end)

  it("does not equal NULL: a key with it is refused", function()
    run_failed(with_null(), 'repo:update("t", { n = luamig.NULL }, { s = "x" })', nil,
      'repo:update: key column "n" is NULL, and no row is equal to NULL')
  end)

  it("may stand in a unique column any number of times", function()
    local world = three('repo:update_all("t", { n = luamig.NULL }, luamig.ALL)', UNIQUE)
    assert.same({ "NULL", "NULL", "NULL" }, contract.column(world, "t", "n"))
  end)

  it("keeps a pair of columns from being equal", function()
    local world = three('repo:update_all("t", { n = luamig.NULL, s = "same" }, luamig.ALL)', PAIR)
    assert.same({ "same", "same", "same" }, contract.column(world, "t", "s"))
  end)

  it("is refused by a NOT NULL column", function()
    run_failed(contract.numbers(1, { not_null = { "n" } }),
      'repo:update("t", { id = 1 }, { n = luamig.NULL })', "23502",
      'null value in column "n" of relation "t" violates not-null constraint')
  end)

  it("is refused by a primary key", function()
    run_failed(contract.world({ n = "int4" }, nil, { tables = { o = {
      columns = { a = "int8", b = "text" }, primary_key = { "a" } } } }),
      'repo:insert("o", { a = luamig.NULL, b = "x" })', "23502",
      'null value in column "a" of relation "o" violates not-null constraint')
  end)

  it("passes a CHECK that cannot say no", function()
    local world = three('repo:update("t", { id = 1 }, { n = luamig.NULL })', { checks = {
      t_n_check = { sql = "n < 90", holds = function(row) return row.n == nil or row.n < 90 end },
    } })
    assert.same({ "NULL", 20, 30 }, contract.column(world, "t", "n"))
  end)
end)

describe("update", function()
  teardown(contract.clean)

  it("with a value of a wrong kind shows the server none of its values", function()
    local world = contract.world({ d = "date", s = "text" })
    run_failed(world, 'repo:update("t", { id = 1 }, { d = "2023-02-29", s = 5 })', nil,
      'column "s" of "t"')
    run_failed(world, 'repo:update("t", { id = "x" }, { d = "2023-02-29" })', nil,
      'column "id" of "t"')
    run_failed(world, 'repo:insert("t", { id = 7, d = "2023-02-29", s = 5 })', nil,
      'column "s" of "t"')
    run_failed(world, 'repo:update("t", { id = 1 }, { d = "2023-02-29" })', "22008")
  end)

  it("changes the columns it names and no others", function()
    local world = three 'repo:update("t", { id = 2 }, { n = 5 })'
    assert.same({ 10, 5, 30 }, contract.column(world, "t", "n"))
    assert.same({ "s1", "s2", "s3" }, contract.column(world, "t", "s"))
  end)

  it("affects one row", function()
    local world = three 'run.log(tostring(repo:update("t", { id = 2 }, { n = 5 }).affected))'
    assert.equal("1", said(world))
  end)

  it("affects a row that had the value already", function()
    local world = three 'run.log(tostring(repo:update("t", { id = 2 }, { n = 20 }).affected))'
    assert.equal("1", said(world))
  end)

  it("fails when no row matches", function()
    local _, result = three('repo:update("t", { id = 9 }, { n = 5 })', nil, "failed")
    contract.failed(result, "P0002", 'update of "t" matched no row with id = 9')
  end)

  it("fails when several rows match", function()
    local world = contract.world({ n = "int4", s = "text" },
      { { id = 1, n = 7 }, { id = 2, n = 7 } })
    run_failed(world, 'repo:update("t", { n = 7 }, { s = "x" })', "P0003",
      'update of "t" matched 2 rows with n = 7, not one')
    assert.same({ "NULL", "NULL" }, contract.column(world, "t", "s"))
  end)

  it("names all columns of the key that matched nothing", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1, s = "no" }, { n = 5 })', "P0002",
      'update of "t" matched no row with id = 1, s = no')
  end)

  it("lets a missing row pass when told to", function()
    local world = three [[
      local handle = repo:update("t", { id = 9 }, { n = 5 }, { missing = "ignore" })
      run.log(tostring(handle.affected))]]
    assert.equal("0", said(world))
  end)

  it("does not let several rows pass, whatever it is told", function()
    local world = contract.world({ n = "int4", s = "text" },
      { { id = 1, n = 7 }, { id = 2, n = 7 } })
    run_failed(world, 'repo:update("t", { n = 7 }, { s = "x" }, { missing = "ignore" })', "P0003")
  end)

  it("sees what the same batch wrote before", function()
    local world = three [[
      repo:update("t", { id = 1 }, { s = "key" })
      repo:update("t", { s = "key" }, { n = 99 })]]
    assert.same({ 99, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("does not change the row that the script holds", function()
    local world = three [[
      repo:update("t", { id = 1 }, { n = 5 })
      run.log(tostring(rows[1].n))]]
    assert.equal("10", said(world))
  end)

  it("does not follow when the script changes its row", function()
    local world = three 'rows[1].n = 77'
    assert.same({ 10, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("of the key of the pages is refused", function()
    local _, result = three('repo:update("t", { id = 1 }, { id = 7 })', nil, "failed")
    contract.failed(result, nil,
      'column "id" of "t" belongs to the key of the run and must not be changed')
  end)

  it("of the key of another table is not", function()
    local world = contract.world({}, nil, { tables = { o = {
      columns = { id = "int8" }, primary_key = { "id" }, rows = { { id = 1 } } } } })
    contract.ended("done", contract.run(world, 'repo:update("o", { id = 1 }, { id = 7 })'))
    assert.same({ 7 }, contract.column(world, "o", "id"))
  end)

  it("to a unique value that is there fails", function()
    run_failed(contract.numbers(2, UNIQUE), 'repo:update("t", { id = 1 }, { n = 20 })', "23505",
      'duplicate key value violates unique constraint "t_n_key"')
  end)

  it("to the unique value that the row has passes", function()
    three('repo:update("t", { id = 1 }, { n = 10 })', UNIQUE)
  end)

  it("to a unique number that has other digits, and the same value, fails", function()
    run_failed(contract.world({ q = "numeric" },
      { { id = 1, q = luamig.decimal "1.50" }, { id = 2 } }, { unique = { { "q" } } }),
      'repo:update("t", { id = 2 }, { q = "1.5" })', "23505", "t_q_key")
  end)

  it("refuses an empty table of changes", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1 }, {})', nil,
      "repo:update: the table of changes is empty: a Lua table drops a field whose value is nil; "
      .. "for NULL, write luamig.NULL")
  end)

  it("refuses an empty key", function()
    run_failed(contract.numbers(1), 'repo:update("t", {}, { n = 1 })', nil,
      "repo:update: the key is empty: a Lua table drops a field whose value is nil")
  end)

  it("refuses a key that is no table", function()
    run_failed(contract.numbers(1), 'repo:update("t", 1, { n = 1 })', nil,
      "repo:update: the key must be a table, not number")
  end)

  it("refuses an option that it does not know", function()
    run_failed(contract.numbers(1),
      'repo:update("t", { id = 1 }, { n = 1 }, { mising = "ignore" })', nil,
      'repo:update: unknown option "mising"; did you mean "missing"?')
  end)

  it("refuses a key that lacks a column which the line has passed before", function()
    run_failed(contract.numbers(3), [[
      for _, key in ipairs { { id = 1, s = "s1" }, { id = 2, s = nil } } do
        repo:update("t", key, { n = 1 })
      end]], nil, 'column "s" is missing from the key; this line passed it before')
  end)

  it("finds numbers by their value, not by their digits", function()
    local world = contract.world({ q = "numeric" }, { { id = 1, q = luamig.decimal "1.50" } })
    contract.ended("done", contract.run(world, 'repo:update("t", { q = "1.5" }, { q = 2 })'))
    assert.equal("2", tostring(world:rows("t")[1].q))
  end)

  it("finds char(n) without its padding", function()
    local world = contract.world({ c = "char(4)", n = "int4" }, { { id = 1, c = "ab" } })
    contract.ended("done", contract.run(world, 'repo:update("t", { c = "ab" }, { n = 2 })'))
    assert.same({ 2 }, contract.column(world, "t", "n"))
  end)

  it("does not round its key to the column's scale", function()
    local world = contract.world({ q = "numeric(4,1)", n = "int4" }, { { id = 1, q = 1.5 } })
    run_failed(world, 'repo:update("t", { q = "1.52" }, { n = 2 })', "P0002")
  end)

  it("finds bytes and documents by what they hold", function()
    local world = contract.world({ b = "bytea", j = "jsonb", n = "int4" },
      { { id = 1, b = "\0x", j = { a = 1 } } })
    contract.ended("done", contract.run(world,
      [[repo:update("t", { b = "\0x", j = { a = 1.0 } }, { n = 2 })]]))
    assert.same({ 2 }, contract.column(world, "t", "n"))
  end)
end)

describe("a call", function()
  teardown(contract.clean)

  -- Calls with arguments that are none, a part of the message.
  local REFUSED = {
    { 'update("t", luamig.NULL, { n = 1 })', "the key must be a table" },
    { 'update("t", luamig.ALL, { n = 1 })', "the key must be a table" },
    { 'update("t", { 1 }, { n = 1 })', "the key must have column names as keys" },
    { 'update("t", { id = 1 }, luamig.NULL)', "the changes must be a table" },
    { 'update("t", { id = 1 }, { [1] = 1 })', "the changes must have column names as keys" },
    { 'update("t", { id = 1 })', "the changes must be a table" },
    { 'update("t", { id = 1 }, { n = 1 }, 5)', "the options must be a table" },
    { 'update("t", { id = 1 }, { n = luamig.ALL })', "luamig.ALL cannot be written" },
    { 'delete("t", luamig.ALL)', "the key must be a table" },
    { 'delete("t", {})', "repo:delete: the key is empty" },
    { 'delete("t", { id = luamig.NULL })', 'key column "id" is NULL, and no row is equal to NULL' },
    { 'delete("t", { id = 9 }, { missing = true })', 'option "missing" must be "ignore"' },
    { 'delete("t", { id = 9 }, { missing = "ignore", x = 1 })', 'unknown option "x"' },
    { 'insert("t", { 1 })', "a row must have column names as keys" },
    { 'insert("t", luamig.NULL)', "the row must be a table" },
    { 'insert("t", { id = 9 }, "nothing")', "the options must be a table" },
    { 'insert_all("t", { 1 })', "each row must be a table" },
    { 'insert_all("t", { luamig.NULL })', "each row must be a table" },
    { 'insert_all("t", { { 1 } })', "a row must have column names as keys" },
    { 'insert_all("t", luamig.NULL)', "the list of rows must be a table" },
    { 'update_all("t", { n = 1 }, luamig.NULL)', "the condition is table" },
    { 'update_all("t", { n = 1 }, 5)', "the condition is number" },
    { 'update_all("t", { n = 1 }, "")', "the condition is empty" },
    { 'update_all("t", { n = 1 }, " \\n ")', "the condition is empty" },
    { 'update_all("t", { n = 1 }, { 1 })', "the condition must have column names as keys" },
    { 'update_all("t", {}, luamig.ALL)', "the table of changes is empty" },
    { 'update_all("t", luamig.ALL, luamig.ALL)', "the changes must be a table" },
    { 'update_all("t", { n = 1 }, { n = 1, s = 5 })',
      'column "s" of the condition: an integer cannot be written to type text' },
    { 'update_all("t", { n = "x" }, { n = luamig.NULL, s = 5 })',
      'column "s" of the condition: an integer cannot be written to type text' },
    { 'update_all("t", { n = "x" }, luamig.ALL)',
      'column "n" of "t": a string cannot be written to type integer' },
    { 'update("t", { s = "a", n = 7 }, { n = "x" })',
      'row n = 7, s = a, column "n" of "t": a string cannot be written to type integer' },
    { 'update("t", { s = 5 }, { n = 1 })',
      'row s = 5, column "s" of "t": an integer cannot be written to type text' },
    { 'insert("t", { id = "x" })', '"id" of "t": a string cannot be written to type bigint' },
    { 'savepoint(5)', "function" }, { 'savepoint()', "function" },
    { 'update("t", { id = 1 }, { n = 1 }).affectd', 'a handle has no field "affectd"' },
    { 'update("t", { id = luamig.add(1) }, { n = 1 })', "row id = a luamig.add, column" },
    { 'select("t", { s = luamig.column "n" })', 'column "s" of the condition: a luamig.column' },
  }
  for _, case in ipairs(REFUSED) do
    it("refuses " .. case[1], function()
      local world = contract.numbers(1)
      run_failed(world, "return repo:" .. case[1], nil, case[2])
      assert.same({ 10 }, contract.column(world, "t", "n"))
    end)
  end

  it("gives a handle that cannot be changed", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1 }, { n = 1 }).row = {}', nil,
      "a handle cannot be changed")
  end)

  it("of update_all looks at its condition first", function()
    run_failed(contract.numbers(1), 'repo:update_all("t", { zz = 1 }, { zy = 1 })', "42703",
      'column "zy" of relation "t" does not exist')
    run_failed(contract.numbers(1), 'repo:update("t", { zy = 1 }, { zz = 1 })', "42703", '"zz"')
  end)

  it("is one of a line, whatever it does: the line may not lose a column of its key", function()
    run_failed(contract.numbers(2), 'repo:update("t", { id = 1, n = 10 }, { s = "x" }) '
      .. 'repo:delete("t", { id = 2 })', nil,
      'repo:delete: column "n" is missing from the key; this line passed it before')
    local world = contract.numbers(3)
    contract.ended("done", contract.run(world, [[
      local keys = { { id = 1 }, { id = 1, n = 5 }, { id = 2, s = "s2" } }
      repo:update("t", keys[run.batch], { n = 5 })]], nil, { batch_size = 1 }))
    assert.same({ 5, 5, 30 }, contract.column(world, "t", "n"))
    contract.failed(contract.run(contract.numbers(2), [[
      repo:update("t", run.batch == 1 and { id = 1, n = 10 } or { id = 2 }, { s = "x" })]], nil,
      { batch_size = 1 }), nil, 'column "n" is missing from the key; this line passed it before')
  end)
end)

describe("a name", function()
  teardown(contract.clean)

  it("of a column in changes is known, or fails with 42703", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1 }, { m = 1 })', "42703",
      'column "m" of relation "t" does not exist')
  end)

  it("of a column in a key is known, or fails with 42703", function()
    run_failed(contract.numbers(1), 'repo:update("t", { idd = 1 }, { n = 1 })', "42703", '"idd"')
  end)

  it("of a column in an insert is known, or fails with 42703", function()
    run_failed(contract.numbers(1), 'repo:insert("t", { id = 5, m = 1 })', "42703",
      'column "m" of relation "t" does not exist')
  end)

  it("of a column in a condition is known, or fails with 42703", function()
    run_failed(contract.numbers(1), 'repo:delete_all("t", { m = 1 })', "42703", '"m"')
  end)

  it("of a table is a text", function()
    for _, name in ipairs { "{}", "nil", "luamig.NULL", "true" } do
      run_failed(contract.numbers(1), ('repo:update(%s, { id = 1 }, { n = 1 })'):format(name))
    end
  end)

  it("of a table is known, or fails with 42P01", function()
    run_failed(contract.numbers(1), 'repo:update("tt", { id = 1 }, { n = 1 })', "42P01",
      'relation "tt" does not exist')
  end)

  it("is compared with its case", function()
    run_failed(contract.numbers(1), 'repo:update("T", { id = 1 }, { n = 1 })', "42P01",
      'relation "T" does not exist')
  end)

  it("of a column that the query did not return raises when it is read", function()
    local _, result = three('return rows[1].m', nil, "failed")
    contract.failed(result, nil, 'column "m" was not returned by the query')
  end)

  it("that is nearly right comes with a suggestion", function()
    local world = contract.world { email = "text" }
    run_failed(world, "return rows[1].emial", nil, '(did you mean "email"?)')
  end)
end)

describe("delete #versions", function()
  teardown(contract.clean)

  it("removes the row and affects one", function()
    local world = three 'run.log(tostring(repo:delete("t", { id = 2 }).affected))'
    assert.same({ 1, 3 }, contract.column(world, "t", "id"))
    assert.equal("1", said(world))
  end)

  it("fails when no row matches", function()
    local _, result = three('repo:delete("t", { id = 9 })', nil, "failed")
    contract.failed(result, "P0002", 'delete of "t" matched no row with id = 9')
  end)

  it("lets a missing row pass when told to", function()
    local world = three [[
      run.log(tostring(repo:delete("t", { id = 9 }, { missing = "ignore" }).affected))]]
    assert.equal("0", said(world))
  end)

  it("of several rows fails", function()
    local world = contract.world({ n = "int4" }, { { id = 1, n = 7 }, { id = 2, n = 7 } })
    run_failed(world, 'repo:delete("t", { n = 7 })', "P0003", "matched 2 rows with n = 7, not one")
    assert.same({ 1, 2 }, contract.column(world, "t", "id"))
  end)
end)

describe("update_all and delete_all", function()
  teardown(contract.clean)

  it("count what they changed", function()
    local world = with_null()
    contract.ended("done", contract.run(world, [[
      local updated = repo:update_all("t", { n = 5 }, { s = "a" })
      local deleted = repo:delete_all("t", { s = "b" })
      run.log(updated.affected .. " " .. deleted.affected)]]))
    assert.equal("2 1", said(world))
  end)

  it("count nothing when nothing matches", function()
    local world = three 'run.log(tostring(repo:update_all("t", { n = 1 }, { s = "no" }).affected))'
    assert.equal("0", said(world))
  end)

  it("mean every row by luamig.ALL", function()
    local world = three [[
      run.log(tostring(repo:update_all("t", { n = 1 }, luamig.ALL).affected))
      run.log(tostring(repo:delete_all("t", luamig.ALL).affected))]]
    assert.equal("3 3", said(world))
    assert.same({}, contract.column(world, "t", "id"))
  end)

  it("take all columns of a condition together", function()
    local world = three 'repo:delete_all("t", { n = 10, s = "s2" })'
    assert.same({ 1, 2, 3 }, contract.column(world, "t", "id"))
  end)

  for _, verb in ipairs { 'update_all("t", { n = 1 }', 'delete_all("t"' } do
    local name = verb:match "^[%w_]+"
    it("refuse an empty condition: " .. name, function()
      run_failed(contract.numbers(1), ("repo:%s, {})"):format(verb), nil,
        ("repo:%s: the condition is empty: a Lua table drops a field whose value is nil; "
        .. 'for every row, pass luamig.ALL'):format(name))
    end)

    it("refuse no condition: " .. name, function()
      run_failed(contract.numbers(1), ("repo:%s)"):format(verb), nil,
        ("repo:%s: the condition is missing or nil"):format(name))
    end)
  end

  it("refuse a condition that lacks a column which the line has passed before", function()
    run_failed(contract.numbers(3), [[
      for _, where in ipairs { { id = 1, s = "s1" }, { s = "s2" } } do
        repo:delete_all("t", where)
      end]], nil, 'column "id" is missing from the condition; this line passed it before')
  end)

  it("refuse to change the key of the pages", function()
    run_failed(contract.numbers(1), 'repo:update_all("t", { id = 7 }, { id = 1 })', nil,
      'column "id" of "t" belongs to the key of the run and must not be changed')
  end)
end)

describe("a foreign key #versions", function()
  teardown(contract.clean)

  local function family(on_delete)
    return contract.world({}, nil, { tables = {
      parents = { columns = { id = "int8" }, primary_key = { "id" },
        rows = { { id = 1 }, { id = 2 } } },
      kids = { columns = { id = "int8", parent = "int8" }, primary_key = { "id" },
        foreign_keys = { { columns = { "parent" }, references = "parents",
          on_delete = on_delete } },
        rows = { { id = 1, parent = 1 } } },
    } })
  end

  it("wants a row to refer to", function()
    local result = run_failed(family(), 'repo:insert("kids", { id = 2, parent = 9 })', "23503",
      'insert or update on table "kids" violates foreign key constraint "kids_parent_fkey"')
    assert.equal("kids_parent_fkey", result.error.constraint)
  end)

  it("is content with NULL", function()
    local world = family()
    contract.ended("done", contract.run(world,
      'repo:update("kids", { id = 1 }, { parent = luamig.NULL })'))
    assert.same({ "NULL" }, contract.column(world, "kids", "parent"))
  end)

  it("holds a row that is referred to", function()
    run_failed(family(), 'repo:delete("parents", { id = 1 })', "23503",
      'update or delete on table "parents" violates foreign key constraint "kids_parent_fkey" '
      .. 'on table "kids"')
  end)

  it("holds the value that is referred to", function()
    run_failed(family(), 'repo:update("parents", { id = 1 }, { id = 9 })', "23503",
      'update or delete on table "parents" violates')
  end)

  it("lets a row go that nobody refers to", function()
    local world = family()
    contract.ended("done", contract.run(world, 'repo:delete("parents", { id = 2 })'))
    assert.same({ 1 }, contract.column(world, "parents", "id"))
  end)

  it("takes the rows along on ON DELETE CASCADE, and does not count them", function()
    local world = family "cascade"
    contract.ended("done", contract.run(world,
      'run.log(tostring(repo:delete("parents", { id = 1 }).affected))'))
    assert.same({}, contract.column(world, "kids", "id"))
    assert.equal("1", said(world))
  end)

  it("empties the columns on ON DELETE SET NULL", function()
    local world = family "set null"
    contract.ended("done", contract.run(world, 'repo:delete("parents", { id = 1 })'))
    assert.same({ "NULL" }, contract.column(world, "kids", "parent"))
  end)
end)

describe("a generated column #versions", function()
  teardown(contract.clean)

  local generated = { generated = { d = {
    sql = "n * 2", value = function(row) return row.n and row.n * 2 or nil end } } }

  local function doubled()
    return contract.world({ n = "int4", d = "int4" }, { { id = 1, n = 4 } }, generated)
  end

  it("follows what it is generated from", function()
    local world = doubled()
    contract.ended("done", contract.run(world, [[
      run.log(tostring(rows[1].d))
      repo:update("t", { id = 1 }, { n = 5 })
      repo:insert("t", { id = 2 })]]))
    assert.equal("8", said(world))
    assert.same({ 10, "NULL" }, contract.column(world, "t", "d"))
  end)

  it("cannot be inserted", function()
    run_failed(doubled(), 'repo:insert("t", { id = 2, d = 1 })', "428C9",
      'cannot insert a non-DEFAULT value into column "d"')
  end)

  it("cannot be updated", function()
    run_failed(doubled(), 'repo:update("t", { id = 1 }, { d = 1 })', "428C9",
      'column "d" can only be updated to DEFAULT')
  end)
end)
