local mock = require "luamig.mock"

local SCRIPT = "scripts/fix_trybetunes_module.lua"

describe("fix_trybetunes_module", function()
  local world

  before_each(function()
    world = mock.new {
      tables = {
        projects = {
          columns = { id = "int8", template = "text", module = "text" }, primary_key = { "id" },
          rows = {
            { id = 1, template = "trybetunes", module = "backend" },
            { id = 2, template = "blank", module = "backend" },
            { id = 3, template = "trybetunes" },
            { id = 4 },
          },
        },
      },
    }
  end)

  it("moves the projects of the template, and no other", function()
    assert.equal("done", world:run(SCRIPT).state)
    local modules = {}
    for i, project in ipairs(world:rows "projects") do
      modules[i] = project.module or "none"
    end
    assert.same({ "frontend", "backend", "frontend", "none" }, modules)
  end)

  it("logs how many", function()
    world:run(SCRIPT)
    local entry = world.log[#world.log]
    assert.equal("projects moved to module frontend", entry.message)
    assert.same({ projects = 2 }, entry.fields)
  end)

  it("changes nothing when it is killed before the end", function()
    assert.equal("killed", world:run(SCRIPT, { kill = { batch = 1, call = 1 } }).state)
    assert.equal("backend", world:rows("projects")[1].module)
    assert.equal("done", world:run(SCRIPT).state)
    assert.equal("frontend", world:rows("projects")[1].module)
  end)
end)
