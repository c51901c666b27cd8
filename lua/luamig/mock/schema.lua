--- Reads the `tables` of `mock.new`: columns, constraints and rows.
--
-- Promises: every mistake in the declaration is an error that names the table.
-- Refuses: constraints on columns that are not declared, column types the mock does not model.

local luamig = require "luamig"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local schema = {}

local KEYS = { "columns", "primary_key", "not_null", "unique", "rows" }

local function fail(name, message, ...)
  error(('table "%s": '):format(name) .. message:format(...), 0)
end

local function check_keys(name, given)
  if type(given) ~= "table" then
    fail(name, "must be a table with rows and, if you like, columns, not %s", text.describe(given))
  end
  for key in next, given do
    local is_known = false
    for _, legal in ipairs(KEYS) do
      is_known = is_known or key == legal
    end
    if not is_known then
      fail(name, 'unknown key "%s"%s', tostring(key), suggest.suffix(tostring(key), KEYS))
    end
  end
end

--- Map from column to check, for declared columns.
local function declared_checks(name, columns)
  local checks = {}
  for column, type_name in next, columns do
    if type(column) ~= "string" or type(type_name) ~= "string" then
      fail(name, 'columns must map names to types, as in { id = "int8" }')
    end
    local check, why = value.checker(type_name)
    if not check then
      fail(name, 'column "%s" has type "%s": %s', column, type_name, why)
    end
    checks[column] = check
  end
  return checks
end

--- Map from column to check, for the columns that the rows and constraints mention.
local function seen_checks(given)
  local checks = {}
  for _, row in ipairs(given.rows or {}) do
    for column in next, row do
      checks[column] = value.any
    end
  end
  for _, list in ipairs { given.primary_key or {}, given.not_null or {},
    table.unpack(given.unique or {}) } do
    for _, column in ipairs(list) do
      checks[column] = value.any
    end
  end
  return checks
end

local function column_list(name, key, list, self)
  if type(list) ~= "table" or #list == 0 then
    fail(name, "%s must be a list of columns that is not empty", key)
  end
  for _, column in ipairs(list) do
    if type(column) ~= "string" or not self.checks[column] then
      fail(name, '%s names column "%s", which is not declared%s', key, tostring(column),
        suggest.suffix(tostring(column), self.columns))
    end
  end
  return table.move(list, 1, #list, 1, {})
end

local function check_rows(name, rows)
  if type(rows) ~= "table" then
    fail(name, "rows must be a list of tables, not %s", text.describe(rows))
  end
  local count = 0
  for _, row in next, rows do
    count = count + 1
    if type(row) ~= "table" or row == luamig.NULL then
      fail(name, "rows must be a list of tables, it holds %s", text.describe(row))
    end
  end
  if count ~= #rows then
    fail(name, "rows must be a list of tables without holes")
  end
end

local function add_constraints(self, name, given)
  local not_null = {}
  if given.primary_key then
    self.primary_key = column_list(name, "primary_key", given.primary_key, self)
    self.uniques[1] = { name = name .. "_pkey", columns = self.primary_key }
    for _, column in ipairs(self.primary_key) do
      not_null[column] = true
    end
  end
  if given.not_null then
    for _, column in ipairs(column_list(name, "not_null", given.not_null, self)) do
      not_null[column] = true
    end
  end
  self.not_null = text.sorted_keys(not_null)
  for _, columns in ipairs(given.unique or {}) do
    columns = column_list(name, "each item of unique", columns, self)
    local constraint = name .. "_" .. table.concat(columns, "_") .. "_key"
    self.uniques[#self.uniques + 1] = { name = constraint, columns = columns }
  end
end

--- Reads one table's declaration. Raises a string.
-- @return table with name, declared, given (the declaration itself), columns (sorted names),
--   checks (by column), primary_key or nil, not_null (names), uniques (list of { name =,
--   columns = }), rows (as given)
local function read_one(name, given)
  check_keys(name, given)
  check_rows(name, given.rows or {})
  if given.unique and (type(given.unique) ~= "table" or type(given.unique[1]) ~= "table") then
    fail(name, 'unique must be a list of lists of columns, as in { { "email" } }')
  end
  local self = {
    name = name, declared = given.columns ~= nil, given = given, uniques = {},
  }
  self.checks = given.columns and declared_checks(name, given.columns) or seen_checks(given)
  self.columns = text.sorted_keys(self.checks)
  self.rows = given.rows or {}
  add_constraints(self, name, given)
  return self
end

--- Reads the `tables` of `mock.new`. Raises a string.
-- @return map from name to schema, see above
function schema.read(tables)
  local schemas = {}
  for name, given in next, tables do
    if type(name) ~= "string" then
      error("tables must map names to tables", 0)
    end
    schemas[name] = read_one(name, given)
  end
  return schemas
end

return schema
