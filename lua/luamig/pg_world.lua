--- Worlds on PostgreSQL, for `luamig test --pg`: what `luamig.mock` offers, on a server.
--
-- A world has a database to itself. Scripts run in a Lua state of their own, by the program's
-- engine; nothing makes them wait, and each call is answered before it returns.
--
-- Promises: the same calls, results and log as the mock; what the server says is the truth, and
-- where a spec says otherwise (a stub's answer, `base`, a declared column), the spec fails.
-- Differs from the mock: raw SQL runs whether it has a stub or not, and `base` may be missing.

local base = require "luamig.mock.base"
local catalog = require "luamig.pg_world.catalog"
local compare = require "luamig.pg_world.compare"
local errors = require "luamig.errors"
local faults = require "luamig.mock.faults"
local file = require "luamig.pg_world.input"
local input = require "luamig.mock.input"
local declarations = require "luamig.mock.declarations"
local pool = require "luamig.pg_world.pool"
local preparation = require "luamig.mock.preparation"
local script = require "luamig.script"
local setup = require "luamig.pg_world.setup"
local strict = require "luamig.strict"
local stubs = require "luamig.mock.stubs"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"
local watch = require "luamig.pg_world.watch"

local pg_world = {}

local World = {}
World.__index = World

--- The spec has dropped the world.
function World:__gc()
  pool.give(self.database)
end

-- The answer of a stub is compared with that of the server. The server raises the error of `fail`;
-- if the error means the end of the session, the session ends.
World.stub, World.fail, World.run = declarations.stub, declarations.fail, declarations.run
World.between = declarations.between

--- The columns of a table that a spec sees, by name, and its primary key: as declared; all of a
-- table that is not.
function World:shape_of(repo, name)
  local schema = self.schemas[name]
  if schema and schema.declared then
    return schema.columns, schema.primary_key
  end
  local found = catalog.describe(repo, name)
  local columns = text.map(found.columns, function(column)
    return column.name
  end)
  table.sort(columns)
  return columns, schema and schema.primary_key or found.primary_key
end

local function select_all(repo, name, columns, key)
  local rows = repo:query(("SELECT %s FROM %s%s"):format(catalog.quote_list(columns),
    catalog.quote_table(name), key and " ORDER BY " .. catalog.quote_list(key) or ""))
  return { columns = columns, primary_key = key, rows = rows }
end

--- { columns =, primary_key =, rows = } of a table; nil when there is none.
function World:read(repo, name)
  if type(name) ~= "string" or not catalog.find(repo, name) then
    return nil
  end
  return select_all(repo, name, self:shape_of(repo, name))
end

--- The same of a table that the spec declares, by the repo of a script, which may not ask the
-- catalog in luamig's words.
function World:view(repo, name)
  local shape = self.shapes[name]
  return shape and select_all(repo, name, shape.columns, shape.primary_key)
end

--- Looks at the tables that the spec declares, for `World:view`.
function World:find_shapes()
  self.shapes = {}
  self.database:transact(function(repo)
    for _, name in ipairs(text.sorted_keys(self.schemas)) do
      local columns, key = self:shape_of(repo, name)
      self.shapes[name] = { columns = columns, primary_key = key }
    end
  end)
end

--- The columns of a table that the server computes: a set.
function World:computed(name)
  local schema = self.schemas[name]
  return text.set(schema and text.ordered_keys(schema.given.generated or {}) or {})
end

--- See `luamig.mock`: the rows as a script would read them.
function World:rows(name)
  local found = self.database:transact(function(repo)
    return self:read(repo, name)
  end)
  if not found then
    local shown = tostring(name)
    error(('table "%s" does not exist in this world%s'):format(shown,
      suggest.suffix(shown, text.sorted_keys(self.schemas))), 2)
  end
  return found.rows
end

--- The tables of the spec as they are, for `luamig.mock.difference`.
function World:snapshot()
  local tables = {}
  self.database:transact(function(repo)
    for name in next, self.schemas do
      local found = self:read(repo, name) or { columns = {}, rows = {} }
      function found.sorted_rows()
        return table.move(found.rows, 1, #found.rows, 1, {})
      end
      tables[name] = found
    end
  end)
  return { tables = tables }
end

--- A row's key as a text.
local function key_of(row, key)
  local values = {}
  for _, column in ipairs(key) do
    values[column] = rawget(row, column)
  end
  return value.show_key(key, values)
end

--- The rows that `base` gives, and their columns.
function World:compute_base(args)
  -- The functions of base run outside of transactions: they may look at other worlds.
  local from = self.source or self
  return base.compute(self.base, function(name)
    return from.schemas[name] and from.database:transact(function(repo)
      return from:read(repo, name)
    end)
  end, text.sorted_keys(from.schemas), args)
end

--- What the script's base query returns; nil when it fails, which the run reports.
function World:rows_of_query(def)
  local database = (self.source or self).database
  local ok, rows = pcall(database.transact, database, function(repo)
    return repo:query(def.base_query, table.unpack(def.base_params, 1, def.base_params.n))
  end, def.config.timezone)
  return ok and rows or nil
end

--- See `luamig.mock`.
function World:matching_keys(def)
  return text.map(self:rows_of_query(def) or {}, function(row)
    return key_of(row, def.config.key)
  end)
end

--- Writes what a function of the spec has changed in a table that it opened.
local function write_difference(repo, name, view, difference)
  local key = view.primary_key or error(('table "%s" has no primary key'):format(name), 0)
  local function key_at(place)
    local values = {}
    for _, column in ipairs(key) do
      values[column] = view.before[place].was[column]
    end
    return values
  end
  for place in next, difference.removed do
    repo:delete(name, key_at(place))
  end
  for place, changes in next, difference.changed do
    repo:update(name, key_at(place), changes)
  end
  for _, row in ipairs(difference.added) do
    repo:insert(name, row)
  end
end

--- See `luamig.mock`: over a session of its own.
function World:play_others()
  if not self.others then
    return
  end
  local differences, opened = preparation.play(self.others, function(name)
    return self.schemas[name] and self.database:transact(function(repo)
      return self:read(repo, name)
    end)
  end, text.sorted_keys(self.schemas))
  self.database:transact(function(repo)
    for _, name in ipairs(text.sorted_keys(differences)) do
      write_difference(repo, name, opened[name], differences[name])
    end
  end)
end

--- Where the sequences of the world are, as SQL that puts them back.
function World:sequences()
  return self.database:transact(function(repo)
    return repo:scalar [[
      SELECT pg_catalog.string_agg(pg_catalog.format('SELECT pg_catalog.setval(%L, %s, %L);',
          pg_catalog.format('%I.%I', schemaname, sequencename),
          coalesce(last_value, start_value), last_value IS NOT NULL), '')
        FROM pg_catalog.pg_sequences WHERE schemaname <> 'luamig']]
  end)
end

--- Whether a column is NULL in all rows.
local function is_null(rows, column)
  for _, row in ipairs(rows) do
    if row[column] ~= nil then
      return false
    end
  end
  return true
end

--- The columns that a script sees in base and in the base query, or nil and what is wrong. A base
-- without `select` and `rows` stands for any columns of its table. A row that a function returns
-- lacks what is NULL.
-- @param rows of the base query
-- @param given columns of base
function World:columns_of_base(rows, given)
  local found = rows.columns
  local promised = self.base.rows and given or self.base.selects and self.base.select or {}
  for _, column in ipairs(promised) do
    if not text.contains(found, column) then
      return nil, ('%s gives column "%s", which the base query does not return'):format(
        self.base.rows and "base" or "base.select", column)
    end
  end
  for _, column in ipairs(found) do
    if not text.contains(given, column) and not (self.base.rows and is_null(rows, column)) then
      return nil, ('the base query returns column "%s", which base does not give'):format(column)
    end
  end
  return found
end

--- Rows by their key; nil when two have the same.
local function index_by_key(rows, key)
  local by_key = {}
  for _, row in ipairs(rows) do
    local shown = key_of(row, key)
    if by_key[shown] then
      return nil
    end
    by_key[shown] = row
  end
  return by_key
end

--- The first row that `base` gives and the base query does not, or the other way round.
local function difference_of_rows(def, given, found, columns)
  local key = def.config.key
  local by_key = index_by_key(found, key)
  if not by_key then
    return nil
  end
  for _, row in ipairs(given) do
    local shown = key_of(row, key)
    local twin = by_key[shown]
    local difference = twin and compare.rows(columns, row, twin)
    if not twin then
      return ("base gives the row %s, which the base query does not return"):format(shown)
    elseif difference then
      return ("in the row %s base and the base query differ: %s"):format(shown, difference)
    end
    by_key[shown] = nil
  end
  for _, row in ipairs(found) do
    local shown = key_of(row, key)
    if by_key[shown] then
      return ("the base query returns the row %s, which base does not give"):format(shown)
    end
  end
end

--- Refuses a `base` that is not what the script's base query is. A base query that fails, or does
-- not return a key, is left to the run.
function World:check_base(def)
  local found = def.base_query and self.base and self:rows_of_query(def)
  if not found then
    return
  end
  for _, column in ipairs(def.config.key) do
    if not text.contains(found.columns, column) then
      return
    end
  end
  local given, given_columns = self:compute_base(def.args)
  local columns, difference = found.columns, nil
  if self.base.select or #given > 0 then
    columns, difference = self:columns_of_base(found, given_columns)
  end
  difference = difference or difference_of_rows(def, given, found, columns)
  if difference then
    errors.raise {
      kind = "spec",
      message = ("base is not the base query of %s: %s"):format(def.path, difference),
    }
  end
end

--- Refuses a table that a script has made otherwise than the spec declares it.
function World:check_made()
  local ok, why = pcall(setup.check_made, self.database, self.schemas)
  if not ok and type(why) == "string" then
    errors.raise { kind = "spec", message = why }
  elseif not ok then
    error(why, 0)
  end
end

--- Arguments as they are typed on a command line.
local function typed_args(args)
  return text.map(text.sorted_keys(args), function(name)
    local given = args[name]
    return name .. "=" .. (math.type(given) and text.number(given) or tostring(given))
  end)
end

--- The path of a file with the rows that a run reads; nil if it reads none, or goes on.
local function file_of(def, rows)
  if not rows then
    return nil
  elseif not def.input then
    errors.raise { kind = "spec", message = def.path .. " reads no file; leave input out" }
  end
  input.check(def.input, rows)
  return file.write(def.input, rows)
end

--- See `luamig.mock`.
function World:attempt(path, opts)
  local overrides = { batch_size = opts.batch_size }
  local def = script.load(path, { args = opts.args, overrides = overrides })
  declarations.check_source(self, def)
  self:check_base(def)
  self:find_shapes()
  if self.source then
    self.source:find_shapes()
  end
  local watcher = watch.new(self, def, opts)
  local read = file_of(def, opts.input)
  local outcome = self.database:run(path, {
    args = typed_args(def.args), batch_size = opts.batch_size, limit = opts.limit,
    again = opts.again, dry_run = opts.dry_run, prepare = opts.prepare, input = read,
    source = self.source and self.source.database,
  }, function(event)
    return watcher:see(event)
  end)
  watcher:rewind()
  if read then
    os.remove(read)
  end
  self:check_made()
  if outcome.state == "failed" and not outcome.begun then
    error(outcome.error, 0)
  end
  return {
    state = outcome.begun and outcome.state or "done", rows = outcome.rows,
    batches = opts.dry_run and outcome.batches or watcher.batches, retries = outcome.retries,
    failures = outcome.failures, error = outcome.error,
  }, def, outcome.begun
end

--- Makes a world. Raises a string, which `mock.new` completes.
-- @param schemas of `luamig.mock.schema`
-- @param stand_in of `luamig.mock.base`, or nil
-- @param source the other database, a world without a base; or nil
function pg_world.new(schemas, stand_in, source)
  local self = setmetatable({
    log = {}, stubs = stubs.new(), faults = faults.new(), schemas = schemas, base = stand_in,
    source = source, database = pool.take(),
  }, World)
  setup.tables(self.database, schemas)
  return self
end

return strict.module("luamig.pg_world", pg_world)
