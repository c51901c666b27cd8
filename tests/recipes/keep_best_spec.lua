local mock = require "luamig.mock"

local SCRIPT = "scripts/keep_best.lua"

local function new_world()
  local world = mock.new {
    tables = {
      scores = { columns = { id = "int8", player_id = "int4", game = "text", points = "int4" },
        primary_key = { "id" }, rows = {
          { id = 1, player_id = 1, game = "go", points = 5 },
          { id = 2, player_id = 1, game = "go", points = 9 },
          { id = 3, player_id = 1, game = "go", points = 7 },
          { id = 4, player_id = 2, game = "go", points = 1 },
        } },
      records = {
        columns = { player_id = "int4", game = "text", points = "int4", closed_on = "date" },
        unique = { { "player_id", "game", where = {
          sql = "closed_on IS NULL", holds = function(row) return row.closed_on == nil end,
        } } },
        rows = { { player_id = 2, game = "go", points = 3 },
          { player_id = 1, game = "go", points = 99, closed_on = "2020-01-01" } },
      },
    },
    base = { from = "scores" },
  }
  world:stub([[
    INSERT INTO records (player_id, game, points) VALUES ($1, $2, $3)
    ON CONFLICT (player_id, game) WHERE closed_on IS NULL
    DO UPDATE SET points = greatest(records.points, excluded.points)]],
    function(params, tables)
      for _, record in ipairs(tables.records) do
        if record.player_id == params[1] and record.game == params[2] and not record.closed_on then
          record.points = math.max(record.points, params[3])
          return 1
        end
      end
      table.insert(tables.records, { player_id = params[1], game = params[2], points = params[3] })
      return 1
    end)
  return world
end

describe("keep_best", function()
  it("raises an open record, and leaves a closed one", function()
    local world = new_world()
    assert.equal("done", world:run(SCRIPT).state)
    mock.assert_rows(world, "records", {
      { player_id = 1, points = 9, closed_on = require "luamig".NULL },
      { player_id = 1, points = 99, closed_on = "2020-01-01" },
      { player_id = 2, points = 3 },
    })
  end)

  it("does not care in what order the scores come", function()
    mock.assert_batch_size_independent(SCRIPT, new_world)
    mock.assert_workers_independent(SCRIPT, new_world)
  end)
end)
