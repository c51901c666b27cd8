--- A base query on a table that on_start makes.

local contract = dofile "tests/contract/contract.lua"
local mock = require "luamig.mock"

local CREATE = "CREATE TABLE work (id bigint PRIMARY KEY, n int)"
local FILL = "INSERT INTO work SELECT id, n FROM t"

local function world_of(more)
  local tables = {
    t = { columns = { id = "int8", n = "int4" }, primary_key = { "id" },
      rows = { { id = 1, n = 10 }, { id = 2, n = 20 }, { id = 3, n = 30 } } },
    work = { columns = { id = "int8", n = "int4" }, primary_key = { "id" }, absent = true },
  }
  for name, given in pairs(more or {}) do
    tables[name] = given
  end
  return mock.new { tables = tables, base = { from = "work" } }
end

--- Declares what the statements of on_start do.
local function stubbed(world)
  world:stub(CREATE, { makes = "work" })
  world:stub(FILL, function(_, tables)
    for _, row in ipairs(tables.t) do
      table.insert(tables.work, { id = row.id, n = row.n })
    end
    return #tables.t
  end)
  return world
end

local ON_START = ([[on_start = function(repo, run)
    run.log "start"
    repo:execute %q
    repo:execute %q
  end,]]):format(CREATE, FILL)

local BODY = [[for _, row in ipairs(rows) do
    repo:update("t", { id = row.id }, { n = row.n + 1 })
  end]]

local function run(world, more, opts, body)
  return contract.run(world, body or BODY, { query = "SELECT * FROM work", more = more or ON_START,
    config = "allow_ddl = true," }, opts)
end

describe("a base query on what on_start makes", function()
  teardown(contract.clean)

  it("is paged after on_start", function()
    local world = stubbed(world_of())
    assert.equal(3, contract.ended("done", run(world, nil, { batch_size = 2 })).rows)
    assert.equal("11 21 31", contract.numbers_of(world))
    assert.equal("start", contract.said(world))
    assert.same({ 1, 2, 3 }, contract.column(world, "work", "id"))
  end)

  it("is made once, also if the run is killed", function()
    local world = stubbed(world_of())
    local path = contract.script(BODY, { query = "SELECT * FROM work", more = ON_START,
      config = "allow_ddl = true," })
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 2 } }))
    contract.ended("done", world:run(path))
    assert.equal("start", contract.said(world))
    assert.equal("11 21 31", contract.numbers_of(world))
  end)

  it("is taken back with what else on_start did if that fails", function()
    local world = stubbed(world_of())
    local path = contract.script(BODY, { query = "SELECT * FROM work", config = "allow_ddl = true,",
      more = ON_START })
    world:fail { on = "execute", nth = 2, sqlstate = "22012" }
    contract.ended("failed", world:run(path))
    assert.error_matches(function() world:rows "work" end, "work")
    contract.ended("done", world:run(path))
    assert.equal("11 21 31", contract.numbers_of(world))
  end)

  it("is made anew in each transaction of a dry run", function()
    local world = stubbed(world_of())
    local result = contract.ended("done", run(world, nil, { dry_run = true, batch_size = 2 }))
    assert.same({ 3, 2 }, { result.rows, result.batches })
    assert.equal("10 20 30", contract.numbers_of(world))
    assert.error_matches(function() world:rows "work" end, "work")
  end)

  it("fails if on_start does not make it", function()
    local world = world_of()
    local result = run(world,
      'on_start = function(repo) repo:update("t", { id = 1 }, { n = 0 }) end,')
    contract.ended("failed", result)
    assert.equal("42P01", result.error.sqlstate)
    assert.matches('relation "work" does not exist', result.error.message, 1, true)
    assert.equal("10 20 30", contract.numbers_of(world))
  end)

  for _, word in ipairs { "TEMP", "TEMPORARY" } do
    it("is refused if it is temporary, and on_start taken back: " .. word, function()
      local world = stubbed(world_of())
      local sql = CREATE:gsub("TABLE", word .. " TABLE")
      world:stub(sql, { makes = "work" })
      local result = run(world, ([[on_start = function(repo)
        repo:execute %q
        repo:update("t", { id = 1 }, { n = 0 })
      end,]]):format(sql))
      contract.ended("failed", result)
      assert.equal('the base query reads "work", which is temporary', result.error.message)
      assert.equal("10 20 30", contract.numbers_of(world))
    end)
  end

  it("is refused if there is no on_start", function()
    local err = contract.raised(run, world_of(), "")
    assert.equal("42P01", err.sqlstate)
  end)

  it("may be read and written like any other table, when it is there", function()
    local world = stubbed(world_of())
    contract.ended("done", run(world, nil, nil, [[
      for _, row in ipairs(rows) do repo:delete("work", { id = row.id }) end
      repo:insert("work", { id = 9 })]]))
    assert.same({ 9 }, contract.column(world, "work", "id"))
  end)
end)

describe("a table that is not there", function()
  teardown(contract.clean)

  it("cannot be used", function()
    for _, call in ipairs { 'repo:insert("work", { id = 1 })', 'repo:get("work", { id = 1 })',
      'repo:delete_all("work", luamig.ALL)' } do
      contract.run_failed(mock.new { tables = { t = { columns = { id = "int8" },
        primary_key = { "id" }, rows = { { id = 1 } } }, work = { columns = { id = "int8" },
        absent = true } }, base = { from = "t" } }, call, "42P01", 'relation "work" does not exist')
    end
  end)

  it("cannot be made twice", function()
    local world = stubbed(world_of())
    world:stub("CREATE TABLE IF NOT EXISTS work (id bigint)", { makes = "work" })
    assert.error_matches(function()
      run(world, nil, nil, [[
        repo:execute "CREATE TABLE IF NOT EXISTS work (id bigint)"
        repo:execute "CREATE TABLE work (id bigint PRIMARY KEY, n int)"]])
    end, "already")
  end)

  it("is gone again after a savepoint", function()
    local world = stubbed(world_of())
    local before = ON_START:gsub("run.log \"start\"", ([[
      local ok = repo:savepoint(function() repo:execute %q error "no" end)
      run.log(tostring(ok))]]):format(CREATE))
    contract.ended("done", run(world, before))
    assert.equal("false", contract.said(world))
    assert.equal("11 21 31", contract.numbers_of(world))
  end)
end)
