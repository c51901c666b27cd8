--- The repo that a script gets in the mock.
--
-- Promises: the calls, their checks and their errors are those of the program. Statements happen at
-- once; an error carries the position of the call that caused it.
-- Refuses, because it cannot know the answer: SQL conditions in `update_all` and `delete_all`,
-- raw SQL without a stub, counts that a stub does not give, `on_conflict`.

local errors = require "luamig.errors"
local luamig = require "luamig"
local sql = require "luamig.mock.sql"
local strict = require "luamig.strict"
local stubs = require "luamig.mock.stubs"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"
local version = require "luamig.version"

local repo = {}

-- From repo to its transaction.
local owners = setmetatable({}, { __mode = "k" })

local function misuse(message, hint)
  errors.raise { kind = "script", message = message, hint = hint }
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

local function log(tx, site, entry)
  entry.line, entry.file = site.line, site.file
  tx:record(entry)
  return entry
end

local function handle(affected, statement)
  return setmetatable({}, {
    __index = function(_, name)
      if name ~= "affected" then
        error(('a handle has no field "%s", only "affected"'):format(tostring(name)), 2)
      elseif not affected then
        error("stub gives no affected count for: " .. statement, 2)
      end
      return affected
    end,
  })
end

--- Checks the options of a call against { name = legal values or "later" }.
local function check_opts(verb, opts, legal)
  if opts ~= nil and type(opts) ~= "table" then
    misuse(("options of repo:%s must be a table, not %s"):format(verb, text.describe(opts)))
  end
  for name, given in next, opts or {} do
    local wanted = legal[name]
    if wanted == "later" then
      misuse(('option "%s" of repo:%s is not part of version %s'):format(name, verb,
        version.short))
    elseif not wanted then
      local shown = tostring(name)
      misuse(('unknown option "%s" of repo:%s'):format(shown, verb),
        suggest.hint(shown, text.sorted_keys(legal)))
    elseif given ~= wanted then
      misuse(('option "%s" of repo:%s must be "%s", not %s'):format(name, verb, wanted,
        text.describe(given)))
    end
  end
end

local function refuse_read_only(tx, verb)
  if tx.read_only then
    errors.raise {
      kind = "database", sqlstate = "25006",
      message = ("cannot execute repo:%s in a read-only transaction"):format(verb),
    }
  end
end

local function refuse_key_change(tx, table_name, changes)
  local protected = tx.protected
  if not protected or protected.table ~= table_name or type(changes) ~= "table" then
    return
  end
  for column in next, changes do
    if protected.columns[column] then
      misuse(('column "%s" of table "%s" orders the pages of this run and cannot be changed')
        :format(column, table_name))
    end
  end
end

--- A key: an equality table without NULL.
local function checked_key(one, key, verb)
  local kept = one:stored_map(key, "key of repo:" .. verb)
  for column, given in next, kept do
    if given == luamig.NULL then
      misuse(('column "%s" in the key of repo:%s is NULL, which equals nothing')
        :format(column, verb))
    end
  end
  return kept
end

--- A condition: an equality table, where NULL means IS NULL, or `luamig.ALL`.
local function checked_where(one, where, verb)
  if where == luamig.ALL then
    return where
  elseif where == nil or where == "" or type(where) == "table" and next(where) == nil then
    misuse(("condition of repo:%s is %s"):format(verb, where == nil and "nil" or "empty"),
      "Use luamig.ALL to mean every row.")
  elseif type(where) == "string" then
    misuse("the mock cannot evaluate SQL conditions",
      "Use an equality table, or repo:execute with a stub.")
  end
  return one:stored_map(where, "condition of repo:" .. verb)
end

--- Raises unless a keyed statement matched one row, or none with { missing = "ignore" }.
local function check_count(one, verb, key, count, opts)
  if count == 1 or count == 0 and opts and opts.missing == "ignore" then
    return
  end
  errors.raise {
    kind = "database", sqlstate = count == 0 and "P0002" or "P0003", table = one.name,
    message = ('%s of "%s" matched %s with %s%s'):format(verb, one.name,
      count == 0 and "no row" or count .. " rows", value.show_pairs(key),
      count == 0 and "" or ", not one"),
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
      value.loose(given)
      params[i] = value.copy_item(given)
    end
  end
  return params
end

--- The stub for a raw statement; its error, if it has one, is raised.
local function ask(tx, site, verb, statement, ...)
  if type(statement) ~= "string" or #sql.tokens(statement) == 0 then
    misuse(("repo:%s takes SQL text, not %s"):format(verb, text.describe(statement)))
  elseif sql.is_transaction_control(statement) then
    misuse("a migration cannot begin or end transactions: " .. statement,
      "Every batch is a transaction of its own; use repo:savepoint inside it.")
  end
  local params = checked_params(...)
  log(tx, site, { verb = verb, sql = statement, params = params })
  tx.world.faults:reach(verb)
  local stub = tx.world.stubs:take(statement, params)
  stubs.raise_error(stub, statement)
  return stub
end

local function single(rows, statement)
  if #rows > 1 then
    misuse(("query returned %d rows, one was expected: %s"):format(#rows, statement))
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
  return single(stubs.rows(ask(tx, site, "one", raw(...))), (raw(...)))
end

function verbs.scalar(tx, site, ...)
  local statement = raw(...)
  local rows = stubs.rows(ask(tx, site, "scalar", raw(...)))
  local row = single(rows, statement)
  if #rows.columns > 1 then
    errors.raise {
      kind = "spec", message = "stub for repo:scalar must give one column: " .. statement,
    }
  end
  return row and row[rows.columns[1]]
end

function verbs.execute(tx, site, ...)
  refuse_read_only(tx, "execute")
  return handle(ask(tx, site, "execute", raw(...)).affected, (raw(...)))
end

function verbs.update(tx, site, name, key, changes, opts)
  log(tx, site, {
    verb = "update", table = name, key = copy_or_nil(key), changes = copy_or_nil(changes),
  })
  refuse_read_only(tx, "update")
  local one = tx.store:table(name)
  check_opts("update", opts, { missing = "ignore" })
  local kept_key = checked_key(one, key, "update")
  local kept = one:stored_map(changes, "changes of repo:update")
  refuse_key_change(tx, name, changes)
  tx.world.faults:reach "update"
  local count = #one:find(kept_key)
  check_count(one, "update", kept_key, count, opts)
  return handle(one:update(kept_key, kept))
end

function verbs.delete(tx, site, name, key, opts)
  log(tx, site, { verb = "delete", table = name, key = copy_or_nil(key) })
  refuse_read_only(tx, "delete")
  local one = tx.store:table(name)
  check_opts("delete", opts, { missing = "ignore" })
  local kept_key = checked_key(one, key, "delete")
  tx.world.faults:reach "delete"
  check_count(one, "delete", kept_key, #one:find(kept_key), opts)
  return handle(one:delete(kept_key))
end

function verbs.insert(tx, site, name, row, opts)
  log(tx, site, { verb = "insert", table = name, row = copy_or_nil(row) })
  refuse_read_only(tx, "insert")
  local one = tx.store:table(name)
  check_opts("insert", opts, { on_conflict = "later" })
  local kept = one:stored_map(row, "row of repo:insert")
  tx.world.faults:reach "insert"
  one:insert { kept }
  return handle(1)
end

function verbs.insert_all(tx, site, name, rows, opts)
  local entry = log(tx, site, { verb = "insert_all", table = name, rows = {} })
  refuse_read_only(tx, "insert_all")
  local one = tx.store:table(name)
  check_opts("insert_all", opts, { on_conflict = "later" })
  if type(rows) ~= "table" or rows == luamig.ALL or rows == luamig.NULL
    or next(rows) ~= nil and rows[1] == nil
  then
    misuse("repo:insert_all takes a list of rows, not " .. text.describe(rows))
  end
  local kept = {}
  for i, row in ipairs(rows) do
    entry.rows[i] = copy_or_nil(row)
    kept[i] = one:stored_map(row, ("row %d of repo:insert_all"):format(i))
  end
  tx.world.faults:reach "insert_all"
  one:insert(kept)
  return handle(#kept)
end

function verbs.update_all(tx, site, name, changes, where)
  log(tx, site, {
    verb = "update_all", table = name, changes = copy_or_nil(changes), where = copy_or_nil(where),
  })
  refuse_read_only(tx, "update_all")
  local one = tx.store:table(name)
  local kept = one:stored_map(changes, "changes of repo:update_all")
  refuse_key_change(tx, name, changes)
  local condition = checked_where(one, where, "update_all")
  tx.world.faults:reach "update_all"
  return handle(one:update(condition, kept))
end

function verbs.delete_all(tx, site, name, where)
  log(tx, site, { verb = "delete_all", table = name, where = copy_or_nil(where) })
  refuse_read_only(tx, "delete_all")
  local one = tx.store:table(name)
  local condition = checked_where(one, where, "delete_all")
  tx.world.faults:reach "delete_all"
  return handle(one:delete(condition))
end

function verbs.savepoint(tx, site, fn, ...)
  log(tx, site, { verb = "savepoint" })
  if type(fn) ~= "function" then
    misuse("repo:savepoint takes a function, not " .. text.describe(fn))
  end
  tx.world.faults:reach "savepoint"
  return tx:savepoint(fn, ...)
end

--- The method that scripts call for a verb.
local function method(verb, body)
  return function(self, ...)
    local tx = owners[self]
    if not tx then
      error(("call repo:%s(...) with a colon"):format(verb), 2)
    end
    local site = call_site(tx)
    tx:enter(site.text)
    local results = table.pack(pcall(body, tx, site, ...))
    if not results[1] then
      tx:failed(results[2], site.text)
    end
    return table.unpack(results, 2, results.n)
  end
end

local methods = {}
for verb, body in pairs(verbs) do
  methods[verb] = method(verb, body)
end
strict.record("repo", methods, text.sorted_keys(verbs))

local meta = {
  __index = methods,
  __newindex = function()
    error("repo cannot be changed", 2)
  end,
}

--- The repo of a transaction.
function repo.new(tx)
  local self = setmetatable({}, meta)
  owners[self] = tx
  return self
end

return repo
