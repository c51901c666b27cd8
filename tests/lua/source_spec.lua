--- config.source: what a script, a project and a spec may say of another database.

local config = require "luamig.script.config"
local mock = require "luamig.mock"
local script = require "luamig.script"
local support = dofile "tests/lua/support.lua"

local PAGED = 'base_query = "SELECT id FROM t", migrate = function() end'

local function refused(source)
  return support.raised(script.load, support.script(source)).message
end

after_each(support.clean)

describe("config.source", function()
  it("is the name of a repo", function()
    local path = support.script('return { config = { source = "legacy" }, ' .. PAGED .. " }")
    assert.equal("legacy", script.load(path).config.source)
  end)

  it("is optional", function()
    assert.is_nil(script.load(support.script("return { " .. PAGED .. " }")).config.source)
  end)

  for _, wrong in ipairs { '""', "5", "{}", "true" } do
    it("is refused if it is " .. wrong, function()
      assert.matches("config.source must be a string that is not empty",
        refused("return { config = { source = " .. wrong .. " }, " .. PAGED .. " }"))
    end)
  end

  it("is refused with migrate_range", function()
    assert.matches("migrate_range cannot be combined with config.source",
      refused('return { config = { source = "a" }, base_query = "SELECT id FROM t",'
        .. " migrate_range = function() end }"))
  end)

  it("is refused with input", function()
    assert.matches("input cannot be combined with config.source",
      refused('return { config = { source = "a" }, input = { format = "csv", columns = { id = '
        .. '"int8" } }, migrate = function() end }'))
  end)

  it("has no default of the project", function()
    local message
    pcall(config.check_defaults, { source = "legacy" }, function(_, text)
      message = text
      error(text)
    end)
    assert.equal("source cannot have a default", message)
  end)
end)

describe("mock.new", function()
  it("refuses a source that is no table", function()
    assert.matches("mock.new: source must be a table of tables, not 5",
      tostring(support.raised(mock.new, { tables = {}, source = 5 })))
  end)

  it("reads base from the source", function()
    assert.matches('base.from must name a table of this world, not "t"',
      tostring(support.raised(mock.new, {
        tables = { t = { rows = { { id = 1 } } } }, source = {}, base = { from = "t" },
      })))
  end)

  it("reports a stub of the source that was not used", function()
    local world = mock.new {
      tables = {}, source = { t = { rows = { { id = 1 } } } }, base = { from = "t" },
    }
    world.source:stub("SELECT 1", { rows = { { one = 1 } } })
    local path = support.script('return { config = { source = "a" }, ' .. PAGED .. " }")
    assert.matches("used the stub 0 of 1 times: SELECT 1",
      tostring(support.raised(world.run, world, path)))
  end)

  it("keeps the properties of a script that has a source", function()
    local path = support.script [[
      return {
        config = { source = "a" },
        base_query = "SELECT id FROM t",
        migrate = function(rows, repo, run)
          local shift = run.source:scalar "SELECT 100"
          for _, row in ipairs(rows) do
            repo:insert("copies", { id = row.id + shift })
          end
        end,
      }]]
    local function make_world()
      local world = mock.new {
        tables = { copies = { columns = { id = "int8" }, primary_key = { "id" } } },
        source = { t = { columns = { id = "int8" }, primary_key = { "id" },
          rows = { { id = 1 }, { id = 2 }, { id = 3 } } } },
        base = { from = "t" },
      }
      world.source:stub("SELECT 100", { rows = { { n = 100 } } })
      return world
    end
    mock.assert_resumable(path, make_world)
    mock.assert_batch_size_independent(path, make_world)
    mock.assert_workers_independent(path, make_world)
  end)
end)
