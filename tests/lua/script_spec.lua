local lfs = require "lfs"
local luamig = require "luamig"
local script = require "luamig.script"
local support = dofile "tests/lua/support.lua"

local ONE_SHOT = "run = function() end"
local PAGED = 'base_query = "SELECT id FROM t", migrate = function() end'

--- Loads a script that must be refused. Returns the error, its message with the path as "s.lua".
local function refused(source, opts)
  local path = support.script(source)
  local err = support.raised(script.load, path, opts)
  assert.is_table(err, tostring(err))
  local at, to = err.message:find(path, 1, true)
  if at == 1 then
    err.message = "s.lua" .. err.message:sub(to + 1)
  end
  return err
end

local function load(source, opts)
  return script.load(support.script(source), opts)
end

after_each(support.clean)

describe("a script file", function()
  local cases = {
    { "syntax error", "return {\n  x = = 1 }", "s.lua:2: unexpected symbol near '='" },
    { "returns nothing", "local x = 1 return", "s.lua must return a table, it returned nothing" },
    { "empty file", "", "s.lua must return a table, it returned nothing" },
    { "returns a number", "return 5", "s.lua must return a table, it returned a number" },
    { "returns nil", "return nil", "s.lua must return a table, it returned nil" },
    { "returns two values", "return {}, 1", "s.lua must return a table, it returned 2 values" },
    { "raises", "\nerror 'no'", "s.lua:2: no" },
    { "raises nil", "error()", "(error object is a nil value)" },
    { "bytecode", string.dump(function() end),
      "s.lua is precompiled Lua bytecode; luamig loads source text only" },
    { "bytecode after #!", "#!x\n" .. string.dump(function() end),
      "s.lua is precompiled Lua bytecode; luamig loads source text only" },
    { "undefined global", "local x = 1\nreturn usr", 's.lua:2: global "usr" is not defined' },
    { "misspelt global", "return { run = prnt }",
      's.lua:1: global "prnt" is not defined (did you mean "print"?)' },
    { "misspelt local", "local user = {}\nreturn usr",
      's.lua:2: global "usr" is not defined (did you mean "user"?)' },
    { "global assignment", "count = 1\nreturn {}",
      's.lua:1: assignment to global "count"; declare it with local' },
    { "assignment through _G", "_G.count = 1\nreturn {}", 's.lua:1: assignment to global "count"' },
    { "global function", "function f() end\nreturn {}", 's.lua:1: assignment to global "f"' },
    { "global in loaded text", "load('x = 1')()", 'assignment to global "x"' },
  }
  for _, case in ipairs(cases) do
    it("is refused: " .. case[1], function()
      local err = refused(case[2])
      assert.equal(case[3], err.message:gsub('^%[string "x = 1"%]:1: ', ""):sub(1, #case[3]))
      assert.equal("script", err.kind)
    end)
  end

  it("is refused when it is missing or a directory", function()
    local dir = support.directory()
    local err = support.raised(script.load, dir .. "/no.lua")
    assert.equal(('could not open script "%s/no.lua": No such file or directory'):format(dir),
      err.message)
    assert.equal("script", err.kind)
    err = support.raised(script.load, dir)
    assert.equal(('could not open script "%s": Is a directory'):format(dir), err.message)
  end)

  it("carries a traceback when it raises", function()
    local err = refused "local function f() error 'no' end\nf()\nreturn {}"
    assert.matches("s.lua:2: in main chunk", err.traceback)
  end)

  it("may begin with #! or a byte order mark", function()
    assert.equal("one_shot", load("#!/usr/bin/env luamig\nreturn { " .. ONE_SHOT .. " }").kind)
    assert.equal("one_shot", load("\239\187\191return { " .. ONE_SHOT .. " }").kind)
    local err = refused "\239\187\191#!/usr/bin/env luamig\nerror 'line two'"
    assert.equal("s.lua:2: line two", err.message)
  end)

  it("has os without exit and setlocale, and the rest of the standard library", function()
    local def = load [[
      assert(os.exit == nil and os.setlocale == nil)
      assert(os.getenv and io.open and debug and string.format)
      assert(_G._G == _G and _G.print == print)
      assert(load("return print")() == print)
      return { run = function() end }
    ]]
    assert.equal("one_shot", def.kind)
    assert.is_function(os.exit)
    assert.is_function(os.setlocale)
  end)

  it("may require lua-cjson", function()
    assert.equal("one_shot", load('require "cjson" return { ' .. ONE_SHOT .. " }").kind)
  end)
end)

describe("a script's table", function()
  local FIELDS = "A script has these fields: args, base_query, config, input, migrate, "
    .. "migrate_range, name, on_complete, on_start, on_stop, prepare, requires, run, throttle."
  local cases = {
    { "\n  migrat = 1,", 's.lua:2: unknown field "migrat"', 'Did you mean "migrate"?' },
    { "batch_size = 5,", 's.lua:1: unknown field "batch_size"',
      '"batch_size" is a field of config.' },
    { "on_finish = 5,", 's.lua:1: unknown field "on_finish"', FIELDS },
    { '["a b"] = 5,', 's.lua:1: unknown field "a b"', FIELDS },
    { "5,", 's.lua: unknown field "1"', FIELDS },
    { "on_start = 5,", 's.lua:1: field "on_start" must be a function, not 5' },
    { "on_complete = {},", 's.lua:1: field "on_complete" must be a function, not a table' },
    { "on_stop = '',", 's.lua:1: field "on_stop" must be a function, not ""' },
    { "throttle = 5,", 's.lua:1: field "throttle" must be a function, not 5' },
    { "base_query = 5,",
      's.lua:1: field "base_query" must be a string or a function, not 5' },
    { "config = 5,", 's.lua:1: field "config" must be a table, not 5' },
    { "args = 5,", 's.lua:1: field "args" must be a table, not 5' },
    { "name = 5,", 's.lua:1: field "name" must be a string, not 5' },
    { "name = ' ',", 's.lua:1: field "name" must be one line of text that is not empty, not " "' },
    { "name = 'a\\nb',",
      's.lua:1: field "name" must be one line of text that is not empty, not "a?b"' },
    { "requires = 5,", 's.lua:1: field "requires" is not understood: 5',
      'Write "luamig >= X.Y" or "luamig >= X.Y.Z".' },
    { "requires = 'luamig 0.1',", 's.lua:1: field "requires" is not understood: "luamig 0.1"',
      'Write "luamig >= X.Y" or "luamig >= X.Y.Z".' },
    { "requires = 'luamig >= 0.1x',",
      's.lua:1: field "requires" is not understood: "luamig >= 0.1x"',
      'Write "luamig >= X.Y" or "luamig >= X.Y.Z".' },
    { "requires = 'luamig >= 0.2', unknown = 1,",
      "s.lua:1: script requires luamig >= 0.2, this is luamig 0.1.0" },
    { "requires = 'luamig >= 0.1.1',",
      "s.lua:1: script requires luamig >= 0.1.1, this is luamig 0.1.0" },
    { "migrate = print,", "s.lua:1: a script has either base_query and migrate, or run; "
      .. "this one has run and migrate" },
    { "migrate_range = print,", "s.lua:1: a script has either base_query and migrate, or run; "
      .. "this one has run and migrate_range" },
    { "base_query = '', migrate = print,", "s.lua:1: a script has either base_query and migrate, "
      .. "or run; this one has run and base_query, migrate" },
  }
  for _, case in ipairs(cases) do
    it("is refused: " .. case[1]:gsub("%c", ""), function()
      local err = refused("return { " .. case[1] .. ONE_SHOT .. " }")
      assert.equal(case[2], err.message)
      assert.equal(case[3], err.hint)
      assert.equal("script", err.kind)
    end)
  end

  local incomplete = {
    { "", "s.lua: script has neither base_query and migrate, nor run" },
    { "base_query = 'SELECT 1'",
      "s.lua:1: script has base_query, but neither migrate nor migrate_range" },
    { "migrate = print", "s.lua:1: script has migrate, but no base_query" },
    { "migrate_range = print", "s.lua:1: script has migrate_range, but no base_query" },
    { "migrate = print, migrate_range = print, base_query = 'SELECT 1'",
      "s.lua:1: a script has either migrate or migrate_range, this one has both" },
    { "migrate_range = 5, base_query = 'SELECT 1'",
      's.lua:1: field "migrate_range" must be a function, not 5' },
    { "migrate = print, base_query = ' ;'", "s.lua:1: base_query is empty" },
    { "migrate = print, base_query = 'SELECT \\255'",
      "s.lua:1: base_query is not valid UTF-8 text" },
    { "migrate = print, base_query = function() end",
      "s.lua:1: base_query must return SQL text, it returned nothing" },
    { "migrate = print, base_query = function() return 5 end",
      "s.lua:1: base_query must return SQL text, it returned a number" },
    { "migrate = print, base_query = function() return 'x', 1, { a = 1 } end",
      "s.lua:1: parameter 2 of base_query is a table" },
    { "migrate = print, base_query = function() return 'x', require('luamig').ALL end",
      "s.lua:1: parameter 1 of base_query is luamig.ALL" },
    { "migrate = print, base_query = function() return 'x', print end",
      "s.lua:1: parameter 1 of base_query is a function" },
    { "migrate = print, base_query = function() error 'no' end", "s.lua:1: no" },
    { "migrate = print, base_query = function(args) return args.day end",
      's.lua:1: argument "day" is not declared' },
  }
  for _, case in ipairs(incomplete) do
    it("is refused: " .. case[1], function()
      assert.equal(case[2], refused("return { " .. case[1] .. " }").message)
    end)
  end

  it("names no line where it would have to guess", function()
    local err = refused "local t = {\n  zzzz = 1 } assert(t)\nreturn { zzzz = 1, run = print }"
    assert.equal('s.lua: unknown field "zzzz"', err.message)
    err = refused "-- zzzz = 1\nlocal zzzz = 1\nreturn { run = print,\n zzzz = zzzz == 1 }"
    assert.equal('s.lua:4: unknown field "zzzz"', err.message)
  end)

  it("accepts the versions it is asked for", function()
    for _, requires in ipairs { "luamig >= 0.1", "luamig>=0.1.0", " luamig >= 0.0.9 " } do
      local def = load(("return { requires = %q, %s }"):format(requires, ONE_SHOT))
      assert.equal("one_shot", def.kind)
    end
  end)

  it("prints its error with the hint", function()
    local err = refused("return { migrat = 1, " .. ONE_SHOT .. " }")
    assert.equal('s.lua:1: unknown field "migrat"\nHINT:  Did you mean "migrate"?', tostring(err))
  end)
end)

describe("config", function()
  local INT = "an integer from 0 to 2147483647"
  local KEY = "config.key must be a column name or a list of distinct column names, not "
  local VALUE = "config.start_after must be a key value or a list of key values "
    .. "(strings, finite numbers or booleans), not "
  local cases = {
    { "bach_size = 1", 'unknown field "bach_size" in config', 'Did you mean "batch_size"?' },
    { "batch_size = 0", "config.batch_size must be an integer from 1 to 1000000, not 0" },
    { "batch_size = 1000001",
      "config.batch_size must be an integer from 1 to 1000000, not 1000001" },
    { "batch_size = 1.5", "config.batch_size must be an integer from 1 to 1000000, not 1.5" },
    { "batch_size = '5'", 'config.batch_size must be an integer from 1 to 1000000, not "5"' },
    { "throttle_ms = -1", "config.throttle_ms must be " .. INT .. ", not -1" },
    { "workers = 0", 'config.workers must be an integer from 1 to 64 or "auto", not 0' },
    { "workers = 65", 'config.workers must be an integer from 1 to 64 or "auto", not 65' },
    { "workers = 'many'",
      'config.workers must be an integer from 1 to 64 or "auto", not "many"' },
    { "target_ms = 0",
      "config.target_ms must be an integer from 1 to 2147483647, not 0" },
    { "retries = -1", "config.retries must be " .. INT .. ", not -1" },
    { "statement_timeout_ms = -1", "config.statement_timeout_ms must be " .. INT .. ", not -1" },
    { "lock_timeout_ms = true", "config.lock_timeout_ms must be " .. INT .. ", not true" },
    { "key = 5", KEY .. "5" },
    { "key = ''", KEY .. '""' },
    { "key = {}", KEY .. "a table" },
    { "key = { 'a', 'a' }", KEY .. "a table" },
    { "key = { 'a', x = 'b' }", KEY .. "a table" },
    { "start_after = {}", VALUE .. "a table" },
    { "start_after = print", VALUE .. "a function" },
    { "start_after = 0/0", VALUE .. "nan" },
    { "start_after = { 1, 2 }",
      "config.start_after has length 2, config.key has length 1" },
    { "key = { 'a', 'b' }, start_after = 1",
      "config.start_after has length 1, config.key has length 2" },
    { "follow_new = 1", "config.follow_new must be true or false, not 1" },
    { "durable_batches = 1", "config.durable_batches must be true or false, not 1" },
    { "repeatable = 1", "config.repeatable must be true or false, not 1" },
    { "assume_unique = 1", "config.assume_unique must be true or false, not 1" },
    { "allow_ddl = 1", "config.allow_ddl must be true or false, not 1" },
    { "allow_unjudged = 1", "config.allow_unjudged must be true or false, not 1" },
    { "isolation = 'snapshot'", 'config.isolation must be "repeatable read", "read committed" or '
      .. '"serializable", not "snapshot"' },
    { "combine = 'never'", 'config.combine must be true, false or "always", not "never"' },
    { "on_error = 'skip'", 'config.on_error must be "stop" or "quarantine", not "skip"' },
    { "timezone = ''", 'config.timezone must be a string that is not empty, not ""' },
    { "repo = 5", "config.repo must be a string that is not empty, not 5" },
    { "max_failures = -1", "config.max_failures must be an integer from 0 to 2147483647, not -1" },
    { "quarantine_rows = 1", "config.quarantine_rows must be true or false, not 1" },
    { "health = true", "config.health must be a table of limits, or false, not true" },
    { "health = { replica_lag_byte = 1 }", 'unknown field "replica_lag_byte" in config.health',
      'Did you mean "replica_lag_bytes"?' },
    { "health = { vacuums = -1 }",
      "config.health.vacuums must be a number that is at least 0, or false, not -1" },
    { "health = { vacuums = true }",
      "config.health.vacuums must be a number that is at least 0, or false, not true" },
    { "health = { snapshot_age_s = 1/0 }",
      "config.health.snapshot_age_s must be a number that is at least 0, or false, not inf" },
  }
  for _, case in ipairs(cases) do
    it("is refused: " .. case[1], function()
      local err = refused(("return { %s,\n config = {\n %s } }"):format(PAGED, case[1]))
      assert.equal("s.lua:3: " .. case[2], err.message)
      assert.equal(case[3], err.hint)
      assert.equal("script", err.kind)
    end)
  end

  local HEALTH = {
    batch_ms = 2000, blocked_sessions = 0, replica_lag_bytes = 134217728,
    replay_lag_bytes = 134217728, slot_wal_bytes = 10737418240, archive_backlog_bytes = 536870912,
    vacuums = 0, dead_tuple_debt = 4, snapshot_age_s = 1800, active_sessions_ratio = 3,
  }

  it("has defaults", function()
    local def = load("return { " .. PAGED .. " }")
    assert.same({
      batch_size = 1000, throttle_ms = 100, workers = 1, key = { "id" }, follow_new = false,
      repo = "default", isolation = "repeatable read", retries = 5, on_error = "stop",
      statement_timeout_ms = 30000, row_security = false, prepare_timeout_ms = 600000,
      lock_timeout_ms = 1000, durable_batches = false, repeatable = false, combine = true,
      assume_unique = false, allow_ddl = false, allow_unjudged = false, max_failures = 100,
      quarantine_rows = false, health = HEALTH,
    }, def.config)
    assert.is_nil(def.start_after)
    assert.equal('{"allow_ddl":false,"allow_unjudged":false,"assume_unique":false,'
      .. '"batch_size":1000,"combine":true,"durable_batches":false,"follow_new":false,'
      .. '"health":{"active_sessions_ratio":3,'
      .. '"archive_backlog_bytes":536870912,"batch_ms":2000,"blocked_sessions":0,'
      .. '"dead_tuple_debt":4,"replay_lag_bytes":134217728,"replica_lag_bytes":134217728,'
      .. '"slot_wal_bytes":10737418240,"snapshot_age_s":1800,"vacuums":0},'
      .. '"isolation":"repeatable read","key":["id"],"lock_timeout_ms":1000,"max_failures":100,'
      .. '"on_error":"stop","prepare_timeout_ms":600000,"quarantine_rows":false,'
      .. '"repeatable":false,"repo":"default","retries":5,"row_security":false,'
      .. '"statement_timeout_ms":30000,"throttle_ms":100,"workers":1}', def.config_json)
  end)

  it("keeps the thresholds of health that are not given", function()
    local def = load("return { " .. PAGED .. [[, config = { health = { replica_lag_bytes = 5.5,
      vacuums = false } } }]])
    local wanted = {}
    for name, threshold in pairs(HEALTH) do
      wanted[name] = threshold
    end
    wanted.replica_lag_bytes, wanted.vacuums = 5.5, false
    assert.same(wanted, def.config.health)
    def = load("return { " .. PAGED .. ", config = { health = false } }")
    for name in pairs(HEALTH) do
      assert.is_false(def.config.health[name])
    end
  end)

  it("comes out in one shape", function()
    local def = load("return { " .. PAGED .. [[, config = { batch_size = 1e3, key = { "a", "b" },
      start_after = { "x", 2 }, timezone = "UTC", combine = "always", allow_ddl = true,
      target_ms = 250.0 } }]])
    assert.equal("integer", math.type(def.config.target_ms))
    assert.equal("integer", math.type(def.config.batch_size))
    assert.same({ "a", "b" }, def.config.key)
    assert.same({ "x", 2 }, def.start_after)
    assert.equal("UTC", def.config.timezone)
    assert.same({ 7 }, load("return { " .. PAGED .. ", config = { start_after = 7 } }").start_after)
  end)

  it("keeps decimals and bytes to start after", function()
    local def = load("local luamig = require 'luamig' return { " .. PAGED .. [[,
      config = { key = { "a", "b" },
        start_after = { luamig.decimal "1.50", luamig.bytea "\0\xff" } } }]])
    assert.equal("1.50", tostring(def.start_after[1]))
    assert.is_truthy(def.config_json:find('"start_after":[1.50,"\\\\x00ff"]', 1, true),
      def.config_json)
    def = load("return { " .. PAGED
      .. ", config = { start_after = require('luamig').decimal '-7' } }")
    assert.equal("-7", tostring(def.start_after[1]))
  end)

  it("hands on parameters that say what they are", function()
    local def = load([[local luamig = require "luamig" return { migrate = print,
      base_query = function()
        return "SELECT 1", { "a", "b" }, {}, luamig.object {}, luamig.decimal "1.50",
          luamig.bytea "x", luamig.json "[]", luamig.json.null, luamig.NULL
      end }]])
    assert.equal(8, def.base_params.n)
    assert.same({ "a", "b" }, def.base_params[1])
    assert.equal(luamig.json.null, def.base_params[7])
    assert.is_nil(def.base_params[8])
  end)

  it("is overridden by options, under the same rules", function()
    local source = "return { " .. PAGED .. ", config = { batch_size = 5 } }"
    assert.equal(7, load(source, { overrides = { batch_size = 7 } }).config.batch_size)
    assert.equal(7, load(source, { overrides = { batch_size = "7" } }).config.batch_size)
    local err = refused(source, { overrides = { batch_size = 0 } })
    assert.equal("--batch-size must be an integer from 1 to 1000000, not 0", err.message)
    assert.equal("usage", err.kind)
    err = refused(source, { overrides = { throttle_ms = "soon" } })
    assert.equal('--throttle-ms must be an integer from 0 to 2147483647, not "soon"', err.message)
    assert.equal(7, load(source, { overrides = { target_ms = 7 } }).config.target_ms)
    assert.equal(7, load(source, { overrides = { workers = "7" } }).config.workers)
    assert.equal("auto", load(source, { overrides = { workers = "auto" } }).config.workers)
    assert.equal('--workers must be an integer from 1 to 64 or "auto", not "all"',
      refused(source, { overrides = { workers = "all" } }).message)
    assert.equal("unknown option --page-size",
      refused(source, { overrides = { page_size = 1 } }).message)
  end)
end)

describe("args", function()
  local declarations = {
    { "['a-b'] = { type = 'string' }", 'argument name "a-b" is not an identifier' },
    { "['end'] = { type = 'string' }", 'argument name "end" is not an identifier' },
    { "{ type = 'string' }", "argument name 1 is not an identifier" },
    { "a = 'string'", 'args.a must be a table, not "string"' },
    { "a = {}", 'args.a.type must be "string", "integer", "number" or "boolean", not nil' },
    { "a = { type = 'int' }",
      'args.a.type must be "string", "integer", "number" or "boolean", not "int"' },
    { "a = { type = 'string', defualt = 1 }", 'unknown key "defualt" in args.a' },
    { "a = { type = 'string', required = 1 }", "args.a.required must be true or false, not 1" },
    { "a = { type = 'string', desc = 1 }", "args.a.desc must be a string, not 1" },
    { "a = { type = 'integer', default = '5' }",
      'args.a.default must be an integer between -2^63 and 2^63-1, not "5"' },
    { "a = { type = 'boolean', default = 0 }", "args.a.default must be true or false, not 0" },
    { "a = { type = 'number', default = 1/0 }", "args.a.default must be a finite number, not inf" },
    { "a = { type = 'string', default = '', required = true }",
      "args.a is required and has a default" },
    { "a = { type = 'string', secret = 1 }", "args.a.secret must be true or false, not 1" },
    { "a = { type = 'string', secret = true, default = 'x' }",
      "args.a is secret and has a default" },
    { "a = { type = 'string', secret = true, required = false }",
      "args.a is secret, so it is required" },
    { "a = { type = 'integer', secret = true }",
      'args.a is secret, so its type must be "string", not "integer"' },
  }
  for _, case in ipairs(declarations) do
    it("are refused as declared: " .. case[1], function()
      local err = refused(("return { %s, args = { %s } }"):format(ONE_SHOT, case[1]))
      assert.equal(case[2], support.message(err))
      assert.equal("script", err.kind)
    end)
  end

  local function declared(type_name)
    return ("return { %s, args = { a = { type = %q } } }"):format(ONE_SHOT, type_name)
  end

  local INTEGER = "an integer between -2^63 and 2^63-1"
  local refusals = {
    { "integer", "", INTEGER }, { "integer", "1.0", INTEGER }, { "integer", " 1", INTEGER },
    { "integer", "0x10", INTEGER }, { "integer", "1e3", INTEGER },
    { "integer", "9223372036854775808", INTEGER }, { "integer", 1.5, INTEGER },
    { "integer", true, INTEGER }, { "number", "", "a finite number" },
    { "number", ".", "a finite number" }, { "number", "nan", "a finite number" },
    { "number", "0x10", "a finite number" }, { "number", "1e999", "a finite number" },
    { "number", 1 / 0, "a finite number" }, { "number", "5 ", "a finite number" },
    { "boolean", "yes", "true or false" }, { "boolean", "1", "true or false" },
    { "boolean", 1, "true or false" }, { "string", "a\0b", "a string (valid UTF-8)" },
    { "string", "\255", "a string (valid UTF-8)" }, { "string", 5, "a string (valid UTF-8)" },
  }
  for _, case in ipairs(refusals) do
    it(("of type %s refuse %s"):format(case[1], tostring(case[2])), function()
      local err = refused(declared(case[1]), { args = { a = case[2] } })
      local start = 's.lua: argument "a" must be ' .. case[3] .. ", not "
      assert.equal(start, err.message:sub(1, #start))
      assert.equal("usage", err.kind)
    end)
  end

  local conversions = {
    { "integer", "-5", -5 }, { "integer", "+5", 5 }, { "integer", 5.0, 5 },
    { "integer", "-9223372036854775808", math.mininteger }, { "number", "1.5e-3", 0.0015 },
    { "number", ".5", 0.5 }, { "number", "5", 5 }, { "number", 5, 5 }, { "boolean", "true", true },
    { "boolean", "false", false }, { "boolean", false, false }, { "string", " x", " x" },
    { "string", "", "" },
  }
  for _, case in ipairs(conversions) do
    it(("of type %s take %s"):format(case[1], tostring(case[2])), function()
      local value = load(declared(case[1]), { args = { a = case[2] } }).args.a
      assert.equal(case[3], value)
      assert.equal(math.type(case[3]), math.type(value))
    end)
  end

  local FULL = "return { " .. ONE_SHOT .. [[, args = {
    tenant = { type = "integer", required = true, desc = "whose" },
    dry = { type = "boolean", default = false },
    rate = { type = "number", default = 0.1 },
    note = { type = "string" },
  } }]]

  it("must be given when required, and declared", function()
    local err = refused(FULL)
    assert.equal('s.lua: missing required argument "tenant"', err.message)
    assert.equal("Give it with --arg tenant=INTEGER.", err.hint)
    assert.equal("usage", err.kind)
    err = refused(FULL, { args = { tennant = "5" } })
    assert.equal('s.lua: unknown argument "tennant"', err.message)
    assert.equal('Did you mean "tenant"? Declared arguments: dry, note, rate, tenant.', err.hint)
    err = refused("return { " .. ONE_SHOT .. " }", { args = { a = "5" } })
    assert.equal("This script declares no arguments.", err.hint)
  end)

  it("have defaults and a canonical text", function()
    local def = load(FULL, { args = { tenant = "7" } })
    assert.equal(7, def.args.tenant)
    assert.is_nil(def.args.note)
    assert.equal('{"dry":false,"rate":0.1,"tenant":7}', def.args_json)
    def = load(FULL, { args = { tenant = math.maxinteger, note = 'a"\\\n\1é' } })
    assert.equal('{"dry":false,"note":"a\\"\\\\\\n\\u0001é","rate":0.1,'
      .. '"tenant":9223372036854775807}', def.args_json)
    assert.equal("{}", load("return { " .. ONE_SHOT .. " }").args_json)
  end)

  it("are described without values", function()
    local def = load(FULL, { describe_only = true })
    assert.same({
      { name = "dry", type = "boolean", required = false, default = false },
      { name = "note", type = "string", required = false },
      { name = "rate", type = "number", required = false, default = 0.1 },
      { name = "tenant", type = "integer", required = true, desc = "whose" },
    }, def.args_spec)
    assert.is_nil(def.args)
    local paged = load("return { migrate = print, base_query = error }", { describe_only = true })
    assert.is_nil(paged.base_query)
  end)

  local SECRET = "return { " .. ONE_SHOT .. [[, args = {
    tenant = { type = "integer" }, token = { type = "string", secret = true },
  } }]]

  it("that are secret are in args and nowhere else", function()
    local def = load(SECRET, { args = { token = "hunter2", tenant = 5 } })
    assert.equal("hunter2", def.args.token)
    assert.equal('{"tenant":5}', def.args_json)
    assert.same({
      given = '{"tenant":"5"}', defaults = "{}",
      declared = '{"tenant":{"required":false,"type":"number"},'
        .. '"token":{"required":false,"secret":true,"type":"string"}}',
    }, def.identity_json)
    local other = load(SECRET, { args = { token = "x", tenant = 5 } })
    assert.same(def.identity_json, other.identity_json)
  end)

  it("that are secret are required, and quoted by no error", function()
    local hint = "Give it with --arg-env token=VARIABLE, or --arg-file token=PATH "
      .. "(- is standard input)."
    local err = refused(SECRET)
    assert.equal('s.lua: missing required argument "token"', err.message)
    assert.equal(hint, err.hint)
    err = refused(SECRET, { args = { token = "hunter\255" } })
    assert.equal('s.lua: argument "token" must be a string (valid UTF-8)', err.message)
    err = refused(SECRET, { args = { token = "hunter2" }, hidden = {} })
    assert.equal('s.lua: argument "token" is secret, but "ps" shows the command line',
      err.message)
    assert.equal(hint, err.hint)
    assert.equal("usage", err.kind)
    err = refused(SECRET, { args = { token = "x", tenant = "5" },
      hidden = { token = true, tenant = true } })
    assert.equal('s.lua: argument "tenant" is not declared secret, so the journal would keep its '
      .. "value", err.message)
  end)

  it("raise when one is read that is not declared", function()
    local def = load(FULL, { args = { tenant = 1 } })
    assert.error_matches(function()
      return def.args.tennant
    end, 'argument "tennant" is not declared %(did you mean "tenant"%?%)')
  end)
end)

describe("base_query", function()
  it("is text, or a function of the args that returns text and parameters", function()
    local def = load("return { " .. PAGED .. " }")
    assert.equal("SELECT id FROM t", def.base_query)
    assert.same({ n = 0 }, def.base_params)
    def = load([[
      local NULL = require("luamig").NULL
      return { migrate = print, args = { n = { type = "integer", default = 3 } },
        base_query = function(args) return "SELECT 1", args.n, nil, NULL, "x" end }
    ]])
    assert.equal("SELECT 1", def.base_query)
    assert.same({ 3, nil, nil, "x", n = 4 }, def.base_params)
  end)

  it("keeps position and traceback of an error", function()
    local err = refused "return { migrate = print,\n base_query = function()\n error 'no' end }"
    assert.equal("s.lua:3: no", err.message)
    assert.matches("s.lua:3: in function", err.traceback)
  end)
end)

describe("a script's place", function()
  local home = lfs.currentdir()
  local dir

  local function source(name)
    return support.write(dir, name, "return { " .. ONE_SHOT .. " }")
  end

  before_each(function()
    dir = support.directory()
    assert(lfs.chdir(dir))
    dir = lfs.currentdir()
    source "scripts/a.lua"
  end)

  after_each(function()
    lfs.chdir(home)
  end)

  local function name_and_root(path, opts)
    local def = script.load(path, opts)
    return def.name .. " in " .. def.root
  end

  it("gives the same name however the path is written", function()
    local expected = "scripts/a.lua in " .. dir
    for _, marker in ipairs { "luamig.lua", ".git/HEAD" } do
      support.write(dir, marker, "")
      for _, path in ipairs { "scripts/a.lua", "./scripts/a.lua", "scripts//../scripts/a.lua",
        dir .. "/scripts/a.lua" } do
        assert.equal(expected, name_and_root(path))
      end
      lfs.chdir "scripts"
      assert.equal(expected, name_and_root "a.lua")
      assert.equal(expected, name_and_root "../scripts/a.lua")
      lfs.chdir ".."
      os.remove(marker)
    end
  end)

  it("is below the nearest marker, then above scripts", function()
    support.write(dir, "luamig.lua", "")
    support.write(dir, "scripts/.git/HEAD", "")
    assert.equal("a.lua in " .. dir .. "/scripts", name_and_root "scripts/a.lua")
    os.remove "scripts/.git/HEAD"
    lfs.rmdir "scripts/.git"
    assert.equal("scripts/a.lua in " .. dir, name_and_root "scripts/a.lua")
    os.remove "luamig.lua"
    for _, place in ipairs { ".", "other", "scripts" } do
      lfs.mkdir(place)
      lfs.chdir(place)
      assert.equal("scripts/a.lua in " .. dir, name_and_root(dir .. "/scripts/a.lua"))
      lfs.chdir(dir)
    end
  end)

  it("is the whole path where there is no project", function()
    local path = support.write(dir, "other/a.lua", "return { run = function() end }")
    local expected = path .. " in " .. dir .. "/other"
    assert.equal(expected, name_and_root "other/a.lua")
    for place, word in pairs { other = "./a.lua", scripts = "../other/a.lua", ["."] = path } do
      lfs.chdir(place)
      assert.equal(expected, name_and_root(word))
      lfs.chdir(dir)
    end
  end)

  it("can be told by the host", function()
    assert.equal("scripts/a.lua in " .. dir, name_and_root("scripts/a.lua", { cwd = dir }))
    assert.equal("b/scripts/a.lua in /root", name_and_root("scripts/a.lua",
      { root = "/root", cwd = "/root/b" }))
    assert.equal("../c.lua in /root", name_and_root("scripts/a.lua",
      { root = "/root", cwd = "/root", abspath = "/c.lua" }))
  end)

  it("gives way to an explicit name", function()
    local path = support.write(dir, "b.lua", "return { name = 'fixed', " .. ONE_SHOT .. " }")
    assert.equal("fixed", script.load(path).name)
  end)

  it("is where modules are found: its directory, its lib, the root", function()
    support.write(dir, "luamig.lua", "error 'the project file is no module'")
    support.write(dir, "scripts/spec_one.lua", "return 'one'")
    support.write(dir, "scripts/lib/spec_two.lua", "return 'two'")
    support.write(dir, "spec_three/init.lua", "return 'three'")
    support.write(dir, "scripts/b.lua", [[
      assert(require "luamig".version)
      local name = require "spec_one" .. require "spec_two" .. require "spec_three"
      return { run = function() end, name = name }
    ]])
    finally(function()
      package.loaded.spec_one, package.loaded.spec_two, package.loaded.spec_three = nil, nil, nil
    end)
    local loaded, path = package.loaded.luamig, package.path
    package.loaded.luamig, package.path = nil, home .. "/lua/?/init.lua;" .. path
    local def = script.load "scripts/b.lua"
    package.loaded.luamig = loaded
    assert.equal("onetwothree", def.name)
  end)

  it("makes modules strict, too", function()
    support.write(dir, "scripts/lib/spec_bad.lua", "\ncount = 1")
    support.write(dir, "scripts/lib/spec_worse.lua", "return (")
    support.write(dir, "scripts/b.lua", "return require 'spec_bad'")
    support.write(dir, "scripts/c.lua", "return require 'spec_worse'")
    support.write(dir, "scripts/d.lua", "return require 'spec_none'")
    assert.equal('scripts/lib/spec_bad.lua:2: assignment to global "count"; declare it with local',
      support.raised(script.load, "scripts/b.lua").message)
    assert.matches('^.-could not load module "spec_worse": scripts/lib/spec_worse.lua:1: ',
      support.raised(script.load, "scripts/c.lua").message)
    assert.matches("module 'spec_none' not found",
      support.raised(script.load, "scripts/d.lua").message)
  end)

  it("is searched first when it was loaded last, once however often", function()
    support.write(dir, "x/spec_four.lua", "return 'x'")
    support.write(dir, "y/spec_four.lua", "return 'y'")
    local body = "return { run = function() end, name = require 'spec_four' }"
    support.write(dir, "x/a.lua", body)
    support.write(dir, "y/a.lua", body)
    finally(function()
      package.loaded.spec_four = nil
    end)
    for _, name in ipairs { "x", "y", "x", "y" } do
      package.loaded.spec_four = nil
      assert.equal(name, script.load(name .. "/a.lua").name)
    end
    local before, searchers = package.path, #package.searchers
    script.load "y/a.lua"
    assert.equal(before, package.path)
    assert.equal(searchers, #package.searchers)
    assert.equal(1, select(2, package.path:gsub(dir:gsub("%p", "%%%0") .. "/y/%?%.lua", "")))
  end)
end)

describe("a definition", function()
  it("has the callbacks, the source and nothing of luamig.NULL", function()
    local source = "return { " .. PAGED .. ", on_start = print, on_stop = print, "
      .. "on_complete = print, throttle = print }"
    local def = load(source)
    assert.equal(source, def.source)
    assert.equal("paged", def.kind)
    for _, name in ipairs { "on_start", "on_stop", "on_complete", "throttle" } do
      assert.equal(print, def[name])
    end
    assert.is_function(def.migrate)
    assert.is_nil(def.run)
    assert.not_equal(luamig.NULL, def.start_after)
  end)
end)
