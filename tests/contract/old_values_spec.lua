--- luamig.column and luamig.add: changes that the server computes from the row.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local run_failed, said, three = contract.run_failed, contract.said, contract.three

local decimal = luamig.decimal

--- Runs a body in a world with one row; returns the row.
local function changed(columns, row, body)
  row.id = 1
  local world = contract.world(columns, { row })
  contract.ended("done", contract.run(world, body))
  return world:rows "t"[1]
end

local function fails(columns, row, body, sqlstate, message)
  row.id = 1
  run_failed(contract.world(columns, { row }), body, sqlstate, message)
end

-- Logs what an update raises.
local RAISES = [[
  local function raises(column, change)
    local ok, err = repo:savepoint(function()
      repo:update("t", { id = 1 }, { [column] = change })
    end)
    run.log(ok and "nothing" or err.sqlstate .. " " .. err.message)
  end
]]

--- Asserts that the lines of run.log begin like that.
local function assert_said(wanted, world)
  local found = {}
  for _, entry in ipairs(world.log) do
    if entry.verb == "log" then
      found[#found + 1] = entry.message
    end
  end
  assert.equal(#wanted, #found)
  for i, start in ipairs(wanted) do
    local state, words = start:match "^(%w+) (.*)$"
    assert.equal(state, found[i]:match "^%w+", found[i])
    assert.truthy(found[i]:find(words, 1, true), found[i])
  end
end

describe("luamig.add", function()
  teardown(contract.clean)

  it("adds to what the column has", function()
    local world = three [[
      repo:update("t", { id = 1 }, { n = luamig.add(5) })
      repo:update("t", { id = 2 }, { n = luamig.add(-25), s = "x" })]]
    assert.same({ 15, -5, 30 }, contract.column(world, "t", "n"))
    assert.same({ "s1", "x", "s3" }, contract.column(world, "t", "s"))
  end)

  it("adds as often as it is called", function()
    local world = three [[
      for _, id in ipairs { 1, 2, 1, 1, 3 } do
        repo:update("t", { id = id }, { n = luamig.add(1) })
      end
      repo:update("t", { id = 1 }, { n = 0 })
      repo:update("t", { id = 1 }, { n = luamig.add(7) })
      run.log(tostring(repo:get("t", { id = 1 }).n))]]
    assert.equal("7", said(world))
    assert.same({ 7, 21, 31 }, contract.column(world, "t", "n"))
  end)

  it("adds another number each time that a line is called", function()
    local world = three [[
      for i, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { n = i == 2 and 7 or luamig.add(i) })
      end]]
    assert.same({ 11, 7, 33 }, contract.column(world, "t", "n"))
  end)

  it("leaves NULL as it is", function()
    local row = changed({ n = "int4" }, {}, 'repo:update("t", { id = 1 }, { n = luamig.add(1) })')
    assert.is_nil(row.n)
  end)

  it("changes all rows that match", function()
    local world = three [[
      run.log(tostring(repo:update_all("t", { n = luamig.add(1) }, { s = "s2" }).affected))
      repo:update_all("t", { n = luamig.add(100), s = luamig.NULL }, luamig.ALL)]]
    assert.equal("1", said(world))
    assert.same({ 110, 121, 130 }, contract.column(world, "t", "n"))
    assert.same({ "NULL", "NULL", "NULL" }, contract.column(world, "t", "s"))
  end)

  it("may find no row, if that is allowed", function()
    local world = three [[
      for id = 3, 5 do
        repo:update("t", { id = id }, { n = luamig.add(1) }, { missing = "ignore" })
      end]]
    assert.same({ 10, 20, 31 }, contract.column(world, "t", "n"))
  end)

  it("is undone by a savepoint", function()
    local world = three [[
      repo:update("t", { id = 1 }, { n = luamig.add(1) })
      repo:savepoint(function()
        repo:update("t", { id = 1 }, { n = luamig.add(10) })
        error "no"
      end)
      repo:update("t", { id = 1 }, { n = luamig.add(100) })]]
    assert.same({ 111, 20, 30 }, contract.column(world, "t", "n"))
  end)

  it("counts once, whatever becomes of the first attempt", function()
    local world = contract.numbers(5)
    world:fail { on = "update", nth = 4, sqlstate = "40001" }
    world:fail { on = "commit", nth = 2, sqlstate = "08006" }
    contract.ended("done", contract.run(world, [[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { n = luamig.add(1) })
      end]], nil, { batch_size = 2 }))
    assert.equal("11 21 31 41 51", contract.numbers_of(world))
  end)

  it("is exact", function()
    local cases = {
      { "smallint", 32000, "700", 32700 },
      { "bigint", -5, "math.mininteger + 6", math.mininteger + 1 },
      { "bigint", math.maxinteger - 1, "1", math.maxinteger },
      { "numeric", decimal "1.50", "luamig.decimal '0.125'", decimal "1.625" },
      { "numeric(6,2)", decimal "1.00", "luamig.decimal '0.005'", decimal "1.01" },
      { "numeric", decimal "1", "0.1", decimal "1.1" },
      { "numeric", decimal "-1", "1", decimal "0" },
      { "numeric", decimal "NaN", "1", decimal "NaN" },
      { "double precision", 0.1, "0.2", 0.1 + 0.2 },
      { "double precision", math.huge, "1", math.huge }, { "real", 0.1, "0.2", 0.3 },
      { "real", 16777216.0, "1", 16777216.0 },
    }
    local columns, row, changes = {}, {}, {}
    for i, case in ipairs(cases) do
      columns["c" .. i], row["c" .. i] = case[1], case[2]
      changes[i] = ("c%d = luamig.add(%s)"):format(i, case[3])
    end
    local found = changed(columns, row,
      ('repo:update("t", { id = 1 }, { %s })'):format(table.concat(changes, ", ")))
    for i, case in ipairs(cases) do
      assert.equal(contract.show(case[4]), contract.show(found["c" .. i]), table.concat(
        { case[1], tostring(case[2]), case[3] }, " "))
    end
  end)

  it("raises 22003 if its type cannot hold the sum", function()
    local cases = {
      { "smallint", 32767, "1", "smallint out of range" },
      { "integer", -2, "-2147483647", "integer out of range" },
      { "bigint", math.maxinteger, "1", "bigint out of range" },
      { "bigint", math.mininteger, "-1", "bigint out of range" },
      { "numeric(4,2)", decimal "99", "1", "numeric field overflow" },
      { "double precision", 1e308, "1e308", "out of range" },
      { "real", 3e38, "3e38", "out of range" },
    }
    local columns, row, calls, wanted = {}, {}, {}, {}
    for i, case in ipairs(cases) do
      columns["c" .. i], row["c" .. i] = case[1], case[2]
      calls[i] = ('raises("c%d", luamig.add(%s))'):format(i, case[3])
      wanted[i] = "22003 " .. case[4]
    end
    row.id = 1
    local world = contract.world(columns, { row })
    contract.ended("done", contract.run(world, RAISES .. table.concat(calls, "\n")))
    assert_said(wanted, world)
  end)

  it("that is out of range can be caught, and names its line", function()
    local world = contract.numbers(3, { rows = {
      { id = 1, n = 1 }, { id = 2, n = 2147483647 }, { id = 3, n = 3 } } })
    local path = contract.script([[
      for _, row in ipairs(rows) do
        local ok, err = repo:savepoint(function()
          repo:update("t", { id = row.id }, { n = luamig.add(1) })
        end)
        if not ok then run.log(err.sqlstate .. err.where:match ":%d+$") end
      end]])
    contract.ended("done", world:run(path))
    assert.matches("^22003:%d+$", said(world))
    assert.equal("2 2147483647 4", contract.numbers_of(world))
  end)

  it("keeps what is out of range apart, with quarantine", function()
    local world = contract.numbers(5, { rows = {
      { id = 1, n = 1 }, { id = 2, n = 2 }, { id = 3, n = 2147483647 }, { id = 4, n = 4 },
      { id = 5, n = 5 } } })
    local result = contract.run(world, [[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { n = luamig.add(1) })
      end]], { config = 'on_error = "quarantine"' })
    contract.ended("done_with_failures", result)
    assert.equal("2 3 2147483647 5 6", contract.numbers_of(world))
  end)

  it("is for numbers only", function()
    local columns = { a = "text", b = "date", c = "bool", d = "int4[]" }
    for column, name in pairs { a = "text", b = "date", c = "boolean", d = "integer[]" } do
      fails(columns, {}, column < "c"
          and ('repo:update("t", { id = 1 }, { %s = luamig.add(1) })'):format(column)
          or ('repo:update_all("t", { %s = luamig.add(1) }, { id = 1 })'):format(column), nil,
        ('%scolumn "%s" of "t": luamig.add needs a numeric type, not type %s'):format(
          column < "c" and "row id = 1, " or "", column, name))
    end
  end)

  it("of a number that its column cannot have is refused", function()
    fails({ n = "int4" }, {}, 'repo:update("t", { id = 1 }, { n = luamig.add(1.5) })', nil,
      'row id = 1, column "n" of "t": a float cannot be written to type integer')
    fails({ n = "int2" }, {}, 'repo:update("t", { id = 1 }, { n = luamig.add(40000) })', nil,
      'column "n" of "t": 40000 is out of range for type smallint')
  end)

  it("is of no system column, and no field of the log", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1 }, { s = luamig.column "ctid" })',
      "42703", 'column "ctid" of relation "t" does not exist')
    run_failed(contract.numbers(1), 'run.log("x", { a = luamig.add(2) })', nil,
      "cannot write as JSON: a luamig.add")
  end)

  it("must not change the key of the run", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1 }, { id = luamig.add(1) })', nil,
      'column "id" of "t" belongs to the key of the run')
  end)

  it("is a change, and nothing else", function()
    local world = contract.world({ n = "int4", s = "text", j = "jsonb" })
    contract.ended("done", contract.run(world, [[
      local function refused(...)
        local _, err = pcall(...)
        run.log(err.message)
      end
      refused(repo.insert, repo, "t", { id = 7, n = luamig.add(1) })
      refused(repo.update, repo, "t", { id = luamig.add(1) }, { n = 1 })
      refused(repo.get, repo, "t", { id = luamig.column "n" })
      refused(repo.update_all, repo, "t", { n = 1 }, { n = luamig.column "n" })
      refused(repo.update, repo, "t", { id = 1 }, { s = { luamig.add(1) } })
      refused(repo.update, repo, "t", { id = 1 }, { j = { a = luamig.add(1) } })
      refused(repo.insert, repo, "t", { id = 2, j = luamig.column "j" })]]))
    local lines = {}
    for _, entry in ipairs(world.log) do
      lines[#lines + 1] = entry.verb == "log" and entry.message:match ": (.*)$" or nil
    end
    assert.same({
      "a luamig.add cannot be written to type integer",
      "a luamig.add cannot be written to type bigint",
      "a luamig.column cannot be written to type bigint",
      "a luamig.column cannot be written to type integer",
      "a table cannot be written to type text",
      "at a: a luamig.add cannot be written to JSON",
      "a luamig.column cannot be written to JSON",
    }, lines)
  end)

  it("is in the log", function()
    local world = three 'repo:update("t", { id = 1 }, { n = luamig.add(5), s = luamig.column "s" })'
    for _, entry in ipairs(world.log) do
      if entry.verb == "update" then
        assert.is_true(entry.changes.n == luamig.add(5))
        assert.is_false(entry.changes.n == luamig.add(6))
        assert.equal("luamig.add(5)", tostring(entry.changes.n))
        assert.equal('luamig.column "s"', tostring(entry.changes.s))
      end
    end
  end)
end)

describe("luamig.column", function()
  teardown(contract.clean)

  it("is what the other column has", function()
    local world = contract.world({ a = "int4", b = "int4", s = "text" },
      { { id = 1, a = 1, b = 2 }, { id = 2, a = 3 }, { id = 3, a = 5, b = 6 } })
    contract.ended("done", contract.run(world, [[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { a = luamig.column "b", s = "x" })
      end]]))
    assert.same({ 2, "NULL", 6 }, contract.column(world, "t", "a"))
    assert.same({ "x", "x", "x" }, contract.column(world, "t", "s"))
  end)

  it("is the value before the call: two columns may change places", function()
    local row = changed({ a = "int4", b = "int4", c = "int4" }, { a = 1, b = 2, c = 3 },
      'repo:update("t", { id = 1 }, { a = luamig.column "b", b = luamig.column "a", '
      .. 'c = luamig.add(1) })')
    assert.same({ 2, 1, 4 }, { row.a, row.b, row.c })
    row = changed({ a = "int4", b = "int4" }, { a = 1, b = 2 },
      'repo:update("t", { id = 1 }, { a = 9, b = luamig.column "a" })')
    assert.same({ 9, 1 }, { row.a, row.b })
  end)

  it("sees what earlier calls have written", function()
    local row = changed({ a = "int4", b = "int4" }, { a = 1, b = 2 }, [[
      repo:update("t", { id = 1 }, { a = luamig.column "b" })
      repo:update("t", { id = 1 }, { b = luamig.add(10) })
      repo:update("t", { id = 1 }, { a = luamig.column "b" })]])
    assert.same({ 12, 12 }, { row.a, row.b })
  end)

  it("may be another one each time that a line is called", function()
    local world = contract.world({ a = "int4", b = "int4", c = "int4" },
      { { id = 1, a = 0, b = 1, c = 2 }, { id = 2, a = 0, b = 3, c = 4 } })
    contract.ended("done", contract.run(world, [[
      for i, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { a = luamig.column(i == 1 and "b" or "c") })
      end]]))
    assert.same({ 1, 4 }, contract.column(world, "t", "a"))
  end)

  it("may be the key", function()
    local row = changed({ n = "int4", o = "int8" }, {}, [[
      repo:update("t", { id = 1 }, { n = luamig.column "id" })
      repo:update_all("t", { o = luamig.column "n" }, { n = 1 })]])
    assert.same({ 1, 1 }, { row.n, row.o })
  end)

  it("becomes a value of its new type", function()
    local cases = {
      { "int2", 7, "int8", 7 }, { "int8", 2147483647, "int4", 2147483647 },
      { "int4", 7, "numeric(6,2)", decimal "7.00" }, { "int4", 7, "float8", 7.0 },
      { "int4", 7, "real", 7.0 }, { "int4", 7, "text", "7" },
      { "numeric", decimal "2.5", "int4", 3 }, { "numeric", decimal "-2.5", "int2", -3 },
      { "numeric", decimal "2.50", "varchar", "2.50" }, { "float8", 2.5, "int4", 2 },
      { "float8", -3.5, "int8", -4 }, { "text", "abc", "varchar(3)", "abc" },
      { "text", "ab  ", "char(3)", "ab " }, { "char(4)", "ab  ", "text", "ab" },
      { "varchar", "ab", "text", "ab" }, { "bool", true, "text", "true" },
      { "date", "2024-02-29", "text", "2024-02-29" },
      { "numeric(6,3)", decimal "1.005", "numeric(6,2)", decimal "1.01" },
      { "int4[]", { 1, 2 }, "int4[]", { 1, 2 } },
      { "jsonb", { a = 1 }, "jsonb", luamig.object { a = 1 } },
    }
    local columns, row, changes = {}, {}, {}
    for i, case in ipairs(cases) do
      columns["a" .. i], columns["b" .. i], row["a" .. i] = case[1], case[3], case[2]
      changes[i] = ('b%d = luamig.column "a%d"'):format(i, i)
    end
    local found = changed(columns, row,
      ('repo:update("t", { id = 1 }, { %s })'):format(table.concat(changes, ", ")))
    for i, case in ipairs(cases) do
      assert.equal(contract.show(case[4]), contract.show(found["b" .. i]),
        case[1] .. " to " .. case[3])
    end
  end)

  it("raises what the server raises if its new type cannot hold it", function()
    local cases = {
      { "int8", 1 << 40, "int4", "22003 integer out of range" },
      { "numeric", decimal "40000", "int2", "22003 smallint out of range" },
      { "float8", 1e300, "int8", "22003 bigint out of range" },
      { "text", "abcd", "varchar(3)", "22001 value too long for type character varying(3)" },
      { "int4", 123456, "numeric(4,0)", "22003 numeric field overflow" },
    }
    local columns, row, calls, wanted = {}, { id = 1 }, {}, {}
    for i, case in ipairs(cases) do
      columns["a" .. i], columns["b" .. i], row["a" .. i] = case[1], case[3], case[2]
      calls[i] = ('raises("b%d", luamig.column "a%d")'):format(i, i)
      wanted[i] = case[4]
    end
    local world = contract.world(columns, { row })
    contract.ended("done", contract.run(world, RAISES .. table.concat(calls, "\n")))
    assert_said(wanted, world)
  end)

  for _, case in ipairs {
    { "numeric", decimal "NaN", "int4", "0A000", "cannot convert NaN to integer" },
    { "text", "1", "int4", "42804",
      'column "b" is of type integer but expression is of type text' },
    { "bool", true, "int4", "42804",
      'column "b" is of type integer but expression is of type boolean' },
    { "int4", 1, "bool", "42804",
      'column "b" is of type boolean but expression is of type integer' },
  } do
    local from, before, to, sqlstate, message = table.unpack(case)
    it(("of %s becomes no value of %s"):format(from, to), function()
      fails({ a = from, b = to }, { a = before },
        to == "bool" and 'repo:update_all("t", { b = luamig.column "a" }, { id = 1 })'
          or 'repo:update("t", { id = 1 }, { b = luamig.column "a" })', sqlstate, message)
    end)
  end

  it("must be there", function()
    for changes, call in pairs {
      ['{ n = luamig.column "nn" }'] = 'repo:update("t", { id = 1 }, %s)',
      ['{ nn = luamig.column "n" }'] = 'repo:update("t", { id = 1 }, %s)',
      ['{ n = 1, nn = luamig.add(1) }'] = 'repo:update_all("t", %s, { id = 1 })',
      ['{ n = luamig.add(1), s = luamig.column "nn" }'] = 'repo:update_all("t", %s, { id = 1 })',
    } do
      run_failed(contract.numbers(1), call:format(changes), "42703",
        'column "nn" of relation "t" does not exist')
    end
  end)

  it("must not change the key of the run", function()
    run_failed(contract.numbers(1), 'repo:update("t", { id = 1 }, { id = luamig.column "n" })', nil,
      'column "id" of "t" belongs to the key of the run')
  end)

  it("is held to the rules of its new column", function()
    run_failed(contract.world({ a = "int4", b = "int4" }, nil, { not_null = { "b" },
      rows = { { id = 1, b = 1 } } }),
      'repo:update("t", { id = 1 }, { b = luamig.column "a" })', "23502", "not-null constraint")
    run_failed(contract.numbers(2, { unique = { { "n" } } }),
      'repo:update("t", { id = 1 }, { n = luamig.add(10) })', "23505", "t_n_key")
  end)
end)
