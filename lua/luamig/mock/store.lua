--- The tables of a world, and the structured statements on them.
--
-- Promises: rows go in and out as copies; a statement either works or raises and has then changed
-- nothing that a rolled-back transaction would keep; declared constraints hold after each one.
-- Refuses, instead of guessing: columns it has never seen, omitted NOT NULL columns (there may be a
-- default), values that do not fit the declared type.
--
-- Errors are those of `luamig.errors` without a position; the repo adds it.

local errors = require "luamig.errors"
local luamig = require "luamig"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local NULL = luamig.NULL

local store = {}

local Table = {}
Table.__index = Table
local Store = {}
Store.__index = Store

local function misuse(message, hint)
  errors.raise { kind = "script", message = message, hint = hint }
end

--- A column's check; raises for a column that is not known.
function Table:check_of(column)
  local check = self.checks[column]
  if check then
    return check
  end
  local shown = tostring(column)
  errors.raise {
    kind = "database", sqlstate = "42703", table = self.name, column = shown,
    message = ('column "%s" of table "%s" does not exist'):format(shown, self.name),
    detail = not self.declared and "The table declares no columns, and no row given to mock.new "
      .. "has this one." or nil,
    hint = suggest.hint(shown, self.columns),
  }
end

--- The value as it is stored; NULL becomes nil.
function Table:stored(column, given)
  local check = self:check_of(column)
  if given == NULL then
    return nil
  end
  local ok, result = pcall(check, given)
  if not ok then
    result.message = ('column "%s" of table "%s": %s'):format(column, self.name, result.message)
    result.table, result.column = self.name, column
    error(result, 0)
  end
  return result
end

--- Checks a map of columns to values; NULL stays `luamig.NULL`.
function Table:stored_map(map, what)
  if type(map) ~= "table" or map == NULL or map == luamig.ALL then
    misuse(("%s must be a table of columns, not %s"):format(what, text.describe(map)))
  elseif next(map) == nil then
    misuse(what .. " is empty")
  end
  local kept = {}
  for column, given in next, map do
    local result = self:stored(column, given)
    kept[column] = result == nil and NULL or result
  end
  return kept
end

local function matches(row, where)
  for column, wanted in next, where do
    local found = row[column]
    if wanted == NULL then
      if found ~= nil then
        return false
      end
    elseif found == nil or not value.equal(found, wanted) then
      return false
    end
  end
  return true
end

local function unique_text(row, columns)
  local parts = {}
  for i, column in ipairs(columns) do
    local item = row[column]
    if item == nil then
      return nil
    end
    parts[i] = value.identity(item)
  end
  return table.concat(parts, "\0")
end

function Table:check_not_null(row)
  for _, column in ipairs(self.not_null) do
    if row[column] == nil then
      errors.raise {
        kind = "database", sqlstate = "23502", table = self.name, column = column,
        message = ('null value in column "%s" of relation "%s" violates not-null constraint')
          :format(column, self.name),
      }
    end
  end
end

function Table:check_unique(constraint)
  local seen = {}
  for _, row in ipairs(self.rows) do
    local key = unique_text(row, constraint.columns)
    if key and seen[key] then
      errors.raise {
        kind = "database", sqlstate = "23505", table = self.name, constraint = constraint.name,
        message = ('duplicate key value violates unique constraint "%s"'):format(constraint.name),
        detail = ("Key %s already exists."):format(value.show_key(constraint.columns, row)),
      }
    end
    seen[key or false] = true
  end
end

--- Checks the constraints that a change of these columns can break; nil means all columns.
function Table:check_constraints(changed_rows, changes)
  for _, row in ipairs(changed_rows) do
    self:check_not_null(row)
  end
  for _, constraint in ipairs(self.uniques) do
    for _, column in ipairs(constraint.columns) do
      if not changes or changes[column] ~= nil then
        self:check_unique(constraint)
        break
      end
    end
  end
end

--- Rows that match an equality table of checked values; all rows for `luamig.ALL`.
function Table:find(where)
  local found = {}
  for _, row in ipairs(self.rows) do
    if where == luamig.ALL or matches(row, where) then
      found[#found + 1] = row
    end
  end
  return found
end

local function apply(row, changes)
  for column, item in next, changes do
    if item == NULL then
      row[column] = nil
    else
      row[column] = item
    end
  end
end

--- Sets columns of all matching rows. `where` and `changes` are checked maps. Returns a count.
function Table:update(where, changes)
  local found = self:find(where)
  for _, row in ipairs(found) do
    apply(row, changes)
  end
  self:check_constraints(found, changes)
  return #found
end

--- Deletes all matching rows. Returns a count.
function Table:delete(where)
  local gone, kept = {}, {}
  for _, row in ipairs(self:find(where)) do
    gone[row] = true
  end
  for _, row in ipairs(self.rows) do
    if not gone[row] then
      kept[#kept + 1] = row
    end
  end
  local count = #self.rows - #kept
  self.rows = kept
  return count
end

--- Inserts rows, a list of checked maps, one after the other.
function Table:insert(list)
  for _, given in ipairs(list) do
    for _, column in ipairs(self.not_null) do
      if given[column] == nil then
        misuse(('column "%s" of table "%s" is NOT NULL and the row leaves it out'):format(column,
          self.name), "The mock knows no column defaults; give the value.")
      end
    end
  end
  for _, given in ipairs(list) do
    local row = {}
    apply(row, given)
    self.rows[#self.rows + 1] = row
    self:check_constraints { row }
  end
end

--- Copies of the rows, by primary key when there is one, else in the order they were inserted.
function Table:sorted_rows()
  local list = {}
  for i, row in ipairs(self.rows) do
    list[i] = value.copy_row(row)
  end
  if self.primary_key then
    table.sort(list, function(a, b)
      for _, column in ipairs(self.primary_key) do
        local order = value.compare(a[column], b[column])
        if order ~= 0 then
          return order < 0
        end
      end
      return false
    end)
  end
  return list
end

function Table:copy()
  local twin = setmetatable(value.copy(self), Table)
  twin.rows = {}
  for i, row in ipairs(self.rows) do
    twin.rows[i] = value.copy(row)
  end
  return twin
end

--- The table of that name; raises when there is none.
function Store:table(name)
  if type(name) ~= "string" then
    misuse("table name must be a string, not " .. text.describe(name))
  elseif not self.tables[name] then
    errors.raise {
      kind = "database", sqlstate = "42P01", table = name,
      message = ('table "%s" does not exist in this world'):format(name),
      hint = suggest.hint(name, text.sorted_keys(self.tables)),
    }
  end
  return self.tables[name]
end

--- A store with the same schema and copies of the rows.
function Store:copy()
  local tables = {}
  for name, one in next, self.tables do
    tables[name] = one:copy()
  end
  return setmetatable({ tables = tables }, Store)
end

--- A store of the tables made by `luamig.mock.schema`; checks their rows.
function store.new(schemas)
  local self = setmetatable({ tables = {} }, Store)
  for name, schema in next, schemas do
    local one = setmetatable(schema, Table)
    self.tables[name] = one
    local given = one.rows
    one.rows = {}
    for i, row in ipairs(given) do
      local kept = next(row) ~= nil and one:stored_map(row, "row") or {}
      one.rows[i] = {}
      apply(one.rows[i], kept)
    end
    one:check_constraints(one.rows)
  end
  return self
end

return store
