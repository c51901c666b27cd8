--- A warning that Lua's `lower` and `upper` leave letters beyond ASCII as they are.
--
-- Promises: the first call with such a letter causes the warning, which names the line. The
-- functions return what Lua's own return, and their errors name the same line and function.

local errors = require "luamig.errors"

local letters = {}

local library = package.loaded.string
local folds = { lower = string.lower, upper = string.upper }
local own_files = debug.getinfo(1, "S").source:match "^(.*)script.letters%.lua$"
local tell

--- The innermost line of Lua above `level`, unless it is luamig's own.
local function line_at(level)
  local line, source = errors.line_at(level + 1)
  return line and source:sub(1, #own_files) ~= own_files and line or nil
end

local function watched(name)
  local fold = folds[name]
  return function(s)
    if type(s) ~= "string" and type(s) ~= "number" then
      error(("bad argument #1 to '%s' (string expected, got %s)"):format(name, type(s)), 2)
    end
    local where = tell and type(s) == "string" and utf8.len(s) ~= #s and line_at(2)
    if where then
      local say = tell
      tell = nil
      say(("string.%s changes ASCII letters only; it leaves the other letters of this text "
        .. "unchanged"):format(name), "Let the server do it, and read the result: SELECT id, "
        .. ("%s(name) AS changed."):format(name), where)
    end
    return fold(s)
  end
end

--- Calls `say(message, hint, where)` at the next such call, once; nil: no warning.
function letters.watch(say)
  tell = say
  for name, fold in pairs(folds) do
    if library[name] == fold then
      library[name] = watched(name)
    end
  end
end

return letters
