local mock = require "luamig.mock"

local SCRIPT = "scripts/drop_orphans.lua"

local COLUMNS = { id = "int8", order_id = "int4", label = "text" }

local function new_world()
  return mock.new {
    tables = {
      orders = { columns = { id = "int4" }, primary_key = { "id" }, rows = { { id = 1 } } },
      lines = { columns = COLUMNS, primary_key = { "id" }, rows = {
        { id = 1, order_id = 1, label = "a" }, { id = 2, order_id = 7, label = "b" },
        { id = 3, label = "c" },
      } },
      lost_lines = { columns = COLUMNS },
    },
    base = function(tables)
      local there, rows = {}, {}
      for _, order in ipairs(tables.orders) do
        there[order.id] = true
      end
      for _, line in ipairs(tables.lines) do
        if line.order_id == nil or not there[line.order_id] then
          table.insert(rows, line)
        end
      end
      return rows
    end,
  }
end

describe("drop_orphans", function()
  it("moves the lines that have no order", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    mock.assert_rows(world, "lines", { { id = 1 } })
    mock.assert_rows(world, "lost_lines", { { id = 2, label = "b" }, { id = 3, label = "c" } })
  end)

  it("moves each once, wherever it is killed", function()
    mock.assert_resumable(SCRIPT, new_world, { batch_size = 1 })
    mock.assert_idempotent(SCRIPT, new_world)
  end)
end)
