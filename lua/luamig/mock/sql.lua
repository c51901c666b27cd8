--- Just enough SQL to tell two statements apart: tokens.
--
-- Promises: spacing, comments, letter case of unquoted words and a final semicolon make no
-- difference; anything else does.
-- Refuses to understand more: the mock never interprets SQL.

local sql = {}

-- Longest first.
local OPERATORS = { "->>", "#>>", "<=", ">=", "<>", "!=", "||", "::", "->", "#>", "@>", "<@", "&&" }

local function skip_block_comment(source, at)
  local depth = 0
  repeat
    local from, to, mark = source:find("([/*][*/])", at)
    if not from then
      return #source + 1
    elseif mark == "/*" then
      depth, at = depth + 1, to + 1
    elseif mark == "*/" then
      depth, at = depth - 1, to + 1
    else
      at = from + 1
    end
  until depth == 0
  return at
end

--- End of a quoted token that begins at `at`; a doubled quote stands for itself.
local function quoted_end(source, at, quote, has_escapes)
  local i = at + 1
  while i <= #source do
    local char = source:sub(i, i)
    if char == "\\" and has_escapes then
      i = i + 1
    elseif char == quote then
      if source:sub(i + 1, i + 1) ~= quote then
        return i
      end
      i = i + 1
    end
    i = i + 1
  end
  return #source
end

local function dollar_end(source, at)
  local tag = source:match("^%$[%a_\128-\255]?[%w_\128-\255]*%$", at)
  if not tag then
    return nil
  end
  local _, to = source:find(tag, at + #tag, true)
  return to or #source
end

local function operator_at(source, at)
  for _, operator in ipairs(OPERATORS) do
    if source:sub(at, at + #operator - 1) == operator then
      return operator
    end
  end
  return source:sub(at, at)
end

--- The token at `at` and the position after it.
local function token_at(source, at)
  local char = source:sub(at, at)
  local to
  if char == "'" or char == '"' then
    to = quoted_end(source, at, char, false)
  elseif source:find("^[eE]'", at) then
    to = quoted_end(source, at + 1, "'", true)
  elseif char == "$" then
    to = dollar_end(source, at)
    to = to or select(2, source:find("^%$%d*", at))
  else
    local word = source:match("^[%a_\128-\255][%w_$\128-\255]*", at)
      or source:match("^%d[%w_.]*", at) or source:match("^%.%d[%w_]*", at)
    if word then
      return word:lower(), at + #word
    end
    local operator = operator_at(source, at)
    return operator, at + #operator
  end
  return source:sub(at, to), to + 1
end

--- The tokens of a statement, a list of strings. Unquoted words are in lower case.
function sql.tokens(source)
  local list, at = {}, 1
  while true do
    at = source:find("%S", at)
    if not at then
      break
    elseif source:find("^%-%-", at) then
      at = source:find("\n", at, true) or #source + 1
    elseif source:find("^/%*", at) then
      at = skip_block_comment(source, at)
    else
      list[#list + 1], at = token_at(source, at)
    end
  end
  while list[#list] == ";" do
    list[#list] = nil
  end
  return list
end

--- One text for all statements that differ in nothing but what the header names.
function sql.fingerprint(source)
  return table.concat(sql.tokens(source), "\0")
end

local CONTROL = {
  begin = true, start = true, commit = true, ["end"] = true, rollback = true, abort = true,
  savepoint = true, release = true,
}

--- Whether the statement begins, ends or divides a transaction.
function sql.is_transaction_control(source)
  local tokens = sql.tokens(source)
  return CONTROL[tokens[1]] or tokens[1] == "prepare" and tokens[2] == "transaction"
end

return sql
