local mock = require "luamig.mock"
local script = require "luamig.script"

local SCRIPT = "scripts/raise_temperatures.lua"

local function new_world()
  return mock.new {
    tables = {
      readings = {
        columns = { id = "int8", taken_at = "timestamptz", temperature = "float8" },
        primary_key = { "id" }, not_null = { "taken_at" },
        rows = {
          { id = 1, taken_at = "2023-12-30", temperature = 1.5 },
          { id = 2, taken_at = "2023-12-31" },
          { id = 3, taken_at = "2023-12-31", temperature = -3 },
          { id = 4, taken_at = "2024-01-01", temperature = 20 },
        },
      },
    },
    base = {
      from = "readings", select = { "id", "temperature" },
      where = function(row, args)
        return row.taken_at < args.before and row.temperature ~= nil
      end,
    },
  }
end

local function temperatures(world)
  local list = {}
  for i, reading in ipairs(world:rows "readings") do
    list[i] = reading.temperature or "none"
  end
  return list
end

describe("raise_temperatures", function()
  it("adds 10 to what was read before the date", function()
    local world = new_world()
    assert.equal(2, world:run(SCRIPT).rows)
    assert.same({ 11.5, "none", 7.0, 20.0 }, temperatures(world))
  end)

  it("passes the date to the query", function()
    local def = script.load(SCRIPT, { args = { before = "2020-05-01" } })
    assert.matches("taken_at < %$1", def.base_query)
    assert.same({ "2020-05-01", n = 1 }, def.base_params)
    local world = new_world()
    assert.equal(0, world:run(SCRIPT, { args = { before = "2020-05-01" } }).rows)
  end)

  it("adds 10 once, however often it is killed and started again", function()
    for call = 1, 2 do
      local world = new_world()
      world:run(SCRIPT, { kill = { batch = 1, call = call } })
      assert.same({ 1.5, "none", -3.0, 20.0 }, temperatures(world))
      world:run(SCRIPT, { batch_size = 1, kill = { batch = 1 } })
      assert.same({ 11.5, "none", -3.0, 20.0 }, temperatures(world))
      assert.equal("done", world:run(SCRIPT).state)
      assert.equal("done", world:run(SCRIPT).state)
      assert.same({ 11.5, "none", 7.0, 20.0 }, temperatures(world))
    end
  end)

  it("adds 10 once when a batch has to be tried again", function()
    local world = new_world()
    world:fail { on = "update", nth = 2, sqlstate = "40001" }
    assert.equal(1, world:run(SCRIPT).retries)
    assert.same({ 11.5, "none", 7.0, 20.0 }, temperatures(world))
  end)

  it("may be killed anywhere, and run in batches of any size", function()
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 1 })
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_workers_independent(SCRIPT, new_world)
  end)

  it("must not be run with --again: it is not idempotent", function()
    assert.error_matches(function()
      mock.assert_idempotent(SCRIPT, new_world)
    end, "temperature is 21.5, expected 11.5", 1, true)
  end)
end)
