--- One transaction of a run: the working copy of the tables, the latch, and savepoints.
--
-- Promises: the world changes at commit only. After the first database error every call raises
-- "transaction has failed" and the commit does too, whatever the script does with `pcall`.
-- Refuses: calls after the callback has ended.

local bisection = require "luamig.mock.bisection"
local errors = require "luamig.errors"
local faults = require "luamig.mock.faults"
local value = require "luamig.mock.value"

local transaction = {}

local Transaction = {}
Transaction.__index = Transaction

--- Begins a transaction.
-- @param world needs `store`, `log`, `faults`, `stubs`; with `rewinds`, what is rolled back takes
--   its sequences with it
-- @param opts batch, worker, attempt (numbers for the log), script (path), read_only, kill_at
--   (number of the repo call to die in), protected ({ table =, columns = set }: not to be changed),
--   sites (see `luamig.mock.sites`), is_dry (never commits)
function transaction.begin(world, opts)
  local self = setmetatable(value.copy(opts), Transaction)
  self.world, self.store, self.entries = world, world.store:copy(), {}
  self.stubs = world.stubs
  self.is_open, self.calls = true, 0
  self.sequences = world.rewinds and world.store:sequences() or nil
  return self
end

--- Appends an entry to the world's log; it counts as committed when the transaction does.
function Transaction:record(entry)
  entry.batch, entry.worker, entry.attempt = self.batch, self.worker, self.attempt
  entry.committed = false
  self.entries[#self.entries + 1] = entry
  local log = self.world.log
  log[#log + 1] = entry
end

--- Raises unless a repo call is possible at this point. `where` is the caller's position.
function Transaction:enter(where)
  if not self.is_open then
    errors.raise {
      kind = "script", where = where,
      message = "the repo is used after its function has returned",
      hint = "Do not keep repo in a variable outside of the function: luamig passes a new repo to "
        .. "each call.",
    }
  end
  self.calls = self.calls + 1
  self.is_killed = self.is_killed or self.calls == self.kill_at
  if self.is_killed then
    error(faults.KILL, 0)
  elseif self.latched then
    errors.raise {
      kind = "script", where = where, message = "transaction has failed",
      detail = self.latched.message,
      hint = "An error of the database ends the batch, even if pcall catches it. Use "
        .. "repo:savepoint to continue after an error in the data.",
    }
  end
end

--- The first error stays: nothing can be committed after it.
function Transaction:latch(err)
  self.latched = self.latched or err
end

--- Notes an error of a repo call, and raises it again with the caller's position.
-- @param by_source whether it was a call of `run.source`, which no savepoint protects
function Transaction:failed(err, where, by_source)
  if errors.is(err) and err.kind == "misuse" then
    error(where .. ": " .. err.message, 0)
  elseif errors.is(err) and err ~= faults.KILL then
    err.where = err.where or where
    if err.kind == "spec" then
      self.world.problem = self.world.problem or err
    end
    if err.sqlstate or err.latches or err.kind == "spec" then
      self:latch(err)
      self.source_failed = self.source_failed or by_source
    end
  end
  error(err, 0)
end

--- Goes back to the tables at a savepoint. What was logged since never counts as committed.
function Transaction:roll_back(store, first_entry)
  self.store = store
  for i = #self.entries, first_entry, -1 do
    self.entries[i] = nil
  end
end

--- Whether an error ends the transaction in spite of a savepoint.
local function ends_transaction(err)
  return err ~= nil and not bisection.savepoint_catches(err)
end

--- What a savepoint's function has failed with: what it raised, else the error that it had caught.
local function failure_of(results, latched)
  if results[1] then
    return latched
  end
  return results[2]
end

--- Runs `fn` in a savepoint: true and its results, or false and an error after rolling back to it.
function Transaction:savepoint(fn, ...)
  local before, first_entry = self.store, #self.entries + 1
  self.store = before:copy()
  local results = table.pack(pcall(fn, ...))
  if self.is_killed then
    error(faults.KILL, 0)
  elseif self.source_failed or ends_transaction(self.latched) then
    error(self.latched, 0)
  elseif results[1] and not self.latched then
    return table.unpack(results, 1, results.n)
  end
  local latched = self.latched
  self.latched = nil
  self:roll_back(before, first_entry)
  return false, failure_of(results, latched)
end

--- What has made it fail, if its function raised `err`: the first error of the database, though
-- the script has caught it.
function Transaction:failure(err)
  return not self.is_killed and self.latched or err
end

--- Commits, or raises what makes that impossible; a dry one only does the latter.
function Transaction:commit()
  self.is_open = false
  if self.is_killed then
    error(faults.KILL, 0)
  elseif self.latched then
    error(self.latched, 0)
  end
  if self.is_dry then
    return
  end
  self.world.faults:reach "commit"
  self.world.store, self.sequences = self.store, nil
  for _, entry in ipairs(self.entries) do
    entry.committed = true
  end
end

--- Rolls back, unless it was committed.
function Transaction:close()
  self.is_open = false
  if self.sequences then
    self.world.store:set_sequences(self.sequences)
  end
end

return transaction
