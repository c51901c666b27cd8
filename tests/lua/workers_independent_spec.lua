local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

-- Five accounts of two owners; what several batches write goes into the other tables.
local function world(key_of_entries)
  local rows = {}
  for id = 1, 5 do
    rows[id] = { id = id, owner = id % 2 == 0 and "b" or "a", amount = id * 10, before = 0 }
  end
  return mock.pure.new {
    tables = {
      accounts = {
        columns = { id = "int8", owner = "text", amount = "int8", before = "int8", rank = "int8" },
        primary_key = { "id" }, rows = rows,
      },
      owners = { columns = { name = "text" }, primary_key = { "name" } },
      totals = {
        columns = { name = "text", amount = "int8", last = "int8" }, primary_key = { "name" },
        rows = { { name = "all", amount = 0, last = 0 } },
      },
      notes = { columns = { id = "bigserial", account = "int8" }, primary_key = { "id" } },
      entries = {
        columns = { place = "bigserial", account = "int8" }, primary_key = key_of_entries,
      },
    },
    base = { from = "accounts" },
  }
end

--- A script whose migrate has this body.
local function script(body, head, more)
  return support.script(([[
%s
return {
  config = { batch_size = 2 },
  base_query = "SELECT * FROM accounts",
  migrate = function(rows, repo, run)
%s
  end,
  %s
}]]):format(head or "", body, more or ""))
end

local function complaint(path, make_world, opts)
  return support.message(support.raised(mock.assert_workers_independent, path,
    make_world or world, opts))
end

local RANK = [[
  for _, row in ipairs(rows) do
    repo:update("accounts", { id = row.id }, { rank = row.amount // 10 })
  end]]

local LUA = "depends on Lua variables: with 2 workers it leaves other rows than with one worker:"
local ORDER = "depends on the order of batches: with 2 workers it leaves other rows than"
local BOTH = "depends on Lua variables and on the order of batches: with 2 workers"
local OWN_HINT = "Each worker has its own Lua variables"
local ORDER_HINT = "Batches of several workers run in no order"

local PLACES = [[
  for _, row in ipairs(rows) do
    repo:insert("entries", { account = row.id })
  end]]

-- What depends on other batches: { name, body of migrate, head of the script, messages }.
local CASES = {
  { "a total in a Lua variable", [[
      for _, row in ipairs(rows) do
        total = total + row.amount
      end
      repo:update("totals", { name = "all" }, { amount = total })]], "local total = 0",
    { LUA, OWN_HINT, "totals: the row (name)=(all): amount is 60, expected 150",
      "Keep a total in a table of the database" } },
  { "a total that on_complete writes", [[
      for _, row in ipairs(rows) do
        total = total + row.amount
      end]], "local total = 0", { LUA, "totals: the row (name)=(all): amount is" },
    [[on_complete = function(repo)
      repo:update("totals", { name = "all" }, { amount = total })
    end]] },
  { "a cache that decides whether to insert", [[
      for _, row in ipairs(rows) do
        if not seen[row.owner] then
          repo:insert("owners", { name = row.owner })
          seen[row.owner] = true
        end
      end]], "local seen = {}",
    { LUA, OWN_HINT, "the run is failed", "duplicate key",
      "Instead of a cache, ask the database" } },
  { "a list that on_start fills", [[
      for _, row in ipairs(rows) do
        repo:update("accounts", { id = row.id }, { rank = factor[1] or 0 })
      end]], "local factor = {}", { LUA, "accounts: the row (id)=(4): rank is 0, expected 7" },
    "on_start = function() factor[1] = 7 end" },
  { "a balance that an earlier batch has written into the row", [[
      local carried = {}
      for _, row in ipairs(rows) do
        local balance = (carried[row.id] or row.before) + row.amount
        carried[row.id + 1] = balance
        repo:update("accounts", { id = row.id + 1 }, { before = balance }, { missing = "ignore" })
      end]], nil, { ORDER, ORDER_HINT, "accounts: the row (id)=(5): before is 40, expected 100" } },
  { "the row before, in a Lua variable", [[
      for _, row in ipairs(rows) do
        repo:update("accounts", { id = row.id }, { before = previous })
        previous = row.amount
      end]], "local previous = 0",
    { BOTH, OWN_HINT, ORDER_HINT, "(id)=(4): before is 0, expected" } },
  { "ranks that a Lua variable counts", [[
      for _, row in ipairs(rows) do
        rank = rank + 1
        repo:update("accounts", { id = row.id }, { rank = rank })
      end]], "local rank = 0", { BOTH, "(id)=(4): rank is 1, expected 4", OWN_HINT, ORDER_HINT } },
  { "places that a sequence gives", PLACES, nil,
    { ORDER, "A sequence numbers rows in the order of batches", "declare it as primary_key",
      "entries: there is an extra row: account = 4, place = 1" } },
  { "the last row of all, in a row that is overwritten", [[
      repo:update("totals", { name = "all" }, { last = rows[#rows].id })]], nil,
    { ORDER, ORDER_HINT, "totals: the row (name)=(all): last is 3, expected 5", "on_complete" } },
  { "the first batch, which clears a table", [[
      if run.batch == 1 then
        repo:delete_all("owners", require "luamig".ALL)
      end
      for _, row in ipairs(rows) do
        repo:insert("owners", { name = "owner of " .. row.id })
      end]], nil, { ORDER, "owners: a row is missing: name = ", "belongs into on_start" } },
}

describe("workers independent", function()
  teardown(support.clean)

  for _, case in ipairs(CASES) do
    it("fails for " .. case[1], function()
      local message = complaint(script(case[2], case[3], case[5]))
      for _, wanted in ipairs(case[4]) do
        assert.matches(wanted, message, 1, true)
      end
    end)
  end

  it("tells the order of the batches, and how to see it", function()
    local path = script [[repo:update("totals", { name = "all" }, { last = rows[#rows].id })]]
    local message = complaint(path)
    assert.matches([[
The batches came in this order:
  worker 2, keys (id) from (4) to (4)
  worker 1, keys (id) from (1) to (1)
  worker 2, keys (id) from (5) to (5)
  worker 1, keys (id) from (2) to (2)
  worker 1, keys (id) from (3) to (3)
]], message, 1, true)
    assert.matches("set config.workers to 1 and remove this assertion", message, 1, true)
    local opts = assert(load("return " .. message:match "To see it: world:run%(.-, ({.*})%)$"))()
    local one = world()
    one:run(path, opts)
    assert.equal(3, one:rows("totals")[1].last)
  end)

  it("fails for a script whose batches need each other's rows", function()
    local message = complaint(script [[
      for i, row in ipairs(rows) do
        repo:update("accounts", { id = row.id }, { rank = i })
      end]])
    assert.matches("depends on which rows are in a batch", message, 1, true)
    assert.matches("migrate must do the same for a row", message, 1, true)
  end)

  it("fails for a total in a module of the project", function()
    local path = script([[
      repo:update("totals", { name = "all" }, { amount = require "total".add(#rows) })]])
    support.write(path:match "^(.*)/", "total.lua",
      "local n = 0 return { add = function(count) n = n + count return n end }")
    local message = complaint(path)
    assert.matches(LUA, message, 1, true)
  end)

  it("fails for the rows that fail, if others decide which", function()
    local path = support.script [[
      return {
        config = { on_error = "quarantine" },
        base_query = "SELECT * FROM accounts",
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            repo:insert("owners", { name = row.owner })
            repo:update("accounts", { id = row.id }, { rank = 1 })
          end
        end,
      }]]
    local message = complaint(path)
    assert.matches(ORDER, message, 1, true)
    assert.matches("accounts: the row (id)=(", message, 1, true)
  end)

  for name, path_of in pairs {
    ["sets what the row says"] = function() return script(RANK) end,
    ["inserts rows with an id from a sequence"] = function()
      return script [[
        for _, row in ipairs(rows) do
          repo:insert("notes", { account = row.id })
        end]]
    end,
    ["inserts what may be there already"] = function()
      return script([[
        for _, row in ipairs(rows) do
          if not seen[row.owner] then
            repo:insert("owners", { name = row.owner }, { on_conflict = "nothing" })
            seen[row.owner] = true
          end
        end]], "local seen = {}")
    end,
    ["caches what depends on the row alone"] = function()
      return script([[
        for _, row in ipairs(rows) do
          cache[row.owner] = cache[row.owner] or row.owner:byte()
          repo:update("accounts", { id = row.id }, { rank = cache[row.owner] })
        end]], "local cache = {}")
    end,
    ["prepares in on_start and finishes in on_complete"] = function()
      return script(RANK, "", [[
        on_start = function(repo) repo:insert("owners", { name = "x" }) end,
        on_complete = function(repo)
          repo:update("totals", { name = "all" }, { last = 5 })
        end]])
    end,
    ["logs its batch and its worker"] = function()
      return script(RANK .. ' run.log(run.batch .. " of " .. run.worker)')
    end,
    ["fails for the same rows"] = function()
      return support.script [[
        return {
          config = { on_error = "quarantine" },
          base_query = "SELECT * FROM accounts",
          migrate = function(rows, repo)
            for _, row in ipairs(rows) do
              if row.id % 3 == 0 then error "no" end
              repo:update("accounts", { id = row.id }, { rank = row.id })
            end
          end,
        }]]
    end,
  } do
    it("passes a script that " .. name, function()
      mock.assert_workers_independent(path_of(), world)
      mock.assert_workers_independent(path_of(), world, { batch_size = 3 })
    end)
  end

  it("passes a script whose sequence is a primary key, as the message says", function()
    local path = script(PLACES)
    assert.matches("declare it as primary_key", complaint(path), 1, true)
    mock.assert_workers_independent(path, function()
      return world { "place" }
    end)
  end)
end)
