--- Tables as PostgreSQL's catalog has them, in the words of a mock's declaration.
--
-- Promises: columns, types, keys and constraints are those of the server; a domain is its base
-- type, and a column that a sequence fills is a serial. Refuses nothing: what a declaration has no
-- word for (checks, defaults, partial indexes) is left out.

local errors = require "luamig.errors"
local source = require "luamig.scaffold.source"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local catalog = {}

-- What begins so runs under a search_path of luamig's own (src/pg/conn/own.h): names mean those of
-- pg_catalog, and a table is known by its OID.
local OWN = "\1luamig\2"

local COLUMNS = OWN .. [[
  SELECT a.attname::text AS name, pg_catalog.format_type(base.type, base.modifier) AS type,
         a.attnotnull AS not_null,
         pg_catalog.pg_get_serial_sequence($1::int8::oid::regclass::text, a.attname)
           IS NOT NULL AS is_serial
    FROM pg_catalog.pg_attribute a CROSS JOIN LATERAL (
      WITH RECURSIVE base (type, modifier, depth) AS (
        SELECT a.atttypid, a.atttypmod, 0
         UNION ALL
        SELECT t.typbasetype, t.typtypmod, depth + 1
          FROM base JOIN pg_catalog.pg_type t ON t.oid = base.type WHERE t.typtype = 'd')
      SELECT type, modifier FROM base ORDER BY depth DESC LIMIT 1) AS base
   WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
   ORDER BY a.attnum]]

-- Also indexes that no constraint has made.
local UNIQUES = OWN .. [[
  SELECT i.indisprimary AS is_primary, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS condition,
         ARRAY(SELECT a.attname::text
                 FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
                 JOIN pg_catalog.pg_attribute a
                   ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE k.n <= i.indnkeyatts ORDER BY k.n) AS columns
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
   WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid
     AND i.indexprs IS NULL
   ORDER BY i.indisprimary DESC, c.relname]]

-- Foreign keys on tables of a list.
local REFERENCES = OWN .. [[
  SELECT names.name AS "references",
         ARRAY(SELECT a.attname::text
                 FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k(attnum, n)
                 JOIN pg_catalog.pg_attribute a
                   ON a.attrelid = c.conrelid AND a.attnum = k.attnum ORDER BY k.n) AS columns,
         ARRAY(SELECT a.attname::text
                 FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY AS k(attnum, n)
                 JOIN pg_catalog.pg_attribute a
                   ON a.attrelid = c.confrelid AND a.attnum = k.attnum ORDER BY k.n) AS "to",
         CASE c.confdeltype WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set null' END AS on_delete
    FROM pg_catalog.pg_constraint c
    JOIN ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::int8[]))
           AS names(name, oid)
      ON names.oid::oid = c.confrelid
   WHERE c.conrelid = $1::int8::oid AND c.contype = 'f' ORDER BY c.conname]]

-- Those that a script sees, without the server's own.
local TABLES = [[
  SELECT c.relname::pg_catalog.text AS name FROM pg_catalog.pg_class c
   WHERE pg_catalog.strpos('rpvmf', c.relkind::pg_catalog.text) OPERATOR(pg_catalog.>) 0
     AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace OPERATOR(pg_catalog.<>) 11]]

-- How a column that a sequence fills is declared.
local SERIALS = { smallint = "smallserial", integer = "serial", bigint = "bigserial" }

--- A table's name as scripts write it (users, public.users, "odd.name"), for SQL.
function catalog.quote_table(name)
  return table.concat(text.map(catalog.parts(name), catalog.quote), ".")
end

--- The parts of a table's name: `{ "public", "users" }`.
function catalog.parts(name)
  local parts, at = {}, 1
  name = name:gsub('""', "\0") -- a quote in a quoted name
  while at <= #name do
    local part, after = name:match('^"([^"]*)"()', at)
    if not part then
      part, after = name:match("^([^.]*)()", at)
    end
    parts[#parts + 1] = part:gsub("\0", '"')
    at = after + 1
  end
  return parts
end

--- A name, for SQL.
function catalog.quote(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

--- Names, for SQL, with commas between them.
function catalog.quote_list(names)
  return table.concat(text.map(names, catalog.quote), ", ")
end

--- The OID of the table, or view, that the name means to a script; nil when there is none.
function catalog.find(repo, name)
  return repo:scalar("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid::pg_catalog.int8",
    catalog.quote_table(name))
end

--- Reads a table.
-- @param repo in a transaction
-- @param name of a table that exists, as scripts write it
-- @return { columns = list of { name =, type =, not_null =, is_serial = }, primary_key = list or
--   nil, unique = list of lists, partial = the same of what is unique under a condition: lists with
--   `condition` }
function catalog.describe(repo, name)
  local oid = catalog.find(repo, name)
  local found = { columns = repo:query(COLUMNS, oid), unique = {}, partial = {} }
  for _, index in ipairs(repo:query(UNIQUES, oid)) do
    if index.is_primary then
      found.primary_key = index.columns
    elseif index.condition then
      local columns = table.move(index.columns, 1, #index.columns, 1, {})
      columns.condition = index.condition
      found.partial[#found.partial + 1] = columns
    else
      found.unique[#found.unique + 1] = index.columns
    end
  end
  return found
end

local function list_of(names)
  return "{ " .. table.concat(text.map(names, source.quote), ", ") .. " }"
end

local function reference_of(key)
  local on_delete = key.on_delete and ", on_delete = " .. source.quote(key.on_delete) or ""
  return ("    { columns = %s, references = %s, to = %s%s },"):format(list_of(key.columns),
    source.quote(key.references), list_of(key.to), on_delete)
end

--- A table as it stands in `tables` of `mock.new`: lines of Lua.
-- @param references rows of REFERENCES
local function declare(name, found, references)
  local lines = { source.field(name) .. " = {", "  columns = {" }
  for _, column in ipairs(found.columns) do
    lines[#lines + 1] = ("    %s = %s,"):format(source.field(column.name),
      source.quote(column.is_serial and SERIALS[column.type] or column.type))
  end
  lines[#lines + 1] = "  },"
  if found.primary_key then
    lines[#lines + 1] = ("  primary_key = %s,"):format(list_of(found.primary_key))
  end
  local not_null = source.not_null(found.columns, found.primary_key or {})
  if #not_null > 0 then
    lines[#lines + 1] = ("  not_null = %s,"):format(list_of(not_null))
  end
  if #found.unique > 0 then
    lines[#lines + 1] = ("  unique = { %s },"):format(table.concat(text.map(found.unique, list_of),
      ", "))
  end
  if #references > 0 then
    lines[#lines + 1] = "  foreign_keys = {"
    for _, key in ipairs(references) do
      lines[#lines + 1] = reference_of(key)
    end
    lines[#lines + 1] = "  },"
  end
  lines[#lines + 1] = "},"
  return table.concat(lines, "\n") .. "\n"
end

--- The OIDs of tables; raises an error object when one does not exist.
local function find_all(repo, names)
  return text.map(names, function(name)
    local oid = catalog.find(repo, name)
    if not oid then
      local known = text.map(repo:query(TABLES), function(row)
        return row.name
      end)
      errors.raise {
        kind = "script", message = ('table "%s" does not exist'):format(name),
        hint = suggest.hint(name, known),
      }
    end
    return oid
  end)
end

--- The declarations of tables, ready to be pasted into a spec. Raises an error object when one does
-- not exist.
-- @param database of the program
function catalog.declarations(database, names)
  return database:transact(function(repo)
    local oids = find_all(repo, names)
    return table.concat(text.map(names, function(name, i)
      return declare(name, catalog.describe(repo, name),
        repo:query(REFERENCES, oids[i], names, oids))
    end))
  end)
end

--- What is said of a table and is not so: a list of sentences, empty when all is true. A spec need
-- not say everything.
-- @param said what `describe` returned of a table made as the spec declares it
-- @param found what it returned of the table itself
function catalog.differences(said, found)
  local complaints = {}
  local function complain(format, ...)
    complaints[#complaints + 1] = format:format(...)
  end
  local columns, uniques = {}, {}
  for _, column in ipairs(found.columns) do
    columns[column.name] = column
  end
  for _, column in ipairs(said.columns) do
    local real = columns[column.name]
    if not real then
      complain('it has no column "%s"', column.name)
    elseif real.type ~= column.type then
      complain('column "%s" is declared as %s, but it is %s', column.name, column.type, real.type)
    elseif column.not_null and not real.not_null then
      complain('column "%s" is declared NOT NULL, but it may be NULL', column.name)
    end
  end
  local function show(list)
    return list and "(" .. table.concat(list, ", ") .. ")" or "none"
  end
  if said.primary_key and show(said.primary_key) ~= show(found.primary_key) then
    complain("primary_key is declared as %s, but it is %s", show(said.primary_key),
      show(found.primary_key))
  end
  local function sorted(list)
    return show(text.sorted_keys(text.set(list)))
  end
  for _, list in ipairs { found.primary_key or {}, table.unpack(found.unique) } do
    uniques[sorted(list)] = true
  end
  for _, list in ipairs(said.unique) do
    if not uniques[sorted(list)] then
      complain("%s is declared as unique, but it is not", text.describe(show(list)))
    end
  end
  local partial = text.set(text.map(found.partial, function(list)
    return sorted(list) .. list.condition
  end))
  for _, list in ipairs(said.partial) do
    if not partial[sorted(list) .. list.condition] then
      complain("%s is declared as unique where %s, but it is not", text.describe(show(list)),
        list.condition)
    end
  end
  return complaints
end

return catalog
