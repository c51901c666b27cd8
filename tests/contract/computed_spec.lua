--- Stubs and bases that are functions of the spec: they compute from the tables of the world, and a
-- stub may change them. On PostgreSQL the server's answer, and its tables afterwards, must be the
-- same.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"
local mock = require "luamig.mock"

local said = contract.said

local function ran(world, body, parts)
  return contract.ended("done", contract.run(world, body, parts))
end

local function complaint(world, body, parts, opts)
  return contract.raised(function()
    contract.run(world, body, parts, opts)
  end)
end

local function contains(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then
      return true
    end
  end
  return false
end

describe("a stub that is a function", function()
  teardown(contract.clean)

  local COUNT = "SELECT count(*) AS c FROM t WHERE n > $1"

  local function count(params, tables)
    local found = 0
    for _, row in ipairs(tables.t) do
      found = found + (row.n > params[1] and 1 or 0)
    end
    return { { c = found } }
  end

  it("answers from the tables", function()
    local world = contract.numbers(3)
    world:stub(COUNT, count)
    ran(world, ([[run.log(repo:scalar(%q, 15) .. repo:scalar(%q, 25) .. repo:one(%q, 5).c)]])
      :format(COUNT, COUNT, COUNT))
    assert.equal("213", said(world))
  end)

  it("sees what the batch has written", function()
    local world = contract.numbers(3)
    world:stub(COUNT, count)
    ran(world, ([[
      repo:update("t", { id = 1 }, { n = 99 })
      run.log(tostring(repo:scalar(%q, 25)))]]):format(COUNT))
    assert.equal("2", said(world))
  end)

  it("changes rows, adds some and takes some away", function()
    local world = contract.numbers(3)
    world:stub("UPDATE t SET n = n * 2, s = NULL WHERE id = ANY($1::int8[])",
      function(params, tables)
        local done = 0
        for _, row in ipairs(tables.t) do
          if contains(params[1], row.id) then
            row.n, row.s, done = row.n * 2, nil, done + 1
          end
        end
        return done
      end)
    world:stub("INSERT INTO t (id, n) SELECT id + 100, n FROM t WHERE id < 3", function(_, tables)
      for i = 1, 2 do
        table.insert(tables.t, { id = tables.t[i].id + 100, n = tables.t[i].n })
      end
      return 2
    end)
    world:stub("DELETE FROM t WHERE id = 1", function(_, tables)
      table.remove(tables.t, 1)
      return 1
    end)
    ran(world, [[
      local updated = repo:execute("UPDATE t SET n = n * 2, s = NULL WHERE id = ANY($1::int8[])",
        { 2, 3 })
      local inserted = repo:execute
        "INSERT INTO t (id, n) SELECT id + 100, n FROM t WHERE id < 3"
      local deleted = repo:execute "DELETE FROM t WHERE id = 1"
      run.log(updated.affected .. inserted.affected .. deleted.affected)]])
    assert.equal("221", said(world))
    assert.same({ 40, 60, 10, 40 }, contract.column(world, "t", "n"))
    assert.same({ "NULL", "NULL", "NULL", "NULL" }, contract.column(world, "t", "s"))
  end)

  for _, hole in ipairs { 0, 1 } do
    it("may not leave a hole in the rows: " .. hole, function()
      local world = contract.numbers(3)
      world:stub("DELETE FROM t WHERE id = 1", function(_, tables)
        tables.t[hole] = hole == 0 and { id = 9 } or nil
        return 1
      end)
      local message = tostring(complaint(world, 'repo:execute "DELETE FROM t WHERE id = 1"'))
      assert.matches('the rows of table "t" must have the keys 1, 2, 3', message, 1, true)
      assert.matches("table.remove(tables.t, place)", message, 1, true)
    end)
  end

  it("may return rows and change tables at once", function()
    local world = contract.numbers(2)
    local sql = "UPDATE t SET n = n + 1 WHERE id = $1 RETURNING n"
    world:stub(sql, function(params, tables)
      local row = tables.t[params[1]]
      row.n = row.n + 1
      return { { n = row.n } }
    end)
    ran(world, ([[run.log(repo:one(%q, 2).n .. " " .. repo:scalar(%q, 1))]]):format(sql, sql))
    assert.equal("21 11", said(world))
    assert.equal("11 21", contract.numbers_of(world))
  end)

  it("is undone with its savepoint, and with its batch", function()
    local world = contract.numbers(2)
    world:stub("UPDATE t SET n = 0 WHERE id > 0", function(_, tables)
      for _, row in ipairs(tables.t) do
        row.n = 0
      end
      return #tables.t
    end)
    local body = [[
      repo:savepoint(function() repo:execute "UPDATE t SET n = 0 WHERE id > 0" error "no" end)
      repo:execute "UPDATE t SET n = 0 WHERE id > 0"
      error "stop"]]
    contract.failed(contract.run(world, body), nil, "stop")
    assert.equal("10 20", contract.numbers_of(world))
  end)

  it("meets the constraints of the table", function()
    local world = contract.numbers(2, { checks = {
      positive = { sql = "n > 0", holds = function(row) return row.n > 0 end },
    } })
    world:stub("UPDATE t SET n = -1 WHERE id = 2", function(_, tables)
      tables.t[2].n = -1
      return 1
    end)
    contract.failed(contract.run(world, 'repo:execute "UPDATE t SET n = -1 WHERE id = 2"'),
      "23514", "positive")
  end)

  --- Users with orders; a user's orders go with the user, or stay in the way.
  local function users_and_orders(on_delete)
    return mock.new {
      tables = {
        a_orders = { columns = { id = "int8", user_id = "int8" }, primary_key = { "id" },
          foreign_keys = { { columns = { "user_id" }, references = "users",
            on_delete = on_delete } },
          rows = { { id = 1, user_id = 1 }, { id = 2, user_id = 2 }, { id = 3, user_id = 3 } } },
        users = { columns = { id = "int8" }, primary_key = { "id" },
          rows = { { id = 1 }, { id = 2 }, { id = 3 } } },
      },
      base = { from = "users", where = function(row) return row.id == 3 end },
    }
  end
  local THIRD = { query = "SELECT id FROM users WHERE id = 3" }

  for _, on_delete in ipairs { "cascade", "no action" } do
    it("changes tables that refer to each other, with ON DELETE " .. on_delete, function()
      local world = users_and_orders(on_delete)
      local sql = "WITH gone AS (DELETE FROM a_orders WHERE user_id = 1)"
        .. " DELETE FROM users WHERE id = 1"
      world:stub(sql, function(_, tables)
        table.remove(tables.a_orders, 1)
        table.remove(tables.users, 1)
        return 1
      end)
      ran(world, ("repo:execute %q"):format(sql), THIRD)
      assert.same({ 2, 3 }, contract.column(world, "users", "id"))
      assert.same({ 2, 3 }, contract.column(world, "a_orders", "id"))
    end)
  end

  it("adds rows that refer to each other", function()
    local world = users_and_orders()
    local sql = "WITH users AS (INSERT INTO users VALUES (7) RETURNING id)"
      .. " INSERT INTO a_orders SELECT 70, id FROM users"
    world:stub(sql, function(_, tables)
      table.insert(tables.a_orders, { id = 70, user_id = 7 })
      table.insert(tables.users, { id = 7 })
      return 1
    end)
    ran(world, ("repo:execute %q"):format(sql), THIRD)
    assert.same({ 1, 2, 3, 70 }, contract.column(world, "a_orders", "id"))
  end)

  it("may not remove what is referred to", function()
    local world = users_and_orders()
    world:stub("DELETE FROM users WHERE id = 1", function(_, tables)
      table.remove(tables.users, 1)
      return 1
    end)
    contract.failed(contract.run(world, 'repo:execute "DELETE FROM users WHERE id = 1"', THIRD),
      "23503")
  end)

  it("may look at the world as well", function()
    local world = contract.numbers(2)
    world:stub("SELECT 1 AS one", function(_, tables)
      return { { one = #world:rows "t" + #tables.t - 3 } }
    end)
    ran(world, [[
      repo:update("t", { id = 1 }, { n = 5 })
      run.log(repo:scalar "SELECT 1 AS one" .. tostring(repo:get("t", { id = 1 }).n))]])
    assert.equal("15", said(world))
  end)

  it("writes values as their columns keep them", function()
    local world = contract.world({ a = "numeric(5,2)" }, { { id = 1, a = 1 } })
    world:stub("UPDATE t SET a = 2.349 WHERE id = 1", function(_, tables)
      tables.t[1].a = luamig.decimal "2.35"
      return 1
    end)
    ran(world, 'repo:execute "UPDATE t SET a = 2.349 WHERE id = 1"')
    assert.equal("2.35", tostring(world:rows("t")[1].a))
  end)

  it("leaves to the server what the server computes", function()
    local world = contract.world({ n = "int4", total = "int4" }, { { id = 1, n = 1 } }, {
      generated = { total = { sql = "n * 2", value = function(row) return row.n * 2 end } },
    })
    world:stub("UPDATE t SET n = 5 WHERE id = 1", function(_, tables)
      tables.t[1].n = 5
      return 1
    end)
    ran(world, 'repo:execute "UPDATE t SET n = 5 WHERE id = 1"')
    assert.equal(10, world:rows("t")[1].total)
  end)

  it("fails as the server does", function()
    local world = contract.numbers(1)
    world:stub("SELECT 1 / 0", function()
      error { sqlstate = "22012", message = "division by zero" }
    end)
    contract.failed(contract.run(world, 'repo:query "SELECT 1 / 0"'), "22012", "division by zero")
  end)

  it("can be for some parameters only, and know its columns", function()
    local world = contract.numbers(2)
    local sql = "SELECT id, n FROM t WHERE id = $1"
    world:stub(sql, { params = { 1 }, columns = { "id", "n" }, answer = function()
      return { { id = 1, n = 10 } }
    end })
    world:stub(sql, { params = { 7 }, rows = {}, columns = { "id", "n" } })
    ran(world, ([[run.log(repo:one(%q, 1).n .. #repo:query(%q, 7))]]):format(sql, sql))
    assert.equal("100", said(world))
  end)

  for _, case in ipairs {
    { function() end, "must return a list of rows, or how many rows are affected, not nil" },
    { function() return -1 end, "or how many rows are affected, not -1" },
    { function() return { 1 } end, "rows must be a list of tables, not of 1" },
    { function() return { { n = print } } end, "rows hold a function" },
    { function() return ("x").y.z end, "attempt to index a nil value" },
    { function(_, tables) return #tables.tt end, 'table "tt" does not exist' },
    { function(_, tables) return tables.t[1].m end, 'table "t" has no column "m"' },
    { function(_, tables) tables.t[1].m = 1 return 1 end, 'table "t" has no column "m"' },
    { function(_, tables) tables.t = {} return 1 end, "change the rows of a table" },
  } do
    it("that is wrong fails the spec: " .. case[2], function()
      local world = contract.numbers(1)
      world:stub("SELECT 1 AS one", case[1])
      local message = complaint(world, 'repo:query "SELECT 1 AS one"')
      assert.truthy(message:find(case[2], 1, true), message)
    end)
  end

  it("cannot have another answer as well", function()
    local world = contract.numbers(1)
    assert.truthy(contract.raised(function()
      world:stub("SELECT 1", { answer = function() return 1 end, affected = 1 })
    end):find("answer and affected cannot be combined", 1, true))
  end)
end)

describe("a base", function()
  teardown(contract.clean)

  local function joined(base)
    return mock.new {
      tables = {
        users = {
          columns = { id = "int8", name = "text" }, primary_key = { "id" },
          rows = { { id = 1, name = "Ann" }, { id = 2, name = "Bob" }, { id = 3, name = "Cid" } },
        },
        orders = {
          columns = { id = "int8", user_id = "int8", n = "int4" }, primary_key = { "id" },
          rows = { { id = 10, user_id = 3, n = 1 }, { id = 11, user_id = 1, n = 5 },
            { id = 12, user_id = 3, n = 7 } },
        },
      },
      base = base,
    }
  end

  local JOIN = [[SELECT o.id, u.name, o.n * 2 AS twice FROM orders o
    JOIN users u ON u.id = o.user_id WHERE o.n >= 2]]
  local PARTS = { query = JOIN, more = 'args = { least = { type = "integer" } },' }
  local ARGS = { args = { least = 2 } }
  local SHOW = [[
    for _, row in ipairs(rows) do
      run.log(row.id .. row.name .. row.twice)
      repo:update("orders", { id = row.id }, { n = 0 })
    end]]

  local function join(tables, args)
    local rows = {}
    for _, order in ipairs(tables.orders) do
      for _, user in ipairs(tables.users) do
        if order.user_id == user.id and order.n >= args.least then
          table.insert(rows, { id = order.id, name = user.name, twice = order.n * 2 })
        end
      end
    end
    return rows
  end

  it("can be a function that joins and computes", function()
    local world = joined(join)
    local result = contract.ended("done", contract.run(world, SHOW, PARTS, ARGS))
    assert.equal(2, result.rows)
    assert.equal("11Ann10 12Cid14", said(world))
  end)

  it("that is a function is paged by its key, and resumed", function()
    local world = joined { rows = join, select = { "id", "name", "twice" } }
    local path = contract.script(SHOW, PARTS)
    local killed = world:run(path, { batch_size = 1, kill = { batch = 1 }, args = { least = 2 } })
    assert.equal("killed", killed.state)
    assert.equal("11Ann10", said(world))
    local result = world:run(path, { batch_size = 1, args = { least = 2 } })
    assert.equal(1, result.rows)
    assert.equal("11Ann10 12Cid14", said(world))
  end)

  it("computes columns by functions of the row", function()
    local world = mock.new {
      tables = { t = { columns = { id = "int8", n = "int4" }, primary_key = { "id" },
        rows = { { id = 1, n = 3 }, { id = 2 } } } },
      base = { from = "t", select = { "id", double = function(row)
        return row.n and row.n * 2
      end } },
    }
    ran(world, [[
      for _, row in ipairs(rows) do run.log(row.id .. "=" .. tostring(row.double)) end
      run.log(tostring(pcall(function() return rows[1].n end)))]],
      { query = "SELECT id, n * 2 AS double FROM t" })
    assert.equal("1=6 2=nil false", said(world))
  end)

  it("pages by a column that it computes", function()
    local world = mock.new {
      tables = { t = { columns = { n = "int4" }, rows = { { n = 1 }, { n = 3 }, { n = 2 } } } },
      base = { from = "t", select = { minus = function(row) return -row.n end } },
    }
    ran(world, 'for _, row in ipairs(rows) do run.log(tostring(row.minus)) end', {
      query = "SELECT * FROM (SELECT -n AS minus FROM t) AS q WHERE q.minus IS NOT NULL",
      config = 'key = { "minus" }, assume_unique = true, batch_size = 2',
    })
    assert.equal("-3 -2 -1", said(world))
  end)

  it("protects the key of the table that it names", function()
    local world = joined { from = "orders", rows = join }
    local body = 'repo:update("orders", { id = 11 }, { id = 1 })'
    contract.failed(contract.run(world, body, PARTS, ARGS), nil,
      'column "id" of "orders" belongs to the key of the run')
  end)

  it("that returns no row needs no columns", function()
    local world = joined(function() return {} end)
    local result = ran(world, SHOW, { query = "SELECT id FROM orders WHERE n > 99" })
    assert.equal(0, result.rows)
  end)

  for _, case in ipairs {
    { function() return 7 end, "base.rows must return a list of rows, not 7" },
    { function() return { 7 } end, "base.rows must return a list of tables, not of 7" },
    { function(tables) return tables.order end, 'table "order" does not exist' },
    { function() error "no" end, "base.rows failed:" },
    { function(tables) tables.users[1].name = "x" return {} end, 'base changes the table "users"' },
  } do
    it("that is a wrong function fails the spec: " .. case[2], function()
      local message = complaint(joined(case[1]), SHOW, PARTS, ARGS)
      assert.truthy(message:find(case[2], 1, true), message)
    end)
  end

  for _, case in ipairs {
    { { rows = 1 }, "base.rows must be a function, not 1" },
    { { rows = join, where = join }, "leave base.where out" },
    { { rows = join, select = { "id", n = join } }, "base.select must be a list of their names" },
    { { from = "orders", select = { n = 1 } }, 'column "n" must be a function, not 1' },
    { { rows = join, from = "order" }, "base.from must name a table of this world" },
  } do
    it("that is wrong is refused: " .. case[2], function()
      local message = contract.raised(function()
        joined(case[1])
      end)
      assert.truthy(message:find(case[2], 1, true), message)
    end)
  end
end)

describe("mock.only_pg", function()
  it("lets a spec go on where it runs on PostgreSQL, and leaves it pending elsewhere", function()
    mock.only_pg()
    local world = contract.numbers(1)
    assert.equal("done", world:run(contract.script "repo:query [[SELECT version()]]").state)
    contract.clean()
  end)
end)
