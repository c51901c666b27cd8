--- Properties that hold for a good migration whatever its rows are, tried on a world.
--
-- Promises: every run begins in a world of its own, made by the spec's function; what is printed is
-- the smallest batch that shows the fault, and how the tables differ.
-- Refuses: scripts whose undisturbed run is not done. Stubs answer as often as they are asked here,
-- since what is rolled back is asked again.

local difference = require "luamig.mock.difference"
local errors = require "luamig.errors"
local text = require "luamig.text"

local properties = {}

local MAX_RUNS = 5000

-- What to do about it, for the three properties.
local RESUME_HINT = "Lua variables are lost when luamig dies: keep in a table what later batches "
  .. "need."
local SIZE_HINT = "The batch size is up to whoever runs the script, and batches are halved after "
  .. "conflicts: migrate must do the same for a row whatever else is in its batch."
local REPEAT_HINT = "Let the base query leave out what is done, or write a value that does not "
  .. "depend on the one before. If the script is never to run twice, leave this assertion out: a "
  .. "run that is done is not repeated, and one that is killed goes on where it was."

local function is_done(result)
  return result.state == "done" or result.state == "done_with_failures"
end

--- One try at a property: the script, and how to make a world for it.
local Trial = {}
Trial.__index = Trial

--- Raises at the line of the spec.
local function fail(format, ...)
  errors.raise { kind = "property", message = format:format(...) }
end

function Trial:world()
  local world = self.make_world()
  if type(world) ~= "table" or not world.attempt then
    fail("the function that makes a world returned %s", text.describe(world))
  end
  world.stubs.answers_always = true
  return world
end

--- Runs the script once, afresh loaded. Mistakes of the spec are raised.
function Trial:run(world, opts)
  self.runs = self.runs + 1
  if self.runs > MAX_RUNS then
    fail("more than %d runs are needed; give the world fewer rows", MAX_RUNS)
  end
  local result, def = world:attempt(self.path, {
    args = self.args, batch_size = opts.batch_size or self.batch_size, limit = opts.limit,
    again = opts.again, kill = opts.kill,
  })
  if world.problem then
    error(world.problem, 0)
  end
  return result, def
end

--- A run that nothing disturbs, and what it leaves.
function Trial:undisturbed(opts)
  local world = self:world()
  local result, def = self:run(world, opts or {})
  if not is_done(result) then
    fail("%s does not even run undisturbed: %s", self.path, tostring(result.error or result.state))
  end
  return world, result, def
end

--- How a run ended and what it left, beside a snapshot of what it should leave; nil when both are
-- equal.
function Trial.compare(_, world, result, wanted)
  if not is_done(result) then
    return ("  the run is %s: %s"):format(result.state, tostring(result.error or "no error"))
  end
  local lines = difference.lines(world:snapshot(), wanted)
  return #lines > 0 and table.concat(lines, "\n") or nil
end

--- The keys of a batch, of the log: `(id) from (2) to (3)`; "" when it is not known.
local function show_batch(key, first, last)
  if not first then
    return ""
  end
  local function show(values)
    local shown = {}
    for i, item in ipairs(values) do
      shown[i] = text.describe(item)
    end
    return "(" .. table.concat(shown, ", ") .. ")"
  end
  return (", keys (%s) from %s to %s"):format(table.concat(key, ", "), show(first), show(last))
end

--- The keys of each batch of a run, by its number.
local function batches_of(world)
  local batches = {}
  for _, entry in ipairs(world.log) do
    if entry.verb == "page" and entry.committed and entry.first then
      batches[entry.batch] = entry
    end
  end
  return batches
end

--- Kills the run in one place, lets it go on, and compares. Returns whether it was killed there.
function Trial:kill(kill, wanted, def, batches)
  local world = self:world()
  if self:run(world, { kill = kill }).state ~= "killed" then
    return false
  end
  local result = self:run(world, {})
  local differs = self:compare(world, result, wanted)
  if differs then
    local batch = batches[kill.batch] or {}
    fail("%s is not resumable: killed %s batch %d%s, and run again, it leaves something else than "
      .. "without the kill:\n%s\n%s", self.path, kill.call and ("in call %d of the repo in")
      :format(kill.call) or "after", kill.batch,
      show_batch(def.config.key, batch.first, batch.last), differs, RESUME_HINT)
  end
  return true
end

local function resumable(self)
  local world, result, def = self:undisturbed()
  local wanted, batches = world:snapshot(), batches_of(world)
  for batch = 1, result.batches do
    local call = 1
    while self:kill({ batch = batch, call = call }, wanted, def, batches) do
      call = call + 1
    end
    self:kill({ batch = batch }, wanted, def, batches)
  end
end

local function batch_size_independent(self)
  local whole, result = self:undisturbed { batch_size = 1000000 }
  local wanted = whole:snapshot()
  for size = 1, result.rows do
    local world = self:world()
    local differs = self:compare(world, self:run(world, { batch_size = size }), wanted)
    if differs then
      fail("%s depends on the batch size: in batches of %d it leaves something else than in one "
        .. "batch of %d:\n%s\n%s", self.path, size, result.rows, differs, SIZE_HINT)
    end
  end
end

--- Runs a done migration again in batches of `size`; fails at the first batch that changes
-- something.
local function repeat_in_batches(self, size)
  local world, _, def = self:undisturbed { batch_size = size }
  if def.kind ~= "paged" then
    size = nil
  end
  local before = world:snapshot()
  local again = { again = true, limit = size, batch_size = size }
  local batch = 0
  local result
  repeat
    result = self:run(world, again)
    batch = batch + 1
    local differs = result.error and "  the run fails: " .. tostring(result.error)
      or self:compare(world, { state = "done" }, before)
    if differs then
      local of = batches_of(world)[batch] or {}
      fail("%s is not idempotent: run once more, its batch %d of %d row%s%s changes the tables "
        .. "again:\n%s\n%s", self.path, batch, result.rows, result.rows == 1 and "" or "s",
        show_batch(def.config.key, of.first, of.last), differs, REPEAT_HINT)
    end
    again.again = nil
  until result.state ~= "stopped"
end

local function idempotent(self)
  local _, result = self:undisturbed()
  for size = 1, math.max(result.rows, 1) do
    repeat_in_batches(self, size)
  end
end

--- Makes an assertion of the mock of a property.
local function assertion(name, check)
  return function(path, make_world, opts)
    if type(path) ~= "string" or type(make_world) ~= "function"
      or opts ~= nil and type(opts) ~= "table"
    then
      error(("mock.%s takes a script's path, a function that makes a world and, if you like, a "
        .. "table: { args =, batch_size = }"):format(name), 2)
    end
    opts = opts or {}
    local trial = setmetatable({
      path = path, make_world = make_world, args = opts.args, batch_size = opts.batch_size,
      runs = 0,
    }, Trial)
    local ok, err = xpcall(check, errors.handler, trial)
    if not ok then
      error(errors.is(err) and err.kind == "property" and err.message or tostring(err), 2)
    end
  end
end

--- Killed in each of its repo calls and after each of its batches in turn, and run again, does the
-- script leave what it leaves undisturbed?
-- @param path the script's file
-- @param make_world function() that returns a world, a fresh one each time
-- @param opts optional table: args, batch_size
-- Raises, at the caller's line, where the kill was and how the tables differ.
properties.assert_resumable = assertion("assert_resumable", resumable)

--- Does it leave the same in batches of every size, from 1 to all rows? Parameters as above.
properties.assert_batch_size_independent = assertion("assert_batch_size_independent",
  batch_size_independent)

--- Run once more after it is done, does it change nothing? Parameters as above.
properties.assert_idempotent = assertion("assert_idempotent", idempotent)

return properties
