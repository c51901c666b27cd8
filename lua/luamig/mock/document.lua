--- Documents of jsonb columns in the mock: the rules by which the program writes Lua values as
-- JSON and reads them back.
--
-- Promises: what comes out is what a migration would read: a copy, tables marked as arrays or
-- objects, numbers as jsonb keeps them.
-- Refuses what the program refuses, and texts (`luamig.json`), since there is no parser here.

local decimal = require "luamig.decimal"
local errors = require "luamig.errors"
local marks = require "luamig.marks"
local text = require "luamig.text"

local document = {}

local MAX_DEPTH = 2000

local read

local function at(path, message, hint)
  errors.raise {
    kind = "script", message = (path ~= "" and "at " .. path .. ": " or "") .. message, hint = hint,
  }
end

--- A decimal as it is read back: an integer, a float whose shortest text has its value, or itself.
local function read_decimal(given, path)
  local shown = tostring(given)
  if shown:find "[NI]" then
    at(path, "JSON has neither NaN nor infinity", "Use luamig.json.null or a string.")
  elseif not shown:find("%.") then
    return given:tointeger() or given
  end
  local float = tonumber(shown)
  return math.abs(float) ~= math.huge and decimal(float) == given and float or given
end

local function read_number(given, path, above)
  if given ~= given or given == math.huge or given == -math.huge then
    at(path, "JSON has neither NaN nor infinity", "Use luamig.json.null or a string.")
  end
  return given == 0 and above.type_name == "jsonb" and given * given or given -- no minus zero
end

local function read_string(given, path)
  if not text.is_utf8(given) then
    at(path, ("a string %s cannot be written to JSON"):format(
      given:find("\0", 1, true) and "with a NUL byte" or "that is not valid UTF-8"))
  end
  return given
end

local function read_array(given, path, above)
  local kept = {}
  for i = 1, rawlen(given) do
    kept[i] = read(given[i], ("%s[%d]"):format(path, i), above)
  end
  return setmetatable(kept, marks.metatables.array)
end

local function read_object(given, path, above)
  local kept = {}
  for key, item in next, given do
    local place = path == "" and key or path .. "." .. key
    kept[read_string(key, path)] = read(item, place, above)
  end
  return setmetatable(kept, marks.metatables.object)
end

local function has_string_keys(given)
  for key in next, given do
    if type(key) ~= "string" then
      return false
    end
  end
  return true
end

local function read_table(given, path, above)
  if above[given] then
    at(path, "the table contains itself")
  elseif above.depth == MAX_DEPTH then
    at("", ("the table is nested more deeply than %d levels"):format(MAX_DEPTH))
  end
  local mark = marks.kind(given)
  local is_list, length = marks.is_list(given)
  local kept
  above[given], above.depth = true, above.depth + 1
  if is_list and length == 0 and not mark then
    at(path, "an empty table may be an array or an object",
      "Write luamig.array{} or luamig.object{}.")
  elseif is_list and mark ~= "object" then
    kept = read_array(given, path, above)
  elseif mark == "array" then
    at(path, "a luamig.array has other keys than 1, 2, 3, ...",
      "Put luamig.json.null where there is no value.")
  elseif has_string_keys(given) then
    kept = read_object(given, path, above)
  else
    at(path, mark and "a luamig.object has keys that are not strings"
      or "a table must have the keys 1, 2, 3, ... or strings")
  end
  above[given], above.depth = nil, above.depth - 1
  return kept
end

local function same(given)
  return given
end

local BY_MARK = {
  ["json.null"] = same, decimal = read_decimal, array = read_table, object = read_table,
  json = function(_, path)
    at(path, "the mock cannot read the text of a luamig.json; give the table")
  end,
  NULL = function(_, path)
    at(path, "luamig.NULL cannot be written to JSON", "Use luamig.json.null.")
  end,
  bytea = function(_, path)
    at(path, "a luamig.bytea cannot be written to JSON",
      "Encode the bytes, for example as hexadecimal digits.")
  end,
  column = function(_, path)
    at(path, "a luamig.column cannot be written to JSON")
  end,
  add = function(_, path)
    at(path, "a luamig.add cannot be written to JSON")
  end,
  ALL = function(_, path)
    at(path, "luamig.ALL is not a value")
  end,
}
local BY_TYPE = { boolean = same, number = read_number, string = read_string, table = read_table }

function read(given, path, above)
  local reader = BY_MARK[marks.kind(given)] or BY_TYPE[type(given)]
  if not reader then
    at(path, ("a %s cannot be written to JSON"):format(type(given)))
  end
  return reader(given, path, above)
end

--- A document as it is read back after it was written; raises an error object when it cannot be.
-- @param type_name "json", which keeps the text, or "jsonb"
function document.read(given, type_name)
  return read(given, "", { depth = 0, type_name = type_name })
end

return document
