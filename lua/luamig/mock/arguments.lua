--- The arguments of the repo's structured calls: tables of columns, and their options.
--
-- Promises: the checks and their messages are those of the program. Each function raises a misuse,
-- to which the repo adds the position of the call.

local errors = require "luamig.errors"
local luamig = require "luamig"
local marks = require "luamig.marks"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local arguments = {}

--- Raises what the program raises for wrong arguments: a string that begins with the position.
local function misuse(message, ...)
  errors.raise { kind = "misuse", message = message:format(...) }
end

local function check_table(verb, given, what)
  local mark = marks.kind(given)
  if type(given) ~= "table" then
    misuse("repo:%s: %s must be a table, not %s", verb, what, type(given))
  elseif mark == "NULL" or mark == "ALL" then
    misuse("repo:%s: %s must be a table, not %s", verb, what, tostring(given))
  end
end

local function check_names(given, what)
  for name in next, given do
    if type(name) ~= "string" then
      misuse("%s must have column names as keys, not a %s", what, type(name))
    end
  end
end

--- Raises unless a call passed a table of columns with something in it.
-- @param empty what messages call the table when it is empty; more: what to write instead
local function check_columns_of(verb, given, what, empty, more)
  check_table(verb, given, what)
  check_names(given, what)
  if next(given) == nil then
    misuse("repo:%s: %s is empty: a Lua table drops a field whose value is nil%s", verb, empty,
      more)
  end
end

local function check_changes(verb, changes)
  check_columns_of(verb, changes, "the changes", "the table of changes",
    "; for NULL, write luamig.NULL")
end

local function refuse_null_key(verb, key)
  for _, column in ipairs(text.sorted_keys(key)) do
    if key[column] == luamig.NULL then
      misuse('repo:%s: key column "%s" is NULL, and no row is equal to NULL', verb, column)
    end
  end
end

local function check_key(verb, key)
  check_columns_of(verb, key, "the key", "the key", "")
  refuse_null_key(verb, key)
end

local function check_missing(verb, opts)
  if opts.missing ~= nil and opts.missing ~= "ignore" then
    misuse('repo:%s: option "missing" must be "ignore"', verb)
  end
  return opts.missing ~= nil
end

--- Raises for an option that a call does not have. Returns whether its row may be missing.
local function check_options(verb, opts, known, hint)
  check_table(verb, opts, "the options")
  for name in next, opts do
    if not text.contains(known, name) then
      misuse('repo:%s: unknown option "%s"; %s', verb, tostring(name), hint)
    end
  end
  return check_missing(verb, opts)
end

--- Whether an update or delete may match no row.
local function may_miss(verb, opts)
  return opts ~= nil and check_options(verb, opts, { "missing" }, 'did you mean "missing"?')
end

--- Raises unless a list of columns is one, and not empty.
local function check_list(verb, list, what)
  local is_list = type(list) == "table" and marks.is_list(list)
  for _, column in ipairs(is_list and list or {}) do
    is_list = is_list and type(column) == "string"
  end
  if not is_list then
    misuse("repo:%s: %s must be a list of column names", verb, what)
  elseif #list == 0 then
    misuse("repo:%s: %s is empty", verb, what)
  end
end

local CONFLICT = { "columns", "where", "update", "add" }
local NO_CONFLICT = 'repo:%s: on_conflict must be "nothing" or a table with columns and update or '
  .. "add"

--- Reads what an insert does about a conflict.
-- @return nil, or what `Store:insert` takes
local function conflict_of(verb, given)
  if given == nil or given == "nothing" then
    return given and {}
  elseif type(given) ~= "table" or marks.kind(given) then
    misuse(NO_CONFLICT, verb)
  end
  for name in next, given do
    if not text.contains(CONFLICT, name) then
      misuse('repo:%s: on_conflict has an unknown field "%s"', verb, tostring(name))
    end
  end
  if given.where ~= nil and (type(given.where) ~= "string" or not given.where:find "%S") then
    misuse("repo:%s: on_conflict.where must be SQL, the condition of the partial index", verb)
  end
  for _, name in ipairs { "columns", "update", "add" } do
    if given[name] ~= nil then
      check_list(verb, given[name], "on_conflict." .. name)
    end
  end
  if given.columns == nil or given.update == nil and given.add == nil then
    misuse(NO_CONFLICT, verb)
  end
  return {
    columns = given.columns, where = given.where, update = given.update or {},
    add = given.add or {},
  }
end

local INSERT = {
  names = { "on_conflict", "missing", "returning" },
  shown = 'the options are "on_conflict", "missing" and "returning"',
}
local INSERT_ALL = {
  names = { "on_conflict", "missing" }, shown = 'the options are "on_conflict" and "missing"',
}

--- Reads the options of an insert. Its row is never missing here, since there are no triggers and
-- no rules.
-- @return what `Store:insert` takes for a conflict, or nil; a list of columns to return, or nil
local function insert_options(verb, opts, known)
  if opts == nil then
    return nil
  end
  check_options(verb, opts, known.names, known.shown)
  local conflict = conflict_of(verb, opts.on_conflict)
  if opts.returning ~= nil then
    check_list(verb, opts.returning, "returning")
  end
  return conflict, opts.returning and value.copy(opts.returning)
end

arguments.misuse, arguments.check_table, arguments.check_names = misuse, check_table, check_names
arguments.check_columns_of, arguments.check_list = check_columns_of, check_list
arguments.check_changes, arguments.check_key = check_changes, check_key
arguments.may_miss = may_miss

--- The same for repo:insert and repo:insert_all.
function arguments.of_insert(opts)
  return insert_options("insert", opts, INSERT)
end

function arguments.of_insert_all(opts)
  return insert_options("insert_all", opts, INSERT_ALL)
end

return arguments
