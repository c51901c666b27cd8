local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

local function world(count, more)
  local rows = {}
  for id = 1, count do
    rows[id] = { id = id, n = 0 }
  end
  local t = { columns = { id = "int8", n = "int8" }, primary_key = { "id" }, rows = rows }
  for name, given in pairs(more or {}) do
    t[name] = given
  end
  return mock.pure.new { tables = { t = t }, base = { from = "t" } }
end

local COUNT = [[
  for _, row in ipairs(rows) do
    repo:update("t", { id = row.id }, { n = row.n + 1 })
  end]]

--- A script in batches of one row, whose migrate counts and does what `body` says.
local function script(body, config, more, head)
  return support.script(([[
%s
return {
  config = { batch_size = 1, %s },
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo, run)
%s
  %s
  end,
  %s
}]]):format(head or "", config or "", COUNT, body or "", more or ""))
end

--- The committed pages in their order, as "worker:first key".
local function pages_of(one)
  local pages = {}
  for _, entry in ipairs(one.log) do
    if entry.verb == "page" and entry.committed then
      pages[#pages + 1] = ("%d:%d"):format(entry.worker, entry.first[1])
    end
  end
  return table.concat(pages, " ")
end

local function said(one)
  local words = {}
  for _, entry in ipairs(one.log) do
    words[#words + 1] = entry.verb == "log" and entry.message or nil
  end
  return table.concat(words, " ")
end

--- Every row must have been migrated once, whoever did it.
local function assert_once(one)
  for _, row in ipairs(one:rows "t") do
    assert.equal(1, row.n, "row " .. row.id)
  end
end

describe("workers of the mock", function()
  teardown(support.clean)

  for order, wanted in pairs {
    round = "1:1 2:4 1:2 2:5 1:3", reverse = "2:4 1:1 2:5 1:2 1:3",
    [{ 1, 1, 2 }] = "1:1 1:2 2:4 1:3 2:5", [{ 2, 2, 2, 1 }] = "2:4 2:5 1:1 1:2 1:3",
  } do
    it("take turns: " .. wanted, function()
      local one = world(5)
      local result = one:run(script(), { workers = 2, order = order })
      assert.equal("done", result.state)
      assert.equal(5, result.batches)
      assert.equal(wanted, pages_of(one))
      assert_once(one)
    end)
  end

  it("take turns by chance that is the same each time", function()
    local seen, kinds = {}, 0
    for seed = 1, 6 do
      local one, twin = world(9), world(9)
      one:run(script(), { workers = 3, order = seed })
      twin:run(script(), { workers = 3, order = seed })
      assert.equal(pages_of(one), pages_of(twin))
      assert_once(one)
      kinds = kinds + (seen[pages_of(one)] and 0 or 1)
      seen[pages_of(one)] = true
    end
    assert.is_true(kinds >= 5)
  end)

  it("begin their batches together, whoever commits first", function()
    local one = world(4)
    one:run(script "run.log(run.worker .. ':' .. run.batch)", { workers = 2, order = "reverse" })
    assert.equal("2:2 1:1 2:3 1:4", said(one))
  end)

  it("have Lua variables of their own, also in modules", function()
    local path = script("count = count + 1 run.log(count .. require 'counter'.add())", "",
      nil, "local count = 0")
    support.write(path:match "^(.*)/", "counter.lua",
      "local n = 0 return { add = function() n = n + 1 return n end }")
    local one = world(4)
    one:run(path, { workers = 2 })
    assert.equal("11 11 22 22", said(one))
    assert.equal(3, require "counter".add())
    one = world(4)
    one:run(path, { workers = 1 })
    assert.equal("14 25 36 47", said(one))
  end)

  it("call on_start once and on_complete once", function()
    local one = world(3)
    one:run(script("run.log('m' .. run.worker)", "", [[
      on_start = function(_, run) run.log("start" .. run.worker) end,
      throttle = function(_, run) run.log("t" .. run.worker) end,
      on_complete = function(_, run) run.log("complete" .. run.worker) end]]),
      { workers = 2, order = "reverse" })
    assert.equal("start1 t2 m2 t1 m1 t1 m1 complete1", said(one))
  end)

  it("cut ranges after on_start, behind start_after, up to the last row", function()
    local one = world(5)
    one:run(script("", "start_after = 2", [[
      on_start = function(repo) repo:insert("t", { id = 6, n = 0 }) end]]), { workers = 2 })
    assert.equal("1:3 2:5 1:4 2:6", pages_of(one))
  end)

  it("have no range if there are more workers than rows", function()
    for rows = 0, 3 do
      local one = world(rows)
      assert.equal(rows, one:run(script(), { workers = 8 }).rows)
      assert_once(one)
    end
  end)

  it("migrate rows that follow, if the script follows new rows", function()
    local one = world(4)
    one:run(script([[
      if rows[1].id < 10 then
        repo:insert("t", { id = rows[1].id + 10, n = 0 })
      end]], "follow_new = true"), { workers = 2, order = { 2, 2, 2, 1 } })
    assert.equal(1, one:rows("t")[#one:rows "t"].n)
  end)

  it("migrate each row once wherever they are killed, with however many they go on", function()
    for batch = 1, 7 do
      for count = 1, 3 do
        for call = 1, 2 do
          local one, path = world(7), script()
          local result = one:run(path, {
            workers = 3, order = "reverse", kill = { batch = batch, call = call == 1 and 1 or nil },
          })
          assert.equal("killed", result.state)
          result = one:run(path, { workers = count, order = batch })
          assert.equal("done", result.state)
          assert_once(one)
        end
      end
    end
  end)

  it("keep to a limit together", function()
    local one, path = world(7), script("", "batch_size = 2")
    for _, wanted in ipairs { "stopped 3", "stopped 3", "done 1" } do
      local result = one:run(path, { workers = 2, limit = 3 })
      assert.equal(wanted, result.state .. " " .. result.rows)
    end
    assert_once(one)
  end)

  it("try again what lost against another transaction", function()
    local one = world(6)
    one:fail { on = "commit", nth = 3, sqlstate = "40001" }
    one:fail { on = "update", nth = 4, sqlstate = "08006" }
    local result = one:run(script("run.log(run.worker .. ':' .. run.attempt)", "batch_size = 2"),
      { workers = 2 })
    assert.equal("done", result.state)
    assert.equal(1, result.retries)
    assert_once(one)
  end)

  it("record failed rows, each its own", function()
    for order = 1, 5 do
      local one = world(12, { checks = {
        small = function(row) return row.n == 0 or row.id % 5 ~= 0 end,
      } })
      local result = one:run(script("", "batch_size = 4, on_error = 'quarantine'"),
        { workers = 3, order = order })
      assert.equal("done_with_failures", result.state)
      assert.equal(2, result.failures)
      assert.equal(10, result.rows)
    end
  end)

  it("are one in a one-shot and in a dry run", function()
    local one = world(2)
    one:run(support.script [[return { run = function(_, run) run.log(run.worker) end }]],
      { workers = 2, order = "reverse" })
    one:run(script "run.log(run.worker)", { workers = 2, order = "reverse", dry_run = true })
    assert.equal("1 1 1", said(one))
  end)

  for _, case in ipairs {
    { { workers = 0 }, "world:run: workers must be an integer of at least 1, not 0" },
    { { workers = 65 }, "world:run: workers must be at most 64, not 65" },
    { { workers = "auto" }, 'world:run: workers must be an integer of at least 1, not "auto"' },
    { { workers = 2, order = "any" }, 'world:run: order must be "round", "reverse", an integer, '
      .. 'or a list that has each worker from 1 to 2, not "any"' },
    { { workers = 2, order = { 1, 1 } }, "a list that has each worker from 1 to 2, not a table" },
    { { workers = 2, order = { 1, 2, 3 } }, "a list that has each worker from 1 to 2" },
    { { order = 1.5 }, "a list that has each worker from 1 to 1, not 1.5" },
  } do
    it("are refused: " .. case[2], function()
      local one = world(2)
      local err = support.raised(function()
        one:run("no.lua", case[1])
      end)
      assert.matches("mock_workers_spec.lua", err, 1, true)
      assert.matches(case[2], err, 1, true)
    end)
  end
end)
