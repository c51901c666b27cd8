--- JSON in text columns, exactly: `luamig.json.decode` and `luamig.json.encode`.
--
--   local doc = luamig.json.decode(row.payload)   -- {"id": 109876543210987654, "tags": []}
--   doc.seen = true
--   repo:update("t", { id = row.id }, { payload = luamig.json.encode(doc) })
--
-- Promises: the values are those of json and jsonb columns. Integers of 64 bits are integers; a
-- number with a fraction or an exponent is a float when the shortest text of that float has the
-- same value, and a decimal otherwise. Arrays and objects remember what they are, also when they
-- are empty; null is `luamig.json.null`. What was decoded and is encoded has the same values; keys
-- are sorted.
-- Refuses, by raising: what is no JSON; a key that comes twice; `\u0000` and half a character; NaN
-- and infinities; an empty table that does not say whether it is an array or an object; more than
-- 2000 levels.

local decimal = require "luamig.decimal"
local marks = require "luamig.marks"
local text = require "luamig.text"

local json = {}

local MAX_DEPTH = 2000
local WORDS = { ["true"] = true, ["false"] = false }
local ESCAPES = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

--- Raises, to be caught in `guarded`.
local function fail(message, ...)
  error({ json_message = message:format(...) }, 0)
end

--- Calls fn; what `fail` raised becomes an error at the caller of decode or encode, whose tail call
-- this is.
local function guarded(name, fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return result
  elseif type(result) == "table" and result.json_message then
    error(("luamig.json.%s: %s"):format(name, result.json_message), 2)
  end
  error(result, 0)
end

-- -- reading ------------------------------------------------------------------------------

local function fail_at(source, at)
  if at > #source then
    fail("the document ends too early")
  end
  local near = source:sub(at, at + 19):gsub("%c", "?")
  fail('no JSON at byte %d, near "%s"', at, (near:gsub("[\x80-\xff]", "?")))
end

--- The character of the escape `\uXXXX` whose digits begin at `at`, and the byte after it.
local function read_code(source, at)
  local code = tonumber(source:match("^%x%x%x%x", at) or fail_at(source, at), 16)
  if code == 0 then
    fail "the document has the escape \\u0000, which no text in PostgreSQL can hold"
  elseif code < 0xD800 or code > 0xDFFF then
    return utf8.char(code), at + 4
  end
  local low = tonumber(source:match("^\\u(%x%x%x%x)", at + 4) or "0", 16)
  if code >= 0xDC00 or low < 0xDC00 or low > 0xDFFF then
    fail("the document has the escape \\u%04x, which is half of a character", code)
  end
  return utf8.char(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), at + 10
end

--- The string whose opening quote is before `at`, and the byte after it.
local function read_string(source, at)
  local parts = {}
  while true do
    local stop = source:find('["\\%c]', at) or fail_at(source, #source + 1)
    local sign = source:sub(stop, stop)
    parts[#parts + 1] = source:sub(at, stop - 1)
    if sign == '"' then
      return table.concat(parts), stop + 1
    elseif sign == "\127" then
      parts[#parts + 1], at = sign, stop + 1
    elseif sign ~= "\\" then
      fail_at(source, stop)
    elseif source:find("^u", stop + 1) then
      parts[#parts + 1], at = read_code(source, stop + 2)
    else
      local letter = source:sub(stop + 1, stop + 1)
      parts[#parts + 1], at = ESCAPES[letter] or fail_at(source, stop), stop + 2
    end
  end
end

local function read_decimal(digits)
  local ok, value = pcall(decimal, digits)
  return ok and value or fail("the number %s is out of range for type numeric", digits:sub(1, 40))
end

local function read_number(source, at)
  local whole = source:match("^%-?0", at) or source:match("^%-?[1-9]%d*", at)
    or fail_at(source, at)
  local rest = at + #whole
  local fraction = source:match("^%.%d+", rest) or ""
  local exponent = source:match("^[eE][+-]?%d+", rest + #fraction) or ""
  local digits = whole .. fraction .. exponent
  local after = at + #digits
  if source:find("^[%w.+-]", after) then
    fail_at(source, after)
  elseif fraction == "" and exponent == "" then
    local integer = tonumber(whole) -- a float where 64 bits do not hold it
    return math.type(integer) == "integer" and integer or read_decimal(whole), after
  end
  local float = tonumber(digits)
  local exact = read_decimal(digits)
  if math.abs(float) ~= math.huge and decimal(float) == exact then
    return float, after
  end
  return exact, after
end

local function skip_space(source, at)
  return source:find("[^ \t\r\n]", at) or #source + 1
end

local read_value

--- Reads items up to `closing`; returns what they were read into, and the byte after it.
-- @param read function(source, at, into, depth) that reads one and returns the byte after it
local function read_items(source, at, depth, kind, closing, read)
  local into = setmetatable({}, marks.metatables[kind])
  at = skip_space(source, at)
  if source:sub(at, at) == closing then
    return into, at + 1
  end
  while true do
    at = skip_space(source, read(source, at, into, depth))
    local sign = source:sub(at, at)
    if sign == closing then
      return into, at + 1
    elseif sign ~= "," then
      fail_at(source, at)
    end
    at = at + 1
  end
end

local function read_element(source, at, list, depth)
  list[#list + 1], at = read_value(source, at, depth)
  return at
end

local function read_member(source, at, map, depth)
  local name
  at = skip_space(source, at)
  if not source:find('^"', at) then
    fail_at(source, at)
  end
  name, at = read_string(source, at + 1)
  if rawget(map, name) ~= nil then
    fail('the document has the key "%s" twice in one object', name)
  end
  at = skip_space(source, at)
  if not source:find("^:", at) then
    fail_at(source, at)
  end
  map[name], at = read_value(source, at + 1, depth)
  return at
end

function read_value(source, at, depth)
  at = skip_space(source, at)
  local sign = source:sub(at, at)
  if (sign == "{" or sign == "[") and depth == MAX_DEPTH then
    fail("the document is nested more deeply than %d levels", MAX_DEPTH)
  elseif sign == "{" then
    return read_items(source, at + 1, depth + 1, "object", "}", read_member)
  elseif sign == "[" then
    return read_items(source, at + 1, depth + 1, "array", "]", read_element)
  elseif sign == '"' then
    return read_string(source, at + 1)
  end
  local word = source:match("^%a+", at)
  if word == "null" then
    return json.null, at + 4
  elseif WORDS[word] ~= nil then
    return WORDS[word], at + #word
  end
  return read_number(source, at)
end

local function read_document(source)
  if not text.is_utf8(source) then
    fail "the text is not valid UTF-8, or has a NUL byte"
  end
  local value, at = read_value(source, 1, 0)
  at = skip_space(source, at)
  if at <= #source then
    fail_at(source, at)
  end
  return value
end

--- The value of a document.
function json.decode(source)
  if type(source) ~= "string" then
    error("luamig.json.decode takes the text of a document, not " .. text.describe(source), 2)
  end
  return guarded("decode", read_document, source)
end

-- -- writing ------------------------------------------------------------------------------

local SHORT = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t",
}

local function add_string(out, value)
  if not text.is_utf8(value) then
    fail "a string that is not valid UTF-8, or has a NUL byte, cannot be written to JSON"
  end
  out[#out + 1] = '"' .. value:gsub('[%z\1-\31"\\]', function(sign)
    return SHORT[sign] or ("\\u%04x"):format(sign:byte())
  end) .. '"'
end

local function add_number(out, value)
  if math.type(value) == "integer" then
    out[#out + 1] = ("%d"):format(value)
    return
  elseif value ~= value or value == math.huge or value == -math.huge then
    fail "JSON has neither NaN nor infinity"
  end
  local shown = text.number(value)
  if shown:find("e+", 1, true) then
    shown = tostring(decimal(value))
  end
  out[#out + 1] = shown:find "[.e]" and shown or shown .. ".0"
end

local add_value

local function add_list(out, value, above)
  out[#out + 1] = "["
  for i = 1, rawlen(value) do
    out[#out + 1] = i > 1 and "," or nil
    add_value(out, value[i], above)
  end
  out[#out + 1] = "]"
end

local function add_map(out, value, above)
  local names = {}
  for name in next, value do
    if type(name) ~= "string" then
      fail "a table must have the keys 1, 2, 3, ... or strings"
    end
    names[#names + 1] = name
  end
  table.sort(names)
  out[#out + 1] = "{"
  for i, name in ipairs(names) do
    out[#out + 1] = i > 1 and "," or nil
    add_string(out, name)
    out[#out + 1] = ":"
    add_value(out, value[name], above)
  end
  out[#out + 1] = "}"
end

local function add_table(out, value, mark, above)
  local is_list, length = marks.is_list(value)
  if above[value] then
    fail "the table contains itself"
  elseif above.depth == MAX_DEPTH then
    fail("the table is nested more deeply than %d levels", MAX_DEPTH)
  elseif not mark and is_list and length == 0 then
    fail "an empty table may be an array or an object; say luamig.array{} or luamig.object{}"
  elseif mark == "array" and not is_list then
    fail "a luamig.array has other keys than 1, 2, 3, ..."
  end
  above[value], above.depth = true, above.depth + 1
  if is_list and mark ~= "object" then
    add_list(out, value, above)
  else
    add_map(out, value, above)
  end
  above[value], above.depth = nil, above.depth - 1
end

local function add_marked(out, value, above)
  local mark = marks.kind(value)
  if mark == "json.null" then
    out[#out + 1] = "null"
  elseif mark == "decimal" then
    local shown = tostring(value)
    if shown:find "[NI]" then
      fail "JSON has neither NaN nor infinity"
    end
    out[#out + 1] = shown
  elseif mark == "json" then
    add_value(out, read_document(rawget(value, marks.TEXT)), above)
  elseif not mark or mark == "array" or mark == "object" then
    add_table(out, value, mark, above)
  else
    fail("%s cannot be written to JSON", text.describe(value))
  end
end

function add_value(out, value, above)
  local kind = type(value)
  if kind == "string" then
    add_string(out, value)
  elseif kind == "number" then
    add_number(out, value)
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif kind == "table" then
    add_marked(out, value, above)
  else
    fail("%s cannot be written to JSON", text.describe(value))
  end
end

--- The text of a document, keys sorted, without spaces.
function json.encode(value)
  return guarded("encode", function()
    local out = {}
    add_value(out, value, { depth = 0 })
    return table.concat(out)
  end)
end

--- JSON's null, which is not SQL's NULL.
json.null = marks.sentinel "json.null"

return json
