--- One run of a script in a world on PostgreSQL, event by event: writes the log, injects errors and
-- kills, and compares stubs with the answers of the server.
--
-- Promises: the entries of the log and the places of faults are those of the mock.

local compare = require "luamig.pg_world.compare"
local errors = require "luamig.errors"
local faults = require "luamig.mock.faults"
local input = require "luamig.mock.input"
local luamig = require "luamig"
local stubs = require "luamig.mock.stubs"
local text = require "luamig.text"
local value = require "luamig.mock.value"
local views = require "luamig.mock.views"

local watch = {}

local Watch = {}
Watch.__index = Watch

local MAX_WAITS = 100
local RAW = { query = true, one = true, scalar = true, execute = true }

-- What the arguments of structured calls are called in the log.
local FIELDS = {
  update = { "table", "key", "changes" }, delete = { "table", "key" },
  insert = { "table", "row" }, insert_all = { "table", "rows" },
  update_all = { "table", "changes", "where" }, delete_all = { "table", "where" }, savepoint = {},
  get = { "table", "key" }, select = { "table", "where" },
}

--- The verdict that makes the server raise an error.
local function raising(err)
  if faults.ends_session(err.sqlstate) then
    return { breaks = true }
  end
  return {
    sql = ("DO $luamig$ BEGIN RAISE EXCEPTION USING ERRCODE = '%s', MESSAGE = '%s'; END $luamig$")
      :format(err.sqlstate, err.message:gsub("'", "''")),
  }
end

--- Notes a mistake of the spec, which ends the run.
function Watch:raise_problem(message)
  self.world.problem = self.world.problem or errors.new { kind = "spec", message = message }
  return { kill = true }
end

--- The verdict of the fault that is due at a place, if any.
function Watch:reach(place)
  local ok, err = pcall(self.world.faults.reach, self.world.faults, place)
  return not ok and raising(err) or nil
end

function Watch:log(event, entry)
  entry.batch, entry.worker, entry.attempt = event.batch, event.worker, event.attempt
  self.world.log[#self.world.log + 1] = entry
end

function Watch:record(event, entry)
  entry.committed = false
  self.entries[#self.entries + 1] = entry
  self:log(event, entry)
end

function Watch:is_one_shot()
  return self.def.kind == "one_shot" and self.callback ~= "on_start"
end

--- Whether the transaction in hand is a batch, or a one-shot, which is one.
function Watch:is_batch()
  return self.callback == "migrate" or self:is_one_shot()
end

--- Puts the sequences back to where they were before a transaction that was rolled back.
function Watch:rewind()
  if self.sequences then
    self.world.database:script(self.sequences)
    self.sequences = nil
  end
end

function Watch:begin_transaction()
  if self.world.rewinds then
    self:rewind()
    self.sequences = self.world:sequences()
  end
  self.entries, self.savepoints, self.calls = {}, {}, 0
end

local on = {}

function on.page(self, event)
  self.callback = "migrate"
  self:begin_transaction()
  self.page = { verb = "page", table = self.def.whole_input and input.TABLE
    or self.world.base and self.world.base.from }
  self:record(event, self.page)
  return self:reach "page"
end

function on.rows(self, event)
  self.page.first, self.page.last, self.page.count = event.first, event.last, event.count
end

--- The rows of a page are prepared, and no transaction is open.
function on.prepared(self)
  local ok, err = pcall(self.world.play_others, self.world)
  return not ok and self:raise_problem("the function of world:between failed: " .. tostring(err))
    or nil
end

function on.begin(self, event)
  local goes_on = event.callback == "migrate"
    or event.callback == "on_complete" and self.def.kind == "one_shot"
  self.callback = event.callback
  if not goes_on then
    self:begin_transaction()
  end
end

--- The log's entry of a call, and the statement if it is SQL.
local function entry_of(event)
  local entry = {
    verb = event.verb, file = event.file, line = event.line, source = event.source,
  }
  local args = event.args
  if RAW[event.verb] then
    local first = args[1] == luamig.ALL and 2 or 1
    entry.sql = args[first]
    entry.params = table.move(args, first + 1, args.n, 1, { n = math.max(args.n - first, 0) })
    for i = 1, entry.params.n do
      if entry.params[i] == luamig.NULL then
        entry.params[i] = nil
      end
    end
  end
  for i, name in ipairs(FIELDS[event.verb] or {}) do
    entry[name] = args[i]
  end
  return entry
end

--- The world whose database a call is for.
function Watch:place_of(event)
  return event.source and self.world.source or self.world
end

--- What the function of a stub answers, and how it leaves the tables, which the transaction has
-- now; nil if the statement has no such stub.
function Watch:play(event, sent)
  local world = self:place_of(event)
  local stub = RAW[event.verb] and type(sent.sql) == "string"
    and world.stubs:find(sent.sql, sent.params)
  if not stub or not stub.answer then
    return nil
  end
  local tables, opened = views.open(function(name)
    return world:view(event.repo, name)
  end, text.sorted_keys(world.schemas))
  return { answer = stubs.play(stub, sent.params, tables), opened = opened }
end

function on.call(self, event)
  local kill = self.kill
  self.calls = self.calls + 1
  if kill and kill.batch == event.batch and kill.call == self.calls and self:is_batch() then
    return { kill = true }
  end
  local entry = entry_of(event)
  self:record(event, entry)
  self.statement = entry
  if event.verb == "savepoint" then
    self.savepoints[#self.savepoints + 1] = #self.entries
  end
  local ok, played = pcall(self.play, self, event, entry)
  self.played = ok and played
  return not ok and self:raise_problem(tostring(played)) or self:reach(event.verb)
end

--- Whether the answer is an error after which the program tries the batch again.
local function is_retried(event)
  local err = not event.ok and event.results[1]
  local sqlstate = type(err) == "table" and err.sqlstate
  return sqlstate and (sqlstate:sub(1, 2) == "40" or faults.ends_session(sqlstate))
end

--- The first table that a stub's function leaves otherwise than the server, and how; or nil.
function Watch:difference_of_tables(event, opened)
  local world, repo = self:place_of(event), event.repo
  for _, name in ipairs(text.sorted_keys(opened)) do
    local found = world:view(repo, name)
    local difference = compare.tables(opened[name], found.rows, world:computed(name))
    if difference then
      return ('table "%s": %s'):format(name, difference)
    end
  end
end

--- Compares the stub for a statement, if there is one, with the answer.
function Watch:check_stub(event)
  local sent = self.statement
  if type(sent.sql) ~= "string" or is_retried(event) then
    return nil
  end
  local known = self:place_of(event).stubs
  local ok, stub = pcall(known.take, known, sent.sql, sent.params)
  local played = ok and self.played
  local difference = ok and compare.stub(sent.sql, played and played.answer or stub, event)
    or played and event.ok and self:difference_of_tables(event, played.opened)
  if difference then
    return self:raise_problem(("a stub differs from the server's answer: %s%s\n  %s"):format(
      sent.sql, stubs.show_params(sent.params), difference))
  end
end

--- What was rolled back to a savepoint never counts as committed.
function Watch:forget_savepoint(event)
  local kept = table.remove(self.savepoints)
  if event.ok and event.results[1] then
    return
  end
  for i = #self.entries, kept + 1, -1 do
    self.entries[i] = nil
  end
end

function on.returned(self, event)
  if event.verb == "savepoint" then
    self:forget_savepoint(event)
  elseif RAW[event.verb] then
    return self:check_stub(event)
  end
end

function on.commit(self)
  return self:reach "commit"
end

function on.committed(self, event)
  for _, entry in ipairs(self.entries) do
    entry.committed = not self.is_dry
  end
  self.entries, self.sequences = {}, nil
  if not self:is_batch() then
    return nil
  end
  self.batches = self.batches + 1
  local kill = self.kill
  return kill and not kill.call and kill.batch == event.batch and { kill = true } or nil
end

function on.throttled(self, event)
  self.waits = event.ask_again and self.waits + 1 or 0
  if self.waits == MAX_WAITS then
    return self:raise_problem(("throttle asked to wait %d times in a row"):format(self.waits))
  end
end

function on.log(self, event)
  self:log(event, {
    verb = "log", message = event.args[1], fields = event.args[2] and value.copy(event.args[2]),
  })
end

function on.warning(self, event)
  self:log(event, { verb = "warning", message = event.args[3] .. ": " .. event.args[1] })
end

--- Watches a run.
-- @param world needs log, base, stubs, faults, problem, schemas, and methods view(repo, table),
--   computed(table) and play_others(); with `rewinds`, also database and a method sequences()
-- @param def of the script
-- @param opts kill and dry_run of `world:run`
-- @return table with batches, the number of those committed, and a method see(event), for
--   `database:run`
function watch.new(world, def, opts)
  return setmetatable({
    world = world, def = def, kill = opts.kill, is_dry = opts.dry_run or false, entries = {},
    savepoints = {}, calls = 0, waits = 0, batches = 0,
  }, Watch)
end

function Watch:see(event)
  return on[event.event](self, event)
end

return watch
