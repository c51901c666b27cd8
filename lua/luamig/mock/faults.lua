--- Errors and deaths that a spec injects into a run.
--
-- Promises: each fires exactly once, at the place named; one that was never reached is reported.

local check = require "luamig.mock.check"
local errors = require "luamig.errors"
local sqlstates = require "luamig.sqlstates"
local text = require "luamig.text"

local faults = {}

local Faults = {}
Faults.__index = Faults

local KEYS = { "on", "nth", "sqlstate", "message" }
local PLACES = {
  "page", "query", "one", "scalar", "execute", "update", "insert", "delete", "update_all",
  "delete_all", "insert_all", "get", "select", "savepoint", "commit",
}

--- Whether an error with this SQLSTATE comes with the end of the session.
function faults.ends_session(sqlstate)
  return sqlstates.meaning(sqlstate) == "lost"
end

--- What a killed run raises; no script can catch it for good.
faults.KILL = errors.new { kind = "kill", message = "killed" }

--- Adds a fault; to be called by `world:fail` only (errors show the spec's line).
function Faults:add(spec)
  if type(spec) ~= "table" then
    check.fail(2, "world:fail takes a table, not " .. text.describe(spec))
  end
  check.options(2, "world:fail", spec, KEYS)
  if not text.contains(PLACES, spec.on) then
    check.fail(2, ("world:fail: on must be %s, not %s"):format(text.choices(PLACES),
      text.describe(spec.on)))
  elseif not check.is_sqlstate(spec.sqlstate) then
    check.fail(2, "world:fail: sqlstate must be five digits or capital letters, not "
      .. text.describe(spec.sqlstate))
  end
  check.type(2, "world:fail: message", spec.message, "string", "a string")
  check.integer(2, "world:fail: nth", spec.nth, 1)
  self.list[#self.list + 1] = {
    on = spec.on, left = spec.nth or 1, sqlstate = spec.sqlstate,
    message = spec.message or "injected error",
  }
end

--- Raises the fault that is due at this place, if any; of several, the one declared first.
function Faults:reach(place)
  local due
  for _, fault in ipairs(self.list) do
    if fault.on == place and not fault.fired then
      fault.left = fault.left - 1
      due = due or fault.left <= 0 and fault or nil
    end
  end
  if due then
    due.fired = true
    errors.raise { kind = "database", sqlstate = due.sqlstate, message = due.message }
  end
end

--- Descriptions of the faults that were not reached.
function Faults:unused()
  return text.map(self.list, function(fault)
    return not fault.fired and ('the run did not reach world:fail on "%s"'):format(fault.on) or nil
  end)
end

function faults.new()
  return setmetatable({ list = {} }, Faults)
end

return faults
