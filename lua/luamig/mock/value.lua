--- Values of the mock's tables: column types, equality, order, and how messages show them.
--
-- Promises: text is ordered by its bytes (collation "C"), numbers by value with NaN last, false
-- before true; a value is stored in the shape a migration would read it back.
-- Refuses: column types whose values or comparison it cannot model truthfully, and ordering values
-- of different kinds.

local errors = require "luamig.errors"
local text = require "luamig.text"

local value = {}

local INT_RANGES = {
  int2 = { -32768, 32767 }, int4 = { -2147483648, 2147483647 }, oid = { 0, 4294967295 },
  int8 = { math.mininteger, math.maxinteger },
}
local ALIASES = {
  smallint = "int2", int = "int4", integer = "int4", bigint = "int8", boolean = "bool",
  ["double precision"] = "float8", ["character varying"] = "varchar",
}
local UNSUPPORTED = {
  numeric = true, decimal = true, json = true, jsonb = true, bytea = true, citext = true,
  float4 = true, real = true, char = true, character = true, bpchar = true, money = true,
}

local function out_of_range(sqlstate, message)
  errors.raise { kind = "database", sqlstate = sqlstate, message = message }
end

local function mismatch(wanted, given)
  errors.raise {
    kind = "script", message = ("expected %s, got %s"):format(wanted, text.describe(given)),
  }
end

local function integer_check(name)
  local range = INT_RANGES[name]
  return function(given)
    if math.type(given) ~= "integer" then
      mismatch("an integer for type " .. name, given)
    elseif given < range[1] or given > range[2] then
      out_of_range("22003", ('value "%d" is out of range for type %s'):format(given, name))
    end
    return given
  end
end

local function float_check(given)
  if math.type(given) == "integer" and math.abs(given) > 1 << 53 then
    mismatch("an integer within 2^53 for type float8", given)
  elseif not math.type(given) then
    mismatch("a number for type float8", given)
  end
  return given + 0.0
end

local function boolean_check(given)
  if type(given) ~= "boolean" then
    mismatch("a boolean for type bool", given)
  end
  return given
end

local function string_check(name, limit)
  return function(given)
    if type(given) ~= "string" then
      mismatch("a string for type " .. name, given)
    elseif not text.is_utf8(given) then
      mismatch("valid UTF-8 without NUL bytes for type " .. name, given)
    elseif limit and utf8.len(given) > limit then
      out_of_range("22001", ("value too long for type character varying(%d)"):format(limit))
    end
    return given
  end
end

--- The check of a column of that type: function(value) that returns what is stored, or raises.
-- A type the mock does not know (an enum, a date) holds strings.
-- @return function, or nil and why the type is not supported
function value.checker(type_name)
  local name, limit = type_name:lower():match "^%s*(.-)%s*%(%s*(%d+)%s*%)%s*$"
  name = name or type_name:lower():match "^%s*(.-)%s*$"
  name = ALIASES[name] or name
  if UNSUPPORTED[name] or name:find("[]", 1, true) then
    return nil, "its values are not modelled by this version of the mock"
  elseif limit and name ~= "varchar" then
    return nil, "the mock does not model its modifier"
  elseif INT_RANGES[name] then
    return integer_check(name)
  elseif name == "float8" then
    return float_check
  elseif name == "bool" then
    return boolean_check
  end
  return string_check(name, tonumber(limit))
end

--- The check of a column whose type is not declared: any value that is no table or function.
function value.any(given)
  local kind = type(given)
  if kind == "string" and not text.is_utf8(given) then
    mismatch("valid UTF-8 without NUL bytes", given)
  elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
    mismatch("a string, number or boolean", given)
  end
  return given
end

--- Equality as PostgreSQL has it for values that are not NULL: NaN equals itself.
function value.equal(a, b)
  return a == b or (a ~= a and b ~= b)
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

--- A copy of a table of plain values.
function value.copy(map)
  local copy = {}
  for name, item in next, map do
    copy[name] = item
  end
  return copy
end

--- `(id, day)=(7, 2024-01-01)`, the way PostgreSQL shows keys.
-- @param names list of columns
-- @param values map from column to value; absent is NULL
local function show(item)
  return item == nil and "null" or type(item) == "number" and text.number(item) or tostring(item)
end

--- A key as a script writes it, for messages: `id = 7, tenant = 3`.
function value.show_pairs(key)
  local shown = {}
  for i, name in ipairs(text.sorted_keys(key)) do
    shown[i] = ("%s = %s"):format(name, show(key[name]))
  end
  return table.concat(shown, ", ")
end

function value.show_key(names, values)
  local shown = {}
  for i, name in ipairs(names) do
    shown[i] = show(values[name])
  end
  return ("(%s)=(%s)"):format(table.concat(names, ", "), table.concat(shown, ", "))
end

return value
