--- Assertions on what a world holds, whose messages show the difference.
--
-- Promises: an assertion that fails raises at the line of the spec; it looks at committed
-- rows only, in every kind of world.
-- Refuses tables and columns that are not there, which would make an assertion hold by mistake.

local difference = require "luamig.mock.difference"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local assertions = {}

--- Refuses what is no list: a row instead of a list of rows would read as no rows.
local function check_list(rows)
  for key in next, rows do
    if math.type(key) ~= "integer" or key < 1 or key > #rows then
      error(("mock.assert_rows: rows must be a list of tables, { { id = 1 }, ... }; it has the key "
        .. "%s"):format(text.describe(key)), 3)
    end
  end
end

local function check_columns(name, shape, rows)
  local known = text.set(shape.columns)
  for i = 1, #rows do
    local row = rows[i]
    if type(row) ~= "table" then
      error(("mock.assert_rows: rows must be a list of tables, not of %s"):format(
        text.describe(row)), 3)
    elseif next(row) == nil then
      error(("mock.assert_rows cannot test row %d: it names no column; name the columns "
        .. "that the script writes"):format(i), 3)
    end
    for column in next, row do
      if not known[column] then
        local shown = tostring(column)
        error(('mock.assert_rows: table "%s" has no column "%s"%s'):format(name, shown,
          suggest.suffix(shown, shape.columns)), 3)
      end
    end
  end
end

--- Asserts that a table holds these rows and no others.
-- @param rows list of rows, in any order. Only the columns that a row names are compared:
--   `luamig.NULL` for NULL, a plain table for a document or an array, a whole number for a numeric
--   of that value. Rows are known by the primary key if all of them name it
function assertions.assert_rows(world, name, rows)
  if type(world) ~= "table" or not world.snapshot or type(name) ~= "string"
    or type(rows) ~= "table"
  then
    error("mock.assert_rows takes a world, the name of a table and a list of rows", 2)
  end
  local tables = world:snapshot().tables
  local shape = tables[name]
  if not shape then
    error(('mock.assert_rows: there is no table "%s"%s'):format(name,
      suggest.suffix(name, text.sorted_keys(tables))), 2)
  end
  check_list(rows)
  check_columns(name, shape, rows)
  local lines = difference.expected(shape, rows)
  if #lines > 0 then
    error(("the rows of %s differ from the expected rows:\n%s"):format(name,
      table.concat(lines, "\n")), 2)
  end
end

return assertions
