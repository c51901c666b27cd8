--- What to do about the errors of Lua itself: a table of patterns and hints.
--
-- Promises: a hint is a sentence that can be followed; where no pattern fits there is none. The
-- text of the line decides where the message alone does not: most of these errors are words and
-- signs of other languages.

local text = require "luamig.text"

local advice = {}

local NULL_HINT = "A column that is NULL reads nil. A missing field also reads nil. Test for nil "
  .. "first, as in if %s then, or use a default, as in (%s or 0)."

-- Words of other languages at the beginning of a statement, and what Lua writes.
local STATEMENTS = {
  const = "Declare a variable with local: local x = 1.",
  var = "Declare a variable with local: local x = 1.",
  let = "Declare a variable with local: local x = 1.",
  def = "Write a function: local function name(x) ... end.",
  func = "Write a function: local function name(x) ... end.",
  fn = "Write a function: local function name(x) ... end.",
  import = 'Load a module with: local name = require "name".',
  from = 'Load a module with: local name = require "name".',
  try = "Catch an error with local ok, err = pcall(fn). Catch an error of the database with "
    .. "repo:savepoint(fn).",
  throw = 'Raise an error with: error "what is wrong".',
  raise = 'Raise an error with: error "what is wrong".',
  switch = "Lua has no switch: write if a == 1 then ... elseif a == 2 then ... end.",
  case = "Lua has no case: write if a == 1 then ... elseif a == 2 then ... end.",
  foreach = "Write a loop over a list: for _, row in ipairs(rows) do ... end.",
  unless = "Lua has no unless: write if not a then ... end.",
  class = "Lua has no classes. Use a table; it can hold fields and functions.",
  elif = "Lua writes elseif, in one word.",
  elsif = "Lua writes elseif, in one word.",
  endif = "Every block ends with the word end.",
  await = "Lua has no await: leave await out. Calls of the repo wait for their result.",
  async = "Lua has no async: leave async out.",
}

local FOR_HINT = "Write a loop as: for _, row in ipairs(rows) do ... end, for i = 1, 10 do ... "
  .. "end, or while CONDITION do ... end."
local IF_HINT = "Write a condition as: if CONDITION then ... elseif CONDITION then ... else ... "
  .. "end."
local COMMA_HINT = "Is a comma missing between the fields or arguments, or a closing ), } or ] "
  .. "missing?"
local END_HINT = "Is an end missing above? Each function, if, for, while and do needs an end."
local ENDS_HINT = "There is one end too many: is an end above at the wrong place?"
local ELSE_IF_HINT = 'Lua writes elseif, in one word: "else if" begins an if that needs an end of '
  .. "its own."
local BRACES_HINT = "Lua has no braces around a block. A block begins with then, do or function "
  .. "(...), and ends with end."
local FIELD_HINT = "Write a field of a table with =, as in { id = 1 }. Put a name in quotes into "
  .. 'brackets, as in { ["first name"] = 1 }.'
local COMMENT_HINT = "A comment begins with --."

-- Errors of the compiler: `message` and `line` are patterns that must both be found, the line
-- without its texts, labels and comment (raw: with them); the first that fits is told. %1 in a hint
-- stands for what was captured, by `line` where there is one. above: the line may be one of the
-- three before; words: the hints by what was captured; keyword: it must be a word of Lua, or must
-- not be one.
local SYNTAX = {
  { line = "'%w+'%w", raw = true,
    hint = "Put a text that contains ' into double quotes: \"it's\"." },
  { message = "unfinished string",
    hint = "A text ends on its line, with the same quote that begins it. Put a text of several "
      .. "lines between [[ and ]]." },
  { message = "unfinished long", hint = "The closing ]] is missing." },
  { message = "malformed number",
    hint = "A name begins with a letter. A number contains only digits." },
  { line = "^%s*for%s*%(", hint = FOR_HINT },
  { line = "^%s*//", hint = COMMENT_HINT }, { line = "^%s*/%*", hint = COMMENT_HINT },
  { line = "^%s*#", hint = COMMENT_HINT },
  { line = "!==", hint = "Lua writes ~= for not equal." },
  { line = "===", hint = "Lua compares with ==." },
  { line = "!=", hint = "Lua writes ~= for not equal." },
  { line = "<>", hint = "Lua writes ~= for not equal." },
  { line = "&&", hint = "Lua writes the words and, or, not." },
  { line = "||", hint = "Lua writes the words and, or, not." },
  { line = "![%w_(]", hint = "Lua writes the words and, or, not." },
  { line = "([%a_][%w_.]*)%s*%+%+", hint = "Write it out: %1 = %1 + 1." },
  { line = "^%s*([%a_][%w_.]*)%s*%-%-%s*;?%s*$", raw = true, above = true, keyword = false,
    hint = "-- begins a comment. Write it out: %1 = %1 - 1." },
  { line = "([%a_][%w_.]*)%s*([-+*/])=%s*[^=%s]", hint = "Write it out: %1 = %1 %2 ..." },
  { line = "([%a_][%w_.]*)%s*%.%.=", hint = "Write it out: %1 = %1 .. ..." },
  { line = "%*%*", hint = "Write a power with ^." },
  { line = "%?%.",
    hint = "Lua has no ?. sign. Test for nil first, as in if a then ... a.b ... end." },
  { line = "%?%?", hint = "Write a default with or: a or b." },
  { line = "%?", hint = "Lua has no ? sign. Write a choice as: a and b or c." },
  { line = "=>", hint = "Write a function without a name as: function(x) return x end." },
  { line = "`", hint = 'Put a text into " or \', and a text of several lines between [[ and ]]. '
    .. "Insert values with .. or string.format." },
  { line = "=%s*%[[^[=]", hint = "Write a list as { 1, 2, 3 }." },
  { line = "[(,]%s*%[[^[=]", hint = "Write a list as { 1, 2, 3 }." },
  { line = "^%s*if%f[%W].*[%w_)]%s*{", hint = BRACES_HINT },
  { message = "'then' expected", line = "^%s*if%f[%W].*[%w_)]%s*{%s*$", above = true,
    hint = BRACES_HINT },
  { line = "^%s*while%f[%W].*{", hint = BRACES_HINT },
  { line = "%f[%w]function%f[%W][^(]*%([^)]*%)%s*{", hint = BRACES_HINT },
  { message = "near '['\"]", line = '"%s*%.%s*"', hint = "Join texts with two dots: a .. b." },
  { message = "near '%.'", hint = "Join texts with two dots: a .. b." },
  { message = "'then' expected near '='", hint = "Lua compares with ==; a single = assigns." },
  { line = "%f[%w]continue%f[%W]", above = true,
    hint = "Lua has no continue. Write goto continue, and ::continue:: before the end of the loop. "
      .. "Or put the rest into an if." },
  { line = "%f[%w]elif%f[%W]", hint = STATEMENTS.elif },
  { line = "%f[%w]elsif%f[%W]", hint = STATEMENTS.elif },
  { message = "syntax error near", line = "^%s*([%a_]+)%s*[%w_(\"'{]", words = STATEMENTS },
  { message = "'then' expected", hint = IF_HINT },
  { message = "'do' expected", hint = FOR_HINT },
  { message = "'=' or 'in' expected", hint = FOR_HINT },
  { line = "[{,]%s*[%a_][%w_]*%s*:%s", hint = FIELD_HINT },
  { message = "function arguments expected", hint = "Call a method with a colon and parentheses: "
    .. "repo:update(...). Read a field with a dot, and write it with =." },
  { line = "^%s*[%a_][%w_]*%s*:%s", hint = FIELD_HINT },
  { message = "near ':'", line = "[\"']%s*:", hint = FIELD_HINT },
  { message = "<name> expected near '%[=*%[", hint = FIELD_HINT },
  { message = "near '(%l+)'", keyword = true, is_assigned = true, hint = "%1 is a word of Lua. "
    .. 'Write a field as ["%1"] = ... and give a variable another name.' },
  { message = "<name> expected near '(%l+)'", keyword = true, hint = "%1 is a word of Lua. Choose "
    .. "another name." },
  { message = "<eof>'? expected near 'end'", hint = ENDS_HINT },
  { message = "to close '{' at line %d+%) near 'end'", hint = ENDS_HINT },
  { message = "'?<eof>'? expected",
    hint = "return must be the last statement of a file or block." },
  { message = "to close '[{(]' at line", hint = COMMA_HINT },
  { message = "'end' expected", hint = END_HINT },
  { message = "'[})%]]' expected", hint = COMMA_HINT },
  { message = "unexpected symbol near '[,})]'", hint = END_HINT },
  { message = "unexpected symbol near <eof>", hint = "The file ends too early: is a }, a ) or "
    .. "an end missing?" },
  { message = "near <eof>", hint = "The file ends too early: is a }, a ) or an end missing?" },
  { message = "no visible label", hint = "Mark the place with two colons on each side: "
    .. "::name::." },
}

-- Methods of other languages, and how Lua does the same.
local METHODS = {
  trim = 's:match "^%s*(.-)%s*$"', strip = 's:match "^%s*(.-)%s*$"',
  split = 'for part in s:gmatch "[^,]+" do ... end',
  replace = "s:gsub(pattern, text)", toLowerCase = "s:lower()", toUpperCase = "s:upper()",
  substring = "s:sub(first, last)", substr = "s:sub(first, last)", slice = "s:sub(first, last)",
  indexOf = "s:find(text, 1, true)", includes = "s:find(text, 1, true) ~= nil",
  contains = "s:find(text, 1, true) ~= nil", startsWith = "s:sub(1, #text) == text",
  endsWith = "s:sub(-#text) == text", length = "#s", size = "#s", count = "#s",
  push = "list[#list + 1] = value", append = "list[#list + 1] = value",
  add = "list[#list + 1] = value", join = 'table.concat(list, ", ")',
  forEach = "for _, item in ipairs(list) do ... end",
  map = "for i, item in ipairs(list) do ... end",
  each = "for _, item in ipairs(list) do ... end", toString = "tostring(value)",
  keys = "for name, item in pairs(t) do ... end", charAt = "s:sub(i, i)",
}

local function null_hint(name)
  return NULL_HINT:format(name, name)
end

local NULL_VALUE_HINT = null_hint "value"
local NULL_LIST_HINT = "The list is nil: a column that is NULL reads nil. Write ipairs(list or {})."

--- Errors while a script runs: a pattern of the message, and a hint or a function of what it
-- captures and the line.
local RUNTIME = {
  { "for iterator 'for iterator'%)", "Loop over a list with: for _, row in ipairs(list) do. Loop "
    .. "over a table with names with: for name, value in pairs(t) do." },
  { "to 'for iterator' %(table expected, got nil%)", NULL_LIST_HINT },
  { "bad argument #1 to '[i]?pairs'", NULL_LIST_HINT },
  { "^attempt to index a nil value$", NULL_LIST_HINT },
  { "attempt to index a nil value", function(_, line)
    return line:find "%[0%]" and "A list begins at 1: its first element is list[1]."
  end },
  { "attempt to index a nil value %(%a+ '([%a_][%w_]*)'%)", null_hint },
  { "attempt to index a nil value", NULL_VALUE_HINT },
  { "attempt to %a+ a 'string' with a ", "Join texts with two dots, a .. b. To calculate "
    .. "with a text, write tonumber(text)." },
  { "attempt to perform arithmetic on a nil value %(%a+ '([%a_][%w_]*)'%)", null_hint },
  { "attempt to perform arithmetic on a nil value", NULL_VALUE_HINT },
  { "attempt to concatenate a nil value %(%a+ '([%a_][%w_]*)'%)", function(name)
    return ('A column that is NULL reads nil. A missing field also reads nil. Use a default, as '
      .. 'in (%s or "").'):format(name)
  end },
  { "attempt to concatenate a nil value", 'A column that is NULL reads nil. Use a default, as in '
    .. '(value or "").' },
  { "attempt to concatenate a (%a+) value", function(kind)
    return kind == "boolean" and "Write tostring(value) to get a text."
      or "Join its fields, not the value itself. tostring(value) shows what the value is."
  end },
  { "attempt to compare %a+ with nil", NULL_VALUE_HINT },
  { "attempt to compare nil with ", NULL_VALUE_HINT },
  { "attempt to compare two nil values", NULL_VALUE_HINT },
  { "attempt to compare number with string", "Write tonumber(text) to get a number." },
  { "attempt to compare string with number", "Write tonumber(text) to get a number." },
  { "to 'format' %(number has no integer representation%)", "%d takes whole numbers. Write "
    .. "math.floor(x), or %.2f for two digits after the point." },
  { "number has no integer representation", "Write math.floor(x) to get a whole number." },
  { "to 'format' %(number expected, got (%a+)%)", "%s takes any value. Write tonumber(text) to "
    .. "get a number." },
  { "attempt to get length of a nil value %(%a+ '([%a_][%w_]*)'%)", function(name)
    return ("A column that is NULL reads nil. Write #(%s or {}) for a list, #(%s or \"\") for a "
      .. "text."):format(name, name)
  end },
  { "attempt to get length of a ", "# counts the elements of a list and the bytes of a text. To "
    .. "count the fields of an object, loop over pairs(object)." },
  { "attempt to call a nil value %(%a+ '([%a_][%w_]*)'%)", function(name)
    return METHODS[name] and ("Lua has no %s. Write %s."):format(name, METHODS[name])
      or ('The value has no function "%s".'):format(name)
  end },
  { "table index is nil", "A column that is NULL reads nil, and nil cannot name a field. Test for "
    .. "nil first." },
  { "bad 'for' %a+ %(number expected, got nil%)", NULL_VALUE_HINT },
  { "stack overflow", "A function calls itself and never stops." },
}

--- The line without texts, labels and comment.
local function bare(line)
  return (line:gsub('"[^"]*"', '""'):gsub("'[^']*'", "''"):gsub("%[=*%[.*$", '""')
    :gsub("%-%-.*$", ""):gsub("%f[%w]goto%s+[%a_][%w_]*", ""):gsub("::%s*[%a_][%w_]*%s*::", ""))
end

--- The source without its long texts; lines keep their numbers.
local function without_long_texts(content)
  return (content:gsub("%[(=*)%[(.-)%]%1%]", function(_, long)
    return '""' .. long:gsub("[^\n]+", "")
  end))
end

--- The lines of a text.
local function split(content)
  local lines = {}
  for line in (content .. "\n"):gmatch "([^\n]*)\n" do
    lines[#lines + 1] = line
  end
  return lines
end

--- What a pattern captures in the line of an error, or in those above where the rule says so.
local function captures_of(rule, lines, number)
  local found = {}
  for i = number, number - (rule.above and 3 or 0), -1 do
    local line = rule.raw and lines[i] or bare(lines.short[i] or "")
    found = #found > 0 and found or { line:match(rule.line) }
  end
  return found
end

--- The hint of a rule that fits; nil when it does not.
local function hint_of(rule, message, lines, number)
  local captures = rule.message and { message:match(rule.message) }
  if captures and #captures == 0 then
    return nil
  elseif rule.line then
    captures = captures_of(rule, lines, number)
  end
  local word = captures[1]
  if word == nil or rule.words and not rule.words[word]
    or rule.keyword ~= nil and text.is_keyword(word) ~= rule.keyword
    or rule.is_assigned and not (lines[number] or ""):find("%f[%w]" .. word .. "%s*=[^=]")
  then
    return nil
  elseif rule.words then
    return rule.words[word]
  end
  return (rule.hint:gsub("%%(%d)", function(i)
    return captures[tonumber(i)]
  end))
end

--- A hint for an error of the compiler, or nil.
-- @param message "path:line: what is wrong near 'x'"
-- @param content the text that was compiled
function advice.of_syntax(message, content)
  local lines = split(content)
  lines.short = split(without_long_texts(content))
  local number = tonumber(message:match ":(%d+): ") or 0
  for _, rule in ipairs(SYNTAX) do
    local hint = hint_of(rule, message, lines, number)
    if hint then
      local else_if = hint == END_HINT and content:find "%f[%w]else[ \t]+if%f[%W]"
      return else_if and ELSE_IF_HINT .. " " .. hint or hint
    end
  end
end

--- The text of the file that a message points at, and the number of the line; nil when it cannot
-- be read.
local function place_of(message)
  local path, number = message:match "^(.-):(%d+): "
  local file = path and io.open(path, "rb")
  local content = file and file:read "a"
  if file then
    file:close()
  end
  return content, tonumber(number)
end

--- The line that a message points at, "" when it cannot be read.
local function line_of(message)
  local content, number = place_of(message)
  return content and split(content)[number] or ""
end

--- A hint for a module that does not compile; the file is read again.
local function hint_of_module(message)
  local inner = message:match 'could not load module "[^"]*": (.+)$'
  local content = inner and place_of(inner)
  return content and advice.of_syntax(inner, content)
end

-- Names of other languages that a script takes for globals, and what Lua has.
advice.names = {
  null = "Lua writes nil", None = "Lua writes nil",
  undefined = "Lua writes nil", Nil = "Lua writes nil",
  True = "Lua writes true", False = "Lua writes false", TRUE = "Lua writes true",
  FALSE = "Lua writes false", await = "leave await out; calls of the repo wait for their result",
  async = "leave async out", new = "Lua has no new: leave it out", len = "write #list",
  str = "write tostring(value)", int = "write math.floor(x)",
  float = "write tonumber(text)", typeof = "Lua writes type(value)",
  console = "write print(value)", printf = "write string.format(...)",
  sprintf = "write string.format(...)", f = "write string.format(...)",
  this = "Lua has no this: use the function's arguments", parseInt = "write tonumber(text)",
  range = "Lua writes: for i = 1, n do", JSON = "luamig.json reads and writes JSON columns",
  throw = 'Lua writes: error "what is wrong"', raise = 'Lua writes: error "what is wrong"',
}

--- A hint for an error of Lua that a running script has met, or nil.
-- @param message as Lua makes it, with or without a position
function advice.of_error(message)
  local hint_of_file = hint_of_module(message)
  if hint_of_file then
    return hint_of_file
  end
  for _, rule in ipairs(RUNTIME) do
    local captures = { message:match(rule[1]) }
    if #captures > 0 then
      local hint = rule[2]
      if type(hint) == "function" then
        hint = hint(captures[1], line_of(message))
      end
      if hint then
        return hint
      end
    end
  end
end

return advice
