--- Lua files that return one table: running them, and pointing at lines in them.
--
-- Promises: errors are the tables of `luamig.errors`, kind "script".
-- Refuses: files that are not Lua source text, or return something else than one table.

local advice = require "luamig.advice"
local env = require "luamig.script.env"
local errors = require "luamig.errors"
local paths = require "luamig.script.paths"

local source = {}

--- The line where the text assigns to a field, or nil when there is none or more than one.
function source.line_of(content, name)
  if type(name) ~= "string" then
    return nil
  end
  local plain = "[{,;%s]" .. name:gsub("%W", "%%%0") .. "%s*=[^=]"
  local quoted = "[\"']" .. name:gsub("%W", "%%%0") .. "[\"']%s*%]%s*=[^=]"
  local found
  local number = 0
  for line in (content .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    line = " " .. line:gsub("%-%-.*", ""):gsub("local%s+[%w_]+%s*=", "") .. " "
    if line:find(plain) or line:find(quoted) then
      if found then
        return nil
      end
      found = number
    end
  end
  return found
end

--- Makes the function that refuses the file at a field, with the field's line if it can be found.
function source.refuser(path, content)
  return function(field_path, message, hint)
    local line = source.line_of(content, field_path[#field_path])
    local where = line and ("%s:%d"):format(path, line) or path
    errors.raise { kind = "script", message = where .. ": " .. message, hint = hint }
  end
end

--- Calls a function of the file; an error gets a traceback and becomes kind "script".
-- @return the results, packed
function source.call(fn, ...)
  local results = table.pack(xpcall(fn, errors.handler, ...))
  if not results[1] then
    error(results[2], 0)
  end
  return table.pack(table.unpack(results, 2, results.n))
end

--- What a function has returned, in words; its results as `source.call` packs them.
function source.returned(results)
  if results.n == 0 then
    return "nothing"
  elseif results.n > 1 then
    return ("%d values"):format(results.n)
  end
  return results[1] == nil and "nil" or "a " .. type(results[1])
end

--- The text of a file; `what` says for a message what it is. `texts`: see `paths.read_once`.
function source.read(path, what, texts)
  local content, why = paths.read_once(texts, what, path)
  if not content then
    local message = ('could not open %s "%s": %s'):format(what, path, why)
    errors.raise { kind = "script", message = message }
  end
  return content
end

--- Compiles and runs the text in an environment of its own.
-- @return the table that it returned
function source.evaluate(content, path)
  local chunk, why = env.compile(content, path)
  if not chunk then
    errors.raise { kind = "script", message = why, hint = advice.of_syntax(why, content) }
  end
  local results = source.call(chunk, path)
  if results.n ~= 1 or type(results[1]) ~= "table" then
    local returned = source.returned(results)
    errors.raise {
      kind = "script", message = ("%s must return a table, it returned %s"):format(path, returned),
      hint = "Write return { ... } as its last statement.",
    }
  end
  return results[1]
end

return source
