local mock = require "luamig.mock"

local SCRIPT = "scripts/fix_trybetunes_module.lua"

describe("fix_trybetunes_module", function()
  local function new_world()
    return mock.new {
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
  end

  it("moves the projects of the template, and no other", function()
    local world = new_world()
    assert.equal("done", world:run(SCRIPT).state)
    local modules = {}
    for i, project in ipairs(world:rows "projects") do
      modules[i] = project.module or "none"
    end
    assert.same({ "frontend", "backend", "frontend", "none" }, modules)
  end)

  it("logs how many", function()
    local world = new_world()
    world:run(SCRIPT)
    local entry = world.log[#world.log]
    assert.equal("projects moved to module frontend", entry.message)
    assert.same({ projects = 2 }, entry.fields)
  end)

  it("changes nothing when it is killed before the end", function()
    local world = new_world()
    assert.equal("killed", world:run(SCRIPT, { kill = { batch = 1, call = 1 } }).state)
    assert.equal("backend", world:rows("projects")[1].module)
    assert.equal("done", world:run(SCRIPT).state)
    assert.equal("frontend", world:rows("projects")[1].module)
  end)

  it("is tried again when somebody else changes a project meanwhile", function()
    local world = new_world()
    world:fail { on = "update_all", sqlstate = "40001" }
    local result = world:run(SCRIPT)
    assert.equal("done", result.state)
    assert.equal(1, result.retries)
  end)

  it("may be killed anywhere, and repeated", function()
    mock.assert_resumable(SCRIPT, new_world)
    mock.assert_idempotent(SCRIPT, new_world)
  end)
end)
