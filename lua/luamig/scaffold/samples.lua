--- Rows for a new spec: for each column a type that the mock knows, and values of it.
--
-- Promises: the mock takes every table that comes out, and no two of its rows have the same key.
-- Refuses nothing: a column whose values the mock does not model is left out, unless the key needs
-- it; then text stands for it.

local mock = require "luamig.mock"
local source = require "luamig.scaffold.source"
local text = require "luamig.text"

local samples = {}

local ROWS = 3
local MAX_WORDS = 30

--- By type, without modifiers: a value for row `i`, as source.
local LITERALS = {
  boolean = function(i) return tostring(i % 2 == 1) end,
  uuid = function(i) return ('"00000000-0000-0000-0000-%012d"'):format(i) end,
  date = function(i) return ('"2024-01-%02d"'):format(i) end,
  point = function(i) return ('"(%d,%d)"'):format(i, i) end,
  ["bit varying"] = function(i) return ('"%s"'):format(("1"):rep(i)) end,
  ["timestamp without time zone"] = function(i) return ('"2024-01-%02d 12:00:00"'):format(i) end,
  ["timestamp with time zone"] = function(i) return ('"2024-01-%02d 12:00:00+00"'):format(i) end,
  ["time without time zone"] = function(i) return ('"%02d:00:00"'):format(i) end,
  json = function(i) return ("{ example = %d }"):format(i) end,
}
LITERALS.jsonb = LITERALS.json
for name in ("smallint integer bigint numeric oid"):gmatch "%a+" do
  LITERALS[name] = tostring
end
for _, name in ipairs { "real", "double precision" } do
  LITERALS[name] = function(i) return i .. ".5" end
end

--- A type without its modifier: `numeric(10,2)` is `numeric`.
local function bare(type_name)
  return (type_name:gsub("%s*%b()", ""))
end

--- `email 1`, within the length that the type allows.
local function words(column, i)
  local limit = tonumber(column.type:match "%((%d+)%)") or MAX_WORDS
  local shown = column.name:gsub("%c", " ") .. " " .. i
  return source.quote(utf8.len(shown) > math.min(limit, MAX_WORDS) and tostring(i) or shown)
end

--- A value of a column for row `i`, as source.
local function literal(column, i)
  local element = column.type:match "^(.-)%[%]$"
  if element then
    local inner = literal({ name = column.name, type = element, labels = column.labels }, i)
    return ("{ %s }"):format(inner)
  elseif column.labels then
    return source.quote(column.labels[(i - 1) % #column.labels + 1])
  end
  local make = LITERALS[bare(column.type)]
  return make and make(i) or words(column, i)
end

--- The value of a column in row `i`, from its source.
local function value_of(column, i)
  return load("return " .. column.literals[i])()
end

--- A table of the mock with these types and rows (both by column), or nil when it refuses them.
local function try(types, rows, more)
  local declared = { columns = types, rows = rows }
  for key, value in pairs(more or {}) do
    declared[key] = value
  end
  return (pcall(mock.new, { tables = { sample = declared } }))
end

--- Does the mock take the column with that type, and the values that we have for it? Those of a key
-- need an order, which documents and arrays do not have there.
local function suits(column, type_name, is_key)
  local rows = {}
  if column.is_record or is_key and type(value_of(column, 1)) == "table" then
    return false
  end
  for i = 1, is_key and 1 or ROWS do
    rows[i] = { [column.name] = value_of(column, i) }
  end
  return try({ [column.name] = type_name }, rows, is_key and { primary_key = { column.name } })
end

--- The column with `type` (that the mock knows; nil when there is none) and `literals`.
local function describe(given, is_key)
  local column = {
    name = given.name, literals = {}, not_null = given.not_null or is_key,
    is_record = given.record,
  }
  for i = 1, ROWS do
    column.literals[i] = literal(given, i)
  end
  for _, type_name in ipairs { given.type, bare(given.type) } do
    if suits(column, type_name, is_key) then
      column.type = type_name
      return column
    end
  end
  if is_key then
    column.type = "text"
    for i = 1, ROWS do
      column.literals[i] = words({ name = given.name, type = "text" }, i)
    end
  end
  return column
end

--- Can the mock keep these columns unique?
local function keeps_unique(self, names)
  local types, row = {}, {}
  for _, column in ipairs(self.columns) do
    if text.contains(names, column.name) then
      types[column.name] = column.type
      row[column.name] = value_of(column, 1)
    end
  end
  return try(types, { row }, { unique = { names } })
end

--- The rows, as long as the mock takes them: a boolean key has two values only.
local function rows_of(table_, target)
  local rows, values, types = {}, {}, {}
  for _, column in ipairs(table_.columns) do
    types[column.name] = column.type
  end
  for i = 1, ROWS do
    local row, value = {}, {}
    for _, column in ipairs(table_.columns) do
      local wanted = column.not_null or column.name == target and i == 2
      if wanted then
        row[#row + 1] = source.field(column.name) .. " = " .. column.literals[i]
        value[column.name] = value_of(column, i)
      end
    end
    values[#values + 1] = value
    if try(types, values, { unique = { table_.key, table.unpack(table_.unique) } }) then
      row.has_target = value[target] ~= nil
      rows[#rows + 1] = row
    else
      values[#values] = nil
    end
  end
  return rows
end

--- What a spec needs to know of a table.
-- @param facts see `luamig.scaffold.migration`
-- @param key list of columns that order it
-- @param target name of a column that is NULL in some rows, or nil
-- @return table with columns (list of { name =, type =, literals =, not_null = }), left_out
--   (list of { name =, type = }), unique (lists that the mock can keep), rows (list of lists
--   of fields as source, with has_target)
function samples.table(facts, key, target)
  local self = { columns = {}, left_out = {}, key = key, unique = {} }
  for _, given in ipairs(facts.columns) do
    local column = describe(given, text.contains(key, given.name))
    table.insert(column.type and self.columns or self.left_out, column.type and column or given)
  end
  for _, names in ipairs(facts.unique) do
    if keeps_unique(self, names) then
      self.unique[#self.unique + 1] = names
    end
  end
  self.rows = rows_of(self, target)
  return self
end

--- Would the mock take the column as it is?
function samples.knows(given)
  return describe(given, false).type ~= nil
end

--- A value of a column, as source.
function samples.literal(given)
  return literal(given, 1)
end

return samples
