--- Column types: what a Lua value becomes that is written to a column, by the program's rules.
--
-- A type is a table: `name`, as PostgreSQL prints it; `encode(given)`, the value as it is read back
-- from a column of the type without its modifier; `fit(kept)`, what a column keeps of that, with
-- `numeric(6,2)` rounding and `varchar(3)` refusing; `order`, how its values compare, or why they
-- cannot be compared here.
--
-- Promises: the messages are the program's, and errors that only the server finds have its
-- SQLSTATE.
-- Refuses: types whose values or order plain Lua cannot reproduce.

local decimal = require "luamig.decimal"
local document = require "luamig.mock.document"
local errors = require "luamig.errors"
local marks = require "luamig.marks"
local text = require "luamig.text"
local times = require "luamig.mock.times"

local types = {}

local MAX_DIMENSIONS = 6
local MAX_EXACT = 1 << 53
local MAX_FLOAT4 = 0x1.fffffep127

local NAMES = {
  int2 = "smallint", int = "integer", int4 = "integer", int8 = "bigint", bool = "boolean",
  float4 = "real", float8 = "double precision", float = "double precision",
  varchar = "character varying", char = "character", decimal = "numeric",
  timestamptz = "timestamp with time zone", timestamp = "timestamp without time zone",
  time = "time without time zone", smallserial = "smallint", serial2 = "smallint",
  serial = "integer", serial4 = "integer", bigserial = "bigint", serial8 = "bigint",
}
local SERIALS = {
  smallserial = true, serial2 = true, serial = true, serial4 = true, bigserial = true,
  serial8 = true,
}
local RANGES = {
  smallint = { -32768, 32767 }, integer = { -2147483648, 2147483647 }, oid = { 0, 4294967295 },
  bigint = { math.mininteger, math.maxinteger },
}
-- The server writes their values in its own way, or compares them in its own way.
local UNSUPPORTED = {}
for name in ([[bit cidr inet int4range int8range interval macaddr money name numrange
    daterange time_with_time_zone timetz tsquery tsrange tstzrange tsvector varbit xml]])
    :gmatch "%S+" do
  UNSUPPORTED[name:gsub("_", " ")] = true
end
-- Those of extensions, which may lie in any schema.
local EXTENSIONS = { citext = true }

local function refuse(message, hint)
  errors.raise { kind = "script", message = message, hint = hint }
end

local function server_error(sqlstate, message, detail)
  errors.raise { kind = "database", sqlstate = sqlstate, message = message, detail = detail }
end

--- What messages call a value by its kind: "an integer", "luamig.NULL".
local KINDS = { boolean = "a boolean", string = "a string", ["function"] = "a function" }
local function kind_of(given)
  local mark = marks.kind(given)
  if mark == "decimal" then
    return "a luamig.decimal"
  elseif mark and mark ~= "array" and mark ~= "object" then
    return text.describe(given)
  elseif type(given) == "table" then
    return "a table"
  elseif type(given) == "number" then
    return math.type(given) == "integer" and "an integer" or "a float"
  end
  return KINDS[type(given)] or "a userdata or thread"
end
types.kind_of = kind_of

local function mismatch(given, name, hint)
  local mark = marks.kind(given)
  if mark == "column" or mark == "add" then
    hint = "luamig.add and luamig.column belong into the changes of repo:update or repo:update_all."
  end
  refuse(("%s cannot be written to type %s"):format(kind_of(given), name), hint)
end

local function same(kept)
  return kept
end

-- -- numbers ---------------------------------------------------------------------------------

local function integer_hint(given)
  if marks.kind(given) == "decimal" then
    return "Use :tointeger(). It returns nil if there is a fraction."
  end
  return type(given) == "number"
    and "Use math.tointeger, // or math.floor to make an integer of it."
    or "Use math.tointeger to make an integer of it."
end

local function is_integer(given)
  return math.type(given) == "integer"
end

local function is_in_range(given, range)
  return given >= range[1] and given <= range[2]
end

local function integer(name)
  local range = RANGES[name]
  return function(given)
    if not is_integer(given) then
      mismatch(given, name, integer_hint(given))
    elseif not is_in_range(given, range) then
      refuse(("%d is out of range for type %s"):format(given, name))
    end
    return given
  end
end

local function check_float(given, name, is_rounded)
  if type(given) ~= "number" then
    local is_decimal = marks.kind(given) == "decimal"
    mismatch(given, name, is_decimal and "Use :tonumber() to make a float of it." or nil)
  elseif math.type(given) == "integer" and is_rounded(given) then
    refuse(("%d would be rounded by type %s"):format(given, name))
  end
  return math.type(given) == "float" and given or given + 0.0
end

local function float8(given)
  return check_float(given, "double precision", function(whole)
    return math.abs(whole) > MAX_EXACT or whole == math.mininteger
  end)
end

--- The float of four bytes next to a number.
local function narrow(given)
  return (string.unpack("f", string.pack("f", given)))
end

--- The number that reads as the same float of four bytes and has the fewest digits.
local function shortest(single)
  for digits = 0, 8 do
    local read = tonumber((("%." .. digits .. "e"):format(single):gsub(",", ".")))
    if narrow(read) == single then
      return read
    end
  end
  return single
end

local function float4(given)
  local wide = check_float(given, "real", function(whole)
    return whole < -2147483648 or whole > 2147483647 or narrow(whole + 0.0) ~= whole
  end)
  if wide ~= wide or math.abs(wide) == math.huge then
    return wide
  end
  local single = math.abs(wide) <= MAX_FLOAT4 * (1 + 2 ^ -25) and narrow(wide) or math.huge
  if math.abs(single) == math.huge or single == 0 and wide ~= 0 then
    server_error("22003", ('"%s" is out of range for type real'):format(text.number(wide)))
  end
  return shortest(single)
end

local function numeric(given)
  local mark = marks.kind(given)
  if type(given) ~= "number" and type(given) ~= "string" and mark ~= "decimal" then
    mismatch(given, "numeric")
  end
  local ok, kept = pcall(decimal, given)
  if not ok or type(given) == "string" and given:find "%s" then
    refuse "a string that is not a decimal number cannot be written to type numeric"
  end
  return kept
end

--- The digits of a number, a string, with one added to the last.
local function count_up(digits)
  local head, nines = digits:match "^(.-)(9*)$"
  local last = head ~= "" and head:sub(-1) or "0"
  return head:sub(1, -2) .. ("%d"):format(last + 1) .. ("0"):rep(#nines)
end

local function is_too_long(digits, precision)
  return #digits:gsub("^0+", "") > precision
end

--- What numeric(precision, scale) keeps: rounded half away from zero.
local function numeric_fit(precision, scale)
  local function overflow(why)
    server_error("22003", "numeric field overflow",
      ("A field with precision %d, scale %d %s."):format(precision, scale, why))
  end
  local limit = precision == scale and "1" or ("10^%d"):format(precision - scale)
  return function(kept)
    local sign, whole, fraction = tostring(kept):match "^(%-?)(%d+)%.?(%d*)$"
    if not whole then
      return tostring(kept) == "NaN" and kept or overflow "cannot hold an infinite value"
    end
    local digits = whole .. (fraction .. ("0"):rep(scale)):sub(1, scale)
    if fraction:sub(scale + 1, scale + 1):find "[5-9]" then
      digits = count_up(digits)
    end
    if is_too_long(digits, precision) then
      overflow("must round to an absolute value less than " .. limit)
    end
    local point = #digits - scale
    sign = digits:find "[1-9]" and sign or ""
    local rest = scale > 0 and "." .. digits:sub(point + 1) or ""
    return decimal(sign .. digits:sub(1, point) .. rest)
  end
end

-- -- text ------------------------------------------------------------------------------------

local function check_text(given, name)
  local is_valid, at = utf8.len(given)
  local nul = given:find("\0", 1, true)
  if nul and (is_valid or nul < at) then
    refuse(("a string with a NUL byte (at byte %d) cannot be written to type %s"):format(nul, name))
  elseif not is_valid then
    refuse(("a string that is not valid UTF-8 (at byte %d) cannot be written to type %s"):format(at,
      name))
  end
  return given
end

--- How a value that is no string may become one.
local function text_hint(given)
  local mark = marks.kind(given)
  if type(given) == "number" or mark == "decimal" then
    return "Use tostring or string.format to make a string of it."
  elseif type(given) == "table" and (not mark or mark == "array" or mark == "object") then
    return "For JSON in a text column, write luamig.json.encode(value)."
  end
  return nil
end

local function string_of(name)
  return function(given)
    if type(given) ~= "string" then
      mismatch(given, name, text_hint(given))
    end
    return check_text(given, name)
  end
end

local function is_blank_from(kept, at)
  return not kept:find("[^ ]", at)
end

local function length_fit(name, limit)
  return function(kept)
    local length = utf8.len(kept)
    if length > limit then
      local rest = utf8.offset(kept, limit + 1)
      if not is_blank_from(kept, rest) then
        server_error("22001", ("value too long for type %s(%d)"):format(name, limit))
      end
      kept, length = kept:sub(1, rest - 1), limit
    end
    return name == "character" and kept .. (" "):rep(limit - length) or kept
  end
end

local function without_padding(kept)
  return (kept:gsub(" +$", ""))
end

local function bytea(given)
  if marks.kind(given) == "bytea" then
    return given[marks.TEXT]
  elseif type(given) ~= "string" then
    mismatch(given, "bytea")
  end
  return given
end

local function uuid(given)
  string_of "uuid"(given)
  local groups, hex = (given:match "^{(.*)}$" or given) .. "-", ""
  while #hex < 32 and groups:find "^%x%x%x%x" do
    hex, groups = hex .. groups:sub(1, 4), groups:sub(5):gsub("^%-", "", 1)
  end
  if #hex ~= 32 or groups ~= "" then
    server_error("22P02", ('invalid input syntax for type uuid: "%s"'):format(given))
  end
  return ("%s-%s-%s-%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20),
    hex:sub(21)):lower()
end

local function boolean(given)
  if type(given) ~= "boolean" then
    mismatch(given, "boolean")
  end
  return given
end

local function document_of(name)
  return function(given)
    return document.read(given, name)
  end
end

-- -- arrays ----------------------------------------------------------------------------------

--- An element as it is kept; `path` is where it stands.
local function read_element(element, given, path)
  if marks.kind(given) == "NULL" then
    return given
  end
  local ok, result = pcall(element.encode, given)
  if not ok then
    if result.kind == "script" then
      result.message = ("element %s: %s"):format(path, result.message)
    end
    error(result, 0)
  end
  return element.fit(result)
end

--- Whether a dimension fits those that were met before it.
local function fits_shape(shape, depth, length)
  return shape[depth] == length and (depth == 1 or length > 0) and depth <= (shape.depth or depth)
end

--- Adds the dimension `given`; returns it as it is kept.
-- @param shape the lengths of the dimensions, as they are met; `depth` of the elements
local function read_dimension(element, given, depth, path, shape)
  local is_list, length = marks.is_list(given)
  if not is_list then
    refuse((path ~= "" and "element " .. path .. ": " or "")
      .. "a table for an array must have the keys 1, 2, 3, ...",
      "Put luamig.NULL where an element is NULL.")
  elseif depth > MAX_DIMENSIONS then
    refuse(("an array can have at most %d dimensions"):format(MAX_DIMENSIONS))
  end
  shape[depth] = shape[depth] or length
  local is_even, kept = fits_shape(shape, depth, length), {}
  for i = 1, length do
    local item, here = given[i], ("%s[%d]"):format(path, i)
    local mark = marks.kind(item)
    if type(item) == "table" and (not mark or mark == "array" and not element.is_document)
      and (not element.is_document or marks.is_list(item))
    then
      kept[i] = read_dimension(element, item, depth + 1, here, shape)
    else
      shape.depth = shape.depth or depth
      is_even = is_even and shape.depth == depth
      kept[i] = read_element(element, item, here)
    end
  end
  if not is_even then
    refuse("the array is not rectangular",
      "All tables of one dimension must have the same number of elements.")
  end
  return kept
end

local function array_of(element)
  local name = element.name .. "[]"
  return {
    name = name, fit = same, order = "the mock cannot order arrays",
    has_equality = element.has_equality,
    encode = function(given)
      local mark = marks.kind(given)
      if type(given) ~= "table" or mark and mark ~= "array" then
        mismatch(given, name, type(given) == "string" and "Use a table with the elements." or nil)
      end
      return read_dimension(element, given, 1, "", {})
    end,
  }
end

-- -- finding a type --------------------------------------------------------------------------

local ENCODERS = {
  ["double precision"] = float8, real = float4, numeric = numeric, boolean = boolean,
  bytea = bytea, uuid = uuid, json = document_of "json", jsonb = document_of "jsonb",
}
for _, name in ipairs { "text", "character varying", "character" } do
  ENCODERS[name] = string_of(name)
end
ENCODERS.bpchar = ENCODERS.character -- of any length, without padding
for name in pairs(RANGES) do
  ENCODERS[name] = integer(name)
end
for name, read in pairs(times) do
  ENCODERS[name] = function(given)
    return read(string_of(name)(given))
  end
end

local ORDERS = { character = without_padding, bpchar = without_padding }
for _, name in ipairs { "json", "jsonb" } do
  ORDERS[name] = "the mock cannot order documents"
end

--- What a column of the type with that modifier keeps: function, or nil for an unknown modifier.
local function fit_of(name, modifier)
  if name == "character" then
    modifier = modifier or "1"
  end
  local first, second = (modifier or ""):match "^%s*(%d+)%s*,?%s*(%d*)%s*$"
  if not modifier then
    return same
  elseif name == "numeric" and first then
    return numeric_fit(tonumber(first), tonumber(second) or 0)
  elseif (name == "character varying" or name == "character") and first and second == "" then
    return length_fit(name, tonumber(first))
  end
end

local function has_equality(name)
  return name ~= "json"
end

local function is_unsupported(name)
  return UNSUPPORTED[name] or EXTENSIONS[name:match '([^."]+)"?$'] or false
end

local function parse(type_name)
  local shown = type_name:match "^%s*(.-)%s*$"
  local base, modifier, rest = shown:match "^(.-)%s*%(([^)]*)%)%s*(.*)$"
  base = (base and base .. (rest ~= "" and " " .. rest or "") or shown)
  local name = base:lower():gsub("%s+", " ")
  if name == "bpchar" and modifier then
    name = "character"
  end
  return NAMES[name] or name, modifier, SERIALS[name] or false
end

--- The type of that name, as PostgreSQL writes types. An unknown name means a type of the user's,
-- for example an enum: its values are strings, which have no order here.
-- @return type, or nil and why it is not supported; `is_serial` says that it brings a default
function types.find(type_name)
  local element = type_name:match "^(.-)%s*%[%s*%d*%s*%]%s*$"
  if element then
    local found, why = types.find(element:match "^(.-)%s*%[%s*%d*%s*%]$" or element)
    return found and array_of(found), why
  end
  local name, modifier, is_serial = parse(type_name)
  if is_unsupported(name) then
    return nil, "the mock does not know how the server writes such values; run the spec on "
      .. "PostgreSQL"
  end
  local fit = fit_of(name, modifier)
  if not fit then
    return nil, "the mock does not know the part in parentheses; run the spec on PostgreSQL"
  end
  local is_known = ENCODERS[name] ~= nil
  return {
    name = name, encode = ENCODERS[name] or string_of(name), fit = fit, is_serial = is_serial,
    is_document = name == "json" or name == "jsonb", has_equality = has_equality(name),
    order = ORDERS[name] or is_known and same
      or ("the mock does not know the order of type %s"):format(name),
  }
end

--- The least and the greatest number of an integer type: { low, high }.
function types.range(name)
  return RANGES[name]
end

--- A value of a type as it compares: itself, where the type has no order here.
function types.comparable(kind, item)
  return type(kind.order) == "function" and kind.order(item) or item
end

--- Whether a type is one of PostgreSQL's own, by any of its names.
function types.is_known(type_name)
  local name, _, is_serial = parse(type_name)
  return ENCODERS[name] ~= nil or is_unsupported(name) or is_serial
end

--- The names of PostgreSQL's own types.
function types.names()
  local names = text.sorted_keys(ENCODERS)
  for _, name in ipairs(text.sorted_keys(NAMES)) do
    names[#names + 1] = name
  end
  return names
end

--- The type of a column that is not declared: any value that is no table or function.
types.any = {
  name = "any", fit = same, order = same, has_equality = true,
  encode = function(given)
    local kind = type(given)
    if kind == "string" then
      check_text(given, "text")
    elseif kind ~= "number" and kind ~= "boolean" and not decimal.is(given) then
      refuse(("%s cannot be written to a column whose type is not declared"):format(kind_of(given)),
        "Declare the columns of the table in mock.new, with their types.")
    end
    return given
  end,
}

--- Raises unless a value may be a parameter of raw SQL, or stand in a row of a stub: tables, too,
-- whose type only the server knows.
function types.check_loose(given)
  local mark = marks.kind(given)
  if mark == "ALL" or mark == "column" or mark == "add" then
    mismatch(given, "parameter")
  elseif type(given) ~= "table" then
    types.any.encode(given)
  elseif not mark or mark == "array" or mark == "object" then
    for _, item in next, given do
      types.check_loose(item)
    end
  end
end

return types
