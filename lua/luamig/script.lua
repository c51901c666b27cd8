--- Loading and validating a script. The program and the mock share this module, so that the rules
-- are the same in both.
--
-- Promises: a definition that comes out of `script.load` is complete and checked, and has one
-- shape; nothing was connected to. Errors are the tables of `luamig.errors`: kind "usage" for
-- arguments and options given by the user, kind "script" for everything else.
-- Refuses: files that are not Lua source text, unknown fields and wrong types.

local args = require "luamig.script.args"
local canonical = require "luamig.script.canonical"
local config = require "luamig.script.config"
local env = require "luamig.script.env"
local errors = require "luamig.errors"
local input = require "luamig.script.input"
local marks = require "luamig.marks"
local paths = require "luamig.script.paths"
local source = require "luamig.script.source"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local version = require "luamig.version"

local script = {}

local FIELDS = {
  base_query = { "string", "function" }, input = { "table" }, migrate = { "function" },
  migrate_range = { "function" }, prepare = { "function" }, run = { "function" },
  config = { "table" }, name = { "string" }, args = { "table" }, throttle = { "function" },
  on_start = { "function" }, on_complete = { "function" }, on_stop = { "function" },
  requires = { "string" },
}
local FIELD_NAMES = text.sorted_keys(FIELDS)
local CALLBACKS = {
  "migrate", "migrate_range", "prepare", "run", "on_start", "on_complete", "on_stop", "throttle",
}

--- Reads and runs the file. Returns what it returned, and its text and place.
local function evaluate(path, opts)
  local content = source.read(path, "script", opts.texts)
  local place = paths.place(path, opts)
  local lib = paths.join(place.dir, "lib")
  env.search({ place.dir, lib, place.root }, place.cwd, opts.texts)
  return source.evaluate(content, path), content, place
end

--- The fields of the returned table, checked by name and type.
local function check_fields(given, fail)
  local kept = {}
  for _, name in ipairs(text.ordered_keys(given)) do
    local value = given[name]
    local kinds = FIELDS[name]
    if not kinds then
      local shown = tostring(name)
      local setting = suggest.nearest(shown, config.names)
      fail({ name }, ('unknown field "%s"'):format(shown), suggest.hint(shown, FIELD_NAMES)
        or setting and ('"%s" is a field of config.'):format(setting)
        or ("A script has these fields: %s."):format(table.concat(FIELD_NAMES, ", ")))
    elseif type(value) ~= kinds[1] and type(value) ~= kinds[2] then
      fail({ name }, ('field "%s" must be a %s, not %s'):format(name,
        table.concat(kinds, " or a "), text.describe(value)))
    end
    kept[name] = value
  end
  return kept
end

local function version_number(major, minor, patch)
  return tonumber(major) * 1000000 + tonumber(minor) * 1000 + (tonumber(patch) or 0)
end

--- Checks `requires` before anything else: a script for a later version has unknown fields.
local function check_requires(requires, fail)
  if requires == nil then
    return
  end
  local form = "^%s*luamig%s*>=%s*(%d%d?%d?)%.(%d%d?%d?)"
  local major, minor, rest
  if type(requires) == "string" then
    major, minor, rest = requires:match(form .. "(.-)%s*$")
  end
  local patch = rest and rest:match "^%.(%d%d?%d?)$"
  if not major or (rest ~= "" and not patch) then
    fail({ "requires" }, ('field "requires" is not understood: %s'):format(text.describe(requires)),
      'Write "luamig >= X.Y" or "luamig >= X.Y.Z".')
  end
  local own = version_number(version.full:match "(%d+)%.(%d+)%.(%d+)")
  if version_number(major, minor, patch) > own then
    fail({ "requires" }, ("script requires %s, this is luamig %s"):format(
      requires:match "^%s*(.-)%s*$", version.full))
  end
end

local function listing(fields, names)
  return table.concat(text.map(names, function(name)
    return fields[name] ~= nil and name or nil
  end), ", ")
end

--- Only migrate gets rows that can be prepared.
local function check_prepare(fields, fail)
  if fields.prepare and not fields.migrate then
    fail({ "prepare" }, ("prepare gets the rows of migrate, and this script has %s"):format(
      fields.migrate_range and "migrate_range" or fields.run and "run" or "no migrate"))
  end
end

--- "paged" or "one_shot".
local function kind_of(fields, fail)
  check_prepare(fields, fail)
  local paged = listing(fields, { "base_query", "input", "migrate", "migrate_range" })
  local name = fields.migrate and "migrate" or fields.migrate_range and "migrate_range"
  if fields.run and paged ~= "" then
    fail({ "run" }, "a script has either base_query and migrate, or run; this one has run and "
      .. paged)
  elseif fields.run then
    return "one_shot"
  elseif fields.migrate and fields.migrate_range then
    fail({ "migrate_range" }, "a script has either migrate or migrate_range, this one has both",
      "Rows are migrated once, by one of them: keep migrate if Lua needs their values.")
  elseif paged == "" then
    fail({}, "script has neither base_query and migrate, nor run")
  elseif not fields.base_query and not fields.input then
    fail({ name }, ("script has %s, but no base_query"):format(name))
  elseif not name then
    fail({ "base_query" }, ("script has %s, but neither migrate nor migrate_range"):format(paged))
  elseif fields.input and type(fields.base_query) == "string" then
    fail({ "base_query" }, "base_query must be a function in a script with input",
      "It gets the name of the table that has the file's records: base_query = function(args, "
        .. 'input) return "SELECT line, ... FROM " .. input end.')
  end
  return "paged"
end

--- The key of a script with input is the line, unless it says otherwise.
local function config_of(fields, fail)
  local given = fields.config
  if not fields.input then
    return given
  end
  local kept = { key = input.LINE }
  for name, value in pairs(given or {}) do
    kept[name] = value
  end
  local key = kept.key
  if not fields.base_query and key ~= input.LINE
    and not (type(key) == "table" and #key == 1 and key[1] == input.LINE)
  then
    fail({ "config", "key" }, ('config.key must be "%s" in a script with input and no base_query')
      :format(input.LINE), "Leave it out.")
  end
  return kept
end

local function name_of(fields, place, fail)
  if fields.name == nil then
    return place.name
  elseif not fields.name:find "%S" or fields.name:find "%c" or not text.is_utf8(fields.name) then
    fail({ "name" }, 'field "name" must be one line of text that is not empty, not '
      .. text.describe(fields.name))
  end
  return fields.name
end

--- A parameter, whose type only the server knows. A plain list is an array; a marked table is what
-- its mark says.
local function check_param(i, value, fail)
  local kind, mark = type(value), marks.kind(value)
  if mark == "NULL" then
    return nil
  elseif mark == "ALL" or mark == "column" or mark == "add"
    or kind == "table" and not mark and not marks.is_list(value)
  then
    fail({ "base_query" }, ("parameter %d of base_query is %s"):format(i, text.describe(value)),
      "Pass a list for an array, and luamig.object or luamig.array for JSON.")
  elseif kind ~= "nil" and kind ~= "boolean" and kind ~= "number" and kind ~= "string"
    and kind ~= "table"
  then
    fail({ "base_query" }, ("parameter %d of base_query is %s"):format(i, text.describe(value)))
  end
  return value
end

--- The SQL text of a paged script, and its parameters as a table with `n`.
-- @param place with an input: the table that has its records, as SQL
local function base_query_of(base_query, values, fail, place)
  local results = { base_query, n = 1 }
  if type(base_query) == "function" then
    results = source.call(base_query, values, place)
  end
  local sql = results[1]
  if type(sql) ~= "string" then
    local shown = source.returned { sql, n = results.n > 0 and 1 or 0 }
    fail({ "base_query" }, "base_query must return SQL text, it returned " .. shown)
  elseif not sql:find "[^%s;]" then
    fail({ "base_query" }, "base_query is empty")
  elseif not text.is_utf8(sql) then
    fail({ "base_query" }, "base_query is not valid UTF-8 text")
  end
  local params = { n = results.n - 1 }
  for i = 1, params.n do
    params[i] = check_param(i, results[i + 1], fail)
  end
  return sql, params
end

--- What sets the base query of a script with an input, when the table is known that has its
-- records.
local function reader_of(def, base_query, fail)
  return function(place)
    local query = base_query or input.base_query(def.input.columns, place)
    def.base_query, def.base_params = base_query_of(query, def.args, fail, place)
  end
end

--- Refuses what a base query in another database cannot bear.
local function check_source(def, fail)
  if def.config.source and def.migrate_range then
    fail({ "migrate_range" }, "migrate_range cannot be combined with config.source: the rows are "
      .. "in another database", "Use migrate, which gets the rows.")
  elseif def.config.source and def.input then
    fail({ "input" }, "input cannot be combined with config.source: the rows come from the file "
      .. "or from the other database",
      "Write two scripts: one for the file, one for the other database.")
  end
end

--- Loads a script and checks it.
--
-- @param path the file, as the user wrote it; messages show it like that
-- @param opts optional table:
--   args           map from name to a typed value, or to text as typed on a command line
--   hidden         set of the names in args whose values did not stand on the command line. Only
--                  secrets must be among them, and all of them. nil, for tests: no check
--   kept           as args, of an earlier run: see `args.complete`
--   defaults       what the project file says (see `luamig.script.project`) for keys of config that
--                  the script leaves out
--   overrides      map from config key to value; wins over the script's config. Messages name the
--                  option: `batch_size` is "--batch-size"
--   describe_only  true: leave out args and base_query, which need values (for `--help`)
--   cwd, abspath   absolute, for hosts that know them; see `luamig.script.paths`
--   texts          the texts of files as they were when the script was loaded first, and where to
--                  keep them, see `paths.read_once`; nil: files are read whenever they are loaded
--   root           project root; default: nearest directory upward from the script that holds
--                  `luamig.lua`, `.luamig` or `.git`, else the one above a directory `scripts`;
--                  a script that is in no project is called by its full path
-- @return definition:
--   path, name, root, source (the file's text, unchanged), kind ("paged" or "one_shot")
--   loaded (what else was loaded, see `env.loaded`; it grows)
--   config (see `luamig.script.config`), start_after (the same as config.start_after)
--   base_query (SQL text), base_params (table with `n`; nil is NULL): paged scripts only
--   input (see `luamig.script.input`), or nil; with it, base_query and base_params are set by
--                  read_input(table as SQL); whole_input: all records are returned
--   migrate, migrate_range, prepare, run, on_start, on_complete, on_stop, throttle: functions, or
--     nil
--   args (typed values), args_spec (list of { name =, type =, required =, default =, secret =,
--                  desc = })
--   args_json (without secrets), config_json (canonical JSON)
--   identity_json (what the journal knows the arguments by, see `args.identity`: canonical JSON
--                  each)
-- With describe_only: no base_query, base_params, args, args_json, identity_json.
function script.load(path, opts)
  opts = opts or {}
  local given, content, place = evaluate(path, opts)
  local fail = source.refuser(path, content)
  check_requires(rawget(given, "requires"), fail)
  local fields = check_fields(given, fail)
  local def = {
    path = path, root = place.root, source = content, loaded = env.loaded(),
    kind = kind_of(fields, fail), name = name_of(fields, place, fail),
  }
  for _, name in ipairs(CALLBACKS) do
    def[name] = fields[name]
  end
  def.input = input.read(fields.input, fail)
  def.config = config.resolve(config_of(fields, fail), opts.defaults, opts.overrides or {}, fail,
    function(message)
      errors.raise { kind = "usage", message = message }
    end)
  check_source(def, fail)
  def.start_after = def.config.start_after
  def.config_json = canonical.encode(def.config)
  def.args_spec = args.declare(fields.args, fail)
  if not opts.describe_only then
    local typed = args.complete(def.args_spec, opts.args or {}, opts.kept or {})
    def.args = args.resolve(path, def.args_spec, typed, opts.hidden)
    def.args_json = canonical.encode(args.public(def.args_spec, def.args))
    def.identity_json = {}
    for part, known in pairs(args.identity(def.args_spec, typed, def.args)) do
      def.identity_json[part] = canonical.encode(known)
    end
    if def.input then
      def.read_input = reader_of(def, fields.base_query, fail)
      def.whole_input = fields.base_query == nil
    elseif def.kind == "paged" then
      def.base_query, def.base_params = base_query_of(fields.base_query, def.args, fail)
    end
  end
  return def
end

return script
