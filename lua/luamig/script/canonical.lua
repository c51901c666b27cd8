--- Canonical JSON: one text for one value, so that texts can be compared.
--
-- Promises: keys sorted by byte, no spaces, integers exact, floats in their shortest exact form,
-- valid JSON for valid UTF-8.
-- Refuses, by raising: values JSON has no word for (infinity, NaN, functions). Meant for args and
-- config, which are small and made by luamig: a table with `[1]` is a list, any other an object.

local marks = require "luamig.marks"
local text = require "luamig.text"

local canonical = {}

local SHORT = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t",
}

local function string_text(value)
  return '"' .. value:gsub('[%c"\\]', function(char)
    return SHORT[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

-- What stands for a marked value; the mark is not part of the text.
local MARKED = {
  ["NULL"] = function() return "null" end,
  ["json.null"] = function() return "null" end,
  json = tostring,
  bytea = function(value) return string_text(tostring(value)) end,
  decimal = function(value)
    local shown = tostring(value)
    return shown:find "[NI]" and string_text(shown) or shown
  end,
}

--- The canonical JSON text of a boolean, number, string, marked value, or table of these.
function canonical.encode(value)
  local kind = type(value)
  local mark = marks.kind(value)
  local marked = MARKED[mark]
  if marked then
    return marked(value)
  end
  if kind == "string" then
    return string_text(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "number" and value == value and math.abs(value) ~= math.huge then
    return text.number(value)
  elseif kind ~= "table" or mark == "add" or mark == "column" then
    error("cannot write as JSON: " .. text.describe(value), 2)
  end
  if rawget(value, 1) ~= nil or mark == "array" then
    return "[" .. table.concat(text.map(value, canonical.encode), ",") .. "]"
  end
  return "{" .. table.concat(text.map(text.sorted_keys(value), function(name)
    return string_text(name) .. ":" .. canonical.encode(value[name])
  end), ",") .. "}"
end

return canonical
