--- Reads the `tables` of `mock.new`: columns, constraints, defaults and rows.
--
-- Promises: every mistake in the declaration is an error that names the table; constraints have the
-- names that PostgreSQL gives them.
-- Refuses: constraints on columns that are not declared, column types the mock does not model.

local luamig = require "luamig"
local marks = require "luamig.marks"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local types = require "luamig.mock.types"

local schema = {}

local KEYS = {
  "columns", "primary_key", "not_null", "unique", "checks", "foreign_keys", "defaults",
  "generated", "rows", "absent",
}
local FOREIGN_KEYS = { "columns", "references", "to", "on_delete" }
local ON_DELETE = { ["no action"] = true, restrict = true, cascade = true, ["set null"] = true }

local function fail(name, message, ...)
  error(('table "%s": '):format(name) .. message:format(...), 0)
end

local function check_keys(name, given, known)
  for key in next, given do
    if not text.contains(known, key) then
      fail(name, 'unknown key "%s"%s', tostring(key), suggest.suffix(tostring(key), known))
    end
  end
end

local function check_declaration(name, given)
  if type(given) ~= "table" then
    fail(name, "must be a table with rows and, optionally, columns, not %s", text.describe(given))
  end
  check_keys(name, given, KEYS)
  if given.absent ~= nil and given.absent ~= true then
    fail(name, "absent must be true, not %s", text.describe(given.absent))
  elseif given.absent and (type(given.columns) ~= "table" or next(given.rows or {}) ~= nil) then
    fail(name, "a table that is absent at first declares its columns, and has no rows")
  end
  for _, key in ipairs { "checks", "foreign_keys", "defaults", "generated" } do
    if given[key] ~= nil and type(given[key]) ~= "table" then
      fail(name, "%s must be a table, not %s", key, text.describe(given[key]))
    end
  end
end

--- Map from column to type, for declared columns. A server knows what the mock does not.
local function declared_types(name, columns, on_server)
  local found = {}
  for column, type_name in next, columns do
    if type(column) ~= "string" or type(type_name) ~= "string" then
      fail(name, 'columns must map names to types, as in { id = "int8" }')
    end
    local one, why = types.find(type_name)
    if not one and not on_server then
      fail(name, 'column "%s" has type "%s": %s', column, type_name, why)
    end
    found[column] = one or types.any
  end
  return found
end

--- Map from column to type, for the columns that the rows and constraints mention.
local function seen_types(given)
  local found = {}
  for _, row in ipairs(given.rows or {}) do
    for column in next, row do
      found[column] = types.any
    end
  end
  for _, list in ipairs { given.primary_key or {}, given.not_null or {},
    table.unpack(given.unique or {}) } do
    for _, column in ipairs(list) do
      found[column] = types.any
    end
  end
  return found
end

local function column_list(name, key, list, self)
  if type(list) ~= "table" or #list == 0 then
    fail(name, "%s must be a list of columns that is not empty", key)
  end
  for _, column in ipairs(list) do
    if type(column) ~= "string" or not self.types[column] then
      fail(name, 'unknown column "%s" in %s%s', tostring(column), key,
        suggest.suffix(tostring(column), self.columns))
    end
  end
  return table.move(list, 1, #list, 1, {})
end

local function check_rows(name, rows)
  if type(rows) ~= "table" then
    fail(name, "rows must be a list of tables, not %s", text.describe(rows))
  end
  for _, row in next, rows do
    if type(row) ~= "table" or row == luamig.NULL then
      fail(name, "rows must be a list of tables, not of %s", text.describe(row))
    end
  end
  if not marks.is_list(rows) then
    fail(name, "rows must be a list of tables without holes")
  end
end

local function check_column(name, key, column, self)
  return column_list(name, key, { column }, self)[1]
end

local function add_not_null(self, name, given)
  local not_null = text.set(given.not_null and column_list(name, "not_null", given.not_null, self)
    or {})
  for _, column in ipairs(self.primary_key or {}) do
    not_null[column] = true
  end
  for column, one in next, self.types do
    not_null[column] = not_null[column] or one.is_serial or nil
  end
  self.not_null = text.sorted_keys(not_null)
end

--- The condition of a partial index. Its words are what `on_conflict.where` says.
local function read_partial(name, where)
  if type(where) ~= "table" or type(where.sql) ~= "string" or type(where.holds) ~= "function" then
    fail(name, "where of unique must be { sql =, holds = }: SQL, and a function of a row")
  end
  check_keys(name, where, { "sql", "holds" })
  return where
end

--- The name that PostgreSQL gives to a constraint or an index: the first that is free.
local function free_name(self, name)
  local taken = text.set(text.map(self.uniques, function(constraint)
    return constraint.name
  end))
  local number, found = 0, name
  while taken[found] do
    number = number + 1
    found = name .. number
  end
  return found
end

local function add_uniques(self, name, given)
  if given.primary_key then
    self.primary_key = column_list(name, "primary_key", given.primary_key, self)
    self.uniques[1] = { name = name .. "_pkey", columns = self.primary_key }
  end
  if given.unique and (type(given.unique) ~= "table" or type(given.unique[1]) ~= "table") then
    fail(name, 'unique must be a list of lists of columns, as in { { "email" } }')
  end
  for _, item in ipairs(given.unique or {}) do
    local columns = column_list(name, "each item of unique", item, self)
    local partial = item.where and read_partial(name, item.where)
    self.uniques[#self.uniques + 1] = {
      name = free_name(self, ("%s_%s_%s"):format(name, table.concat(columns, "_"),
        partial and "idx" or "key")),
      columns = columns, where = partial,
    }
  end
  for _, constraint in ipairs(self.uniques) do
    for _, column in ipairs(constraint.columns) do
      if not self.types[column].has_equality then
        fail(name, 'column "%s" has type %s: its values cannot be unique', column,
          self.types[column].name)
      end
    end
  end
end

--- What the mock uses of `{ sql =, holds = }`; the SQL is for worlds with a server.
local function part_of(name, key, given, part)
  local found = given
  if type(given) == "table" and (given.sql ~= nil or given[part] ~= nil) then
    check_keys(name, given, { "sql", part })
    found = given[part]
    if found == nil then
      fail(name, '%s has no "%s", and the mock cannot run SQL', key, part)
    end
  end
  return found
end

local function add_checks(self, name, given)
  for _, constraint in ipairs(text.ordered_keys(given.checks or {})) do
    local holds = part_of(name, "each item of checks", given.checks[constraint], "holds")
    if type(constraint) ~= "string" or type(holds) ~= "function" then
      fail(name, "checks must map names of constraints to functions of a row")
    end
    self.row_checks[#self.row_checks + 1] = { name = constraint, holds = holds }
  end
end

local function add_defaults(self, name, given)
  for column, one in next, self.types do
    if one.is_serial then
      self.serials[column] = { last = 0 }
    end
  end
  for column, default in next, given.defaults or {} do
    check_column(name, "defaults", column, self)
    self.defaults[column] = part_of(name, "each item of defaults", default, "value")
  end
  for column, value in next, given.generated or {} do
    check_column(name, "generated", column, self)
    self.generated[column] = part_of(name, "each item of generated", value, "value")
    if type(self.generated[column]) ~= "function" then
      fail(name, "generated must map columns to functions of a row")
    end
  end
end

local function add_foreign_keys(self, name, given, tables)
  for _, key in ipairs(given.foreign_keys or {}) do
    if type(key) ~= "table" then
      fail(name, "foreign_keys must be a list of tables, not of %s", text.describe(key))
    end
    check_keys(name, key, FOREIGN_KEYS)
    local columns = column_list(name, "columns of foreign_keys", key.columns, self)
    local other = tables[key.references]
    local to = key.to or other and other.primary_key
    if not other then
      fail(name, "foreign_keys: references must name a table of this world, not %s",
        text.describe(key.references))
    elseif other.absent and not given.absent then
      fail(name, 'foreign_keys: table "%s" is absent at first', key.references)
    elseif key.on_delete ~= nil and not ON_DELETE[key.on_delete] then
      fail(name, "foreign_keys: on_delete must be %s, not %s",
        text.choices(text.sorted_keys(ON_DELETE)), text.describe(key.on_delete))
    elseif type(to) ~= "table" or #to ~= #columns then
      fail(name, 'foreign_keys: columns and to must have the same length; to is of table "%s"',
        key.references)
    end
    self.foreign_keys[#self.foreign_keys + 1] = {
      name = ("%s_%s_fkey"):format(name, table.concat(columns, "_")), columns = columns,
      references = key.references, to = to, on_delete = key.on_delete,
    }
  end
end

--- Reads one table's declaration. Raises a string.
-- @return table with name, given (the declaration), declared (whether it has columns), absent
--   (whether it is not there yet), columns
--   (sorted names), types (by column), primary_key or nil, not_null (names), uniques and row_checks
--   and foreign_keys (lists of tables with `name`), defaults and generated and serials (by column),
--   rows (as given)
local function read_one(name, given, on_server)
  check_declaration(name, given)
  check_rows(name, given.rows or {})
  local self = {
    name = name, given = given, declared = given.columns ~= nil, absent = given.absent,
    uniques = {}, row_checks = {}, foreign_keys = {}, defaults = {}, generated = {}, serials = {},
    rows = given.rows or {},
  }
  self.types = given.columns and declared_types(name, given.columns, on_server)
    or seen_types(given)
  self.columns = text.sorted_keys(self.types)
  add_uniques(self, name, given)
  add_not_null(self, name, given)
  add_checks(self, name, given)
  add_defaults(self, name, given)
  return self
end

--- Reads the `tables` of `mock.new`. Raises a string.
-- @param on_server whether the tables will be PostgreSQL's
-- @return map from name to schema, see above
function schema.read(tables, on_server)
  local schemas = {}
  for name, given in next, tables do
    if type(name) ~= "string" then
      error("tables must map names to tables", 0)
    end
    schemas[name] = read_one(name, given, on_server)
  end
  for name, given in next, tables do
    add_foreign_keys(schemas[name], name, given, schemas)
  end
  return schemas
end

return schema
