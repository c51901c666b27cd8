--- Inserts: of one row, of a list, of rows that may be missing or that are there already.

local contract = dofile "tests/contract/contract.lua"

local run_failed, said, three = contract.run_failed, contract.said, contract.three

local UNIQUE = { unique = { { "n" } } }
local PAIR = { unique = { { "n", "s" } } }

describe("insert", function()
  teardown(contract.clean)

  it("adds a row, with NULL where a column is left out", function()
    local world = three 'run.log(tostring(repo:insert("t", { id = 5, n = 1 }).affected))'
    assert.equal("1", said(world))
    assert.same({ "s1", "s2", "s3", "NULL" }, contract.column(world, "t", "s"))
  end)

  it("of a primary key that is there fails", function()
    run_failed(contract.numbers(2), 'repo:insert("t", { id = 2 })', "23505",
      'duplicate key value violates unique constraint "t_pkey"')
  end)

  it("of a unique value that is there fails, and names the constraint", function()
    local result = run_failed(contract.numbers(2, UNIQUE), 'repo:insert("t", { id = 5, n = 20 })',
      "23505", 'duplicate key value violates unique constraint "t_n_key"')
    assert.equal("t_n_key", result.error.constraint)
    assert.equal("Key (n)=(20) already exists.", result.error.detail)
  end)

  it("of a unique pair fails only when both columns are there", function()
    local world = contract.numbers(2, PAIR)
    contract.ended("done", contract.run(world, 'repo:insert("t", { id = 5, n = 20, s = "s1" })'))
    run_failed(contract.numbers(2, PAIR), 'repo:insert("t", { id = 5, n = 20, s = "s2" })',
      "23505", "t_n_s_key")
  end)

  it("without a NOT NULL column fails", function()
    run_failed(contract.numbers(1, { not_null = { "n" } }), 'repo:insert("t", { id = 5 })',
      "23502", 'null value in column "n" of relation "t" violates not-null constraint')
  end)

  it("gives a column that is left out its default", function()
    local world = three('repo:insert("t", { id = 5 })', { defaults = { n = 7 } })
    assert.same({ 10, 20, 30, 7 }, contract.column(world, "t", "n"))
  end)

  it("prefers NULL to a default when NULL is said", function()
    local world = three('repo:insert("t", { id = 5, n = luamig.NULL })', { defaults = { n = 7 } })
    assert.same({ 10, 20, 30, "NULL" }, contract.column(world, "t", "n"))
  end)

  it("counts a serial on", function()
    local world = contract.world({}, nil, { tables = { o = {
      columns = { id = "bigserial", s = "text" }, primary_key = { "id" },
      rows = { { id = 4, s = "a" } } } } })
    contract.ended("done", contract.run(world, [[
      repo:insert("o", { s = "b" })
      repo:insert("o", { s = "c" })]]))
    assert.same({ 4, 5, 6 }, contract.column(world, "o", "id"))
  end)

  it("that violates a CHECK fails, and names it", function()
    local checks = { checks = { t_n_check = {
      sql = "n < 90", holds = function(row) return row.n == nil or row.n < 90 end } } }
    run_failed(contract.numbers(1, checks), 'repo:insert("t", { id = 5, n = 90 })', "23514",
      'new row for relation "t" violates check constraint "t_n_check"')
  end)

  it("of a list counts its rows", function()
    local world = three [[
      run.log(tostring(repo:insert_all("t", { { id = 5 }, { id = 6, n = 1 } }).affected))
      run.log(tostring(repo:insert_all("t", {}).affected))]]
    assert.equal("2 0", said(world))
    assert.same({ 1, 2, 3, 5, 6 }, contract.column(world, "t", "id"))
  end)

  it("of a list refuses a row that is no list", function()
    run_failed(contract.numbers(1), 'repo:insert_all("t", { id = 5 })', nil,
      "repo:insert_all: the list of rows must have the keys 1, 2, 3, ...")
  end)

  it("of a list with a bad row inserts none of it", function()
    local world = contract.numbers(1)
    run_failed(world, 'repo:insert_all("t", { { id = 5 }, { id = 1 } })', "23505")
    assert.same({ 1 }, contract.column(world, "t", "id"))
  end)

  it("of a list names the row whose value does not fit", function()
    run_failed(contract.numbers(1), 'repo:insert_all("t", { { id = 5 }, { id = "x" } })', nil,
      'row 2, column "id" of "t": a string cannot be written to type bigint')
  end)
end)

describe("inserts whose row may be missing", function()
  it("insert what nobody takes over", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      local one = repo:insert("t", { id = 11 }, { missing = "ignore" })
      local two = repo:insert_all("t", { { id = 12 }, { id = 13 } }, { missing = "ignore" })
      local both = repo:insert("t", { id = 11 },
        { missing = "ignore", on_conflict = "nothing" })
      run.log(("%d %d %d"):format(one.affected, two.affected, both.affected))]]))
    assert.equal("1 2 0", said(world))
    assert.same({ 1, 11, 12, 13 }, contract.column(world, "t", "id"))
  end)

  it("refuse other words and options", function()
    run_failed(contract.numbers(1), 'repo:insert("t", { id = 2 }, { missing = true })', nil,
      'repo:insert: option "missing" must be "ignore"')
    run_failed(contract.numbers(1), 'repo:insert_all("t", { { id = 2 } }, { mising = "ignore" })',
      nil, 'repo:insert_all: unknown option "mising"; the options are "on_conflict" and "missing"')
  end)
end)

describe("on_conflict", function()
  teardown(contract.clean)

  local function conflict(opts, row, more)
    local world = contract.numbers(2, more)
    local result = contract.run(world, ([[
      local handle = repo:insert("t", %s, { on_conflict = %s })
      run.log(tostring(handle.affected))]]):format(row, opts))
    return world, result
  end

  it('"nothing" leaves the row that is there', function()
    local world, result = conflict('"nothing"', "{ id = 2, n = 5 }")
    contract.ended("done", result)
    assert.equal("0", said(world))
    assert.same({ 10, 20 }, contract.column(world, "t", "n"))
  end)

  it('"nothing" inserts what is not there', function()
    local world, result = conflict('"nothing"', "{ id = 3, n = 5 }")
    contract.ended("done", result)
    assert.equal("1", said(world))
    assert.same({ 10, 20, 5 }, contract.column(world, "t", "n"))
  end)

  it('"nothing" looks at every unique constraint', function()
    local world, result = conflict('"nothing"', "{ id = 3, n = 20 }", UNIQUE)
    contract.ended("done", result)
    assert.equal("0", said(world))
  end)

  it('"nothing" does not excuse a NULL in a NOT NULL column', function()
    local _, result = conflict('"nothing"', "{ id = 2, n = luamig.NULL }", { not_null = { "n" } })
    contract.failed(result, "23502")
  end)

  it("with update sets the columns it lists, and no others", function()
    local world, result = conflict('{ columns = { "id" }, update = { "n" } }',
      '{ id = 2, n = 5, s = "x" }')
    contract.ended("done", result)
    assert.equal("1", said(world))
    assert.same({ 10, 5 }, contract.column(world, "t", "n"))
    assert.same({ "s1", "s2" }, contract.column(world, "t", "s"))
  end)

  it("with update inserts what is not there", function()
    local world, result = conflict('{ columns = { "id" }, update = { "n" } }',
      '{ id = 3, n = 5, s = "x" }')
    contract.ended("done", result)
    assert.same({ "s1", "s2", "x" }, contract.column(world, "t", "s"))
  end)

  it("with add adds to what is there, as often as it meets it", function()
    local world = contract.world({ n = "int4", s = "text", d = "numeric(6,2)", e = "int4" },
      { { id = 1, n = 10, s = "a", d = 1 } }, { defaults = { e = 3 } })
    contract.ended("done", contract.run(world, [[
      local add = { on_conflict = { columns = { "id" }, update = { "s" },
        add = { "n", "d", "e" } } }
      for i = 1, 3 do
        repo:insert("t", { id = 1, n = i, s = "s" .. i, d = "0.005" }, add)
        repo:insert("t", { id = 2, n = i, d = luamig.NULL }, add)
      end
      local one = repo:insert("t", { id = 1, n = -1 },
        { on_conflict = { columns = { "id" }, add = { "n" } }, returning = { "n" } })
      run.log(one.row.n .. " " .. one.affected)]]))
    assert.equal("15 1", said(world))
    assert.same({ 15, 6 }, contract.column(world, "t", "n"))
    assert.same({ "s3", "NULL" }, contract.column(world, "t", "s"))
    assert.equal("1.03", tostring(contract.column(world, "t", "d")[1]))
    assert.same({ 12, 9 }, contract.column(world, "t", "e"))
    assert.same("NULL", contract.column(world, "t", "d")[2])
  end)

  it("with add raises what the server raises", function()
    local function failed(opts, row, sqlstate, message)
      local _, result = conflict(opts, row)
      contract.failed(result, sqlstate, message)
    end
    failed('{ columns = { "id" }, add = { "n" } }', "{ id = 2, n = 2147483647 }", "22003",
      "integer out of range")
    failed('{ columns = { "id" }, add = { "s" } }', "{ id = 3 }", "42883",
      "operator does not exist: text pg_catalog.+ text")
    failed('{ columns = { "id" }, add = { "n" }, update = { "n" } }', "{ id = 3 }", "42601",
      'multiple assignments to same column "n"')
    failed('{ columns = { "id" }, add = { "nn" } }', "{ id = 3 }", "42703",
      'column "nn" of relation "t" does not exist')
    failed('{ columns = { "n" }, add = { "id" } }', "{ id = 3 }", nil,
      'column "id" of "t" belongs to the key of the run')
    failed('{ columns = { "id" }, add = {} }', "{ id = 3 }", nil, "on_conflict.add is empty")
    failed('{ columns = { "id" }, add = "n" }', "{ id = 3 }", nil,
      "repo:insert: on_conflict.add must be a list of column names")
    failed('{ columns = { "id" }, update = { "s", n = luamig.add(1) } }', "{ id = 3 }", nil,
      "on_conflict.update must be a list of column names")
    failed('{ columns = { "id" } }', "{ id = 3 }", nil, 'repo:insert: on_conflict must be '
      .. '"nothing" or a table with columns and update or add')
  end)

  it("with update fails at another unique constraint", function()
    local _, result = conflict('{ columns = { "id" }, update = { "s" } }', "{ id = 3, n = 20 }",
      UNIQUE)
    contract.failed(result, "23505", "t_n_key")
  end)

  it("needs a unique constraint on its columns", function()
    local _, result = conflict('{ columns = { "n" }, update = { "s" } }',
      '{ id = 3, n = 20, s = "x" }')
    contract.failed(result, "42P10",
      "there is no unique or exclusion constraint matching the ON CONFLICT specification")
  end)

  -- n is unique among the rows that have s = 'on'.
  local PARTIAL = { unique = { { "n", where = {
    sql = "s = 'on'", holds = function(row) return row.s == "on" end,
  } } } }
  local PARTIAL_ROWS = {
    { id = 1, n = 10, s = "on" }, { id = 2, n = 10, s = "off" }, { id = 3, n = 20 },
  }

  local function partial(opts, row)
    local world = contract.world({ n = "int4", s = "text", m = "int4" }, PARTIAL_ROWS, PARTIAL)
    return world, contract.run(world, ([[
      local rows = { %s }
      for _, row in ipairs(rows) do repo:insert("t", row, { on_conflict = %s }) end]]):format(row,
      opts))
  end

  it("with the condition of a partial index meets the rows of the index", function()
    local world, result = partial('{ columns = { "n" }, where = "s = \'on\'", update = { "m" } }',
      '{ id = 7, n = 10, s = "on", m = 5 }, { id = 8, n = 20, s = "on", m = 6 }')
    contract.ended("done", result)
    assert.same({ 5, "NULL", "NULL", 6 }, contract.column(world, "t", "m"))
    assert.same({ 1, 2, 3, 8 }, contract.column(world, "t", "id"))
  end)

  it("with the condition of a partial index inserts a row that is not for the index", function()
    local world, result = partial("{ columns = { 'n' }, where = [[ s='on' ]], update = { 'm' } }",
      '{ id = 7, n = 10, s = "off", m = 5 }, { id = 8, n = 10, m = 6 }')
    contract.ended("done", result)
    assert.same({ 1, 2, 3, 7, 8 }, contract.column(world, "t", "id"))
  end)

  it("without the condition does not mean a partial index", function()
    local _, result = partial('{ columns = { "n" }, update = { "m" } }', "{ id = 7, n = 10 }")
    contract.failed(result, "42P10")
  end)

  it("with a condition may mean an index that has none", function()
    local world, result = partial('{ columns = { "id" }, where = "n > 0", update = { "m" } }',
      "{ id = 2, n = 10, m = 9 }")
    contract.ended("done", result)
    assert.same({ "NULL", 9, "NULL" }, contract.column(world, "t", "m"))
  end)

  it('"nothing" looks at partial indexes, too', function()
    local world, result = partial('"nothing"',
      '{ id = 7, n = 10, s = "on" }, { id = 8, n = 10, s = "off" }')
    contract.ended("done", result)
    assert.same({ 1, 2, 3, 8 }, contract.column(world, "t", "id"))
  end)

  it("tells partial indexes on the same columns apart", function()
    local function when(state)
      return { "n", where = { sql = ("s = '%s'"):format(state), holds = function(row)
        return row.s == state
      end } }
    end
    local world = contract.world({ n = "int4", s = "text", m = "int4" },
      { { id = 1, n = 10, s = "on" }, { id = 2, n = 10, s = "off" } },
      { unique = { when "on", when "off" } })
    contract.ended("done", contract.run(world, [[
      repo:insert("t", { id = 7, n = 10, s = "off", m = 5 },
        { on_conflict = { columns = { "n" }, where = "s = 'off'", update = { "m" } } })]]))
    assert.same({ "NULL", 5 }, contract.column(world, "t", "m"))
    contract.failed(contract.run(world, 'repo:insert("t", { id = 8, n = 10, s = "off" })'),
      "23505", '"t_n_idx1"')
  end)

  it("takes SQL for the condition", function()
    local _, result = partial('{ columns = { "n" }, where = { s = "on" }, update = { "m" } }',
      "{ id = 7 }")
    contract.failed(result, nil,
      "on_conflict.where must be SQL, the condition of the partial index")
    _, result = partial('{ columns = { "id" }, where = " ", update = { "m" } }', "{ id = 7 }")
    contract.failed(result, nil, "on_conflict.where must be SQL")
  end)

  it("is not needed where a partial index refuses the row", function()
    local world = contract.world({ n = "int4", s = "text" }, PARTIAL_ROWS, PARTIAL)
    contract.failed(contract.run(world, 'repo:update("t", { id = 2 }, { s = "on" })'), "23505",
      'duplicate key value violates unique constraint "t_n_idx"')
  end)

  it("sees no conflict between NULLs", function()
    local world = contract.world({ n = "int4" }, { { id = 1 } }, UNIQUE)
    contract.ended("done", contract.run(world, [[
      repo:insert("t", { id = 2, n = luamig.NULL },
        { on_conflict = { columns = { "n" }, update = { "n" } } })]]))
    assert.same({ 1, 2 }, contract.column(world, "t", "id"))
  end)

  it("counts in a list only what was written", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, [[
      local rows = { { id = 2, n = 1 }, { id = 3, n = 1 }, { id = 3, n = 2 } }
      run.log(tostring(repo:insert_all("t", rows, { on_conflict = "nothing" }).affected))]]))
    assert.equal("1", said(world))
    assert.same({ 10, 20, 1 }, contract.column(world, "t", "n"))
  end)

  it("meets the rows of its own list", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      repo:insert_all("t", { { id = 3, n = 1 }, { id = 3, n = 2 } },
        { on_conflict = { columns = { "id" }, update = { "n" } } })]]))
    assert.same({ 10, 2 }, contract.column(world, "t", "n"))
  end)

  it("must not update the key of the pages", function()
    local _, result = conflict('{ columns = { "id" }, update = { "id" } }', "{ id = 2 }")
    contract.failed(result, nil, 'column "id" of "t" belongs to the key of the run')
  end)

  it("takes nothing else", function()
    local _, result = conflict('"update"', "{ id = 2 }")
    contract.failed(result, nil,
      'repo:insert: on_conflict must be "nothing" or a table with columns and update')
  end)
end)
