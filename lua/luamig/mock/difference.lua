--- What tells two states of the same tables apart, in words.
--
-- Promises: the same states give no line; rows are told apart by their primary key where there is
-- one, else each row counts as often as it occurs.

local decimal = require "luamig.decimal"
local luamig = require "luamig"
local marks = require "luamig.marks"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local difference = {}

local MAX_LINES = 10

--- A value as it stands in a message; arrays and documents as Lua writes them.
local function show(item)
  local mark = marks.kind(item)
  if item == nil or item == luamig.NULL then
    return "NULL"
  elseif type(item) ~= "table" or mark and mark ~= "array" and mark ~= "object" then
    return text.describe(item)
  end
  local parts = text.map(text.ordered_keys(item), function(key)
    return (math.type(key) and "" or key .. " = ") .. show(item[key])
  end)
  return #parts > 0 and "{ " .. table.concat(parts, ", ") .. " }" or "{}"
end

--- A row as it stands in a message: all columns that are not NULL.
local function show_row(row, columns)
  return table.concat(text.map(columns, function(column)
    return row[column] ~= nil and ("%s = %s"):format(column, show(row[column])) or nil
  end), ", ")
end

local function same(a, b)
  if a == nil or b == nil then
    return a == b
  end
  return value.equal(a, b)
end

--- The columns in which two rows differ: `email is "a@x", expected "b@x"`; empty if in none.
-- @param fits function(found, wanted)
local function compare_rows(columns, found, wanted, fits)
  return table.concat(text.map(columns, function(column)
    local item, other = found[column], wanted[column]
    local is_float = decimal.is(item) and math.type(other) == "float"
    return not fits(item, other) and ("%s is %s, expected %s%s"):format(column, show(item),
      is_float and "the float " or "", show(other)) or nil
  end), "; ")
end

--- Takes the first of `rows` that fits `wanted` in these columns out of it.
-- @param fits function(found, wanted)
local function take(rows, wanted, columns, fits)
  for i, row in ipairs(rows) do
    local equal = true
    for _, column in ipairs(columns) do
      equal = equal and fits(row[column], wanted[column])
    end
    if equal then
      return table.remove(rows, i)
    end
  end
end

--- At most ten lines, and one that counts the rest.
local function shorten(lines)
  local more = #lines - MAX_LINES
  if more > 0 then
    lines[MAX_LINES + 1] = ("  and %d more"):format(more)
    for i = #lines, MAX_LINES + 2, -1 do
      lines[i] = nil
    end
  end
  return lines
end

--- A list without the members of a set.
local function without(list, set)
  return text.map(list, function(item)
    return not set[item] and item or nil
  end)
end

local function compare_table(name, found, wanted, ignored, lines)
  local columns = without(found.columns, ignored)
  local by_key = found.primary_key
  by_key = by_key and #without(by_key, ignored) == #by_key and by_key or nil
  local rest, missing = wanted:sorted_rows(), {}
  local function add(format, ...)
    lines[#lines + 1] = ("  %s: " .. format):format(name, ...)
  end
  for _, row in ipairs(found:sorted_rows()) do
    local twin = take(rest, row, by_key or columns, same)
    if not twin then
      missing[#missing + 1] = row
    elseif by_key then
      local parts = compare_rows(columns, row, twin, same)
      if parts ~= "" then
        add("the row %s: %s", value.show_key(by_key, row), parts)
      end
    end
  end
  for _, row in ipairs(missing) do
    add("there is an extra row: %s", show_row(row, columns))
  end
  for _, row in ipairs(rest) do
    add("a row is missing: %s", show_row(row, columns))
  end
end

--- Compares two snapshots of the same tables.
-- @param found, wanted what `world:snapshot` has returned: `tables`, a map from name to what has
--   columns, primary_key (or nil) and a method sorted_rows
-- @param ignored optional map from table to a set of columns, which are not looked at
-- @return lines for a message, at most ten and a line that counts the rest; empty when all is equal
function difference.lines(found, wanted, ignored)
  local lines = {}
  for _, name in ipairs(text.sorted_keys(found.tables)) do
    compare_table(name, found.tables[name], wanted.tables[name], ignored and ignored[name] or {},
      lines)
  end
  return shorten(lines)
end

--- The columns that hold other values in one snapshot than in the other, whichever row has them.
-- @return map from table to a set of columns
function difference.columns(a, b)
  local differing = {}
  for name, one in next, a.tables do
    differing[name] = {}
    for _, column in ipairs(one.columns) do
      local rest, is_same = b.tables[name]:sorted_rows(), true
      for _, row in ipairs(one:sorted_rows()) do
        is_same = is_same and take(rest, row, { column }, same) ~= nil
      end
      differing[name][column] = not (is_same and #rest == 0) or nil
    end
  end
  return differing
end

-- -- what a spec expects ---------------------------------------------------------------------

--- Whether a value is what a spec wrote down for it: a whole number for a numeric, a plain table
-- for an array or a document.
local function agrees(found, wanted)
  if wanted == luamig.NULL or found == nil then
    return wanted == luamig.NULL and found == nil
  elseif decimal.is(found) and math.type(wanted) == "integer" then
    return found:equals(wanted)
  elseif type(found) ~= "table" or type(wanted) ~= "table" or decimal.is(found) then
    return value.equal(found, wanted)
  end
  return value.equal_containers(found, wanted, function(item, other)
    return item == other or agrees(item, other)
  end)
end

--- The key to know expected rows by: the primary key, if all of them name it.
local function key_of(shape, wanted)
  for _, row in ipairs(wanted) do
    for _, column in ipairs(shape.primary_key or {}) do
      if row[column] == nil then
        return nil
      end
    end
  end
  return shape.primary_key
end

--- Compares rows with those that a spec expects: only the columns that an expected row names.
-- @param shape of a table, see `difference.lines`
-- @param wanted list of rows, `luamig.NULL` for NULL
-- @return lines as above
function difference.expected(shape, wanted)
  local lines, rest, key = {}, shape:sorted_rows(), key_of(shape, wanted)
  for _, row in ipairs(wanted) do
    local columns = text.sorted_keys(row)
    local found = take(rest, row, key or columns, agrees)
    local parts = found and compare_rows(columns, found, row, agrees) or ""
    if not found then
      lines[#lines + 1] = "  a row is missing: " .. show_row(row, columns)
    elseif parts ~= "" then
      lines[#lines + 1] = ("  the row %s: %s"):format(value.show_key(key, row), parts)
    end
  end
  for _, row in ipairs(rest) do
    lines[#lines + 1] = "  there is an extra row: " .. show_row(row, shape.columns)
  end
  return shorten(lines)
end

return difference
