--- Checks of the tables that specs pass to the mock.
--
-- Promises: a wrong option is an error at the line of the spec that gave it.

local suggest = require "luamig.suggest"
local text = require "luamig.text"

local check = {}

-- Where the mock's modules lie, as the debug library says it.
local OWN = debug.getinfo(1, "S").source:match "^(.*)check%.lua$"

--- Raises at the line of the spec: the first frame below the public functions of the mock. Without
-- a line when a tail call has taken that frame, and a function of the mock is the next.
-- @param depth frames between the caller and the spec, 1 for a public function itself
function check.fail(depth, message)
  local frame = debug.getinfo(depth + 2, "S")
  local is_own = frame and frame.source:sub(1, #OWN) == OWN
  error(message, is_own and 0 or depth + 2)
end

--- Raises unless `options` is nil or a table whose keys are all in `known`.
function check.options(depth, what, options, known)
  if options == nil then
    return
  elseif type(options) ~= "table" then
    check.fail(depth + 1, ("%s takes a table, not %s"):format(what, text.describe(options)))
  end
  for name in next, options do
    if not text.contains(known, name) then
      local shown = tostring(name)
      check.fail(depth + 1, ('%s: unknown option "%s"%s'):format(what, shown,
        suggest.suffix(shown, known)))
    end
  end
end

--- Raises unless `given` is nil or of that type of Lua; `wanted` is what messages call it.
function check.type(depth, what, given, type_name, wanted)
  if given ~= nil and type(given) ~= type_name then
    check.fail(depth + 1, ("%s must be %s, not %s"):format(what, wanted, text.describe(given)))
  end
end

--- Raises unless `given` is nil or an integer of at least `low`.
function check.integer(depth, what, given, low)
  if given ~= nil and (math.type(given) ~= "integer" or given < low) then
    check.fail(depth + 1, ("%s must be an integer of at least %d, not %s"):format(what, low,
      text.describe(given)))
  end
end

--- Whether a value is written like an SQLSTATE.
function check.is_sqlstate(given)
  return type(given) == "string" and #given == 5 and given:find "^[%dA-Z]+$" ~= nil
end

return check
