--- The tables of a world on PostgreSQL: made, or found, and filled.
--
-- Promises: a table that the schema file has is used as it is, and what the spec declares of it is
-- true; others are made as declared, in schemas that are made for them, and a type that the server
-- does not know stands for text, as in the mock. Rows are put in as if they had always been there:
-- no trigger fires, and sequences go on behind them.
-- Refuses columns without a type whose values have none in common.

local catalog = require "luamig.pg_world.catalog"
local decimal = require "luamig.decimal"
local luamig = require "luamig"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local types = require "luamig.mock.types"

local setup = {}

local function complain(schema, format, ...)
  error(('table "%s": '):format(schema.name) .. format:format(...), 0)
end

--- What PostgreSQL says, as a mistake of the spec.
local function explained(schema, err)
  complain(schema, "%s%s", err.message, err.detail and ": " .. err.detail or "")
end

local function type_of(value)
  if decimal.is(value) then
    return "numeric"
  end
  local kinds = { string = "text", boolean = "boolean", integer = "bigint",
    float = "double precision" }
  return kinds[math.type(value) or type(value)]
end

--- The type of a column that is not declared: that of its values in the rows.
local function guess_type(schema, column)
  local found
  for _, row in ipairs(schema.rows) do
    local value = row[column]
    local given = value ~= nil and value ~= luamig.NULL and type_of(value)
    if given and found and given ~= found then
      complain(schema, 'column "%s" has values of type %s and of type %s; declare its type', column,
        found, given)
    end
    found = given or found
  end
  return found or "text"
end

--- A value of the declaration as SQL; raises where only a function knows it.
local function sql_of(schema, what, given)
  local kind = math.type(given) or type(given)
  if kind == "table" and given.sql ~= nil then
    return given.sql
  elseif kind == "string" then
    return "'" .. given:gsub("'", "''") .. "'"
  elseif kind == "integer" or kind == "float" then
    return text.number(given)
  elseif kind == "boolean" or decimal.is(given) then
    return tostring(given)
  end
  complain(schema, "%s needs its SQL for a world on PostgreSQL: give { sql = ..., %s }", what,
    kind == "function" and "and the function" or "value = ...")
end

local function column_definition(schema, column, not_null)
  local given = schema.given
  local type_name = (given.columns or {})[column] or guess_type(schema, column)
  local words = { catalog.quote(column), type_name }
  local default = (given.defaults or {})[column]
  local generated = (given.generated or {})[column]
  if not_null[column] then
    words[#words + 1] = "NOT NULL"
  end
  if default ~= nil then
    words[#words + 1] = "DEFAULT " .. sql_of(schema, ('default of column "%s"'):format(column),
      default)
  elseif generated ~= nil then
    words[#words + 1] = ("GENERATED ALWAYS AS (%s) STORED"):format(sql_of(schema,
      ('generated column "%s"'):format(column), generated))
  end
  return table.concat(words, " ")
end

--- CREATE TABLE of what the spec declares, without its foreign keys.
local function definition(schema, head)
  local not_null = text.set(schema.not_null)
  local parts = text.map(schema.columns, function(column)
    return column_definition(schema, column, not_null)
  end)
  for _, unique in ipairs(schema.uniques) do
    local kind = unique.columns == schema.primary_key and "PRIMARY KEY" or "UNIQUE"
    parts[#parts + 1] = not unique.where
      and ("%s (%s)"):format(kind, catalog.quote_list(unique.columns)) or nil
  end
  for _, check in ipairs(schema.row_checks) do
    parts[#parts + 1] = ("CONSTRAINT %s CHECK (%s)"):format(catalog.quote(check.name),
      sql_of(schema, ('check "%s"'):format(check.name), schema.given.checks[check.name]))
  end
  return ("%s (%s)"):format(head, table.concat(parts, ", "))
end

--- CREATE INDEX of what is unique under a condition.
local function partial_indexes(schema, table_name)
  return table.concat(text.map(schema.uniques, function(unique)
    return unique.where and ("; CREATE UNIQUE INDEX %s ON %s (%s) WHERE (%s\n)"):format(
      catalog.quote(unique.name), table_name, catalog.quote_list(unique.columns),
      unique.where.sql) or nil
  end))
end

--- ALTER TABLE for a foreign key.
local function reference(schema, key)
  return ("ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s (%s)%s"):format(
    catalog.quote_table(schema.name), catalog.quote(key.name), catalog.quote_list(key.columns),
    catalog.quote_table(key.references), catalog.quote_list(key.to),
    key.on_delete and " ON DELETE " .. key.on_delete or "")
end

local function script(database, schema, sql)
  local ok, err = pcall(database.script, database, sql)
  if not ok then
    explained(schema, err)
  end
end

--- Compares what the spec declares of a table with the table.
local function check_table(database, schema)
  if not schema.declared then
    return
  end
  script(database, schema, definition(schema, "CREATE TEMPORARY TABLE luamig_declared")
    .. partial_indexes(schema, "pg_temp.luamig_declared"))
  local differences = database:transact(function(repo)
    return catalog.differences(catalog.describe(repo, "pg_temp.luamig_declared"),
      catalog.describe(repo, schema.name))
  end)
  script(database, schema, "DROP TABLE pg_temp.luamig_declared")
  if #differences > 0 then
    complain(schema, "the schema file differs: %s", table.concat(differences, "; "))
  end
end

--- Makes the schema that a name has before its last part.
local function make_schema(database, schema, name)
  local parts = catalog.parts(name)
  if #parts == 2 then
    script(database, schema, "CREATE SCHEMA IF NOT EXISTS " .. catalog.quote(parts[1]))
  end
end

--- Makes the types that neither the server nor the mock knows: an enum of a schema file that is not
-- loaded, for example. A name that is nearly one of PostgreSQL's is a mistake.
local function make_types(database, schema)
  for _, column in ipairs(text.sorted_keys(schema.given.columns or {})) do
    local name = schema.given.columns[column]:match "^([%l_][%w_.]*)[%[%]]*$"
    local is_missing = name and not types.is_known(name) and database:transact(function(repo)
      return repo:scalar("SELECT pg_catalog.to_regtype($1) IS NULL", name)
    end)
    local near = is_missing and suggest.nearest(name, types.names())
    if near then
      complain(schema, 'type "%s" does not exist (did you mean "%s"?)', name, near)
    elseif is_missing then
      make_schema(database, schema, name)
      script(database, schema, ("CREATE DOMAIN %s AS text"):format(catalog.quote_table(name)))
    end
  end
end

local function make_table(database, schema)
  local exists = database:transact(function(repo)
    return catalog.find(repo, schema.name)
  end)
  if schema.absent and exists then
    complain(schema, "it is declared as absent, but the schema file makes it")
  end
  make_types(database, schema)
  if exists then
    check_table(database, schema)
  elseif not schema.absent then
    make_schema(database, schema, schema.name)
    local name = catalog.quote_table(schema.name)
    script(database, schema,
      definition(schema, "CREATE TABLE " .. name) .. partial_indexes(schema, name))
  end
  schema.is_found = exists
end

local function add_references(database, schema)
  for _, key in ipairs((schema.is_found or schema.absent) and {} or schema.foreign_keys) do
    script(database, schema, reference(schema, key))
  end
end

--- Inserts a row; returns a handle.
local function insert(repo, schema, row)
  local columns, places, values = {}, {}, {}
  for i, column in ipairs(text.sorted_keys(row)) do
    columns[i], places[i], values[i] = column, "$" .. i, row[column]
  end
  local into = "INSERT INTO " .. catalog.quote_table(schema.name)
  if #columns == 0 then
    return repo:execute(into .. " DEFAULT VALUES")
  end
  return repo:execute(("%s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)"):format(into,
    catalog.quote_list(columns), table.concat(places, ", ")), table.unpack(values))
end

--- Sets the sequences behind serial and identity columns to the highest value.
local function move_sequences(repo, schema)
  local name = catalog.quote_table(schema.name)
  for _, column in ipairs(schema.columns) do
    local sequence = repo:scalar("SELECT pg_catalog.pg_get_serial_sequence($1, $2)", name, column)
    if sequence then
      local highest = ("max(%s)"):format(catalog.quote(column))
      repo:query(("SELECT pg_catalog.setval($1::text::regclass, %s) FROM %s HAVING %s > 0"):format(
        highest, name, highest), sequence)
    end
  end
end

local function fill_table(repo, schema)
  local last
  for _, row in ipairs(schema.rows) do
    last = insert(repo, schema, row)
  end
  if last and last.affected == 1 then
    move_sequences(repo, schema)
  end
end

--- Makes and fills tables. Raises a string that names the table.
-- @param schemas of `luamig.mock.schema`
function setup.tables(database, schemas)
  local names = text.sorted_keys(schemas)
  for _, name in ipairs(names) do
    make_table(database, schemas[name])
  end
  local at
  local ok, err = pcall(database.transact, database, function(repo)
    repo:execute "SET LOCAL session_replication_role = replica"
    for _, name in ipairs(names) do
      at = schemas[name]
      fill_table(repo, at)
    end
  end)
  if not ok and at and type(err) == "table" then
    explained(at, err)
  elseif not ok then
    error(err, 0)
  end
  for _, name in ipairs(names) do
    add_references(database, schemas[name]) -- which look at all rows then
  end
end

--- Compares the tables that scripts have made with what the spec declares of them. Raises a string
-- that names the table.
function setup.check_made(database, schemas)
  for _, name in ipairs(text.sorted_keys(schemas)) do
    local is_there = schemas[name].absent and database:transact(function(repo)
      return catalog.find(repo, name)
    end)
    if is_there then
      check_table(database, schemas[name])
    end
  end
end

return setup
