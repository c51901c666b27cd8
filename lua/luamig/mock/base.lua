--- `base`, the spec's stand-in for a script's base query: a table with a condition and columns, or
-- a function that computes rows.
--
-- Promises: rows are copies that raise on columns that the base does not give.
-- Refuses: a base that changes tables, columns that its table does not have.

local errors = require "luamig.errors"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"
local views = require "luamig.mock.views"

local base = {}

--- What `base` of `mock.new` may have.
base.FIELDS = { "from", "select", "where", "rows" }

local function complain(message, ...)
  error(message:format(...), 0)
end

--- Calls a function of the spec; its error is one of the spec.
local function call(what, fn, ...)
  local ok, answer = pcall(fn, ...)
  if not ok and errors.is(answer) and answer.kind == "spec" then
    error(answer, 0)
  elseif not ok then
    errors.raise { kind = "spec", message = what .. " failed: " .. tostring(answer) }
  end
  return answer
end

--- Checks one column of `select`: its name, or a name with a function.
local function check_column(schema, name, computed, column)
  if type(column) ~= "string" then
    complain("base.select must list names of columns, not %s", text.describe(column))
  elseif computed ~= nil and type(computed) ~= "function" then
    complain('base.select: column "%s" must be a function, not %s', column, text.describe(computed))
  elseif schema and not computed and not schema.types[column] then
    complain('base.select: table "%s" has no column "%s"%s', name, column,
      suggest.suffix(column, schema.columns))
  end
end

--- @return the list of all columns, or nil, and from names to functions
local function read_select(given, schema)
  local list, computed = {}, {}
  local select = given.select
  if select ~= nil and (type(select) ~= "table" or next(select) == nil) then
    complain("base.select must be a list of columns, not %s", text.describe(select))
  elseif not select then
    return schema and not given.rows and value.copy(schema.columns) or nil, computed
  end
  for i, column in ipairs(select) do
    check_column(not given.rows and schema, given.from, nil, column)
    list[i] = column
  end
  for _, column in ipairs(text.ordered_keys(select)) do
    if math.type(column) ~= "integer" then
      check_column(nil, nil, select[column], column)
      computed[column] = select[column]
      list[#list + 1] = column
    end
  end
  return list, computed
end

--- Reads the `base` of `mock.new`, a table or a function. Raises a string.
-- @return { from =, select = list of columns or nil (those of the rows), selects = whether the spec
--   said so, computed = from columns to functions, where =, rows = function or nil }
function base.read(given, schemas)
  if type(given) == "function" then
    given = { rows = given }
  end
  local schema = schemas[given.from]
  if not schema and (given.from ~= nil or not given.rows) then
    complain("base.from must name a table of this world, not %s%s", text.describe(given.from),
      suggest.suffix(tostring(given.from), text.sorted_keys(schemas)))
  end
  for _, name in ipairs { "where", "rows" } do
    if given[name] ~= nil and type(given[name]) ~= "function" then
      complain("base.%s must be a function, not %s", name, text.describe(given[name]))
    end
  end
  if given.rows and given.where then
    complain "base.rows returns the rows of the base query; leave base.where out"
  end
  local select, computed = read_select(given, schema)
  if given.rows and next(computed) then
    complain "base.rows returns all columns; base.select must be a list of their names"
  end
  return {
    from = given.from, select = select, selects = given.select ~= nil, computed = computed,
    where = given.where, rows = given.rows,
  }
end

--- What the base query returns of a row of its table.
local function selected(self, row)
  local shown = {}
  for _, column in ipairs(self.select) do
    local compute = self.computed[column]
    if compute then
      shown[column] = call(('base.select: column "%s"'):format(column), compute, row)
    else
      shown[column] = row[column]
    end
    shown[column] = value.copy_item(shown[column])
  end
  return shown
end

--- The rows of a table that the base query would return.
local function rows_of_table(self, tables, args)
  return text.map(tables[self.from], function(row)
    local is_wanted = not self.where or call("base.where", self.where, row, args)
    return is_wanted and selected(self, row) or nil
  end)
end

--- The rows that a function of the spec computes.
local function rows_of_function(self, tables, args)
  local rows = call("base.rows", self.rows, tables, args)
  if type(rows) ~= "table" then
    errors.raise {
      kind = "spec",
      message = "base.rows must return a list of rows, not " .. text.describe(rows),
    }
  end
  return text.map(rows, function(row)
    if type(row) ~= "table" then
      errors.raise {
        kind = "spec",
        message = "base.rows must return a list of tables, not of " .. text.describe(row),
      }
    end
    return value.read_row(row)
  end)
end

--- The rows that the base query would return, in no order.
-- @param read, names see `views.open`
-- @return list of rows, list of their columns (empty if they are not known)
function base.compute(self, read, names, args)
  local tables, opened = views.open(read, names)
  local rows = (self.rows and rows_of_function or rows_of_table)(self, tables, args)
  for name, view in next, opened do
    if views.difference(view) then
      errors.raise { kind = "spec", message = ('base changes the table "%s"'):format(name) }
    end
  end
  return rows, self.select or value.columns_of(rows)
end

return base
