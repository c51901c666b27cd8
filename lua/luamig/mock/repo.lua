--- The repo that a script gets in the mock.
--
-- Promises: the calls, their checks and their errors are those of the program. Statements happen at
-- once; an error carries the position of the call that caused it.
-- Refuses, because it cannot know the answer: SQL conditions in `update_all` and `delete_all`,
-- raw SQL without a stub, counts that a stub does not give.

local arguments = require "luamig.mock.arguments"
local errors = require "luamig.errors"
local luamig = require "luamig"
local marks = require "luamig.marks"
local sql = require "luamig.mock.sql"
local strict = require "luamig.strict"
local stubs = require "luamig.mock.stubs"
local text = require "luamig.text"
local types = require "luamig.mock.types"
local value = require "luamig.mock.value"
local views = require "luamig.mock.views"

local check_changes, check_key = arguments.check_changes, arguments.check_key
local check_columns_of, check_list = arguments.check_columns_of, arguments.check_list
local check_names, check_table = arguments.check_names, arguments.check_table
local may_miss, misuse = arguments.may_miss, arguments.misuse

local repo = {}

-- From repo to its transaction.
local owners = setmetatable({}, { __mode = "k" })

--- Raises what the mock cannot know: a mistake of the spec.
local function refuse(message)
  errors.raise { kind = "spec", message = message, hint = "Run the spec on PostgreSQL." }
end

--- Position of the script's line that called a method; nil line if it was a tail call.
local function call_site(tx)
  if debug.getinfo(2, "t").istailcall then
    return { file = tx.script, text = tx.script }
  end
  for level = 3, math.huge do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return { file = tx.script, text = tx.script }
    elseif info.currentline > 0 then
      local file = info.source:gsub("^@", "")
      return { file = file, line = info.currentline, text = file .. ":" .. info.currentline }
    end
  end
end

local function copy_or_nil(map)
  return type(map) == "table" and map ~= luamig.ALL and value.copy_row(map) or map
end

--- Notes a call. An injected error comes before anything of it is judged, as on PostgreSQL.
local function log(tx, site, entry)
  entry.line, entry.file, entry.source = site.line, site.file, tx.is_source
  tx:record(entry)
  tx.world.faults:reach(entry.verb)
  return entry
end

--- @param returned nil, or function() for the row that the statement returns
local function handle(tx, affected, statement, returned)
  local entry, at = tx.entries[#tx.entries], #tx.entries
  return setmetatable({}, {
    __index = function(_, name)
      if name ~= "affected" and name ~= "row" then
        error(('a handle has no field "%s", only "affected" and "row"'):format(tostring(name)), 2)
      elseif not tx.is_open then
        error("the handle is used after its batch has ended", 2)
      elseif tx.entries[at] ~= entry then
        error("the handle is used after its savepoint was rolled back", 2)
      elseif name == "row" then
        return (returned or error(
          "the handle has no row; pass { returning = {...} } to repo:insert", 2))()
      elseif not affected then
        error("the stub has no affected count: " .. statement, 2)
      end
      return affected
    end,
    __newindex = function()
      error("a handle cannot be changed", 2)
    end,
  })
end

--- Raises for columns of ON CONFLICT, or of what is returned, that the table does not have.
local function check_conflict(one, conflict, returning)
  local lists = { conflict and conflict.columns or {}, conflict and conflict.update or {},
    conflict and conflict.add or {}, returning or {} }
  for _, list in ipairs(lists) do
    for _, column in ipairs(list) do
      one:type_of(column)
    end
  end
end

local function refuse_read_only(tx, verb)
  if tx.read_only then
    errors.raise {
      kind = "database", sqlstate = "25006",
      message = ("cannot execute %s in a read-only transaction"):format(verb),
      hint = tx.is_source and "run.source only reads. Write with repo, which writes to the run's "
        .. "own database." or nil,
    }
  end
end

--- Raises when a column orders the pages. `columns` is a list.
local function refuse_key_change(tx, table_name, columns)
  local protected = tx.protected
  for _, column in ipairs(protected and protected.table == table_name and columns or {}) do
    if protected.columns[column] then
      errors.raise {
        kind = "script", latches = true,
        message = ('column "%s" of "%s" belongs to the key of the run and must not be changed')
          :format(column, table_name),
        detail = "If the key of a row changes, the run could migrate the row twice or never.",
        hint = "Page by another unique key with config.key, or change the key in a one-shot "
          .. "script.",
      }
    end
  end
end

--- How messages name a row by its key: `row id = 7, `.
local function row_of(key)
  return "row " .. table.concat(text.map(text.sorted_keys(key), function(column)
    local item = key[column]
    local is_plain = type(item) == "string" or type(item) == "boolean" or type(item) == "number"
    return ("%s = %s, "):format(column, is_plain and value.show(item)
      or types.kind_of(item))
  end))
end

--- Reads a condition: an equality table, where NULL means IS NULL, or `luamig.ALL`.
local function check_condition(verb, where)
  if where == luamig.ALL then
    return
  elseif type(where) == "string" and where:find "%S" then
    refuse(("the mock cannot run the SQL condition of repo:%s"):format(verb))
  elseif type(where) == "string" then
    misuse('repo:%s: the condition is empty; for every row, pass luamig.ALL', verb)
  elseif type(where) ~= "table" or where == luamig.NULL then
    misuse("repo:%s: the condition is %s; pass a table of columns, SQL with $1, or luamig.ALL for "
      .. "every row", verb, where == nil and "missing or nil" or type(where))
  end
  check_columns_of(verb, where, "the condition", "the condition",
    "; for every row, pass luamig.ALL")
end

local function encode_condition(one, where)
  if where == luamig.ALL then
    return where
  end
  local kept = {}
  for _, column in ipairs(text.sorted_keys(where)) do
    one:type_of(column)
  end
  for _, column in ipairs(text.sorted_keys(where)) do
    kept[column] = one:encode_item(column, where[column],
      ('column "%s" of the condition'):format(column))
  end
  return kept
end

--- Raises unless a keyed statement matched one row, or none where that may be.
local function check_count(one, verb, key, count, is_optional)
  if count == 1 or count == 0 and is_optional then
    return
  end
  errors.raise {
    kind = "script", sqlstate = count == 0 and "P0002" or "P0003",
    message = ('%s of "%s" matched %s with %s%s'):format(verb, one.name,
      count == 0 and "no row" or count .. " rows", value.show_pairs(key),
      count == 0 and "" or ", not one"),
    hint = count == 0
      and 'Pass { missing = "ignore" } as the last argument if the row may be gone.'
      or "Name all columns of a unique key. To change several rows, use the call that ends in "
        .. "_all.",
  }
end

--- The parameters of raw SQL, with NULL as nil.
local function checked_params(...)
  local params = table.pack(...)
  for i = 1, params.n do
    local given = params[i]
    if given == luamig.NULL then
      params[i] = nil
    elseif given ~= nil then
      types.check_loose(given)
      params[i] = value.copy_item(given)
    end
  end
  return params
end

--- Writes what a stub's function has changed. Values that no column can hold, and columns that do
-- not exist, are mistakes of the spec.
local function rewrite(tx, stub, differences)
  local ok, err = pcall(tx.store.rewrite, tx.store, differences)
  if not ok and errors.is(err) and (not err.sqlstate or err.sqlstate:find "^42") then
    errors.raise {
      kind = "spec", hint = err.hint, detail = err.detail,
      message = ("what the function of the stub writes: %s: %s"):format(err.message, stub.sql),
    }
  elseif not ok then
    error(err, 0)
  end
end

--- The answer of a stub that is a function, and what that changes in the tables.
local function play(tx, stub, params)
  local tables, opened = views.open(function(name)
    return tx.store:view(name)
  end, text.sorted_keys(tx.store.tables))
  local answer = stubs.play(stub, params, tables)
  local differences = {}
  for name, view in next, answer.error and {} or opened do
    differences[name] = views.difference(view)
  end
  if next(differences) then
    refuse_read_only(tx, sql.tokens(stub.sql)[1]:upper())
    rewrite(tx, stub, differences)
  end
  return answer
end

--- Lets a table be there that the spec has declared as absent.
local function make(tx, stub)
  local one = tx.store.tables[stub.makes]
  local is_optional = sql.fingerprint(stub.sql):find("if\0not\0exists", 1, true)
  if not one or not one.given.absent or not one.absent and not is_optional then
    errors.raise {
      kind = "spec", message = ('the stub makes "%s", which is %s: %s'):format(stub.makes,
        one and one.given.absent and "there already" or "no table that is declared as absent",
        stub.sql),
    }
  end
  one.absent = nil
  one.is_temporary = sql.fingerprint(stub.sql):find "^create%z[localgb]*%z?temp[orary]*%z" ~= nil
end

-- Statements that the server refuses in a read-only transaction.
local WRITES = text.set { "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE" }

--- The stub for a raw statement; its error, if it has one, is raised.
local function ask(tx, site, verb, statement, ...)
  if type(statement) ~= "string" or #sql.tokens(statement) == 0 then
    misuse("repo:%s takes SQL text, not %s", verb, text.describe(statement))
  end
  local params = checked_params(...)
  log(tx, site, { verb = verb, sql = statement, params = params })
  if sql.is_transaction_control(statement) then
    errors.raise {
      kind = "script", latches = true, message = "a script must not begin or end transactions",
      hint = "luamig runs each batch in one transaction. Use repo:savepoint to try a statement "
        .. "that may fail.",
    }
  end
  if tx.is_source and WRITES[sql.tokens(statement)[1]:upper()] then
    refuse_read_only(tx, sql.tokens(statement)[1]:upper())
  end
  local stub = tx.stubs:take(statement, params)
  if stub.answer then
    stub = play(tx, stub, params)
  end
  stubs.raise_error(stub, statement)
  if stub.makes then
    make(tx, stub)
  end
  return stub
end

local function single(rows, verb)
  if #rows > 1 then
    misuse("repo:%s got %d rows, but at most one is allowed", verb, #rows)
  end
  return rows[1]
end

--- A raw statement and its parameters, without the `luamig.ALL` that may stand before them.
local function raw(first, ...)
  if first == luamig.ALL then
    return ...
  end
  return first, ...
end

local verbs = {}

function verbs.query(tx, site, ...)
  return stubs.rows(ask(tx, site, "query", raw(...)))
end

function verbs.one(tx, site, ...)
  return single(stubs.rows(ask(tx, site, "one", raw(...))), "one")
end

function verbs.scalar(tx, site, ...)
  local statement = raw(...)
  local stub = ask(tx, site, "scalar", raw(...))
  local rows = stubs.rows(stub)
  local row = single(rows, "scalar")
  if #rows.columns > 1 and not stub.gives_columns then
    errors.raise {
      kind = "spec", message = "the stub for repo:scalar must have one column: " .. statement,
    }
  end
  return row and row[rows.columns[1]]
end

function verbs.execute(tx, site, ...)
  refuse_read_only(tx, "execute")
  return handle(tx, ask(tx, site, "execute", raw(...)).affected, (raw(...)))
end

--- The changes and the key of an update, encoded. The server sees neither if a value of one of them
-- is refused before that.
local function encode_both(one, changes, key)
  local ok, kept = pcall(one.encode_changes, one, changes, row_of(key))
  if not ok and kept.kind ~= "database" then
    error(kept, 0)
  end
  local key_ok, kept_key = pcall(one.encode, one, key, row_of(key))
  if not key_ok and kept_key.kind ~= "database" then
    error(kept_key, 0)
  elseif not ok or not key_ok then
    error(not ok and kept or kept_key, 0)
  end
  return kept, kept_key
end

--- The one row that an update or delete is for, or none where that may be. Returns the table, and
-- the key and the changes as they go to the server.
local function by_key(tx, site, verb, name, key, is_optional, changes)
  check_key(verb, key)
  tx.sites:check(site.text, verb, "the key", key)
  refuse_key_change(tx, name, text.sorted_keys(changes))
  refuse_read_only(tx, verb:upper())
  local one = tx.store:table(name)
  local kept, kept_key = encode_both(one, changes, key)
  check_count(one, verb, kept_key, #one:find(kept_key), is_optional)
  return one, kept_key, kept
end

--- The rows that an update_all or delete_all is for: the table, and the condition as it goes to the
-- server.
local function by_condition(tx, site, verb, name, where)
  check_condition(verb, where)
  tx.sites:check(site.text, verb, "the condition", where)
  refuse_read_only(tx, verb:match "^%a+":upper())
  local one = tx.store:table(name)
  return one, encode_condition(one, where)
end

--- The columns that a read returns: all without `columns`.
local function wanted_columns(verb, one, opts)
  if opts == nil then
    return one.columns
  end
  check_table(verb, opts, "the options")
  for name in next, opts do
    if name ~= "columns" then
      misuse('repo:%s: unknown option "%s"; did you mean "columns"?', verb, tostring(name))
    end
  end
  if opts.columns == nil then
    return one.columns
  end
  check_list(verb, opts.columns, "columns")
  for _, column in ipairs(opts.columns) do
    one:type_of(column)
  end
  return value.copy(opts.columns)
end

--- Copies of rows with some of their columns, as a query returns them.
local function returned(rows, columns)
  return strict.rows(text.map(rows, function(row)
    local copy = {}
    for _, column in ipairs(columns) do
      copy[column] = value.copy_item(row[column])
    end
    return copy
  end), columns)
end

function verbs.get(tx, site, name, key, opts)
  log(tx, site, { verb = "get", table = name, key = copy_or_nil(key) })
  check_table("get", key, "the key")
  check_key("get", key)
  tx.sites:check(site.text, "get", "the key", key)
  local one = tx.store:table(name)
  local columns = wanted_columns("get", one, opts)
  local found = one:find(one:encode(key, row_of(key)))
  if #found > 1 then
    misuse('repo:get got more than one row of "%s"; name all columns of a unique key, or use '
      .. "repo:select", name)
  end
  return returned(found, columns)[1]
end

function verbs.select(tx, site, name, where, opts)
  log(tx, site, { verb = "select", table = name, where = copy_or_nil(where) })
  if type(where) == "string" then
    misuse("repo:select: the condition is a string; pass a table of columns or luamig.ALL, or use "
      .. "repo:query for SQL")
  end
  check_condition("select", where)
  tx.sites:check(site.text, "select", "the condition", where)
  local one = tx.store:table(name)
  local columns = wanted_columns("select", one, opts)
  return returned(one:find(encode_condition(one, where)), columns)
end

function verbs.update(tx, site, name, key, changes, opts)
  log(tx, site, {
    verb = "update", table = name, key = copy_or_nil(key), changes = copy_or_nil(changes),
  })
  check_table("update", key, "the key")
  check_table("update", changes, "the changes")
  local is_optional = may_miss("update", opts)
  check_changes("update", changes)
  return handle(tx, tx.store:update(by_key(tx, site, "update", name, key, is_optional, changes)))
end

function verbs.delete(tx, site, name, key, opts)
  log(tx, site, { verb = "delete", table = name, key = copy_or_nil(key) })
  check_table("delete", key, "the key")
  local is_optional = may_miss("delete", opts)
  return handle(tx, tx.store:delete(by_key(tx, site, "delete", name, key, is_optional, {})))
end

--- Raises if the server may know what a column gets that an insert leaves out, and the mock does
-- not.
local function check_returned(one, row, returning)
  for _, column in ipairs(not one.declared and returning or {}) do
    if row[column] == nil and one.defaults[column] == nil and not one.generated[column] then
      errors.raise {
        kind = "spec",
        message = ('the mock does not know the default of column "%s" of "%s", which the insert '
          .. "returns"):format(column, one.name),
        hint = ('Declare it in mock.new: columns = { %s = "bigserial", ... }, or defaults = '
          .. "{ %s = value }."):format(column, column),
      }
    end
  end
end

--- Inserts rows. `shown` is what messages call one, with a place for its number.
-- @param returning nil, or columns that the handle of the only row gives
local function insert_rows(tx, name, rows, conflict, shown, returning)
  refuse_key_change(tx, name, conflict and conflict.update or {})
  refuse_key_change(tx, name, conflict and conflict.add or {})
  refuse_read_only(tx, "INSERT")
  if #rows == 0 then
    return handle(tx, 0)
  end
  local one = tx.store:table(name)
  check_conflict(one, conflict, returning)
  local encoded = text.map(rows, function(row, i)
    return one:encode(row, shown:format(i))
  end)
  check_returned(one, rows[1], returning)
  local affected, written = tx.store:insert(one, encoded, conflict)
  local kept = returning and returned({ written }, returning)
  return handle(tx, affected, nil, kept and function()
    return returned(kept, returning)[1]
  end)
end

function verbs.insert(tx, site, name, row, opts)
  log(tx, site, { verb = "insert", table = name, row = copy_or_nil(row) })
  check_table("insert", row, "the row")
  local conflict, returning = arguments.of_insert(opts)
  check_names(row, "a row")
  return insert_rows(tx, name, { row }, conflict, "", returning)
end

function verbs.insert_all(tx, site, name, rows, opts)
  local copies = text.map(type(rows) == "table" and rows or {}, copy_or_nil)
  log(tx, site, { verb = "insert_all", table = name, rows = copies })
  check_table("insert_all", rows, "the list of rows")
  if not marks.is_list(rows) then
    misuse "repo:insert_all: the list of rows must have the keys 1, 2, 3, ..."
  end
  local conflict = arguments.of_insert_all(opts)
  for _, row in ipairs(rows) do
    check_table("insert_all", row, "each row")
    check_names(row, "a row")
  end
  return insert_rows(tx, name, rows, conflict, "row %d, ")
end

function verbs.update_all(tx, site, name, changes, where)
  log(tx, site, {
    verb = "update_all", table = name, changes = copy_or_nil(changes), where = copy_or_nil(where),
  })
  check_changes("update_all", changes)
  refuse_key_change(tx, name, text.sorted_keys(changes))
  local one, condition = by_condition(tx, site, "update_all", name, where)
  return handle(tx, tx.store:update(one, condition, one:encode_changes(changes, "")))
end

function verbs.delete_all(tx, site, name, where)
  log(tx, site, { verb = "delete_all", table = name, where = copy_or_nil(where) })
  return handle(tx, tx.store:delete(by_condition(tx, site, "delete_all", name, where)))
end

function verbs.savepoint(tx, site, fn, ...)
  log(tx, site, { verb = "savepoint" })
  if type(fn) ~= "function" then
    misuse("repo:savepoint takes a function, not %s", text.describe(fn))
  end
  return tx:savepoint(fn, ...)
end

--- The other database of a world, in a transaction that only reads there.
local function at_source(tx)
  local source = tx.world.source
  return setmetatable({
    store = source.store, stubs = source.stubs, read_only = true, is_source = true,
  }, { __index = tx })
end

--- The method that scripts call for a verb.
-- @param by_source whether it is one of `run.source`
local function method(verb, body, by_source)
  return function(self, ...)
    local tx = owners[self]
    if not tx then
      error(("call repo:%s(...) with a colon"):format(verb), 2)
    end
    local site = call_site(tx)
    tx:enter(site.text)
    local results = table.pack(pcall(body, by_source and at_source(tx) or tx, site, ...))
    if not results[1] then
      tx:failed(results[2], site.text, by_source)
    end
    return table.unpack(results, 2, results.n)
  end
end

local methods = {}
for verb, body in pairs(verbs) do
  methods[verb] = method(verb, body)
end
strict.record("repo", methods)

local source_methods = {}
for _, verb in ipairs { "query", "one", "scalar" } do
  source_methods[verb] = method(verb, verbs[verb], true)
end
strict.record("run.source", source_methods)

--- What makes objects with these methods.
local function maker(what, of)
  local meta = {
    __index = of,
    __newindex = function()
      error(what .. " cannot be changed", 2)
    end,
  }
  return function(tx)
    local self = setmetatable({}, meta)
    owners[self] = tx
    return self
  end
end

--- The repo of a transaction, and its `run.source`, if its world has one.
repo.new = maker("repo", methods)
repo.source = maker("run.source", source_methods)

return repo
