--- Values of the mock's tables: equality, order, and how messages show them.
--
-- Promises: text is ordered by its bytes (collation "C"), numbers by value with NaN last, false
-- before true.
-- Refuses: ordering values of different kinds, arrays and documents.

local decimal = require "luamig.decimal"
local marks = require "luamig.marks"
local text = require "luamig.text"

local value = {}

local function is_container(item)
  local mark = marks.kind(item)
  return type(item) == "table" and (not mark or mark == "array" or mark == "object")
end

--- Whether two arrays or documents hold equal values under the same keys.
-- @param equal function(a, b) for values in them
function value.equal_containers(a, b, equal)
  for key, item in next, a do
    if not equal(item, b[key]) then
      return false
    end
  end
  for key in next, b do
    if a[key] == nil then
      return false
    end
  end
  return true
end

--- Equality as PostgreSQL has it for values that are not NULL: NaN equals itself, arrays and
-- documents are equal by what they hold.
function value.equal(a, b)
  if a == b or (a ~= a and b ~= b) then
    return true
  end
  return is_container(a) and is_container(b) and marks.kind(a) == marks.kind(b)
    and value.equal_containers(a, b, value.equal)
end

local function compare_bytes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then
      return x < y and -1 or 1
    end
  end
  return #a == #b and 0 or #a < #b and -1 or 1
end

local function compare_numbers(a, b)
  if a ~= a or b ~= b then
    return a ~= a and (b ~= b and 0 or 1) or -1
  end
  return a == b and 0 or a < b and -1 or 1
end

--- -1, 0 or 1. Raises a string for values of different kinds.
function value.compare(a, b)
  local kind = type(a)
  if kind ~= type(b) then
    error(("cannot compare %s with %s"):format(text.describe(a), text.describe(b)), 0)
  elseif kind == "string" then
    return compare_bytes(a, b)
  elseif kind == "number" then
    return compare_numbers(a, b)
  elseif decimal.is(a) and decimal.is(b) then
    return a:compare(b)
  elseif kind == "table" then
    error(("the mock cannot order %s"):format(text.describe(a)), 0)
  end
  return a == b and 0 or b and -1 or 1
end

--- The same for lists of values of equal length, first difference first.
function value.compare_lists(a, b)
  for i = 1, #a do
    local order = value.compare(a[i], b[i])
    if order ~= 0 then
      return order
    end
  end
  return 0
end

--- A text that two values of a column share when they are equal.
function value.identity(item)
  if decimal.is(item) then
    local shown = tostring(item)
    return "n" .. (shown:find("%.") and shown:gsub("%.?0+$", "") or shown)
  elseif is_container(item) then
    local parts = {}
    for i, key in ipairs(text.ordered_keys(item)) do
      local inner = value.identity(item[key])
      parts[i] = ("%s:%d:%s"):format(key, #inner, inner)
    end
    return (marks.kind(item) == "object" and "o" or "a") .. table.concat(parts, ",")
  elseif type(item) == "number" then
    return "n" .. text.number(math.tointeger(item) or item)
  end
  return type(item):sub(1, 1) .. tostring(item)
end

--- A value that can be handed out: arrays and documents are copied, also those that contain
-- themselves.
-- @param copies what has been copied; for calls from here only
function value.copy_item(item, copies)
  if not is_container(item) then
    return item
  end
  copies = copies or {}
  if not copies[item] then
    local copy = setmetatable({}, getmetatable(item))
    copies[item] = copy
    for key, inner in next, item do
      copy[key] = value.copy_item(inner, copies)
    end
  end
  return copies[item]
end

--- A copy of a row, with copies of the arrays and documents in it.
function value.copy_row(row)
  local copy = {}
  for name, item in next, row do
    copy[name] = value.copy_item(item)
  end
  return copy
end

--- A row that a spec gives, as a script reads it: a copy, in which NULL is nil.
function value.read_row(row)
  local copy = {}
  for name, item in next, row do
    if marks.kind(item) ~= "NULL" then
      copy[name] = value.copy_item(item)
    end
  end
  return copy
end

--- The columns of rows, sorted.
function value.columns_of(rows)
  local all = {}
  for _, row in ipairs(rows) do
    for name in next, row do
      all[name] = true
    end
  end
  return text.sorted_keys(all)
end

--- A copy of a table, which shares its values.
function value.copy(map)
  local copy = {}
  for name, item in next, map do
    copy[name] = item
  end
  return copy
end

--- A value as it stands in a key: without quotes, NULL as null.
function value.show(item)
  if is_container(item) then
    return text.describe(item)
  end
  return item == nil and "null" or type(item) == "number" and text.number(item) or tostring(item)
end

--- A key as a script writes it, for messages: `id = 7, tenant = 3`.
function value.show_pairs(key)
  return table.concat(text.map(text.sorted_keys(key), function(name)
    return ("%s = %s"):format(name, value.show(key[name]))
  end), ", ")
end

--- `(id, day)=(7, 2024-01-01)`, the way PostgreSQL shows keys.
-- @param names list of columns
-- @param values map from column to value; absent is NULL
function value.show_key(names, values)
  local shown = text.map(names, function(name)
    return value.show(values[name])
  end)
  return ("(%s)=(%s)"):format(table.concat(names, ", "), table.concat(shown, ", "))
end

return value
