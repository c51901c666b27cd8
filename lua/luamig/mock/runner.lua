--- The run of one script in a world: batches, retries, callbacks, resuming.
--
-- Promises: the rows of a batch and the cursor change together or not at all. The same script with
-- the same args resumes an unfinished run after its cursors. Workers take turns: a turn is a batch,
-- with all its attempts. They begin their batches together, in the order of their numbers, whoever
-- of them commits first.
-- Differs from the program: it never waits; it retries without end when the server lacks something
-- or a connection is lost, and a hundred times after `run.retry`; it has no windows of the key when
-- a page query times out.

local bisection = require "luamig.mock.bisection"
local canonical = require "luamig.script.canonical"
local errors = require "luamig.errors"
local faults = require "luamig.mock.faults"
local input = require "luamig.mock.input"
local letters = require "luamig.script.letters"
local pages = require "luamig.mock.pages"
local preparation = require "luamig.mock.preparation"
local prepared = require "luamig.prepared"
local repo = require "luamig.mock.repo"
local sites = require "luamig.mock.sites"
local sqlstates = require "luamig.sqlstates"
local stretch = require "luamig.mock.stretch"
local strict = require "luamig.strict"
local text = require "luamig.text"
local transaction = require "luamig.mock.transaction"
local value = require "luamig.mock.value"
local workers = require "luamig.mock.workers"

local runner = {}

--- One worker of a run.
local Session = {}
Session.__index = Session

local RUN_FIELDS = {
  "args", "script", "id", "batch", "worker", "attempt", "dry_run", "log", "key_of", "prepared",
  "retry", "source",
}
local WITHOUT_SOURCE = table.move(RUN_FIELDS, 1, #RUN_FIELDS - 1, 1, {})
local MAX_WAITS = 100
local STOP_REASONS = { stopped = "stop", failed = "error" }

-- What SQLSTATEs mean after which the program tries a batch again.
local RETRYABLE = { lost = true, conflict = true, timeout = true, shortage = true, stale = true }

--- Why a batch is tried again after an error; nil when it is not.
local function retry_reason(err)
  local meaning = sqlstates.meaning(err.sqlstate)
  return RETRYABLE[meaning] and meaning
end

--- Adds an entry to the log, with the batch and the attempt of this time.
function Session:log(entry)
  entry.batch, entry.worker, entry.attempt = self.now.batch, self.number, self.now.attempt
  self.world.log[#self.world.log + 1] = entry
end

--- The `run` object of one callback, which has a transaction or none.
function Session:run_object(batch, attempt, tx)
  self.now = { batch = batch, attempt = attempt }
  local run = {
    args = self.def.args, script = self.def.name, id = self.record.id, batch = batch,
    worker = self.number, attempt = attempt, dry_run = self.opts.dry_run or false,
    key_of = prepared.key_of(self.def.config.key, "mock-" .. self.record.id),
    retry = prepared.retry,
  }
  function run.log(message, fields)
    if type(message) == "number" then
      message = tostring(message)
    end
    if type(message) ~= "string" or fields ~= nil and type(fields) ~= "table" then
      error("run.log takes a message and, optionally, a table: run.log(message, fields)", 2)
    end
    if fields then
      canonical.encode(fields) -- raises for what cannot be written
    end
    self:log { verb = "log", message = message, fields = fields and value.copy(fields) }
  end
  if not tx or not self.world.source then
    return strict.record("run", run, WITHOUT_SOURCE)
  end
  run.source = repo.source(tx)
  return strict.record("run", run, RUN_FIELDS)
end

--- Logs a warning for the author of the script.
function Session:warn(message, _, where)
  self:log { verb = "warning", message = where .. ": " .. message }
end

--- Halves the batch after an error that a smaller batch may avoid; its attempts are counted anew.
function Session:shrink(why)
  local is_worth_it = why == "timeout" or self.attempt >= 3
  if is_worth_it and self.in_batch and self.size > 1 then
    self.size = self.size // 2
    self.attempt = why == "timeout" and 1 or 2
  end
end

--- Whether the run connects again after an error. A dry run does not: its transaction is gone.
function Session:may_reconnect(why)
  return why == "lost" and not self.opts.dry_run
end

--- Another connection is no attempt. The run looks again at which rows are there.
function Session:reconnect()
  local last = self.record.ranges and self.record.ranges[#self.record.ranges]
  if last then
    last.is_done = false
  end
end

function Session:is_last_attempt()
  return self.attempt > self.def.config.retries
end

--- Prepares another attempt of a step that failed; raises an error that ends the run.
function Session:retry_or_raise(err)
  local why = not self.world.problem and retry_reason(err)
  if self:may_reconnect(why) then
    self:reconnect()
    return
  elseif why == "stale" and not self.is_prepared_anew then
    self.is_prepared_anew = true
  elseif why == "shortage" then
    if self.attempt == MAX_WAITS and not err.latches and err.kind == "script" then
      err.message = "gave up after ten minutes: " .. err.message
      error(err, 0)
    end
    self.attempt = self.attempt + 1
  elseif why == "conflict" or why == "timeout" then
    self:shrink(why)
    if self:is_last_attempt() then
      err.message = ("gave up after %d attempt%s%s: %s"):format(self.attempt,
        self.attempt == 1 and "" or "s", why == "conflict" and " in 0ms" or "", err.message)
      error(err, 0)
    end
    self.attempt = self.attempt + 1
  elseif self.page_limit and not self.world.problem and bisection.is_page_error(err) then
    self:halve_page(err)
  else
    self:find_failing_row(err)
    return
  end
  self.result.retries = self.result.retries + 1
end

--- In a dry run each transaction begins with on_start, since the one before was rolled back.
function Session:repeat_on_start(tx)
  if self.def.on_start then
    local batch = tx.batch
    tx.batch = 0
    self.def.on_start(repo.new(tx), self:run_object(0, self.attempt, tx))
    tx.batch = batch
  end
end

--- Runs `body(repo, run, tx)` in a transaction, which is committed unless that returns false or it
-- is read only. `opts` is for `transaction.begin`; batch is the number.
function Session:transact(opts, body)
  opts.worker, opts.attempt = self.number, self.attempt
  opts.script, opts.sites = self.def.path, self.sites
  opts.is_dry = self.opts.dry_run or opts.read_only
  local tx = transaction.begin(self.world, opts)
  local ok, err = xpcall(function()
    if self.opts.dry_run and not opts.read_only then
      self:repeat_on_start(tx)
    end
    if body(repo.new(tx), self:run_object(opts.batch, self.attempt, tx), tx) ~= false then
      tx:commit()
    end
  end, errors.handler)
  tx:close()
  if not ok then
    error(tx:failure(err), 0)
  end
end

--- The call of this batch in which the run is killed, or nil.
function Session:kill_at(batch)
  local kill = self.opts.kill
  return kill and kill.batch == batch and kill.call or nil
end

--- The tables that the base query reads: those of the source, if there is one.
function Session:read_from(store)
  local source = self.world.source
  return source and source.store or store
end

--- Cuts the keys that there are now into a range for each worker. The run ends at the highest key,
-- or, if it follows new rows, at the end of the table.
function Session:cut_ranges(store)
  local record, def = self.record, self.def
  record.ranges = pages.cut(self.world.base, self:read_from(store), def.config.key, def.args,
    def.start_after, self.opts.ranges or self.count)
  if def.config.follow_new then
    record.ranges[1] = record.ranges[1] or { cursor = def.start_after }
    record.ranges[#record.ranges].bound = nil
  end
  workers.share(record.ranges, self.count)
end

--- on_start, once in the life of a run; then the ranges, which see what on_start wrote.
function Session:start()
  local def, store = self.def, self.world.store
  if def.on_start then
    self:transact({ batch = 0 }, function(handle, run, tx)
      if not self.opts.dry_run then
        def.on_start(handle, run)
      end
      store = tx.store
      if def.kind == "paged" then
        pages.check_table(self.world.base, store)
      end
    end)
  end
  self.record.started = true
  if def.kind == "paged" then
    self:cut_ranges(store)
  end
end

--- Asks the script's throttle until it lets the run go on.
function Session:throttle()
  local def = self.def
  local waits = 0
  local answer
  while def.throttle do
    self:transact({ batch = self.record.batches, read_only = true }, function(...)
      answer = def.throttle(...)
    end)
    if answer ~= nil and type(answer) ~= "boolean"
      and not (math.type(answer) and answer >= 0 and answer < math.huge)
    then
      errors.raise {
        kind = "script", message = "throttle must return true, false, nil or milliseconds, not "
          .. text.describe(answer),
      }
    elseif answer ~= true then
      return
    end
    waits = waits + 1
    if waits == MAX_WAITS then
      self.world:raise_problem(("throttle asked to wait %d times in a row"):format(waits))
    end
  end
end

--- How many rows the next page may have.
function Session:page_size()
  local limit = self.opts.limit
  local size = self.bisection:size(self.size)
  return limit and math.min(size, limit - self.result.rows) or size
end

--- The range that this worker has in hand; nil if it has done all of its ranges.
function Session:range()
  for _, range in ipairs(self.record.ranges or {}) do
    if range.worker == self.number and not range.is_done then
      return range
    end
  end
end

--- Gives the worker's next batch its number, unless it has one.
function Session:begin_batch()
  if not self.batch_number then
    self.record.begun = self.record.begun + 1
    self.batch_number = self.record.begun
  end
  return self.batch_number
end

--- Lets the script handle a page, or the stretch of keys in which it lies. The last one of a range
-- ends where that does.
function Session:migrate(range, page, handle, run, tx)
  local def = self.def
  if def.migrate then
    run.prepared = self.preparation and self.preparation:results()
    def.migrate(page.rows, handle, run)
    return
  end
  page.upto = not page.more and range.bound or page.last
  local types = pages.types(self.world.base, self:read_from(tx.store))
  def.migrate_range(stretch.new(def.config.key, types, range.cursor, page.upto, function()
    return tx.is_open
  end), handle, run)
end

--- A transaction of a batch, the last one of it unless rows are not prepared: then it is rolled
-- back.
-- @param upto the key up to which the page goes; nil: as far as its size
-- @return whether they are
function Session:try_batch(number, range, upto)
  local def, world = self.def, self.world
  local is_ready
  self:transact({
    batch = number, kill_at = self:kill_at(number),
    protected = not world.source
      and { table = world.base.from, columns = text.set(def.config.key) } or nil,
  }, function(handle, run, tx)
    local entry = { verb = "page", table = world.base.from }
    tx:record(entry)
    self.page_limit = self:page_size()
    world.faults:reach "page"
    local page = pages.fetch(world.base, self:read_from(tx.store), def.config.key, def.args, {
      cursor = range.cursor, bound = upto or range.bound, size = self.page_limit,
      assume_unique = def.config.assume_unique,
    })
    page.count, page.upto = #page.rows, upto and not page.more and upto or page.last
    self.page, self.page_limit = page, nil
    is_ready = not self.preparation or self.preparation:is_ready(page)
    if is_ready then
      entry.first, entry.last = page.first, page.last
    end
    if is_ready and page.count > 0 then
      self:migrate(range, page, handle, run, tx)
    end
    return is_ready and page.count > 0
  end)
  return is_ready
end

--- Lets the script prepare the rows of a page, outside of any transaction.
-- @param is_again whether the page had been prepared before
-- @return whether it is to be read again; otherwise it is to be smaller
function Session:prepare(number, is_again)
  if is_again and not self.preparation:may_try_again(self.page, self.def.config.retries) then
    self.size = math.min(self.size, self.page.count) // 2
    self.result.retries = self.result.retries + 1
    return false
  end
  self.preparation:work(self:run_object(number, self.attempt))
  self.world:play_others()
  return true
end

--- One batch.
function Session:batch()
  local range, number = self:range(), self:begin_batch()
  local is_again, upto = false, nil
  self.in_batch = true
  while not self:try_batch(number, range, upto) do
    if not self:prepare(number, is_again) then
      return
    end
    is_again = true
    if self.page.more or not (upto or range.bound) then
      upto = self.page.last
    end
  end
  range.is_done = not self.page.more and not upto
  if self.preparation then
    self.preparation:passed()
  end
  if self.page.count > 0 then
    self:advance(range, self.page)
  elseif upto then
    range.cursor = upto -- all of its rows are gone
  end
end

--- A page is migrated.
function Session:advance(range, page)
  local number = self.batch_number
  range.cursor, self.batch_number = page.upto, nil
  self.record.batches = self.record.batches + 1
  self.result.batches = self.result.batches + 1
  self.result.rows = self.result.rows + page.count
  self.bisection:passed(page.count, self.size)
  self.size = math.min(2 * self.size, self.def.config.batch_size)
  self:kill_after(number)
end

--- The next page has half of the rows of the page that could not be read.
function Session:halve_page(err)
  if self.page_limit == 1 and self.bisection.rows then
    err.message = "the base query fails, but not at a row that it returns: " .. err.message
    error(err, 0)
  end
  self.attempt = 1
  self.bisection:failed(self.page_limit)
end

--- Finds the failing row of a batch, with `on_error = "quarantine"`; raises an error that no row
-- can cause.
function Session:find_failing_row(err)
  local page = self.page
  if self.def.config.on_error ~= "quarantine" or self.opts.dry_run or not page
    or self.world.problem or not bisection.is_row_error(err)
  then
    error(err, 0)
  end
  self.attempt = 1
  if self.bisection:failed(page.count) then
    self:record_failed_row(page, err)
  else
    self.result.retries = self.result.retries + 1
  end
end

--- Records the one row of a page as a failed row, and continues after it.
function Session:record_failed_row(page, err)
  local record, max = self.record, self.def.config.max_failures
  if #record.failures >= max then
    err.message = ("more rows have failed than config.max_failures = %d allows: %s")
      :format(max, err.message)
    error(err, 0)
  end
  record.failures[#record.failures + 1] = {
    key = page.last, sqlstate = err.sqlstate, message = err.message, where = err.where,
  }
  self:range().cursor = page.last
  self.result.failures = self.result.failures + 1
end

--- Kills the run after a batch, if the spec says so.
function Session:kill_after(batch)
  local kill = self.opts.kill
  if kill and kill.batch == batch and not kill.call then
    error(faults.KILL, 0)
  end
end

--- on_complete, and the state that follows.
function Session:complete()
  if self.def.on_complete then
    self:transact({ batch = self.record.batches }, function(...)
      self.def.on_complete(...)
    end)
  end
  self.state = #self.record.failures == 0 and "done" or "done_with_failures"
end

--- A one-shot migration: `run` and `on_complete` in one transaction.
function Session:one_shot()
  local def = self.def
  self:transact({ batch = 1, kill_at = self:kill_at(1) }, function(handle, run)
    def.run(handle, run)
    if def.on_complete then
      def.on_complete(handle, run)
    end
  end)
  self.record.state, self.record.batches = "done", 1
  self.result.batches, self.state = 1, "done"
  self:kill_after(1)
end

--- A dry run has shown what it should at its limit. A run can be resumed there.
function Session:stop_at_limit()
  self.state = self.opts.dry_run and "done" or "stopped"
end

function Session:next_step()
  if not self.record.started then
    self:start()
  elseif self.def.kind == "one_shot" then
    self:one_shot()
  elseif not workers.have_rows(self.record.ranges) then
    self:complete()
  elseif self.opts.limit == self.result.rows then
    self:stop_at_limit()
  else
    self:throttle()
    self:batch()
  end
end

--- Takes one step, or fails to. Returns whether it is done.
function Session:step()
  self.page, self.page_limit, self.in_batch = nil, nil, false
  local ok, err = xpcall(self.next_step, errors.handler, self)
  if ok then
    self.attempt, self.is_prepared_anew = 1, false
  else
    self:retry_or_raise(err)
  end
  return ok
end

--- Ends the run in a state, and tells the script unless it is done.
function Session:finish(state, err)
  self.record.state, self.result.state, self.result.error = state, state, err
  if STOP_REASONS[state] and self.def.on_stop then
    local ok, why = pcall(self.def.on_stop, self:run_object(self.record.batches, 1),
      STOP_REASONS[state])
    if not ok then
      self.world.log[#self.world.log + 1] = { verb = "warning", message = tostring(why) }
    end
  end
end

--- The worker whose turn is next, of those that have rows left; nil if none has.
local function next_worker(sessions, turns)
  local found
  for _, one in ipairs(sessions) do
    if one:range() then
      one:begin_batch()
      found = one
    end
  end
  while found do
    local one = sessions[turns()]
    if one:range() then
      return one
    end
  end
end

--- Lets the workers take turns until the run has ended. `at_work` has the one whose turn it is.
local function work(at_work, sessions, turns)
  while not at_work.session.state do
    if at_work.session:step() and not at_work.session.state then
      local one = next_worker(sessions, turns) or at_work.session
      workers.enter(one.loaded, at_work.session.loaded)
      at_work.session = one
    end
  end
end

--- The unfinished run of this script and args, or a new one. A dry run begins at the first row, and
-- the journal does not keep it.
local function record_of(world, def, opts)
  local identity = input.identity(def, def.input and world.input)
  local record = world.journal[identity]
  local key = table.concat(def.config.key, ", ")
  local is_done = record and record.state:find "^done"
  if opts.dry_run then
    return { id = 0, batches = 0, failures = {} }
  elseif is_done and not (opts.again or def.config.repeatable) then
    return nil
  elseif record and not is_done then
    if record.key ~= key then
      errors.raise {
        kind = "script",
        message = ("the key was (%s) when run %d began"):format(record.key, record.id),
      }
    end
    return record
  end
  world.last_id = world.last_id + 1
  record = {
    id = world.last_id, key = key, batches = 0, failures = {},
  }
  world.journal[identity] = record
  return record
end

--- The workers of a run, the first of which is at work.
-- @param loaded of `workers.load`
local function sessions_of(loaded, run)
  return text.map(loaded, function(one, number)
    local self = setmetatable(value.copy(run), Session)
    self.loaded, self.def, self.number = one, one.def, number
    self.bisection, self.sites = bisection.new(), sites.new()
    local opts = run.opts
    self.preparation = preparation.new(self.def, opts.dry_run, opts.dry_run and not opts.prepare)
    self.size, self.attempt = one.def.config.batch_size, 1
    self.now = { batch = 0, attempt = 1 }
    return self
  end)
end

--- Runs a loaded script.
-- @param world needs store, base, stubs, faults, log, journal, last_id, raise_problem, play_others;
--   problem and rewinds may be set
-- @param loaded of `workers.load`: as many as there are workers
-- @param opts again, limit (rows), kill ({ batch =, call = }), dry_run, prepare (also in a dry
--   run), order (of workers), ranges (how many to cut; default: one for each worker)
-- @return { state =, rows =, batches =, retries =, failures =, error = }; counts are of this call
--   (failures: failed rows)
-- @return whether there was anything to run
function runner.run(world, loaded, opts)
  local result = { state = "done", rows = 0, batches = 0, retries = 0, failures = 0 }
  local def = loaded[1].def
  if def.kind == "paged" then
    pages.check_key(world.base, def.config.key)
  end
  if def.kind == "paged" and not def.on_start then
    pages.check_table(world.base, (world.source or world).store)
  end
  local record = record_of(world, def, opts)
  if not record then
    return result, false
  end
  record.state, record.begun = "running", record.batches
  record.ranges = record.ranges and workers.share(record.ranges, #loaded)
  local sessions = sessions_of(loaded, {
    world = world, opts = opts, record = record, result = result, count = #loaded,
  })
  local at_work = { session = sessions[1] }
  letters.watch(function(...)
    at_work.session:warn(...)
  end)
  local ok, outcome = xpcall(work, errors.handler, at_work, sessions,
    workers.turns(opts.order, #loaded))
  letters.watch(nil)
  local self = at_work.session
  if not ok and outcome.kind == "kill" then
    result.state = "killed"
  elseif not ok then
    self:finish("failed", outcome)
  else
    self:finish(self.state)
  end
  workers.enter(loaded[1], self.loaded)
  if not ok and outcome.kind == "spec" then
    world.problem = world.problem or outcome
  end
  return result, true
end

return runner
