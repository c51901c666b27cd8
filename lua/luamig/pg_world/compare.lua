--- Compares what a spec says with what PostgreSQL answers.
--
-- Promises: two values are the same only if a script reads the same value of the same type. A
-- difference names the row, the column, and both values.

local marks = require "luamig.marks"
local sql = require "luamig.mock.sql"
local text = require "luamig.text"
local value = require "luamig.mock.value"
local views = require "luamig.mock.views"
local luamig = require "luamig"

local compare = {}

local NAMES = { string = "a string", boolean = "a boolean", integer = "an integer",
  float = "a float" }

local function kind_of(item)
  return math.type(item) or marks.kind(item) or type(item)
end

--- Whether a script reads both as the same; NULL is nil.
local function same(a, b)
  if a == nil or b == nil then
    return a == b
  end
  return kind_of(a) == kind_of(b) and value.equal(a, b)
end

--- A value with its type, where the value alone does not show it.
local function show(item)
  if item == nil then
    return "NULL"
  end
  local name = NAMES[kind_of(item)]
  return text.describe(item) .. (math.type(item) and (" (%s)"):format(name) or "")
end

local function null_to_nil(item)
  if item == luamig.NULL then
    return nil
  end
  return item
end

--- The first column in which two rows differ, as a text; nil when they are the same.
-- @param wanted, found maps from column to value
function compare.rows(columns, wanted, found)
  for _, column in ipairs(columns) do
    local expected, got = null_to_nil(wanted[column]), rawget(found, column)
    if not same(expected, got) then
      return ('column "%s": expected %s, found %s'):format(column, show(expected), show(got))
    end
  end
end

--- What tells two lists of columns apart, or nil. In their order only when `ordered`.
local function compare_columns(wanted, found, ordered)
  for _, column in ipairs(wanted) do
    if not text.contains(found, column) then
      return ('expected column "%s", found %s'):format(column, text.choices(found) or "none")
    end
  end
  for _, column in ipairs(found) do
    if not text.contains(wanted, column) then
      return ('found column "%s", which the stub does not give'):format(column)
    end
  end
  for i = 1, ordered and #wanted or 0 do
    if wanted[i] ~= found[i] then
      return ('expected column "%s" in place %d, found "%s"'):format(wanted[i], i, found[i])
    end
  end
end

--- Whether the rows of a statement have an order of their own: an ORDER BY in no brackets.
local function has_order(statement)
  local depth, before = 0, nil
  for _, token in ipairs(sql.tokens(statement)) do
    if token == "(" then
      depth = depth + 1
    elseif token == ")" then
      depth = depth - 1
    elseif depth == 0 and before == "order" and token == "by" then
      return true
    end
    before = token
  end
  return false
end

local function show_row(columns, row)
  return table.concat(text.map(columns, function(column)
    return ("%s = %s"):format(column, show(null_to_nil(rawget(row, column))))
  end), ", ")
end

--- Rows without an order: each expected one takes its twin away.
local function compare_sets(columns, wanted, found)
  local left = table.move(found, 1, #found, 1, {})
  local missing, number
  for i, row in ipairs(wanted) do
    local twin
    for j, other in ipairs(left) do
      if not twin and not compare.rows(columns, row, other) then
        twin = j
      end
    end
    if twin then
      table.remove(left, twin)
    else
      missing, number = missing or row, number or i
    end
  end
  if missing and #left == 1 then
    return ("row %d of the stub: %s"):format(number, compare.rows(columns, missing, left[1]))
  elseif missing then
    return ("the server did not return row %d of the stub: %s\n  it returned: %s"):format(number,
      show_row(columns, missing), show_row(columns, left[1]))
  end
end

--- The columns of a row that are compared: of an added row, those that it names.
local function columns_to_compare(view, row, computed, is_added)
  return text.map(view.columns, function(column)
    local counts = not computed[column] and (not is_added or rawget(row, column) ~= nil)
    return counts and column or nil
  end)
end

--- Takes the row that is the same, or has the same key, out of a list. Returns what differs.
local function take_twin(view, row, columns, left)
  local near
  for i, other in ipairs(left) do
    local difference = compare.rows(columns, row, other)
    if not difference then
      table.remove(left, i)
      return nil
    elseif view.primary_key and not compare.rows(view.primary_key, row, other) then
      near = ("the row %s: %s"):format(value.show_key(view.primary_key, row), difference)
    end
  end
  return near or "the server has no row " .. show_row(columns, row)
end

--- What tells the rows that a function has left from those of the server, or nil.
-- @param view of `luamig.mock.views`
-- @param computed set of columns that the server computes
function compare.tables(view, found, computed)
  local left = table.move(found, 1, #found, 1, {})
  for i, rows in ipairs { views.outcome(view) } do
    for _, row in ipairs(rows) do
      local columns = columns_to_compare(view, row, computed, i == 2)
      local difference = take_twin(view, row, columns, left)
      if difference then
        return difference
      end
    end
  end
  return left[1] and "the server also has the row " .. show_row(view.columns, left[1])
end

local function compare_results(statement, stub, columns, found)
  local wanted = stub.rows
  if #wanted ~= #found then
    return ("expected %s, found %d"):format(text.count(#wanted, "row"), #found)
  elseif not has_order(statement) then
    return compare_sets(columns, wanted, found)
  end
  for i, row in ipairs(wanted) do
    local difference = compare.rows(columns, row, found[i])
    if difference then
      return ("row %d, %s"):format(i, difference)
    end
  end
end

--- The rows and columns that a call has returned; nil columns are not known.
local function found_rows(event)
  local result = event.results[1]
  if event.verb == "query" then
    return result, event.columns
  elseif event.verb == "one" then
    return { result }, event.columns
  end
end

local function compare_scalar(stub, found)
  local row = stub.rows[1]
  local expected = row and null_to_nil(row[stub.columns[1]])
  if not same(expected, found) then
    return ("expected %s, found %s"):format(show(expected), show(found))
  end
end

local function compare_error(stub, event)
  local err = event.results[1]
  local found = type(err) == "table" and err.sqlstate
  if event.ok then
    return ("expected SQLSTATE %s, found no error"):format(stub.error.sqlstate)
  elseif found ~= stub.error.sqlstate then
    return ("expected SQLSTATE %s, found %s"):format(stub.error.sqlstate,
      found and found .. ": " .. err.message or tostring(err))
  end
end

--- Whether the repo itself has refused what the stub says: more rows than it may return.
local function is_too_many(stub, event)
  local err = event.results[1]
  return (event.verb == "one" or event.verb == "scalar") and stub.rows and #stub.rows > 1
    and not (type(err) == "table" and err.sqlstate)
end

--- Whether a constraint has refused what the function of a stub changes; in the mock, the tables
-- do that.
local function is_refused(stub, event)
  local err = event.results[1]
  return stub.is_played and not event.ok and type(err) == "table" and err.sqlstate
    and err.sqlstate:find "^23" ~= nil
end

--- What tells a stub from the server's answer to the statement, or nil.
-- @param stub of `luamig.mock.stubs`
-- @param event "returned", see src/testing/world.h
function compare.stub(statement, stub, event)
  local err = event.results[1]
  if stub.error then
    return compare_error(stub, event)
  elseif is_refused(stub, event) then
    return nil
  elseif not event.ok and is_too_many(stub, event) then
    return nil
  elseif not event.ok then
    return ("expected an answer, found an error: %s"):format(
      type(err) == "table" and (err.sqlstate and err.sqlstate .. ": " or "") .. err.message
      or tostring(err))
  elseif event.verb == "execute" then
    local wanted = stub.affected
    return wanted and wanted ~= event.affected
      and ("expected %d rows to be affected, found %d"):format(wanted, event.affected) or nil
  elseif not stub.rows then
    return "the stub has no rows"
  elseif event.verb == "scalar" then
    return compare_scalar(stub, event.results[1])
  end
  local rows, columns = found_rows(event)
  local given = stub.gives_columns
  local known = columns and (#stub.rows > 0 or given)
  return known and compare_columns(stub.columns, columns, given)
    or compare_results(statement, stub, columns or stub.columns or {}, rows)
end

return compare
