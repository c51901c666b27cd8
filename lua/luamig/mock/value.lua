--- Values of the mock's tables: column types, equality, order, and how messages show them.
--
-- Promises: text is ordered by its bytes (collation "C"), numbers by value with NaN last, false
-- before true; a value is stored in the shape a migration would read it back.
-- Refuses: column types whose values or comparison it cannot model truthfully, and ordering values
-- of different kinds, arrays and documents.

local decimal = require "luamig.decimal"
local document = require "luamig.mock.document"
local errors = require "luamig.errors"
local marks = require "luamig.marks"
local text = require "luamig.text"

local value = {}

local INT_RANGES = {
  int2 = { -32768, 32767 }, int4 = { -2147483648, 2147483647 }, oid = { 0, 4294967295 },
  int8 = { math.mininteger, math.maxinteger },
}
local ALIASES = {
  smallint = "int2", int = "int4", integer = "int4", bigint = "int8", boolean = "bool",
  ["double precision"] = "float8", ["character varying"] = "varchar", decimal = "numeric",
}
local UNSUPPORTED = {
  bytea = true, citext = true, float4 = true, real = true, char = true, character = true,
  bpchar = true, money = true, json = true,
}
local MAX_DIMENSIONS = 6

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

local function numeric_check(given)
  local mark = marks.kind(given)
  if mark ~= "decimal" and type(given) ~= "number" and type(given) ~= "string" then
    mismatch("a decimal, a number or a string of digits for type numeric", given)
  end
  local ok, result = pcall(decimal, given)
  if not ok or type(given) == "string" and given:find "%s" then
    mismatch("a decimal, a number or a string of digits for type numeric", given)
  end
  return result
end

local function document_check(given)
  local kept, why = document.read(given)
  if kept == nil then
    errors.raise { kind = "script", message = why }
  end
  return kept
end

--- Adds the dimension `given` of an array; returns it as it is stored.
-- @param shape the lengths of the dimensions, filled in as they are met; `depth` of the elements
local function read_dimension(name, check, given, depth, shape)
  local is_list, length = marks.is_list(given)
  if not is_list then
    errors.raise {
      kind = "script", message = "a table for an array must have the keys 1, 2, 3, ...",
      hint = "Put luamig.NULL where an element is NULL.",
    }
  elseif depth > MAX_DIMENSIONS then
    mismatch(("at most %d dimensions for type %s"):format(MAX_DIMENSIONS, name), given)
  end
  shape[depth] = shape[depth] or length
  local is_rectangular = shape[depth] == length and (depth == 1 or length > 0)
  local kept = {}
  for i = 1, length do
    local item, mark = given[i], marks.kind(given[i])
    if type(item) == "table" and (not mark or mark == "array") then
      kept[i] = read_dimension(name, check, item, depth + 1, shape)
    else
      shape.depth = shape.depth or depth
      is_rectangular = is_rectangular and shape.depth == depth
      kept[i] = mark == "NULL" and item or check(item)
    end
  end
  if not is_rectangular or shape.depth and depth > shape.depth then
    errors.raise { kind = "script", message = "the array is not rectangular" }
  end
  return kept
end

local function array_check(name, check)
  return function(given)
    local mark = marks.kind(given)
    if type(given) ~= "table" or mark and mark ~= "array" then
      mismatch("a table for type " .. name, given)
    end
    return read_dimension(name, check, given, 1, {})
  end
end

local EXACT_CHECKS = {
  float8 = float_check, bool = boolean_check, numeric = numeric_check, jsonb = document_check,
}

--- The check of a column of that type: function(value) that returns what is stored, or raises.
-- A type the mock does not know (an enum, a date) holds strings.
-- @return function, or nil and why the type is not supported
function value.checker(type_name)
  local element = type_name:match "^%s*(.-)%s*%[%s*%d*%s*%]%s*$"
  if element then
    local check, why = value.checker(element)
    if check == document_check then
      return nil, "its values are not modelled by this version of the mock"
    end
    return check and array_check(type_name, check), why
  end
  local name, modifier = type_name:lower():match "^%s*(.-)%s*%(([%d%s,-]*)%)%s*$"
  name = name or type_name:lower():match "^%s*(.-)%s*$"
  name = ALIASES[name] or name
  local limit = modifier and tonumber(modifier)
  if UNSUPPORTED[name] then
    return nil, "its values are not modelled by this version of the mock"
  elseif modifier and (name ~= "varchar" or not limit) then
    return nil, "the mock does not model its modifier"
  elseif INT_RANGES[name] then
    return integer_check(name)
  end
  return EXACT_CHECKS[name] or string_check(name, limit)
end

--- The check of a column whose type is not declared: any value that is no table or function.
function value.any(given)
  local kind = type(given)
  if kind == "string" and not text.is_utf8(given) then
    mismatch("valid UTF-8 without NUL bytes", given)
  elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" and not decimal.is(given) then
    mismatch("a string, number or boolean", given)
  end
  return given
end

--- Raises unless a value may be a parameter of raw SQL, or stand in a row of a stub: tables, too,
-- whose type only the server knows.
function value.loose(given)
  local mark = marks.kind(given)
  if mark == "ALL" then
    mismatch("a value", given)
  elseif type(given) ~= "table" then
    value.any(given)
  elseif not mark or mark == "array" or mark == "object" then
    for _, item in next, given do
      value.loose(item)
    end
  end
end

local function is_container(item)
  local mark = marks.kind(item)
  return type(item) == "table" and (not mark or mark == "array" or mark == "object")
end

--- Equality as PostgreSQL has it for values that are not NULL: NaN equals itself, arrays and
-- documents are equal by what they hold.
function value.equal(a, b)
  if a == b or (a ~= a and b ~= b) then
    return true
  elseif not is_container(a) or not is_container(b) or marks.kind(a) ~= marks.kind(b) then
    return false
  end
  for key, item in next, a do
    if not value.equal(item, b[key]) then
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

--- A text that two values of a column share when they are equal. Raises for arrays and
-- documents, whose equality has no such text.
function value.identity(item)
  if decimal.is(item) then
    local shown = tostring(item)
    return "d" .. (shown:find("%.") and shown:gsub("%.?0+$", "") or shown)
  elseif type(item) == "table" then
    errors.raise { kind = "script", message = "the mock cannot keep arrays and documents unique" }
  elseif type(item) == "number" then
    return "n" .. text.number(item == 0 and 0 or item)
  end
  return type(item):sub(1, 1) .. tostring(item)
end

--- A value that can be handed out: arrays and documents are copied.
function value.copy_item(item)
  if not is_container(item) then
    return item
  end
  local copy = {}
  for key, inner in next, item do
    copy[key] = value.copy_item(inner)
  end
  return setmetatable(copy, getmetatable(item))
end

--- A copy of a row, with copies of the arrays and documents in it.
function value.copy_row(row)
  local copy = {}
  for name, item in next, row do
    copy[name] = value.copy_item(item)
  end
  return copy
end

--- A copy of a table, which shares its values.
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
