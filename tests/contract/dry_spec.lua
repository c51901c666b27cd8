local contract = dofile "tests/contract/contract.lua"

local DRY = { dry_run = true, batch_size = 2 }

local COUNT = [[
  for _, row in ipairs(rows) do
    repo:update("t", { id = row.id }, { n = row.n + 1 })
  end]]

local function numbers(world)
  return table.concat(contract.column(world, "t", "n"), " ")
end

local function seen()
  return { tables = { seen = { columns = { what = "text" } } } }
end

--- What happened, in a line: batch, verb, and "!" if it was committed.
local function trace(world)
  local words = {}
  for i, entry in ipairs(world.log) do
    words[i] = ("%d:%s%s"):format(entry.batch, entry.verb, entry.committed and "!" or "")
  end
  return table.concat(words, " ")
end

describe("a dry run #versions", function()
  teardown(contract.clean)

  it("takes every batch and leaves nothing", function()
    local world = contract.numbers(3)
    local result = contract.ended("done", contract.run(world, COUNT, nil, DRY))
    assert.equal("10 20 30", numbers(world))
    assert.equal("1:page 1:update 1:update 2:page 2:update", trace(world))
    assert.same({ 3, 2, 0, 0 }, { result.rows, result.batches, result.retries, result.failures })
  end)

  it("is not remembered by the run that follows", function()
    local world = contract.numbers(3)
    local path = contract.script(COUNT .. '\nrun.log(run.id .. ":" .. tostring(run.dry_run))')
    world:run(path, DRY)
    contract.ended("done", world:run(path))
    world:run(path, DRY)
    assert.equal("11 21 31", numbers(world))
    assert.equal("0:true 0:true 1:false 0:true 0:true", contract.said(world))
  end)

  it("begins at the beginning, and leaves the cursor of a run that was killed", function()
    local world = contract.numbers(3)
    local path = contract.script(COUNT .. "\nrun.log(tostring(rows[1].id))")
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 1 } }))
    world:run(path, DRY)
    contract.ended("done", world:run(path, { batch_size = 1 }))
    assert.equal("1 1 3 2 3", contract.said(world))
    assert.equal("11 21 31", numbers(world))
  end)

  it("is done at its limit", function()
    local world = contract.numbers(3)
    local result = contract.run(world, COUNT, nil, { dry_run = true, batch_size = 2, limit = 1 })
    contract.ended("done", result)
    assert.equal(1, result.rows)
  end)

  it("repeats on_start in every batch, and a batch sees no other", function()
    local world = contract.numbers(3, seen())
    contract.ended("done", contract.run(world, [[
      repo:update("seen", { what = "start" }, { what = "batch " .. run.batch })]], {
      more = 'on_start = function(repo) repo:insert("seen", { what = "start" }) end,' }, DRY))
    assert.equal(0, #world:rows "seen")
    assert.equal("0:insert 0:insert 1:page 1:update 0:insert 2:page 2:update", trace(world))
  end)

  it("pages through what on_start makes", function()
    local world = contract.numbers(1)
    local result = contract.run(world, 'run.log(#rows .. " to " .. rows[#rows].id)', {
      more = 'on_start = function(repo) repo:insert("t", { id = 7 }) end,' }, DRY)
    contract.ended("done", result)
    assert.equal("2 to 7", contract.said(world))
    assert.equal("10", numbers(world))
  end)

  it("calls on_complete, which sees nothing of the batches", function()
    local world = contract.numbers(2, seen())
    contract.ended("done", contract.run(world, 'repo:insert("seen", { what = "batch" })', {
      more = [[
        on_complete = function(repo, run)
          run.log(repo:insert("seen", { what = "end" }).affected .. " in " .. run.batch)
        end,]] }, DRY))
    assert.equal("1 in 1", contract.said(world))
    assert.equal(0, #world:rows "seen")
  end)

  it("fails as the run would, and tells on_stop", function()
    local world = contract.numbers(3)
    local result = contract.run(world, COUNT .. '\nrepo:insert("t", { id = 3 })', {
      more = 'on_stop = function(run, reason) run.log(reason) end,' }, DRY)
    contract.failed(result, "23505")
    assert.equal("10 20 30", numbers(world))
    assert.equal("error", contract.said(world))
  end)

  it("sets no row aside", function()
    local world = contract.numbers(2)
    local result = contract.run(world, 'repo:insert("t", { id = 1 })',
      { config = 'on_error = "quarantine"' }, DRY)
    contract.failed(result, "23505")
    assert.equal(0, result.failures)
  end)

  it("begins a batch again after a conflict", function()
    local world = contract.numbers(3)
    world:fail { on = "update", nth = 2, sqlstate = "40001" }
    local result = contract.ended("done", contract.run(world, COUNT, nil, DRY))
    assert.equal(1, result.retries)
    assert.equal(3, result.rows)
  end)

  it("ends when its session does", function()
    local world = contract.numbers(3)
    world:fail { on = "update", nth = 2, sqlstate = "57P01" }
    contract.ended("failed", contract.run(world, COUNT, nil, DRY))
    assert.equal("10 20 30", numbers(world))
  end)

  it("of a one-shot is one batch", function()
    local world = contract.numbers(2)
    local path = contract.one_shot [[
      repo:update_all("t", { n = 5 }, luamig.ALL)
      run.log(run.batch .. ":" .. tostring(run.dry_run))]]
    local result = contract.ended("done", world:run(path, DRY))
    assert.same({ 0, 1 }, { result.rows, result.batches })
    assert.equal("10 20", numbers(world))
    contract.ended("done", world:run(path))
    assert.equal("5 5", numbers(world))
    assert.equal("1:true 1:false", contract.said(world))
  end)

  it("of nothing is done", function()
    local result = contract.ended("done", contract.run(contract.numbers(0), COUNT, nil, DRY))
    assert.same({ 0, 0 }, { result.rows, result.batches })
  end)

  it("takes its arguments", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, "run.log(run.args.word)", {
      more = 'args = { word = { type = "string", required = true } },' },
      { dry_run = true, args = { word = "hello" } }))
    assert.equal("hello", contract.said(world))
  end)

  it("asks throttle", function()
    local world = contract.numbers(3)
    contract.ended("done", contract.run(world, COUNT, {
      head = "local asked = 0",
      more = [[
        throttle = function(repo, run)
          asked = asked + 1
          run.log("asked " .. run.batch)
          return asked == 1
        end,]] }, DRY))
    assert.equal("asked 0 asked 0 asked 1", contract.said(world))
  end)

  it("cannot be combined with again or kill", function()
    for _, name in ipairs { "again", "kill" } do
      assert.error_matches(function()
        contract.run(contract.numbers(1), COUNT, nil,
          { dry_run = true, [name] = name == "again" or { batch = 1 } })
      end, "dry_run cannot be combined with again or kill")
    end
  end)

  it("knows unknown columns", function()
    contract.failed(contract.run(contract.numbers(1), 'repo:update("t", { id = 1 }, { m = 1 })',
      nil, DRY), "42703")
  end)
end)
