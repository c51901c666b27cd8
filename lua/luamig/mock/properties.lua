--- Properties that hold for a good migration whatever its rows are, tried on a world.
--
-- Promises: every run begins in a world of its own, made by the spec's function; what is printed is
-- the smallest batch that shows the fault, and how the tables differ. A sequence goes back with a
-- transaction that is rolled back, so that the numbers which it gives can be compared.
-- Refuses: scripts whose undisturbed run is not done, and worlds in which there is nothing to
-- judge: a run that changes no table has every property. Stubs answer as often as they are asked
-- here, since what is rolled back is asked again.

local difference = require "luamig.mock.difference"
local env = require "luamig.script.env"
local errors = require "luamig.errors"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local properties = {}

local MAX_RUNS = 5000
local MAX_LEFT = 10
local MANY_WORKERS = 8

-- How much later it is where a run must not depend on it: another day, hour, minute and second.
-- Only in Lua; on PostgreSQL the script has a Lua state, and a clock, of its own.
local LATER_S = 90061

-- What to do about it.
local RESUME_HINT = "Lua variables are lost when luamig dies. Keep what later batches need in a "
  .. "table of the database."
local RETRY_HINT = "A rollback undoes changes in the database, not in Lua variables. At the "
  .. "start of migrate, give each variable its initial value."
local SIZE_HINT = "The user chooses the batch size, and luamig halves batches after conflicts. "
  .. "migrate must do the same for a row, whatever other rows are in its batch."
local REPEAT_HINT = "Let the base query leave out migrated rows, or write a value that does not "
  .. "depend on the old value. If the script must never run twice, remove this assertion: luamig "
  .. "does not repeat a run that is done, and it resumes a killed run after its cursor."
local CHANCE_HINT = "Clocks, math.random and the order of pairs differ from run to run, and a run "
  .. "may continue on another day. Take the value from the row, from an argument, or from a "
  .. "default of the column."
local OWN_HINT = "Each worker has its own Lua variables, and luamig may die between two batches. "
  .. "So a variable knows the rows of some batches only. Keep a total in a table of the database, "
  .. "and add to it there. Instead of a cache, ask the database, or insert with on_conflict."
local RANGE_HINT = "The rows of a worker may end anywhere, and its last batch with them. "
  .. SIZE_HINT
local ORDER_HINT = "Batches of several workers run in no order: a batch with higher keys may be "
  .. "first, and run.batch does not say where the keys are. So a value must depend on the row "
  .. "alone. What must be first belongs into on_start. What needs all rows belongs into "
  .. "on_complete: a number for each row in its order, the last value of all."
local SERIAL_HINT = "A sequence numbers rows in the order of batches. If the number is only a "
  .. "name, declare it as primary_key: then this assertion does not compare it."
local ONE_WORKER_HINT = "If the script needs one worker, set config.workers to 1 and remove this "
  .. "assertion."
local COMPLETE_HINT = "Such a row is not migrated. Does migrate skip it? Or does the base query "
  .. "still return it after migrate has changed it?"

-- What a world lacks in which a property has nothing to judge, and what to add.
local NO_ROWS = "the base query returns no row. Add rows that it returns to the world"
local NO_CHANGE = "the run changes no table. Add rows that the script changes to the world. Raw "
  .. "SQL that a stub answers changes nothing"
local ALL_FAILED = "all rows are failed rows, and the run changes no table. Add rows that the "
  .. "script changes to the world"
local ONE_ROW = "the base query returns one row, so there is only one batch size. Add rows to the "
  .. "world: at least two rows can show a difference"
local ONE_RANGE = "the base query returns one row, so there is only one batch. Add rows to the "
  .. "world: at least two rows can show a difference"
local NO_BATCHES = "a one-shot has no batches. Remove this assertion"
local INPUT = "the base query of a script with input returns all of its file, also when it is "
  .. "done. Remove this assertion, and check the rows with mock.assert_rows"
local NO_QUERY = "a one-shot has no base query. Remove this assertion, and check the rows with "
  .. "mock.assert_rows"

local function is_done(result)
  return result.state == "done" or result.state == "done_with_failures"
end

--- One try at a property: the script, and how to make a world for it.
local Trial = {}
Trial.__index = Trial

--- Raises what an assertion raises at the line of the spec.
local function fail(format, ...)
  errors.raise { kind = "property", message = format:format(...) }
end

function Trial:world()
  local world = self.make_world()
  if type(world) ~= "table" or not world.attempt then
    fail("the function must return a world, not %s", text.describe(world))
  end
  world.stubs.answers_always, world.rewinds = true, true
  if world.source then
    world.source.stubs.answers_always = true
  end
  return world
end

--- Calls `fn` as a process of its own would: with `os.time` and `os.date` ahead, and with modules
-- that are loaded anew.
local function in_another_process(seconds, fn)
  local time, date, modules = os.time, os.date, env.exchange {}
  rawset(os, "time", function(fields)
    return fields and time(fields) or time() + seconds
  end)
  rawset(os, "date", function(format, at)
    return date(format, at or time() + seconds)
  end)
  local results = table.pack(pcall(fn))
  rawset(os, "time", time)
  rawset(os, "date", date)
  env.exchange(modules)
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

--- Runs the script once, afresh loaded. Mistakes of the spec are raised. `opts` are those of
-- `world:run`, and later: true where the clock is to be ahead.
function Trial:run(world, opts)
  self.runs = self.runs + 1
  if self.runs > MAX_RUNS then
    fail("this assertion needs more than %d runs; put fewer rows into the world", MAX_RUNS)
  end
  local result, def = in_another_process(opts.later and LATER_S or 0, function()
    return world:attempt(self.path, {
      args = self.args, batch_size = opts.batch_size or self.batch_size, limit = opts.limit,
      again = opts.again, kill = opts.kill, workers = opts.workers, order = opts.order,
      ranges = opts.ranges, shares_lua = opts.shares_lua, input = self.input,
    })
  end)
  if world.problem then
    error(world.problem, 0)
  end
  return result, def
end

--- Ends the assertion, which would hold whatever the script does.
function Trial:cannot_test(why)
  fail("mock.%s cannot test %s: %s.", self.name, self.path, why)
end

--- Notes whether the first undisturbed run leaves the world as it was. What holds is then without
-- meaning; what does not hold is still worth telling.
function Trial:check_for_changes(world, result, def, before)
  self.is_checked = true
  if def.kind == "paged" and result.rows + result.failures == 0 then
    self:cannot_test(NO_ROWS)
  elseif #difference.lines(world:snapshot(), before) == 0 then
    self.why_no_test = result.failures > 0 and result.rows == 0 and ALL_FAILED or NO_CHANGE
  end
end

--- A run that nothing disturbs, and what it leaves.
function Trial:undisturbed(opts)
  local world = self:world()
  local before = not self.is_checked and world:snapshot()
  local result, def = self:run(world, opts or {})
  if not is_done(result) then
    fail("%s fails even without a kill or a conflict: %s", self.path,
      tostring(result.error or result.state))
  elseif before then
    self:check_for_changes(world, result, def, before)
  end
  return world, result, def
end

--- The columns that a run has given values, by table: as far as the log tells.
local function given_columns(world)
  local given = {}
  local function add(name, fields)
    for column in next, fields or {} do
      given[name] = given[name] or {}
      given[name][column] = true
    end
  end
  for _, entry in ipairs(world.log) do
    if entry.committed then
      add(entry.table, entry.row)
      add(entry.table, entry.changes)
      for _, row in ipairs(entry.verb == "insert_all" and entry.rows or {}) do
        add(entry.table, row)
      end
    end
  end
  return given
end

--- An undisturbed run for others to be compared with. A second one, later, shows what differs from
-- run to run: it is a mistake of the script, unless the database itself fills the column.
function Trial:model(size)
  local world, result, def = self:undisturbed { batch_size = size }
  local wanted = world:snapshot()
  local twin = self:undisturbed({ batch_size = size, later = true }):snapshot()
  self.ignored = difference.columns(twin, wanted)
  for name, columns in next, given_columns(world) do
    for column in next, columns do
      if (self.ignored[name] or {})[column] then
        fail("%s does not do the same twice: its runs in two equal worlds leave different "
          .. "rows:\n%s\n%s", self.path, table.concat(difference.lines(twin, wanted), "\n"),
          CHANCE_HINT)
      end
    end
  end
  return wanted, world, result, def
end

--- How a run ended and what it left, beside a snapshot of what it should leave; nil when both are
-- equal.
function Trial:compare(world, result, wanted)
  if not is_done(result) then
    return ("  the run is %s: %s"):format(result.state, tostring(result.error or "no error"))
  end
  local lines = difference.lines(world:snapshot(), wanted, self.ignored)
  return #lines > 0 and table.concat(lines, "\n") or nil
end

--- The keys of a batch, of the log: `(id) from (2) to (3)`; "" when it is not known.
local function show_batch(key, first, last)
  if not first then
    return ""
  end
  local function show(values)
    return "(" .. table.concat(text.map(values, text.describe), ", ") .. ")"
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
    fail("%s is not resumable: killed %s batch %d%s, and resumed, it leaves other rows than "
      .. "without the kill:\n%s\n%s", self.path, kill.call and ("in call %d of the repo in")
      :format(kill.call) or "after", kill.batch,
      show_batch(def.config.key, batch.first, batch.last), differs, RESUME_HINT)
  end
  return true
end

--- Lets the nth commit fail by a conflict, which makes its transaction begin again, and compares.
-- Returns whether there was such a commit.
function Trial:conflict(nth, wanted, def)
  local world = self:world()
  world:fail { on = "commit", nth = nth, sqlstate = "40001" }
  local result = self:run(world, {})
  local differs = self:compare(world, result, wanted)
  if #world.faults:unused() > 0 then
    return false
  elseif differs then
    local page = {}
    for _, entry in ipairs(world.log) do
      page = entry.attempt == 2 and entry.verb == "page" and entry or page
    end
    fail("%s cannot be retried: after a conflict at its end and a retry, %s leaves other rows "
      .. "than without the conflict:\n%s\n%s", self.path,
      page.batch and ("batch %d%s"):format(page.batch, show_batch(def.config.key, page.first,
        page.last)) or "its transaction", differs, RETRY_HINT)
  end
  return true
end

--- In batches so small that there are several, where the spec does not say otherwise: what a run
-- loses when it is killed between batches is not seen in one.
local function resumable(self)
  local wanted, world, result, def = self:model()
  if result.batches == 1 and result.rows > 1 and not self.batch_size then
    self.batch_size = (result.rows + 2) // 3
    wanted, world, result, def = self:model()
  end
  local batches = batches_of(world)
  for batch = 1, result.batches do
    local call = 1
    while self:kill({ batch = batch, call = call }, wanted, def, batches) do
      call = call + 1
    end
    self:kill({ batch = batch }, wanted, def, batches)
  end
  local nth = 1
  while self:conflict(nth, wanted, def) do
    nth = nth + 1
  end
end

local function batch_size_independent(self)
  local wanted, _, result, def = self:model(1000000)
  if def.kind ~= "paged" then
    self:cannot_test(NO_BATCHES)
  end
  local rows = result.rows + result.failures
  if rows == 1 then
    self:cannot_test(ONE_ROW)
  end
  for size = 1, rows do
    local world = self:world()
    local differs = self:compare(world, self:run(world, { batch_size = size }), wanted)
    if differs then
      fail("%s depends on the batch size: in batches of %d it leaves other rows than in one "
        .. "batch of %d:\n%s\n%s", self.path, size, rows, differs, SIZE_HINT)
    end
  end
end

--- Runs a done migration again, at once or `limit` rows at a time. Returns what it changes, and in
-- which batch; nil when it changes nothing, or fails because it is interrupted.
function Trial:again(size, limit)
  local world = self:undisturbed { batch_size = size }
  local before = world:snapshot()
  local opts = { again = true, limit = limit, batch_size = size, later = true }
  local batch = 0
  repeat
    local result, def = self:run(world, opts)
    batch = batch + 1
    if limit and result.error then
      return nil
    end
    local differs = self:compare(world, result.state == "stopped" and { state = "done" } or result,
      before)
    if differs then
      local of = batches_of(world)[batch] or {}
      return differs, ("its batch %d of %s%s"):format(batch, text.count(result.rows, "row"),
        show_batch(def.config.key, of.first, of.last))
    end
    opts.again = nil
  until result.state ~= "stopped"
end

local function idempotent(self)
  local _, result, def = self:undisturbed()
  for size = 1, math.max(result.rows, 1) do
    local differs, which = self:again(size), "it"
    if differs and def.kind == "paged" then
      local nearer, batch = self:again(size, size)
      differs, which = nearer or differs, nearer and batch or which
    end
    if differs then
      fail("%s is not idempotent: run once more, %s changes the tables again:\n%s\n%s", self.path,
        which, differs, REPEAT_HINT)
    end
  end
end

local function complete(self)
  local world, result, def = self:undisturbed()
  if def.kind ~= "paged" then
    self:cannot_test(NO_QUERY)
  elseif def.input then
    self:cannot_test(INPUT)
  end
  local left = world:matching_keys(def)
  if #left <= result.failures then
    return
  end
  local shown = table.concat(left, ", ", 1, math.min(#left, MAX_LEFT))
  fail("%s is not complete: when it is done, the base query still returns %s%s:\n  %s%s\n%s",
    self.path, text.count(#left, "row"),
    result.failures > 0 and (", %d of them failed rows"):format(result.failures) or "", shown,
    #left > MAX_LEFT and ", ..." or "", COMPLETE_HINT)
end

--- How several workers may share so many rows: the simplest first.
-- @return list of options for `Trial:run`
local function interleavings(rows, batch_size)
  local list = {}
  local is_more = rows > 2 or nil
  local counts = { 2, is_more and 3, is_more and rows > 3 and math.min(rows, MANY_WORKERS) or nil }
  for _, size in ipairs(batch_size and { batch_size } or { 1, 2, is_more and rows }) do
    for _, count in ipairs(counts) do
      for _, order in ipairs { "reverse", "round", 1, 2 } do
        list[#list + 1] = { workers = count, order = order, batch_size = size }
      end
    end
  end
  return list
end

--- Columns that are not compared, with those that a sequence has filled: sets by table.
-- @param only_keys true: of these only primary keys, which are names in whatever order
function Trial:numbered(world, only_keys)
  local given, found = given_columns(world), {}
  for name, one in next, world:snapshot().tables do
    found[name] = value.copy(self.ignored[name])
    for column in next, one.serials or {} do
      local is_given = given[name] and given[name][column]
      local is_key = text.contains(one.primary_key or {}, column)
      found[name][column] = not is_given and (is_key or not only_keys) or found[name][column]
    end
  end
  return found
end

--- What differs when the script runs with these options; nil if nothing does.
function Trial:differs(opts, wanted)
  local world = self:world()
  local result = self:run(world, opts)
  return self:compare(world, result, wanted), world, result
end

--- What differs when no Lua variable outlives a batch: the run is killed after each, and goes on.
function Trial:forgetful_differs(opts, wanted)
  local world, batch, result = self:world(), 0
  repeat
    batch = batch + 1
    result = self:run(world, {
      batch_size = opts.batch_size, ranges = opts.workers, kill = { batch = batch },
    })
  until result.state ~= "killed"
  return self:compare(world, result, wanted)
end

--- What a script depends on that leaves other rows with several workers. Each cause is tried alone:
-- the batches that these workers have, in the order of the keys; the same without Lua variables
-- that outlive a batch; and in the order of these workers, which share their Lua variables.
-- @param world, result of the run that has shown it
-- @return what it depends on, what to do about it
function Trial:cause(opts, wanted, world, result)
  local size = opts.batch_size
  if is_done(result)
    and #difference.lines(world:snapshot(), wanted, self:numbered(world)) == 0
  then
    return "the order of batches", SERIAL_HINT
  elseif self:differs({ batch_size = size, ranges = opts.workers }, wanted) then
    return "which rows are in a batch", RANGE_HINT
  end
  local forgets = self:forgetful_differs(opts, wanted) ~= nil
  local reorders = self:differs({
    batch_size = size, workers = opts.workers, order = opts.order, shares_lua = true,
  }, wanted) ~= nil
  if forgets == reorders then
    return "Lua variables and on the order of batches", OWN_HINT .. "\n" .. ORDER_HINT
  end
  return forgets and "Lua variables" or "the order of batches", forgets and OWN_HINT or ORDER_HINT
end

--- The batches of a run in the order in which they came, a line each.
local function show_turns(world, key)
  local lines = {}
  for _, entry in ipairs(world.log) do
    if entry.verb == "page" and entry.first then
      lines[#lines + 1] = ("  worker %d%s"):format(entry.worker,
        show_batch(key, entry.first, entry.last))
    end
  end
  if #lines > MAX_LEFT then
    lines = { table.concat(lines, "\n", 1, MAX_LEFT), "  ..." }
  end
  return table.concat(lines, "\n")
end

--- Fails for a script that loses what it keeps in Lua variables. Worlds on PostgreSQL have one
-- worker, so they show no more.
local function forgetful(self)
  local size = self.batch_size or 1
  local differs = self:forgetful_differs({ batch_size = size }, self:model(size))
  if differs then
    fail("%s depends on Lua variables: if each batch has its own, it leaves other rows:\n%s\n"
      .. "%s\n%s", self.path, differs, OWN_HINT, ONE_WORKER_HINT)
  end
end

local function workers_independent(self)
  local wanted, world, result, def = self:model()
  local rows = result.rows + result.failures
  if def.kind ~= "paged" then
    self:cannot_test(NO_BATCHES)
  elseif rows == 1 then
    self:cannot_test(ONE_RANGE)
  elseif not world.plays_workers then
    return forgetful(self)
  end
  self.ignored = self:numbered(world, true)
  for _, opts in ipairs(interleavings(rows, self.batch_size)) do
    local differs, found, ended = self:differs(opts, wanted)
    if differs then
      local cause, hint = self:cause(opts, wanted, found, ended)
      fail("%s depends on %s: with %d workers it leaves other rows than with one worker:\n%s\n"
        .. "The batches came in this order:\n%s\n%s\n%s\nTo see it: world:run(%q, { workers = %d, "
        .. "order = %s, batch_size = %d%s })", self.path, cause, opts.workers, differs,
        show_turns(found, def.config.key), hint, ONE_WORKER_HINT, self.path, opts.workers,
        text.describe(opts.order), opts.batch_size, self.args and ", args = args" or "")
    end
  end
end

--- Makes an assertion of a property, see lua/types/luamig/mock.lua. It raises at the caller's line.
local function assertion(name, check)
  return function(path, make_world, opts)
    if type(path) ~= "string" or type(make_world) ~= "function"
      or opts ~= nil and type(opts) ~= "table"
    then
      error(("mock.%s takes a script's path, a function that makes a world and, optionally, a "
        .. "table: { args =, batch_size =, input = }"):format(name), 2)
    end
    opts = opts or {}
    local trial = setmetatable({
      name = name, path = path, make_world = make_world, args = opts.args,
      batch_size = opts.batch_size, input = opts.input, runs = 0,
    }, Trial)
    local ok, err = xpcall(function()
      check(trial)
      if trial.why_no_test then
        trial:cannot_test(trial.why_no_test)
      end
    end, errors.handler)
    if not ok then
      error(errors.is(err) and err.kind == "property" and err.message or tostring(err), 2)
    end
  end
end

properties.assert_resumable = assertion("assert_resumable", resumable)
properties.assert_batch_size_independent = assertion("assert_batch_size_independent",
  batch_size_independent)
properties.assert_idempotent = assertion("assert_idempotent", idempotent)
properties.assert_workers_independent = assertion("assert_workers_independent",
  workers_independent)
properties.assert_complete = assertion("assert_complete", complete)

return properties
