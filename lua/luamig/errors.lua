--- Error objects, and the message handler that makes every error one.
--
-- An error is a table with these fields; all but `kind` and `message` may be absent:
--   kind        "script" (the script is wrong), "usage" (the command line is wrong),
--               "database" (the server refused; has `sqlstate`)
--   message     one sentence in PostgreSQL's style, without a final period
--   detail, hint  whole sentences
--   where       "path:line" of the statement that caused it, when `message` does not begin with it
--   traceback   Lua stack at the point where it was raised
--   sqlstate, table, column, constraint, sql   of database errors
--   value       the original error value, when a script raised something that is no string
-- `tostring` gives position, message, detail and hint.
--
-- Promises: an error keeps its identity on the way up, and its first traceback.

local advice = require "luamig.advice"

local errors = {}

local Error = { __name = "luamig.error" }

function Error:__tostring()
  local shown = self.where and self.where .. ": " .. self.message or self.message
  if self.detail then
    shown = shown .. "\nDETAIL:  " .. self.detail
  end
  if self.hint then
    shown = shown .. "\nHINT:  " .. self.hint
  end
  return shown
end

--- Makes an error object of a table of fields, in place.
function errors.new(fields)
  return setmetatable(fields, Error)
end

--- Raises an error object made of `fields`.
function errors.raise(fields)
  error(errors.new(fields), 0)
end

--- Whether a value is an error object, also one of another instance of this module.
function errors.is(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.__name == Error.__name
end

--- The Lua stack, without the frames below the innermost protected call.
local function stack(level)
  local trace = debug.traceback(nil, level + 1)
  local cut = trace:find("\n%s*%[C%]: in function 'xpcall'")
  return cut and trace:sub(1, cut - 1) or trace
end

--- The innermost line of Lua above `level`, as "path:line" and the source of its chunk, or nil.
function errors.line_at(level)
  local info
  repeat
    level = level + 1
    info = debug.getinfo(level, "Sl")
  until not info or info.currentline > 0
  if info then
    return ("%s:%d"):format(info.short_src, info.currentline), info.source
  end
end

--- Message handler for `xpcall`: returns an error object with a traceback.
-- An error object stays itself; a string becomes the message of a "script" error, with
-- a hint where it is one of Lua's own.
function errors.handler(value)
  if errors.is(value) then
    value.traceback = value.traceback or stack(2)
    return value
  end
  local err = errors.new { kind = "script", traceback = stack(2) }
  local meta = getmetatable(value)
  if type(value) == "string" then
    err.message = value
    err.hint = advice.of_error(value)
    err.where = value:find "^attempt to " and errors.line_at(2) or nil -- raised in C
  else
    err.value = value
    local printable = type(value) == "number" or type(meta) == "table" and meta.__tostring
    err.message = printable and tostring(value)
      or ("(error object is a %s value)"):format(type(value))
  end
  return err
end

return errors
