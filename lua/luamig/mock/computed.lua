--- Values that the server computes from the row: `luamig.column` and `luamig.add`.
--
-- Promises: the value is computed from the row as it was before the statement; a sum that its type
-- cannot hold, and a column that cannot become the other's type, is the server's error.
-- Refuses, as a mistake of the spec, what depends on casts that the mock does not know.

local decimal = require "luamig.decimal"
local errors = require "luamig.errors"
local marks = require "luamig.marks"
local text = require "luamig.text"
local types = require "luamig.mock.types"
local value = require "luamig.mock.value"

local computed = {}

local INTEGER = text.set { "smallint", "integer", "bigint" }
local FLOAT = text.set { "real", "double precision" }
local STRING = text.set { "text", "character varying", "character", "bpchar" }
-- Their values are kept as the server writes them.
local WRITTEN = text.set {
  "smallint", "integer", "bigint", "numeric", "boolean", "uuid", "date",
  "timestamp with time zone", "timestamp without time zone", "time without time zone",
}

local function server_error(sqlstate, message)
  errors.raise { kind = "database", sqlstate = sqlstate, message = message }
end

local function is_number(name)
  return INTEGER[name] or FLOAT[name] or name == "numeric"
end

--- The number of an integer type, which it must fit.
local function as_integer(number, name)
  local range = types.range(name)
  if not number or number < range[1] or number > range[2] then
    server_error("22003", name .. " out of range")
  end
  return number
end

-- -- sums ------------------------------------------------------------------------------------

local function is_infinite(number)
  return number == math.huge or number == -math.huge
end

--- The sum of two floats; one of four bytes is kept as the shortest text that reads as it.
local function add_floats(kind, a, b)
  local is_real = kind.name == "real"
  local function exact(number)
    return is_real and string.unpack("f", string.pack("f", number)) or number
  end
  local sum = exact(exact(a) + exact(b))
  if is_infinite(sum) and not is_infinite(a) and not is_infinite(b) then
    server_error("22003", "value out of range: overflow")
  end
  return kind.encode(sum)
end

local function add_integers(kind, a, b)
  local sum = a + b
  local overflows = (sum < a) ~= (b < 0)
  return as_integer(not overflows and sum or nil, kind.name)
end

local function add_decimals(a, b)
  local ok, sum = pcall(function()
    return a + b
  end)
  return ok and sum or server_error("22003", "value overflows numeric format")
end

local function add(kind, old, number)
  if INTEGER[kind.name] then
    return add_integers(kind, old, number)
  elseif FLOAT[kind.name] then
    return add_floats(kind, old, number)
  end
  return add_decimals(old, number)
end

-- -- columns that become others --------------------------------------------------------------

local function float_to_integer(number, name)
  local whole = number == number and math.tointeger(number - number % 1)
  local rest = number % 1
  if whole and (rest > 0.5 or rest == 0.5 and whole % 2 == 1) then
    whole = whole + 1
  end
  return as_integer(whole or nil, name)
end

local function decimal_to_integer(number, name)
  local shown = tostring(number)
  if shown:find "[NI]" then
    server_error("0A000", ("cannot convert %s to %s"):format(
      shown == "NaN" and shown or "infinity", name))
  end
  return as_integer(number:round():tointeger(), name)
end

--- How a value of one kind of type becomes one of another: function(value, name of its new type).
local CASTS = {
  integer = {
    integer = as_integer,
    numeric = decimal,
    float = function(number, name)
      return types.find(name).encode(number + 0.0)
    end,
  },
  numeric = { integer = decimal_to_integer },
  float = { integer = float_to_integer },
  string = {
    string = function(given)
      return given
    end,
  },
  written = { string = tostring },
}

--- "integer", "numeric", "float", "string" or "written"; nil for others.
local function group_of(name)
  return INTEGER[name] and "integer" or FLOAT[name] and "float" or name == "numeric" and name
    or STRING[name] and "string" or WRITTEN[name] and "written" or nil
end

local function cast_of(from, to)
  local groups = CASTS[group_of(from)] or {}
  return groups[group_of(to)] or WRITTEN[from] and STRING[to] and tostring or nil
end

--- Whether the server has no cast that an update may use.
local function is_refused(from, to)
  if STRING[from] then
    return group_of(to) ~= nil and not STRING[to]
  end
  return is_number(from) and to == "boolean" or from == "boolean" and is_number(to)
end

--- Raises unless a column may get what another one has.
local function check_cast(one, column, source)
  local from, to = one.types[source].name, one.types[column].name
  if from == to or cast_of(from, to) then
    return
  elseif is_refused(from, to) then
    server_error("42804", ('column "%s" is of type %s but expression is of type %s'):format(column,
      to, from))
  end
  errors.raise {
    kind = "spec", hint = "Run the spec on PostgreSQL.",
    message = ('the mock does not know what a column of type %s becomes in "%s", of type %s')
      :format(from, column, to),
  }
end

--- What a column gets that had another type.
local function cast(from, to, item)
  if from == "character" and to ~= "character" then
    item = item:gsub(" +$", "")
  end
  return from == to and item or cast_of(from, to)(item, to)
end

-- -- changes ---------------------------------------------------------------------------------

local function check_sum(one, column, row)
  local name = one.types[column].name
  if name == "any" then
    errors.raise {
      kind = "spec",
      message = ('luamig.add: the type of column "%s" of "%s" is not declared'):format(column,
        one.name),
      hint = "Declare the columns of the table in mock.new, with their types.",
    }
  elseif not is_number(name) then
    errors.raise {
      kind = "script",
      message = ('%scolumn "%s" of "%s": luamig.add needs a numeric type, not type %s'):format(row,
        column, one.name, name),
    }
  end
end

--- Raises for changes that the server could not compute in any row. The columns are there.
-- @param row what messages call the row, before the column
function computed.check(one, changes, row)
  for _, column in ipairs(text.sorted_keys(changes)) do
    if marks.kind(changes[column]) == "column" then
      one:type_of(changes[column][marks.TEXT])
    end
  end
  for _, column in ipairs(text.sorted_keys(changes)) do
    if marks.kind(changes[column]) == "add" then
      check_sum(one, column, row)
    end
  end
  for _, column in ipairs(text.sorted_keys(changes)) do
    if marks.kind(changes[column]) == "column" then
      check_cast(one, column, changes[column][marks.TEXT])
    end
  end
end

--- Raises if the server cannot add up the values of a column.
function computed.check_operator(one, columns)
  for _, column in ipairs(columns) do
    local name = one.types[column].name
    if name == "any" then
      check_sum(one, column, "")
    elseif not is_number(name) then
      server_error("42883", ("operator does not exist: %s pg_catalog.+ %s"):format(name, name))
    end
  end
end

--- The encoded change that adds a value of the column itself.
function computed.sum(item)
  return marks.new("add", item)
end

--- The encoded form of what a change says, with the number that it adds encoded; nil if it computes
-- nothing.
-- @param encode function(number) for the number
function computed.encode(given, encode)
  local kind = marks.kind(given)
  if kind == "column" then
    return given
  end
  return kind == "add" and marks.new("add", encode(given[marks.TEXT])) or nil
end

--- What an encoded change sets a column to, not yet cut to the column's length; nil is NULL.
-- @param old the row as it was
function computed.value(one, old, column, item)
  local mark, kind = marks.kind(item), one.types[column]
  if mark == "add" then
    return old[column] ~= nil and add(kind, old[column], item[marks.TEXT]) or nil
  elseif mark ~= "column" then
    return item
  end
  local source = item[marks.TEXT]
  local found = value.copy_item(old[source])
  if found == nil then
    return nil
  end
  return cast(one.types[source].name, kind.name, found)
end

return computed
