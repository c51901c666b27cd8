--- Scripts that get ranges of the key instead of rows: their ends, where, and what becomes of them.

local contract = dofile "tests/contract/contract.lua"

local said = contract.said

local BY_RANGE = { by_range = true }

-- Both ends of each range.
local SHOW = [[run.log(("%s-%s"):format(range.after and range.after.id, range.upto.id))]]

local function run(world, body, opts, config)
  return contract.run(world, body, { by_range = true, config = config }, opts)
end

describe("a range #versions", function()
  teardown(contract.clean)

  it("follows the one before, and the last one ends at the last key", function()
    local world = contract.numbers(5)
    local result = contract.ended("done", run(world, SHOW, { batch_size = 2 }))
    assert.equal("nil-2 2-4 4-5", said(world))
    assert.same({ 5, 3 }, { result.rows, result.batches })
  end)

  it("goes on where a run has stopped", function()
    local world = contract.numbers(5)
    local path = contract.script(SHOW, BY_RANGE)
    contract.ended("stopped", world:run(path, { batch_size = 2, limit = 3 }))
    contract.ended("done", world:run(path, { batch_size = 2 }))
    assert.equal("nil-2 2-3 3-5", said(world))
  end)

  it("begins after the key that config names", function()
    local world = contract.numbers(4)
    contract.ended("done", run(world, SHOW, { batch_size = 2 }, "start_after = 1"))
    assert.equal("1-3 3-4", said(world))
  end)

  it("ends at the bound, though its last row is gone", function()
    local world = contract.numbers(4)
    contract.ended("done", run(world, SHOW .. [[
      if run.batch == 1 then repo:delete("t", { id = 4 }) end]], { batch_size = 2 }))
    assert.equal("nil-2 2-4", said(world))
  end)

  it("has nothing that the base query does not return", function()
    local world = contract.numbers(6, { where = function(row) return row.n > 30 end })
    local result = contract.ended("done", contract.run(world, SHOW,
      { by_range = true, query = "SELECT id FROM t WHERE n > 30" }, { batch_size = 2 }))
    assert.equal("nil-5 5-6", said(world))
    assert.equal(3, result.rows)
  end)

  it("makes a condition for SQL, with the parameters that it needs", function()
    local world = contract.numbers(3)
    local first = 'UPDATE t SET s = $1 WHERE ((t."id") OPERATOR(pg_catalog.<=) '
      .. "($2::pg_catalog.int8))"
    local other = 'UPDATE t SET s = $1 WHERE ((t."id") OPERATOR(pg_catalog.>) '
      .. '($2::pg_catalog.int8) AND (t."id") OPERATOR(pg_catalog.<=) ($3::pg_catalog.int8))'
    world:stub(first, { params = { "x", 2 }, affected = 2 })
    world:stub(other, { params = { "x", 2, 3 }, affected = 1 })
    contract.ended("done", run(world, [[
      local where, params = range:where("t", 2)
      run.log(tostring(repo:execute("UPDATE t SET s = $1 WHERE " .. where, "x",
        table.unpack(params)).affected))]], { batch_size = 2 }))
    assert.equal("2 1", said(world))
  end)

  it("names its columns as it is told to, or not at all", function()
    local world = contract.numbers(1)
    contract.ended("done", run(world, [[
      run.log((range:where()))
      run.log((range:where { id = "coalesce(a.id, 0)" }))]]))
    assert.equal('(("id") OPERATOR(pg_catalog.<=) ($1::pg_catalog.int8)) '
      .. '(((coalesce(a.id, 0))) OPERATOR(pg_catalog.<=) ($1::pg_catalog.int8))', said(world))
  end)

  local types = {
    { "int2", 1, 2, "int2" }, { "numeric(10,2)", "1.5", "2.50", '"numeric"' },
    { "text", "a", "b", 'text COLLATE pg_catalog."default"' },
    { "varchar(9)", "a", "b", '"varchar"::pg_catalog.text COLLATE pg_catalog."default"',
      '("k"::pg_catalog.text)' },
    { "char(3)", "a", "b", 'bpchar COLLATE pg_catalog."default"' },
    { "date", "2024-01-31", "2024-02-01", "date" }, { "time", "10:00:00", "11:00:00", '"time"' },
    { "timestamp", "2024-01-31 00:00:00", "2024-02-01 00:00:00", '"timestamp"' },
    { "float8", 0.5, 1.5, "float8" }, { "boolean", false, true, "bool" },
    { "timestamptz", "2024-01-31 00:00:00+00", "2024-02-01 00:00:00+00", "timestamptz" },
    { "uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002",
      "uuid" },
  }
  for _, case in ipairs(types) do
    it("compares keys as values of their type: " .. case[1], function()
      local world = contract.world({ k = case[1] }, {
        { id = 1, k = case[2] }, { id = 2, k = case[3] },
      }, { primary_key = { "k" } })
      contract.ended("done", run(world, [[run.log((range:where()))]], nil, 'key = "k"'))
      assert.equal(("(%s OPERATOR(pg_catalog.<=) ($1::pg_catalog.%s))"):format(
        case[5] or '("k")', case[4]), said(world))
    end)
  end

  it("compares a key of several columns as a row", function()
    local world = contract.world({ a = "int4", n = "int4" }, {
      { id = 1, a = 2, n = 0 }, { id = 2, a = 1, n = 0 }, { id = 3, a = 1, n = 0 },
    }, { primary_key = { "a", "id" } })
    contract.ended("done", run(world, [[
      local where, params = range:where "t"
      run.log(where .. " " .. table.concat(params, ","))]], { batch_size = 2 },
      'key = { "a", "id" }'))
    assert.equal('((t."a", t."id") OPERATOR(pg_catalog.<=) '
      .. "($1::pg_catalog.int4, $2::pg_catalog.int8)) 1,3 "
      .. '((t."a", t."id") OPERATOR(pg_catalog.>) ($1::pg_catalog.int4, $2::pg_catalog.int8) '
      .. 'AND (t."a", t."id") OPERATOR(pg_catalog.<=) '
      .. "($3::pg_catalog.int4, $4::pg_catalog.int8)) 1,3,2,1", said(world))
  end)

  it("is cut until a failing row is alone in it", function()
    local world = contract.numbers(4)
    local result = contract.ended("done_with_failures", run(world, SHOW .. [[
      if (not range.after or range.after.id < 3) and range.upto.id >= 3 then
        error "three"
      end]], nil, 'on_error = "quarantine"'))
    assert.equal("nil-4 nil-2 2-3 3-4", said(world))
    assert.same({ 3, 1 }, { result.rows, result.failures })
  end)

  it("is the same in another attempt", function()
    local world = contract.numbers(3)
    world:fail { on = "update", sqlstate = "40001" }
    local result = contract.ended("done", run(world, SHOW .. [[
      repo:update("t", { id = range.upto.id }, { n = 1 })]]))
    assert.equal("nil-3 nil-3", said(world))
    assert.equal(1, result.retries)
  end)

  it("is rolled back in a dry run", function()
    local world = contract.numbers(3)
    local result = contract.ended("done", run(world, SHOW .. [[
      repo:update("t", { id = range.upto.id }, { n = 1 })]], { dry_run = true, batch_size = 2 }))
    assert.equal("nil-2 2-3", said(world))
    assert.equal(3, result.rows)
    assert.equal("10 20 30", contract.numbers_of(world))
  end)

  local mistakes = {
    { "return range.uptp", 'range has no field "uptp" (did you mean "upto"?)' },
    { "return range.upto.ids", 'range.upto has no field "ids" (did you mean "id"?)' },
    { 'range.where("t")', "call range:where(...) with a colon" },
    { "range:where { n = 't.n' }", 'range:where has no SQL for the key column "id"' },
    { "range:where { id = 't.id', n = 't.n' }",
      "range:where takes SQL for the key columns only" },
    { "range:where('t', 0)", "the number of a parameter, from 1" },
    { "if kept then kept:where() end kept = range",
      "the range is used after its function has returned" },
  }
  for _, case in ipairs(mistakes) do
    it("tells a mistake: " .. case[1], function()
      local world = contract.numbers(2)
      local result = contract.run(world, case[1], { by_range = true, head = "local kept" },
        { batch_size = 1 })
      contract.failed(result, nil, case[2])
      assert.matches("s%d+%.lua:%d+: ", result.error.message)
    end)
  end
end)
