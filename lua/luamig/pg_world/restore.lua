--- A database of a world as it was when it was made, from its template.
--
-- Promises: what is restored has the rows, the sequences and the entries in the catalog of one that
-- is fresh, or restore says that it has not: then it is good for nothing.
-- A row's xmin, the transaction that made it, tells whether it is the template's: any that came
-- later is higher.

local text = require "luamig.text"

local restore = {}

local Restore = {}
Restore.__index = Restore

-- What a script may have made, changed or removed leaves a trace in these, or in OTHER_CATALOGS.
local CATALOGS = {
  "pg_attribute", "pg_attrdef", "pg_constraint", "pg_description", "pg_enum", "pg_extension",
  "pg_event_trigger", "pg_index", "pg_inherits", "pg_largeobject_metadata", "pg_opclass",
  "pg_policy", "pg_proc", "pg_rewrite", "pg_sequence", "pg_trigger", "pg_type", "pg_default_acl",
  "pg_db_role_setting", "pg_publication", "pg_operator", "pg_cast", "pg_ts_config", "pg_collation",
}

-- Those whose rows differ although nothing is left to undo: TRUNCATE gives a table other storage,
-- ANALYZE other figures; a session's temporary tables go, but not their schemas.
local OTHER_CATALOGS = [[
  SELECT 'pg_class ' || pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(' ', c.oid,
           c.relname, c.relnamespace, c.relowner, c.relpersistence, c.relrowsecurity,
           c.relforcerowsecurity, c.relacl, c.reloptions), ',' ORDER BY c.oid))
    FROM pg_catalog.pg_class c
   WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
  UNION ALL
  SELECT 'pg_namespace ' || pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(' ',
           n.nspname, n.nspowner, n.nspacl), ',' ORDER BY n.oid))
    FROM pg_catalog.pg_namespace n
   WHERE n.nspname !~ '^pg_(toast_)?temp_']]

local OWN_TABLES = [[c.relkind IN ('r', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'luamig')
  AND pg_catalog.pg_relation_size(c.oid) > 0]]

local FILLED = ([[
  SELECT c.oid::int8 AS oid, c.oid::regclass::text AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE %s ORDER BY c.oid]]):format(OWN_TABLES)

local SEQUENCES = [[
  SELECT pg_catalog.format('SELECT %L AS name, last_value, is_called FROM %s', c.oid::regclass,
           c.oid::regclass) AS sql
    FROM pg_catalog.pg_class c WHERE c.relkind = 'S' ORDER BY c.oid]]

-- What the template does not have: $1 is its highest oid.
local DROP_NEW = [[
  SELECT pg_catalog.format('DROP %s IF EXISTS %s CASCADE;',
           CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
             WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
           c.oid::regclass) AS sql
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid::int8 > $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
     AND n.nspname !~ '^pg_']]

-- Tables of the template that were empty: $1 is its highest oid, $2 those that were not.
local TRUNCATE_FILLED = ([[
  SELECT 'TRUNCATE ' || c.oid::regclass || ' CASCADE;' AS sql
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE %s AND c.oid::int8 <= $1 AND c.oid::int8 <> ALL ($2)]]):format(OWN_TABLES)

local FORGET_RUNS = [[
  DELETE FROM luamig.request; DELETE FROM luamig.failure; DELETE FROM luamig.range;
  DELETE FROM luamig.worker; DELETE FROM luamig.progress; DELETE FROM luamig.input;
  DELETE FROM luamig.run;]]

--- The column of rows, one after the other.
local function join(rows, column, separator)
  return table.concat(text.map(rows, function(row)
    return row[column]
  end), separator)
end

--- A query that tells whether rows came, went or were changed.
local function traces(name)
  return ("SELECT %s || ' ' || pg_catalog.concat_ws(' ', pg_catalog.count(*), "
    .. "pg_catalog.max(xmin::text::int8)) FROM %s"):format("'" .. name:gsub("'", "''") .. "'", name)
end

--- SQL that gives all sequences the values that they have.
local function sequences_of(repo)
  local sequences = repo:query(join(repo:query(SEQUENCES), "sql", " UNION ALL "))
  local values = text.map(sequences, function(sequence)
    return ("('%s'::regclass, %d::int8, %s)"):format(sequence.name:gsub("'", "''"),
      sequence.last_value, sequence.is_called)
  end)
  return ("SELECT pg_catalog.setval(s, n, c) FROM (VALUES %s) AS v (s, n, c);"):format(
    table.concat(values, ", "))
end

--- What a database is like. `queries` give a text each.
local function look(database, queries)
  return database:transact(function(repo)
    return join(repo:query(queries), "text", "\n")
  end)
end

--- Reads a database that is fresh, so that others, and itself, can be brought to that.
function restore.new(database)
  local self = setmetatable({ filled = {} }, Restore)
  local queries = { OTHER_CATALOGS }
  for _, name in ipairs(CATALOGS) do
    queries[#queries + 1] = traces("pg_catalog." .. name)
  end
  database:transact(function(repo)
    self.newest = repo:scalar "SELECT pg_catalog.max(oid)::int8 FROM pg_catalog.pg_class"
    self.sequences = sequences_of(repo)
    for i, found in ipairs(repo:query(FILLED)) do
      self.filled[i] = found.oid
      queries[#queries + 1] = traces(found.name)
    end
  end)
  self.queries = "SELECT t.text FROM (" .. table.concat(queries, " UNION ALL ") .. ") AS t (text)"
  self.state = look(database, self.queries)
  return self
end

--- Whether a database could be restored.
function Restore:apply(database)
  local undo = database:transact(function(repo)
    return join(repo:query(DROP_NEW, self.newest), "sql", "\n")
      .. join(repo:query(TRUNCATE_FILLED, self.newest, self.filled), "sql", "\n")
  end)
  database:script("SET session_replication_role = replica; " .. undo .. FORGET_RUNS
    .. self.sequences .. "RESET session_replication_role")
  return look(database, self.queries) == self.state
end

return restore
