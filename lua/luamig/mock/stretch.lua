--- The range that `migrate_range` gets in the mock.
--
-- Promises: the keys, and the text and parameters of `range:where`, are those of the program.
-- Refuses: `range:where` for types whose operators only the server knows.

local errors = require "luamig.errors"
local strict = require "luamig.strict"
local text = require "luamig.text"

local stretch = {}

-- What the server calls the types that a key of the mock may have; it quotes words of SQL.
local NAMES = {
  smallint = "int2", integer = "int4", bigint = "int8", oid = "oid", real = "float4",
  ["double precision"] = "float8", boolean = "bool", bytea = "bytea", uuid = "uuid", text = "text",
  character = "bpchar", bpchar = "bpchar", date = "date", numeric = '"numeric"',
  ["character varying"] = '"varchar"', ["time without time zone"] = '"time"',
  ["timestamp with time zone"] = "timestamptz", ["timestamp without time zone"] = '"timestamp"',
}
-- Types that compare as another one.
local CASTS = { ["character varying"] = "::pg_catalog.text" }
local COLLATED = text.set { "text", "character varying", "character", "bpchar" }

local function misuse(message, ...)
  error(message:format(...), 0)
end

local UNKNOWN = { name = "unknown" }

local function name_of(column, kind)
  return NAMES[kind.name] or errors.raise {
    kind = "spec",
    message = ('range:where: the mock does not know how key column "%s" of type %s compares')
      :format(column, kind.name),
    hint = "Declare its type in mock.new, or run the spec on PostgreSQL.",
  }
end

local function quoted(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

--- SQL for each column of the key.
local function operands(key, types, columns)
  if type(columns) == "table" then
    local count = 0
    for _ in pairs(columns) do
      count = count + 1
    end
    for _, column in ipairs(key) do
      if type(columns[column]) ~= "string" then
        misuse('range:where has no SQL for the key column "%s"', column)
      end
    end
    if count > #key then
      misuse "range:where takes SQL for the key columns only"
    end
  end
  return table.concat(text.map(key, function(column)
    local cast = CASTS[(types[column] or UNKNOWN).name] or ""
    if type(columns) == "table" then
      return "(" .. columns[column] .. ")" .. cast
    end
    return (columns and columns .. "." or "") .. quoted(column) .. cast
  end), ", ")
end

--- "(t.a, t.b) OPERATOR(pg_catalog.>) ($1::..., $2::...)"
local function comparison(key, types, left, operator, first)
  local values = {}
  for i, column in ipairs(key) do
    local kind = types[column] or UNKNOWN
    values[i] = ("$%d::pg_catalog.%s%s%s"):format(first + i - 1, name_of(column, kind),
      CASTS[kind.name] or "", COLLATED[kind.name] and ' COLLATE pg_catalog."default"' or "")
  end
  return ("(%s) OPERATOR(pg_catalog.%s) (%s)"):format(left, operator, table.concat(values, ", "))
end

--- The values of both ends, as a list.
local function params_of(key, given)
  local params = {}
  for _, ending in ipairs { "after", "upto" } do
    for _, column in ipairs(given[ending] and key or {}) do
      params[#params + 1] = given[ending][column]
    end
  end
  return params
end

local function where(key, types, is_open, given, columns, first)
  if type(given) ~= "table" or type(rawget(given, "upto")) ~= "table" then
    misuse "call range:where(...) with a colon"
  elseif not is_open() then
    misuse "the range is used after its function has returned"
  end
  first = first or 1
  if math.type(first) ~= "integer" or first < 1 then
    misuse("bad argument #2 to 'where' (the number of a parameter, from 1)")
  end
  local left = operands(key, types, columns)
  local parts = {}
  if given.after then
    parts[1] = comparison(key, types, left, ">", first)
    first = first + #key
  end
  parts[#parts + 1] = comparison(key, types, left, "<=", first)
  return "(" .. table.concat(parts, " AND ") .. ")", params_of(key, given)
end

local function by_column(what, key, values)
  local fields = {}
  for i, column in ipairs(key) do
    fields[column] = values[i]
  end
  return strict.record(what, fields, key)
end

--- Makes the range of one call.
-- @param key the names of its columns
-- @param types from them to types of `luamig.mock.types`
-- @param after, upto lists of values; after may be nil
-- @param is_open function that says whether the call goes on
function stretch.new(key, types, after, upto, is_open)
  return strict.record("range", {
    after = after and by_column("range.after", key, after),
    upto = by_column("range.upto", key, upto),
    where = function(...)
      local ok, sql, params = pcall(where, key, types, is_open, ...)
      if not ok then
        error(sql, 2)
      end
      return sql, params
    end,
  }, { "after", "upto", "where" })
end

return stretch
