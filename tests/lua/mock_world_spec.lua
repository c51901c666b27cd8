local luamig = require "luamig"
local mock = require "luamig.mock"
local sql = require "luamig.mock.sql"
local support = dofile "tests/lua/support.lua"
local types = require "luamig.mock.types"
local value = require "luamig.mock.value"

after_each(support.clean)

describe("mock.new", function()
  local T = { rows = { { id = 1 } } }
  local cases = {
    { nil, "mock.new takes a table, not nil" },
    { { tabels = {} }, 'mock.new: unknown option "tabels" (did you mean "tables"?)' },
    { {}, "mock.new: tables must be a table, not nil" },
    { { tables = { T } }, "mock.new: tables must map names to tables" },
    { { tables = { t = 5 } },
      'table "t": must be a table with rows and, optionally, columns, not 5' },
    { { tables = { t = { row = {} } } }, 'table "t": unknown key "row" (did you mean "rows"?)' },
    { { tables = { t = { rows = 5 } } }, 'table "t": rows must be a list of tables, not 5' },
    { { tables = { t = { rows = { 5 } } } },
      'table "t": rows must be a list of tables, not of 5' },
    { { tables = { t = { rows = { { id = 1 }, nil, { id = 2 } } } } }, "without holes" },
    { { tables = { t = { columns = { "id" } } } }, 'columns must map names to types' },
    { { tables = { t = { columns = { id = "inet" } } } },
      'column "id" has type "inet": the mock does not know how the server writes such values' },
    { { tables = { t = { columns = { id = "citext" } } } },
      'column "id" has type "citext": the mock does not know how the server writes such values' },
    { { tables = { t = { columns = { id = 'public.citext' } } } },
      'column "id" has type "public.citext": the mock does not know how' },
    { { tables = { t = { columns = { id = '"my ext"."citext"[]' } } } },
      'the mock does not know how the server writes such values' },
    { { tables = { t = { columns = { id = "time(3)" } } } },
      "the mock does not know the part in parentheses" },
    { { tables = { t = { columns = { id = "json" }, unique = { { "id" } } } } },
      'column "id" has type json: its values cannot be unique' },
    { { tables = { t = { columns = { id = "int8" }, checks = { "id > 0" } } } },
      "checks must map names of constraints to functions of a row" },
    { { tables = { t = { columns = { id = "int8" }, checks = { c = { sql = "id > 0" } } } } },
      'each item of checks has no "holds", and the mock cannot run SQL' },
    { { tables = { t = { columns = { id = "int8" }, checks = { c = function() return false end },
      rows = { { id = 1 } } } } }, 'violates check constraint "c"' },
    { { tables = { t = { columns = { id = "int8" }, defaults = { idd = 1 } } } },
      'unknown column "idd" in defaults' },
    { { tables = { t = { columns = { id = "int8" }, generated = { id = 5 } } } },
      "generated must map columns to functions of a row" },
    { { tables = { t = { columns = { id = "int8" }, foreign_keys = { {
      columns = { "id" }, references = "u" } } } } },
      'references must name a table of this world, not "u"' },
    { { tables = { t = { columns = { id = "int8" }, foreign_keys = { {
      columns = { "id" }, references = "t" } } } } },
      'columns and to must have the same length; to is of table "t"' },
    { { tables = { t = { columns = { id = "int8" }, primary_key = { "id" }, foreign_keys = { {
      columns = { "id" }, references = "t", on_delete = "casacde" } } } } },
      'on_delete must be "cascade", "no action", "restrict" or "set null", not "casacde"' },
    { { tables = { t = { columns = { id = "int8", p = "int8" }, primary_key = { "id" },
      foreign_keys = { { columns = { "p" }, references = "t" } },
      rows = { { id = 1, p = 2 } } } } }, 'violates foreign key constraint "t_p_fkey"' },
    { { tables = { t = { columns = { id = "int8" }, primary_key = { "idd" } } } },
      'unknown column "idd" in primary_key' },
    { { tables = { t = { columns = { id = "int8" }, unique = { "id" } } } },
      "unique must be a list of lists" },
    { { tables = { t = { columns = { id = "int8" }, not_null = {} } } },
      "not_null must be a list" },
    { { tables = { t = { columns = { id = "int8" }, rows = { { idd = 1 } } } } },
      'column "idd" of relation "t" does not exist' },
    { { tables = { t = { columns = { id = "int8" }, rows = { { id = "1" } } } } },
      'row 1, column "id" of "t": a string cannot be written to type bigint' },
    { { tables = { t = { rows = { { id = {} } } } } }, "a table cannot be written to" },
    { { tables = { t = { primary_key = { "id" }, rows = { { id = 1 }, { id = 1 } } } } },
      'duplicate key value violates unique constraint "t_pkey"' },
    { { tables = { t = { not_null = { "a" }, rows = { { id = 1 } } } } },
      'null value in column "a" of relation "t" violates not-null constraint' },
    { { tables = { t = T }, base = { from = "tt" } }, 'base.from must name a table of this world' },
    { { tables = { t = T }, base = { from = "t", select = {} } }, "base.select must be a list" },
    { { tables = { t = T }, base = { from = "t", select = { "di" } } },
      'base.select: table "t" has no column "di"' },
    { { tables = { t = T }, base = { from = "t", where = "id" } },
      "base.where must be a function" },
    { { tables = { t = T }, base = { from = "t", order = "id" } }, 'unknown option "order"' },
  }
  for i, case in ipairs(cases) do
    it(("refuses %d: %s"):format(i, case[2]), function()
      local err = support.raised(function()
        mock.new(case[1])
      end)
      assert.matches("mock_world_spec.lua:%d+: ", err)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end)
  end

  it("knows declared columns, and those that rows and constraints mention", function()
    local world = mock.new {
      tables = {
        a = { columns = { id = "int8", x = "text" }, rows = { { id = 1 } } },
        b = { primary_key = { "id" }, unique = { { "u" } },
          rows = { { id = 1, x = luamig.NULL } } },
      },
    }
    assert.is_nil(world:rows("a")[1].x)
    assert.is_nil(world:rows("b")[1].x)
    assert.is_nil(world:rows("b")[1].u)
    assert.same({ "id", "u", "x" }, world:rows("b").columns)
    assert.error_matches(function()
      return world:rows("b")[1].y
    end, 'column "y" was not returned by the query')
    assert.error_matches(function()
      world:rows "c"
    end, 'relation "c" does not exist')
  end)

  it("shares no rows with the spec", function()
    local given = { { id = 2 }, { id = 1 } }
    local world = mock.new { tables = { t = { primary_key = { "id" }, rows = given } } }
    given[1].id = 9
    world:rows("t")[1].id = 8
    assert.same({ { id = 1 }, { id = 2 }, columns = { "id" } }, world:rows "t")
  end)
end)

describe("world:run", function()
  local world

  before_each(function()
    world = mock.new { tables = { t = { rows = { { id = 1 } } } } }
  end)

  local cases = {
    { { batchsize = 1 }, 'world:run: unknown option "batchsize" (did you mean "batch_size"?)' },
    { { limit = 0 }, "world:run: limit must be an integer of at least 1, not 0" },
    { { again = 1 }, "world:run: again must be true or false, not 1" },
    { { args = 1 }, "world:run: args must be a table, not 1" },
    { { kill = {} }, "world:run: kill.batch must be an integer of at least 1, not 0" },
    { { kill = { batch = 1, cal = 1 } }, 'world:run: kill: unknown option "cal"' },
    { {}, "onboarding.lua has a base query; pass a base to mock.new" },
  }
  for _, case in ipairs(cases) do
    it("refuses: " .. case[2], function()
      local err = support.raised(function()
        world:run("scripts/onboarding.lua", case[1])
      end)
      assert.matches("mock_world_spec.lua:%d+: ", err)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end)
  end

  it("raises the loader's error for a script that does not load", function()
    local err = support.raised(world.run, world, "scripts/none.lua")
    assert.equal("script", err.kind)
    err = support.raised(world.run, world, "scripts/onboarding.lua", { batch_size = 0 })
    assert.equal("--batch-size must be an integer from 1 to 1000000, not 0", err.message)
    err = support.raised(world.run, world, "scripts/onboarding.lua", { args = { a = 1 } })
    assert.equal('scripts/onboarding.lua: unknown argument "a"', err.message)
  end)
end)

describe("world:stub and world:fail", function()
  local world

  before_each(function()
    world = mock.new { tables = {} }
  end)

  local stubs = {
    { { 5 }, "world:stub takes SQL text, not 5" },
    { { " -- nothing" }, "world:stub takes SQL text" },
    { { "SELECT 1", { row = {} } }, 'world:stub: unknown option "row" (did you mean "rows"?)' },
    { { "SELECT 1", { rows = 5 } }, "world:stub: rows must be a list of tables, not 5" },
    { { "SELECT 1", { rows = { 5 } } }, "world:stub: rows must be a list of tables, not of 5" },
    { { "SELECT 1", { rows = { { a = print } } } }, "world:stub: rows hold a function" },
    { { "SELECT 1", { params = 5 } }, "world:stub: params must be a list, not 5" },
    { { "SELECT 1", { params = { a = 1 } } },
      'world:stub: params must be a list, it has the key "a"' },
    { { "SELECT 1", { times = 0 } }, "world:stub: times must be an integer of at least 1, not 0" },
    { { "SELECT 1", { error = { sqlstate = "1", message = "x" } } }, "error needs sqlstate" },
    { { "SELECT 1", { error = { sqlstate = "22000" } } }, "error needs sqlstate" },
    { { "SELECT 1", { error = { msg = "x" } } }, 'world:stub error: unknown option "msg"' },
  }
  for _, case in ipairs(stubs) do
    it("refuse: " .. case[2], function()
      local err = support.raised(function()
        world:stub(table.unpack(case[1]))
      end)
      assert.matches("mock_world_spec.lua:%d+: ", err)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end)
  end

  local fails = {
    { nil, "world:fail takes a table, not nil" },
    { { on = "pages", sqlstate = "40001" }, 'world:fail: on must be "page", ' },
    { { on = "page", sqlstate = 40001 }, "world:fail: sqlstate must be five digits" },
    { { on = "page", sqlstate = "40001", nth = 0 }, "world:fail: nth must be an integer" },
    { { on = "page", sqlstate = "40001", message = 5 }, "world:fail: message must be a string" },
    { { on = "page", sqlstat = "40001" }, 'world:fail: unknown option "sqlstat"' },
  }
  for _, case in ipairs(fails) do
    it("refuse: " .. case[2], function()
      local err = support.raised(function()
        world:fail(case[1])
      end)
      assert.matches("mock_world_spec.lua:%d+: ", err)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end)
  end
end)

describe("SQL tokens", function()
  local same = {
    { "SELECT 1", "select\n  1 ;" },
    { "a -- comment\n+ b", "a+b" },
    { "a /* x /* y */ z */ b", "a b" },
    { "x->>'a'", "x ->> 'a'" },
    { "a<=$1", "A <= $1" },
    { "SELECT", "SELECT;;" },
  }
  for _, case in ipairs(same) do
    it(("are the same: %q, %q"):format(case[1], case[2]), function()
      assert.equal(sql.fingerprint(case[1]), sql.fingerprint(case[2]))
    end)
  end

  local different = {
    { "'a  b'", "'a b'" }, { "'A'", "'a'" }, { '"A"', '"a"' }, { "a b", "ab" }, { "$1", "$2" },
    { "'it''s'", "'it' 's'" }, { "a <= b", "a < = b" }, { "$$a b$$", "$$a  b$$" },
    { "$x$a$$b$x$", "$x$a$$ b$x$" }, { "E'\\' x'", "E'\\'  x'" }, { "1.5", "1 .5" },
  }
  for _, case in ipairs(different) do
    it(("differ: %q, %q"):format(case[1], case[2]), function()
      assert.not_equal(sql.fingerprint(case[1]), sql.fingerprint(case[2]))
    end)
  end

  it("are split where PostgreSQL splits them", function()
    assert.same({ "insert", "into", '"T t"', "values", "(", "$1", ",", "'x;--'", ")" },
      sql.tokens 'INSERT INTO "T t" VALUES ($1, \'x;--\');')
    assert.same({ "'open" }, sql.tokens "'open")
    assert.same({ "a" }, sql.tokens "a /* open")
  end)

  it("tell transaction control", function()
    for _, statement in ipairs { "BEGIN", "commit;", "/* x */ ROLLBACK", "START TRANSACTION",
      "savepoint a", "PREPARE TRANSACTION 'x'" } do
      assert.is_truthy(sql.is_transaction_control(statement), statement)
    end
    for _, statement in ipairs { "SELECT 1", "PREPARE p AS SELECT 1", "UPDATE begin SET x = 1" } do
      assert.is_falsy(sql.is_transaction_control(statement), statement)
    end
  end)
end)

describe("values of exact types", function()
  local null = luamig.json.null
  local array, object, decimal = luamig.array, luamig.object, luamig.decimal

  it("are known by what they are, in unique columns", function()
    assert.is_true(value.equal(decimal "1.50", decimal "1.5"))
    for _, pair in ipairs {
      { decimal "1.50", decimal "1.5" }, { decimal "100.00", 100 }, { 1, 1.0 },
      { array { 1, object { a = 2 } }, array { 1.0, object { a = 2 } } },
    } do
      assert.equal(value.identity(pair[1]), value.identity(pair[2]))
    end
    for _, pair in ipairs { { decimal "100", decimal "1" }, { "1", 1 }, { array {}, object {} },
      { array { "a", "b" }, array { "a,b" } }, { array { 12, 3 }, array { 1, 23 } } } do
      assert.not_equal(value.identity(pair[1]), value.identity(pair[2]))
    end
  end)

  it("are nested tables in array columns", function()
    local encode = types.find("int4[]").encode
    local wrong = {
      { { 1, nil, 3 }, "keys 1, 2" }, { { 1, { 2 } }, "not rectangular" },
      { { { 1 }, 2 }, "not rectangular" }, { { {} }, "not rectangular" },
      { { { { { { { { 1 } } } } } } }, "6 dimensions" }, { object {}, "a table cannot be written" },
    }
    for _, case in ipairs(wrong) do
      assert.matches(case[2], support.raised(encode, case[1]).message)
    end
    local given = { 1 }
    assert.is_false(rawequal(given, encode(given)))
  end)

  it("are documents in jsonb columns", function()
    local encode = types.find("jsonb").encode
    local kept = encode { a = { 1, 2.0, null } }
    assert.equal("luamig.object", getmetatable(kept).__name)
    assert.equal("luamig.array", getmetatable(kept.a).__name)
    assert.is_true(decimal.is(encode(decimal "1e400")))
    local loop = {}
    loop.loop = loop
    local wrong = {
      { { a = { {} } }, "^at a%[1%]: an empty table" }, { array { a = 1 }, "other keys" },
      { object { 1 }, "not strings" }, { { "\0" }, "NUL byte" },
      { loop, "^at loop: the table contains itself" }, { luamig.json "[]", "give the table" },
      { print, "a function cannot" }, { decimal "NaN", "neither NaN" },
      { luamig.bytea "x", "bytea cannot" },
    }
    for _, case in ipairs(wrong) do
      assert.matches(case[2], support.raised(encode, case[1]).message)
    end
  end)

  it("go in and out as copies", function()
    local doc, list = { tags = { "a" } }, { 1 }
    local world = mock.new { tables = { t = {
      columns = { id = "int8", doc = "jsonb", list = "int4[]", price = "numeric" },
      primary_key = { "id" }, rows = { { id = 1, doc = doc, list = list, price = "1.50" } },
    } } }
    doc.tags[1], list[1] = "b", 2
    world:rows("t")[1].doc.tags[1] = "c"
    local row = world:rows("t")[1]
    assert.equal("a", row.doc.tags[1])
    assert.equal(1, row.list[1])
    assert.equal("1.50", tostring(row.price))
    local result = world:run(support.script [[
      local luamig = require "luamig"
      return { run = function(repo)
        local doc = luamig.object { n = luamig.decimal "2.50" }
        repo:update("t", { id = 1 }, { doc = doc, price = luamig.decimal "1.50" + 1 })
        doc.n = 3
        repo:update_all("t", { list = { luamig.NULL, 7 } }, { price = "2.5", doc = { n = 2.5 } })
      end }
    ]])
    assert.equal("done", result.state, tostring(result.error))
    row = world:rows("t")[1]
    assert.equal(2.5, row.doc.n)
    assert.equal(luamig.NULL, row.list[1])
    assert.equal("2.50", tostring(row.price))
  end)
end)

describe("values", function()
  it("are ordered by bytes, numbers with NaN last", function()
    local nan = 0 / 0
    local ordered = { { "", "A" }, { "Z", "a" }, { "a", "aa" }, { "z", "é" }, { 1, 1.5 }, { -1, 0 },
      { math.huge, nan }, { false, true }, { 1 << 53, (1 << 53) + 1 } }
    for _, pair in ipairs(ordered) do
      assert.equal(-1, value.compare(pair[1], pair[2]))
      assert.equal(1, value.compare(pair[2], pair[1]))
      assert.equal(0, value.compare(pair[1], pair[1]))
    end
    assert.equal(0, value.compare(nan, nan))
    assert.has_error(function()
      value.compare(1, "1")
    end)
  end)

  it("of a type of the user's are strings, which have no order", function()
    local world = mock.new {
      tables = { t = { columns = { id = "mood" }, rows = { { id = "sad" }, { id = "happy" } } } },
      base = { from = "t" },
    }
    assert.error_matches(function()
      world:run(support.script [[
        return { base_query = "SELECT * FROM t", migrate = function() end }]])
    end, "the mock does not know the order of type mood")
  end)

  it("that the server would read, and the mock cannot, fail the spec", function()
    local world = mock.new { tables = { t = { columns = { d = "date" } } } }
    assert.error_matches(function()
      world:run(support.script [[
        return { run = function(repo) repo:insert("t", { d = "yesterday" }) end }]])
    end, 'the mock cannot read "yesterday" as date')
  end)
end)
