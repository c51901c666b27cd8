-- The `input` of a script as it is written, and what stands for it in the mock.

local mock = require "luamig.mock"
local script = require "luamig.script"
local support = dofile "tests/lua/support.lua"

local COLUMNS = 'columns = { id = "bigint", email = "text" }'
local MIGRATE = "migrate = function() end"

local function load(input, more)
  return script.load(support.script(("return { input = { %s }, %s, %s }"):format(input,
    more or 'name = "x"', MIGRATE)))
end

local function refused(...)
  local err = support.raised(load, ...)
  assert.equal("script", err.kind)
  return err.message:match ":%s(.*)$", err.hint
end

after_each(support.clean)

describe("an input", function()
  it("is complete once it is loaded", function()
    local def = load('format = "csv", ' .. COLUMNS)
    assert.same({
      format = "csv",
      columns = { { name = "email", type = "text" }, { name = "id", type = "bigint" } },
      null = "", delimiter = ",", header = {}, ignore_others = false,
    }, def.input)
    assert.same({ "line" }, def.config.key)
    assert.is_nil(def.base_query)
    def.read_input "p.t"
    assert.equal('SELECT line, "email", "id" FROM p.t', def.base_query)
    assert.same({ n = 0 }, def.base_params)
    assert.is_true(def.whole_input)
  end)

  it("may have a base query, which gets the table", function()
    local def = load('format = "jsonl", ' .. COLUMNS, 'config = { key = "id" }, base_query = '
      .. 'function(args, input) return "SELECT id FROM " .. input .. " WHERE id > $1", 7 end')
    def.read_input "p.t"
    assert.equal("SELECT id FROM p.t WHERE id > $1", def.base_query)
    assert.same({ 7, n = 1 }, def.base_params)
    assert.same({ "id" }, def.config.key)
    assert.is_false(def.whole_input)
  end)

  local cases = {
    { COLUMNS, nil, 'input.format must be "csv" or "jsonl", not nil' },
    { 'format = "csv"', nil, "input.columns must be a table, not nil" },
    { 'format = "csv", columns = { "id" }', nil,
      "input.columns must map names of columns to types, not 1" },
    { 'format = "csv", columns = { line = "int8" }', nil,
      'input.columns cannot have a column "line"' },
    { 'format = "csv", columns = { xmin = "int8" }', nil,
      'input.columns cannot have a column "xmin"' },
    { 'format = "csv", columns = { id = "int; DROP" }', nil,
      'input.columns.id must be a type, not "int; DROP"' },
    { 'format = "csv", columns = { id = 8 }', nil, "input.columns.id must be a type, not 8" },
    { 'format = "csv", nul = "x", ' .. COLUMNS, nil, 'unknown field "nul" in input' },
    { 'format = "jsonl", null = "x", ' .. COLUMNS, nil, 'input.null is for the format "csv" only' },
    { 'format = "csv", delimiter = ";;", ' .. COLUMNS, nil,
      'input.delimiter must be one character, not ";;"' },
    { 'format = "csv", delimiter = "\\"", ' .. COLUMNS, nil,
      'input.delimiter must be one character, not """' },
    { 'format = "csv", header = "id", ' .. COLUMNS, nil,
      'input.header must be a list of names, not "id"' },
    { 'format = "csv", header = { "id" }, ' .. COLUMNS, nil,
      'input.columns has a column "email", and input.header does not name it' },
    { 'format = "csv", header = { "id", "email", "id" }, ' .. COLUMNS, nil,
      'input.header names "id" twice' },
    { 'format = "csv", header = { "id", "email", "z" }, ' .. COLUMNS, nil,
      'input.header names "z", and input.columns has no such column' },
    { 'format = "csv", null = "a;b", delimiter = ";", ' .. COLUMNS, nil,
      'input.null cannot be "a;b"' },
    { 'format = "csv", null = "\\"", ' .. COLUMNS, nil, 'input.null cannot be """' },
    { 'format = "csv", encoding = 1, ' .. COLUMNS, nil, "input.encoding must be a string, not 1" },
    { 'format = "csv", ' .. COLUMNS, 'base_query = "SELECT 1"',
      "base_query must be a function in a script with input" },
    { 'format = "csv", ' .. COLUMNS, 'config = { key = "id" }',
      'config.key must be "line" in a script with input and no base_query' },
    { 'format = "csv", ' .. COLUMNS, "run = function() end",
      "a script has either base_query and migrate, or run; this one has run and input, migrate" },
  }
  for _, case in ipairs(cases) do
    it("is refused: " .. case[3], function()
      assert.equal(case[3], (refused(case[1], case[2])))
    end)
  end

  it("may leave out columns of its header, of any name", function()
    local def = load('format = "csv", header = { "x", "id", "x", "email" }, ignore_others = true, '
      .. COLUMNS)
    assert.same({ "x", "id", "x", "email" }, def.input.header)
  end)

  it("needs a function that migrates", function()
    local err = support.raised(script.load, support.script(
      ('return { input = { format = "csv", %s } }'):format(COLUMNS)))
    assert.is_truthy(err.message:find("script has input, but neither migrate nor migrate_range", 1,
      true))
  end)
end)

describe("a world", function()
  local function path(body)
    return support.script(('return { input = { format = "csv", %s }, migrate = function(rows, repo)'
      .. " %s end }"):format(COLUMNS, body or ""))
  end

  local function world()
    return mock.new { tables = { users = { primary_key = { "id" },
      columns = { id = "int8", email = "text" }, rows = { { id = 1 }, { id = 2 }, { id = 3 } } } } }
  end

  local UPDATE = [[for _, row in ipairs(rows) do
    repo:update("users", { id = row.id }, { email = row.email }) end]]
  local ROWS = { { id = 1, email = "a" }, { id = 2, email = "b" }, { id = 3, email = "c" } }

  it("asks for the rows, and for one run of several", function()
    local one, script_path = world(), path()
    local function why()
      return tostring(support.raised(one.run, one, script_path))
    end
    assert.is_truthy(why():find("pass input = rows to world:run", 1, true))
    one:run(script_path, { input = { ROWS[1], ROWS[2] }, limit = 1 })
    one:run(script_path, { input = { ROWS[3], ROWS[2] }, limit = 1 })
    assert.is_truthy(why():find("several runs", 1, true))
  end)

  it("says what no column can hold, and has no table of that name itself", function()
    local err = support.raised(function()
      world():run(path(), { input = { { id = "x" } } })
    end)
    assert.is_truthy(tostring(err):find('column "id"', 1, true), tostring(err))
    local other = mock.new { tables = { input = { rows = {} } } }
    err = support.raised(function()
      other:run(path(), { input = ROWS })
    end)
    assert.is_truthy(tostring(err):find('table "input"', 1, true), tostring(err))
  end)

  it("has properties", function()
    local opts = { input = ROWS }
    mock.assert_idempotent(path(UPDATE), world, opts)
    mock.assert_resumable(path(UPDATE), world, opts)
    mock.assert_batch_size_independent(path(UPDATE), world, opts)
    mock.assert_workers_independent(path(UPDATE), world, opts)
    local err = support.raised(mock.assert_complete, path(UPDATE), world, opts)
    assert.is_truthy(tostring(err):find("returns all of its file", 1, true), tostring(err))
  end)
end)
