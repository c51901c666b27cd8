--- What a row of a table must be: constraints, defaults, generated columns.
--
-- Promises: a row that breaks a rule is refused with the server's SQLSTATE and message, rules in
-- the server's order.
-- Refuses, as a mistake of the spec: functions of the declaration that raise, or return what no
-- column could hold.

local errors = require "luamig.errors"
local luamig = require "luamig"
local sql = require "luamig.mock.sql"
local strict = require "luamig.strict"
local text = require "luamig.text"
local types = require "luamig.mock.types"
local value = require "luamig.mock.value"

local rules = {}

--- What a function of the declaration says about a row.
local function call_rule(one, what, name, fn, row)
  local shown = strict.rows({ value.copy_row(row) }, one.columns)[1]
  local ok, answer = pcall(fn, shown)
  if not ok then
    errors.raise {
      kind = "spec", message = ('%s "%s" of table "%s" failed: %s'):format(what, name, one.name,
        tostring(answer)),
      hint = "A NULL column reads nil. Let the function return a result for nil, too.",
    }
  end
  return answer
end

--- What a column keeps of a value that the declaration gives.
local function declared(one, what, column, given)
  if given == nil or given == luamig.NULL then
    return nil
  end
  local kind = one.types[column]
  local ok, kept = pcall(kind.encode, given)
  if not ok then
    errors.raise {
      kind = "spec", message = ('%s of column "%s" of "%s": %s'):format(what, column, one.name,
        kept.message),
    }
  end
  return kind.fit(kept)
end

--- Raises if a map of columns names one that is generated. `message` has a place for its name.
function rules.refuse_generated(one, map, message)
  for column in next, one.generated do
    if map[column] ~= nil then
      errors.raise {
        kind = "database", sqlstate = "428C9", message = message:format(column),
        detail = ('Column "%s" is a generated column.'):format(column),
      }
    end
  end
end

--- Sets the columns of a row that are left out, and have a default.
-- @param given what the statement says: `luamig.NULL` is said
function rules.add_defaults(one, row, given)
  for column, serial in next, one.serials do
    if given[column] == nil then
      serial.last = serial.last + 1
      row[column] = serial.last
    end
  end
  for column, default in next, one.defaults do
    if given[column] == nil then
      if type(default) == "function" then
        default = call_rule(one, "the default of column", column, default, {})
      end
      row[column] = declared(one, "the default", column, default)
    end
  end
end

--- Works out the generated columns of a row.
function rules.generate(one, row)
  for column, generate in next, one.generated do
    row[column] = nil
    row[column] = declared(one, "the generated value", column,
      call_rule(one, "the value of column", column, generate, row))
  end
end

local function hint_for(one, column)
  if one.defaults[column] == nil then
    return ("If the column has a default, declare it: defaults = { %s = value }."):format(column)
  end
end

local function check_not_null(one, row)
  for _, column in ipairs(one.not_null) do
    if row[column] == nil then
      errors.raise {
        kind = "database", sqlstate = "23502", table = one.name, column = column,
        message = ('null value in column "%s" of relation "%s" violates not-null constraint')
          :format(column, one.name),
        hint = hint_for(one, column),
      }
    end
  end
end

--- Whether a row breaks a CHECK, which it does only if that says false: not NULL.
local function breaks(one, check, row)
  return call_rule(one, "check", check.name, check.holds, row) == false
end

--- Raises unless a row may stand in its table, as far as it is alone there.
function rules.check_row(one, row)
  check_not_null(one, row)
  for _, check in ipairs(one.row_checks) do
    if breaks(one, check, row) then
      errors.raise {
        kind = "database", sqlstate = "23514", table = one.name, constraint = check.name,
        message = ('new row for relation "%s" violates check constraint "%s"'):format(one.name,
          check.name),
      }
    end
  end
end

--- A text that two rows share when they are equal in these columns; nil with a NULL in them.
function rules.identity(one, row, columns)
  local items = {}
  for i, column in ipairs(columns) do
    if row[column] == nil then
      return nil
    end
    items[i] = types.comparable(one.types[column], row[column])
  end
  return value.identity(items)
end

--- The identity of a row by the columns of a constraint; nil if it is not among the rows that the
-- constraint is for.
local function place_in(one, constraint, row)
  local partial = constraint.where
  local is_in = not partial
    or call_rule(one, "the condition of", constraint.name, partial.holds, row)
  return is_in and rules.identity(one, row, constraint.columns) or nil
end

--- The row that keeps another one from standing in its table, by one of its unique constraints.
function rules.find_conflict(one, constraint, row)
  local wanted = place_in(one, constraint, row)
  for _, other in ipairs(wanted and one.rows or {}) do
    if other ~= row and place_in(one, constraint, other) == wanted then
      return other
    end
  end
end

--- Whether a constraint has to be looked at after a change of these columns; nil: all.
function rules.is_touched(constraint, changes)
  for _, column in ipairs(constraint.columns) do
    if not changes or changes[column] ~= nil then
      return true
    end
  end
  return constraint.where ~= nil
end

--- Raises if a row is equal to another one where rows must be unique.
-- @param changes map of the columns that have changed; nil: all
function rules.check_unique(one, row, changes)
  for _, constraint in ipairs(one.uniques) do
    if rules.is_touched(constraint, changes) and rules.find_conflict(one, constraint, row) then
      errors.raise {
        kind = "database", sqlstate = "23505", table = one.name, constraint = constraint.name,
        message = ('duplicate key value violates unique constraint "%s"'):format(constraint.name),
        detail = ("Key %s already exists."):format(value.show_key(constraint.columns, row)),
      }
    end
  end
end

--- A text that two lists share when they hold the same columns, in any order.
local function show_set(columns)
  return table.concat(text.sorted_keys(text.set(columns)), "\0")
end

--- Whether a conflict with a constraint is one of a statement. One with a condition is, if the
-- statement has the same; the server may know that another condition implies it.
local function is_arbiter(constraint, columns, where)
  local partial = constraint.where
  return show_set(constraint.columns) == show_set(columns)
    and (not partial or where and sql.fingerprint(where) == sql.fingerprint(partial.sql))
end

--- The unique constraints on exactly these columns, in any order; raises when there is none.
-- @param where SQL or nil
function rules.arbiters(one, columns, where)
  local found = text.map(one.uniques, function(constraint)
    return is_arbiter(constraint, columns, where) and constraint or nil
  end)
  if #found > 0 then
    return found
  end
  errors.raise {
    kind = "database", sqlstate = "42P10",
    message = "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    hint = where and "The mock compares the words of on_conflict.where with those of the "
      .. "declaration: unique = { { columns, where = { sql =, holds = } } }." or nil,
  }
end

return rules
