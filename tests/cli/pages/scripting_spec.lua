-- What the examples of docs/scripting.md do, in both worlds. Pieces that are no scripts have become
-- some: see tests/cli/test_pages.py.

local luamig = require "luamig"
local mock = require "luamig.mock"

local USERS = { id = "int8", email = "text", nick = "text", settings = "jsonb" }
local ORDERS = {
  id = "int8", user_id = "int8", status = "text", total = "int4", ordered_on = "date",
  net = "numeric(10,2)", gross = "numeric(10,4)",
}
local PLANS = { id = "bigserial", code = "text", name = "text", uses = "int4" }

local function users(...)
  return { columns = USERS, primary_key = { "id" }, unique = { { "email" } }, rows = { ... } }
end

local function orders(...)
  return { columns = ORDERS, primary_key = { "id" }, rows = { ... } }
end

local function plans(...)
  return {
    columns = PLANS, primary_key = { "id" }, unique = { { "code" } }, defaults = { uses = 0 },
    rows = { ... },
  }
end

local function sessions(...)
  return { columns = { user_id = "int8", seen_on = "date" }, unique = { { "user_id" } },
    rows = { ... } }
end

local ANN = { id = 1, email = "ann@x" }

--- Runs a script of the page; it must end as wanted.
local function run(world, name, opts, state)
  local result = world:run("scripts/" .. name .. ".lua", opts)
  assert.equal(state or "done", result.state, tostring(result.error))
  return result
end

local function world_of(tables, base)
  return mock.new { tables = tables, base = base or tables.users and { from = "users" } }
end

local function is_not_lower(row)
  return row.email ~= row.email:lower()
end

describe("the script", function()
  it("import_orders writes the totals of a file", function()
    local world = world_of({ orders = { primary_key = { "id" }, unique = { { "code" } },
      columns = { id = "int8", code = "text", total = "numeric(10,2)" },
      rows = { { id = 1, code = "a" }, { id = 2, code = "b" } } } }, function(tables)
      local found = {}
      for _, row in ipairs(tables.input) do
        for _, order in ipairs(tables.orders) do
          if order.code == row.code then
            table.insert(found, { line = row.line, id = order.id, total = row.total })
          end
        end
      end
      return found
    end)
    run(world, "import_orders", { input = {
      { code = "none", total = luamig.decimal "1" }, { code = "b", total = luamig.decimal "2.5" },
    } })
    mock.assert_rows(world, "orders", {
      { id = 1, code = "a" }, { id = 2, code = "b", total = luamig.decimal "2.50" },
    })
  end)

  it("close_orders closes what was ordered before the day", function()
    local world = world_of({ orders = orders(
      { id = 1, status = "open", ordered_on = "2024-01-30" },
      { id = 2, status = "open", ordered_on = "2024-01-31" },
      { id = 3, status = "new", ordered_on = "2024-01-01" }) }, {
      from = "orders", select = { "id" },
      where = function(row, args) return row.status == "open" and row.ordered_on < args.before end,
    })
    run(world, "close_orders", { args = { before = "2024-01-31" } })
    mock.assert_rows(world, "orders", {
      { id = 1, status = "closed" }, { id = 2, status = "open" }, { id = 3, status = "new" },
    })
  end)

  it("merge_emails keeps what is taken, and notes it", function()
    local world = world_of({
      users = users({ id = 1, email = "A@x" }, { id = 2, email = "a@x" },
        { id = 3, email = "B@x" }),
      email_conflicts = { columns = { user_id = "int8", reason = "text" }, rows = {} },
    }, { from = "users", select = { "id", "email" }, where = is_not_lower })
    run(world, "merge_emails")
    mock.assert_rows(world, "users", {
      { id = 1, email = "A@x" }, { id = 2, email = "a@x" }, { id = 3, email = "b@x" },
    })
    assert.equal(1, world:rows("email_conflicts")[1].user_id)
    assert.matches("duplicate key", world:rows("email_conflicts")[1].reason, 1, true)
  end)

  it("welcome_all asks before each batch, and tells how it ended", function()
    local world = world_of({
      users = users(ANN, { id = 2, email = "bo@x" }),
      audit = { columns = { what = "text" }, rows = {} },
    }, { from = "users", select = { "id" }, where = function(row) return row.nick == nil end })
    world:stub("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
      { rows = { { count = 0 } } })
    run(world, "welcome_all", { limit = 1, batch_size = 1 }, "stopped")
    assert.same({ reason = "stop", batches = 1 }, world.log[#world.log].fields)
    run(world, "welcome_all")
    mock.assert_rows(world, "users", { { id = 1, nick = "user 1" }, { id = 2, nick = "user 2" } })
    mock.assert_rows(world, "audit", {
      { what = "welcome_all begins" }, { what = "welcome_all is done, run 1" },
    })
  end)

  it("hash_pins hashes what has no hash, by slow_hash", function()
    local world = world_of({ cards = {
      columns = { id = "int8", pin = "text", pin_hash = "text" }, primary_key = { "id" },
      rows = { { id = 1, pin = "12 $(id)" }, { id = 2, pin = "34", pin_hash = "old" } } } }, {
      from = "cards", select = { "id", "pin" },
      where = function(row) return row.pin_hash == nil end,
    })
    run(world, "hash_pins")
    assert.matches("^%$6%$", world:rows "cards"[1].pin_hash)
    assert.equal("old", world:rows "cards"[2].pin_hash)
    assert.matches("^%$6%$", dofile "scripts/slow_hash.lua".of "56")
  end)

  it("charge_fees waits for the service, and charges with a key of the row and its fee", function()
    local given = {}
    package.loaded.payments = {
      charge = function(_, fee, key)
        given[#given + 1] = key
        return #given == 1 and { status = 503 } or fee == 3 and { status = 200, id = "c1" }
          or { status = 402 }
      end,
    }
    local world = mock.pure.new {
      tables = { accounts = { primary_key = { "id" },
        columns = { id = "int8", customer = "text", fee = "int4", charge = "text" },
        rows = { { id = 7, fee = 3 }, { id = 8, fee = 4 } } } },
      base = { from = "accounts", select = { "id", "customer", "fee" },
        where = function(row) return row.charge == nil end },
    }
    local result = run(world, "charge_fees", nil, "done_with_failures")
    package.loaded.payments = nil
    assert.is_function(dofile "scripts/payments.lua".charge)
    assert.equal(1, result.failures)
    assert.equal(given[1], given[2])
    assert.matches("^[%w%-]+%-7%-3$", given[1])
    mock.assert_rows(world, "accounts", { { id = 7, charge = "c1" },
      { id = 8, charge = luamig.NULL } })
  end)

  it("fill_gross computes what is missing, by ranges", function()
    local world = world_of({ orders = orders({ id = 1, net = 10, gross = 1 }, { id = 2, net = 10 },
      { id = 3, net = 20 }, { id = 4, net = 30 }) }, {
      from = "orders", select = { "id" }, where = function(row) return row.gross == nil end,
    })
    local head = "UPDATE orders AS o SET gross = net * 1.19 WHERE gross IS NULL AND "
    world:stub(head .. '((o."id") OPERATOR(pg_catalog.<=) ($1::pg_catalog.int8))',
      { params = { 3 }, affected = 2 })
    world:stub(head .. '((o."id") OPERATOR(pg_catalog.>) ($1::pg_catalog.int8) AND '
      .. '(o."id") OPERATOR(pg_catalog.<=) ($2::pg_catalog.int8))',
      { params = { 3, 4 }, affected = 1 })
    local result = run(world, "fill_gross", { batch_size = 2 })
    assert.same({ 3, 2 }, { result.rows, result.batches })
  end)

  it("fill_gross leaves rows alone that are in between #pg", function()
    local world = world_of({ orders = orders({ id = 1, net = 10, gross = 1 }, { id = 2, net = 10 },
      { id = 3, net = 20, gross = 1 }, { id = 4, net = 30 }) }, {
      from = "orders", select = { "id" }, where = function(row) return row.gross == nil end,
    })
    run(world, "fill_gross", { batch_size = 1 })
    local found = {}
    for i, row in ipairs(world:rows "orders") do
      found[i] = tostring(row.gross)
    end
    assert.equal("1.0000 11.9000 1.0000 35.7000", table.concat(found, " "))
  end)

  it("renumber goes by a table that it makes", function()
    local world = world_of({
      users = { columns = { id = "int8", email = "text", place = "int8" }, primary_key = { "id" },
        rows = { { id = 1, email = "bo@x" }, { id = 2, email = "ann@x" } } },
      places = { columns = { place = "int8", id = "int8" }, primary_key = { "place" },
        not_null = { "id" }, absent = true },
    }, { from = "places" })
    world:stub("CREATE TABLE places (place bigint PRIMARY KEY, id bigint NOT NULL)",
      { makes = "places" })
    world:stub("INSERT INTO places SELECT row_number() OVER (ORDER BY email), id FROM users",
      function(_, tables)
        local ids = { 2, 1 }
        for place, id in ipairs(ids) do
          table.insert(tables.places, { place = place, id = id })
        end
        return #ids
      end)
    world:stub "DROP TABLE places"
    run(world, "renumber")
    mock.assert_rows(world, "users", { { id = 1, place = 2 }, { id = 2, place = 1 } })
  end)

  it("fix_module moves the projects, once", function()
    local world = world_of { projects = {
      columns = { id = "int8", template = "text", module = "text" }, primary_key = { "id" },
      rows = { { id = 1, template = "trybetunes" }, { id = 2, template = "other" } },
    } }
    run(world, "fix_module")
    mock.assert_rows(world, "projects", {
      { id = 1, module = "frontend" }, { id = 2, module = luamig.NULL },
    })
    assert.same({ projects = 1 }, world.log[#world.log].fields)
  end)
end)

describe("the piece on", function()
  it("NULL writes it where there is no name", function()
    local world = world_of { users = users(ANN, { id = 2, email = "@x", nick = "bo" }) }
    run(world, "null")
    mock.assert_rows(world, "users", { { id = 1, nick = "ann" }, { id = 2, nick = luamig.NULL } })
  end)

  it("decimals is exact", function()
    local world = world_of({ orders = orders({ id = 1, net = luamig.decimal "10.00" },
      { id = 2, net = luamig.decimal "1.00" }) }, { from = "orders" })
    run(world, "decimals")
    assert.equal("11.9000", tostring(world:rows("orders")[1].gross))
    assert.is_nil(world:rows("orders")[2].gross)
  end)

  it("rounding says how", function()
    local world = world_of({ orders = orders({ id = 1, net = luamig.decimal "10.00" }) },
      { from = "orders" })
    run(world, "rounding")
    local row = world:rows("orders")[1]
    assert.equal("3.33 5.1800", tostring(row.net) .. " " .. tostring(row.gross))
  end)

  it("documents removes one field and empties the other", function()
    local world = world_of { users = users { id = 1, email = "ann@x",
      settings = { tags = { "a" }, limit = luamig.json.null } } }
    run(world, "documents")
    mock.assert_rows(world, "users", { { id = 1, settings = { tags = luamig.array {} } } })
  end)

  it("SQL counts orders and uses", function()
    local world = world_of {
      users = users(ANN), plans = plans { id = 7, code = "basic", name = "Basic", uses = 3 },
      orders = orders({ id = 1, user_id = 1, total = 5 }, { id = 2, user_id = 2, total = 6 }),
    }
    world:stub("SELECT id, total FROM orders WHERE user_id = $1", {
      params = { 1 }, rows = { { id = 1, total = 5 } },
    })
    world:stub("SELECT id, name FROM plans WHERE code = $1", {
      params = { "basic" }, rows = { { id = 7, name = "Basic" } },
    })
    world:stub("SELECT count(*) FROM orders WHERE user_id = $1", { rows = { { count = 1 } } })
    world:stub("UPDATE plans SET uses = uses + $1 WHERE id = $2",
      { params = { 1, 7 }, affected = 1 })
    run(world, "statements")
    assert.same({ orders = 1, plans = 1 }, world.log[#world.log].fields)
  end)

  it("get and select read rows", function()
    local world = world_of {
      users = users(ANN), plans = plans { id = 7, code = "basic", uses = 3 },
      orders = orders({ id = 1, user_id = 1 }, { id = 2, user_id = 1, ordered_on = "2024-01-30" },
        { id = 3, user_id = 2 }),
    }
    run(world, "reads")
    assert.same({ uses = 3, open = 1 }, world.log[#world.log].fields)
  end)

  it("update and delete takes one row", function()
    local world = world_of {
      users = users { id = 1, email = "ann@x", nick = "ann" },
      sessions = sessions({ user_id = 1 }, { user_id = 2 }),
    }
    run(world, "keyed")
    mock.assert_rows(world, "users", { { id = 1, email = "x@example.org", nick = luamig.NULL } })
    mock.assert_rows(world, "sessions", { { user_id = 2 } })
  end)

  it("insert meets what is there", function()
    local memberships = dofile "spec/orders.lua".memberships
    memberships.rows = {
      { user_id = 7, plan = "free" },
      { user_id = 7, plan = "old", ended_at = "2024-01-01 00:00+00" },
    }
    local world = world_of { users = users(ANN), plans = plans(), memberships = memberships }
    run(world, "inserts")
    mock.assert_rows(world, "plans", {
      { code = "pro", name = "Professional", uses = 1 }, { code = "a", name = "A" },
      { code = "b", name = "B" },
    })
    mock.assert_rows(world, "memberships", { { plan = "pro" }, { plan = "old" } })
  end)

  it("old values computes from them", function()
    local world = world_of({ plans = plans({ id = 1, code = "a", name = "A", uses = 3 },
      { id = 2, code = "old", name = "B", uses = luamig.NULL },
      { id = 3, code = "C", name = "old", uses = 9 }) },
      { from = "plans" })
    run(world, "old_values", { batch_size = 3 })
    mock.assert_rows(world, "plans", {
      { id = 1, code = "A", name = "a", uses = 4 },
      { id = 2, code = "B", name = "old", uses = luamig.NULL },
      { id = 3, code = "old", name = "C", uses = 0 },
    })
  end)

  it("returning gives what the server has written", function()
    local world = world_of { users = users(ANN), plans = plans { id = 7, code = "basic" } }
    run(world, "returning")
    assert.same({ id = 9, uses = 0, place = 2 }, world.log[#world.log].fields)
  end)

  it("update_all and delete_all takes every row that matches", function()
    local world = world_of {
      users = users(ANN), plans = plans { id = 1, uses = 3 },
      sessions = sessions({ user_id = 1 }, { user_id = 2 }),
      orders = orders({ id = 1, user_id = 1, status = "open" },
        { id = 2, user_id = 2, status = "open" }, { id = 3, user_id = 2 }),
    }
    run(world, "matching")
    mock.assert_rows(world, "orders", {
      { id = 1, status = "closed" }, { id = 2, status = "open" }, { id = 3, status = "open" },
    })
    mock.assert_rows(world, "plans", { { id = 1, uses = 0 } })
    mock.assert_rows(world, "sessions", { { user_id = 2 } })
  end)

  it("conditions in SQL takes them with their parameters #pg", function()
    local world = world_of {
      users = users(ANN),
      sessions = sessions({ user_id = 1, seen_on = "2024-01-30" },
        { user_id = 2, seen_on = "2024-01-30" }),
      orders = orders({ id = 1, status = "open", total = 101 },
        { id = 2, status = "open", total = 100 }),
    }
    run(world, "conditions")
    mock.assert_rows(world, "orders", { { id = 1, status = "late" }, { id = 2, status = "open" } })
    mock.assert_rows(world, "sessions", { { user_id = 2 } })
  end)

  local function with_drafts()
    return world_of {
      users = users(ANN), plans = plans { id = 1, uses = 3 },
      drafts = { columns = { id = "int8" }, rows = { { id = 5 } } },
    }
  end

  it("ranges in columns of another table, beside a parameter #pg", function()
    local world = world_of({
      orders = orders({ id = 1 }, { id = 2 }, { id = 3 }),
      lines = {
        columns = { order_id = "int8", label = "text" },
        rows = { { order_id = 1 }, { order_id = 3, label = "new" }, { order_id = 3 },
          { order_id = 9 } },
      },
    }, { from = "orders", select = { "id" } })
    run(world, "ranges")
    local labels = {}
    for _, row in ipairs(world:rows "lines") do
      labels[#labels + 1] = row.order_id .. tostring(row.label)
    end
    table.sort(labels)
    assert.equal("1old 3new 3old 9nil", table.concat(labels, " "))
  end)

  it("every row says luamig.ALL", function()
    local world = with_drafts()
    world:stub("UPDATE plans SET uses = 0", { affected = 1 })
    world:stub("DELETE FROM drafts RETURNING id", { rows = { { id = 5 } } })
    run(world, "every_row")
  end)

  it("every row hits every row #pg", function()
    local world = with_drafts()
    run(world, "every_row")
    mock.assert_rows(world, "plans", { { id = 1, uses = 0 } })
    mock.assert_rows(world, "drafts", {})
  end)

  it("arguments declares four", function()
    local world = world_of { users = users(ANN) }
    run(world, "arguments", { args = { tenant = 5 } })
    assert.same({ tenant = 5, factor = 1.5, loud = false }, world.log[#world.log].fields)
  end)
end)

describe("an error", function()
  -- What pcall gives, the SQLSTATE, whether the batch is lost, whether a savepoint catches it.
  for case, expected in pairs {
    condition = { "string", false, false, true }, option = { "string", false, false, true },
    lua = { "string", false, false, true },
    type = { "script", false, false, true }, range = { "script", false, false, true },
    no_row = { "script", "P0002", true, true }, two_rows = { "script", "P0003", true, true },
    duplicate = { "database", "23505", true, true }, null = { "database", "23502", true, true },
    key = { "script", false, true, false }, column = { "database", "42703", true, false },
  } do
    it("of the kind " .. case .. " is caught or not as the table says", function()
      local world = world_of { users = users(ANN), plans = {
        columns = { id = "int8", uses = "int4" }, primary_key = { "id" },
        rows = { { id = 7, uses = 0 }, { id = 8, uses = 0 } },
      } }
      run(world, "errors", { args = { case = case } }, "failed")
      local told
      for _, entry in ipairs(world.log) do
        told = entry.message == "failed" and entry.fields or told
      end
      if told.is_lost then
        assert.same({ message = "transaction has failed", kind = "script" }, told.after)
      end
      if case == "key" or case == "column" then -- the savepoint has lost the batch before
        assert.same({ true, false }, { told.is_lost, told.is_caught })
      else
        assert.same(expected, { told.kind, told.sqlstate or false, told.is_lost, told.is_caught })
      end
    end)
  end
end)
