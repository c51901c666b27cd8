--- Words for messages: how values, lists and numbers are shown.
--
-- Promises: no function here raises for any value, and numbers are shown exactly.

local marks = require "luamig.marks"

local text = {}

local ARTICLE = {
  table = "a table", ["function"] = "a function", userdata = "a userdata", thread = "a coroutine",
}
local SHOWN_MARKS = {
  json = "a luamig.json text", array = "a luamig.array", object = "a luamig.object",
  bytea = "a luamig.bytea", column = "a luamig.column", add = "a luamig.add",
}

-- Below this, a float has fewer digits than others.
local SMALLEST_NORMAL = 2.2250738585072014e-308

--- The shortest decimal text that reads back as the same number; integers exactly.
-- Infinite numbers and NaN read `inf`, `-inf` and `nan`.
function text.number(n)
  if math.type(n) == "integer" then
    return ("%d"):format(n)
  elseif n ~= n then
    return "nan"
  elseif n == math.huge or n == -math.huge then
    return n > 0 and "inf" or "-inf"
  end
  for digits = math.abs(n) < SMALLEST_NORMAL and 1 or 15, 17 do
    -- A locale may print a comma.
    local shown = ("%." .. digits .. "g"):format(n):gsub(",", ".")
    if digits == 17 or tonumber(shown) == n then
      return shown
    end
  end
end

--- A value as it stands in a message: `"x"`, `12`, `true`, `nil`, `a table`.
function text.describe(value)
  local kind = type(value)
  if kind == "string" then
    local cut = #value > 40 and value:sub(1, 40) .. "..." or value
    return '"' .. cut:gsub("%c", "?") .. '"'
  elseif kind == "number" then
    return text.number(value)
  elseif kind == "table" then
    local mark = marks.kind(value)
    if mark == "decimal" then
      return "the decimal " .. tostring(value)
    elseif mark then
      return SHOWN_MARKS[mark] or "luamig." .. mark
    end
  end
  return ARTICLE[kind] or tostring(value)
end

--- What `fn(item, i)` makes of each item of a list, as a list; nil is left out.
function text.map(list, fn)
  local made = {}
  for i, item in ipairs(list) do
    made[#made + 1] = fn(item, i)
  end
  return made
end

--- A number of things, in words: "1 row", "3 rows".
function text.count(n, thing)
  return ("%d %s%s"):format(n, thing, n == 1 and "" or "s")
end

--- `"a", "b" or "c"`; strings are quoted, other values stand as they are.
function text.choices(list)
  local shown = text.map(list, text.describe)
  local last = table.remove(shown)
  return #shown == 0 and last or table.concat(shown, ", ") .. " or " .. last
end

--- All keys of a table in an order that is the same every time.
function text.ordered_keys(map)
  local keys = {}
  for key in next, map do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return keys
end

--- The string keys of a table, sorted.
function text.sorted_keys(map)
  local names = {}
  for name in pairs(map) do
    if type(name) == "string" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

--- A map from each item of a list to true.
function text.set(list)
  local set = {}
  for _, item in ipairs(list) do
    set[item] = true
  end
  return set
end

--- Whether the item is in the list.
function text.contains(list, item)
  for _, other in ipairs(list) do
    if other == item then
      return true
    end
  end
  return false
end

local KEYWORDS = text.set {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
  "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
}

--- Whether a word is one of Lua's own.
function text.is_keyword(word)
  return KEYWORDS[word] or false
end

--- Whether a string may be the name of a variable, or of a field without quotes.
function text.is_name(given)
  return given:find "^[%a_][%w_]*$" ~= nil and not KEYWORDS[given]
end

--- Whether PostgreSQL would take the string as text: valid UTF-8 without NUL bytes.
function text.is_utf8(value)
  return utf8.len(value) ~= nil and not value:find("\0", 1, true)
end

return text
