--- What tells two states of the same tables apart, in words.
--
-- Promises: the same states give no line; rows are told apart by their primary key where there is
-- one, else each row counts as often as it occurs.

local text = require "luamig.text"
local value = require "luamig.mock.value"

local difference = {}

local MAX_LINES = 10

local function show(item)
  return item == nil and "NULL" or text.describe(item)
end

--- A row as it stands in a message: all columns that are not NULL.
local function show_row(row, columns)
  local shown = {}
  for _, column in ipairs(columns) do
    if row[column] ~= nil then
      shown[#shown + 1] = ("%s = %s"):format(column, show(row[column]))
    end
  end
  return table.concat(shown, ", ")
end

local function same(a, b)
  if a == nil or b == nil then
    return a == b
  end
  return value.equal(a, b)
end

--- The columns in which two rows differ: `email: "a@x", expected "b@x"`; empty if in none.
local function compare_rows(columns, found, wanted)
  local parts = {}
  for _, column in ipairs(columns) do
    if not same(found[column], wanted[column]) then
      parts[#parts + 1] = ("%s is %s, expected %s"):format(column, show(found[column]),
        show(wanted[column]))
    end
  end
  return table.concat(parts, "; ")
end

--- Takes the first row of `rows` that has the same columns as `row` out of it.
local function take(rows, row, columns)
  for i, other in ipairs(rows) do
    local equal = true
    for _, column in ipairs(columns) do
      equal = equal and same(row[column], other[column])
    end
    if equal then
      return table.remove(rows, i)
    end
  end
end

local function compare_table(name, found, wanted, lines)
  local by_key = found.primary_key
  local rest, missing = wanted:sorted_rows(), {}
  local function add(format, ...)
    lines[#lines + 1] = ("  %s: " .. format):format(name, ...)
  end
  for _, row in ipairs(found:sorted_rows()) do
    local twin = take(rest, row, by_key or found.columns)
    if not twin then
      missing[#missing + 1] = row
    elseif by_key then
      local parts = compare_rows(found.columns, row, twin)
      if parts ~= "" then
        add("the row %s: %s", value.show_key(by_key, row), parts)
      end
    end
  end
  for _, row in ipairs(missing) do
    add("there is a row more: %s", show_row(row, found.columns))
  end
  for _, row in ipairs(rest) do
    add("a row is missing: %s", show_row(row, found.columns))
  end
end

--- Compares two snapshots of the same tables.
-- @param found, wanted what `world:snapshot` has returned: `tables`, a map from name to what has
--   columns, primary_key (or nil) and a method sorted_rows
-- @return lines for a message, at most ten and a line that counts the rest; empty when all is equal
function difference.lines(found, wanted)
  local lines = {}
  for _, name in ipairs(text.sorted_keys(found.tables)) do
    compare_table(name, found.tables[name], wanted.tables[name], lines)
  end
  local more = #lines - MAX_LINES
  if more > 0 then
    lines[MAX_LINES + 1] = ("  and %d more"):format(more)
    for i = #lines, MAX_LINES + 2, -1 do
      lines[i] = nil
    end
  end
  return lines
end

return difference
