local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

local function world(kind)
  return (kind or mock).new {
    tables = {
      users = {
        columns = { id = "int8", email = "text", seen = "int4" },
        primary_key = { "id" },
        rows = {
          { id = 1, email = "A@x", seen = 0 }, { id = 2, email = "b@x", seen = 0 },
          { id = 10, email = "C@x", seen = 0 },
        },
      },
      totals = {
        columns = { name = "text", count = "int8" }, primary_key = { "name" },
        rows = { { name = "users", count = 0 } },
      },
    },
    base = { from = "users" },
  }
end

--- A script whose migrate has this body.
local function script(body, head, where)
  return support.script(([[
%s
return {
  config = { batch_size = 2 },
  base_query = "SELECT id, email, seen FROM users%s",
  migrate = function(rows, repo, run)
%s
  end,
}]]):format(head or "", where or "", body))
end

local function complaint_in(property, path, make_world)
  return support.message(support.raised(mock[property], path, make_world))
end

local function complaint(property, path)
  return complaint_in(property, path, world)
end

local LOWER = [[
  for _, user in ipairs(rows) do
    repo:update("users", { id = user.id }, { email = user.email:lower() })
  end]]
local COUNT_ROWS = [[
  for _, user in ipairs(rows) do
    repo:update("users", { id = user.id }, { seen = user.seen + 1 })
  end]]

describe("properties", function()
  teardown(support.clean)

  it("hold for a script that sets what the row says", function()
    local path = script(LOWER)
    mock.assert_idempotent(path, world)
    mock.assert_resumable(path, world)
    mock.assert_batch_size_independent(path, world)
  end)

  it("hold for a one-shot that may be repeated", function()
    local path = support.script [[
      return { run = function(repo)
        repo:update_all("users", { seen = 1 }, { seen = 0 })
      end }]]
    mock.assert_idempotent(path, world)
    mock.assert_resumable(path, world)
  end)

  describe("idempotent", function()
    it("fails for a script that adds, and names the first row", function()
      local message = complaint("assert_idempotent", script(COUNT_ROWS))
      assert.matches("is not idempotent", message, 1, true)
      assert.matches("batch 1 of 1 row, keys (id) from (1) to (1)", message, 1, true)
      assert.matches("users: the row (id)=(1): seen is 2, expected 1", message, 1, true)
    end)

    it("fails for a one-shot that adds", function()
      local message = complaint("assert_idempotent", support.script [[
        return { run = function(repo) repo:insert("totals", { name = "more", count = 1 }) end }]])
      assert.matches("is not idempotent", message, 1, true)
      assert.matches("already exists", message, 1, true)
    end)

    it("names the batch at fault, which need not be the first", function()
      local message = complaint("assert_idempotent", script [[
        for _, user in ipairs(rows) do
          if user.id == 10 then
            repo:update("users", { id = 10 }, { email = user.email .. "!" })
          end
        end]])
      assert.matches("batch 3 of 1 row, keys (id) from (10) to (10)", message, 1, true)
      assert.matches('email is "C@x!!", expected "C@x!"', message, 1, true)
    end)
  end)

  describe("resumable", function()
    it("fails for a script that counts in a Lua variable", function()
      local message = complaint("assert_resumable", script([[
        count = count + #rows
        repo:update("totals", { name = "users" }, { count = count })]], "local count = 0"))
      assert.matches("is not resumable: killed after batch 1, keys (id) from (1) to (2), and "
        .. "resumed", message, 1, true)
      assert.matches('totals: the row (name)=(users): count is 1, expected 3', message, 1, true)
    end)

    it("fails for a script that counts in a module of its project", function()
      local path = script [[
        repo:update("totals", { name = "users" }, { count = require "count".add(#rows) })]]
      support.write(path:match "^(.*)/", "count.lua",
        "local n = 0 return { add = function(more) n = n + more return n end }")
      assert.matches("is not resumable: killed after batch 1", complaint("assert_resumable", path),
        1, true)
    end)

    it("leaves alone what a spec has put in the place of a module", function()
      local path = script [[
        for _, user in ipairs(rows) do
          repo:update("users", { id = user.id }, { seen = require "seen".now() })
        end]]
      support.write(path:match "^(.*)/", "seen.lua",
        "return { now = function() error 'not in a spec' end }")
      assert.equal("failed", world():run(path).state)
      package.loaded.seen = { now = function() return 7 end }
      mock.assert_resumable(path, function() return world(mock.pure) end)
      assert.equal(7, package.loaded.seen.now())
      package.loaded.seen = nil
    end)

    it("passes a script that reads what it counts from the table", function()
      mock.assert_resumable(script(COUNT_ROWS), world)
      mock.assert_resumable(script(COUNT_ROWS), world, { batch_size = 1 })
    end)

    it("asks stubs as often as a run that goes on does", function()
      local path = script [[
        for _, user in ipairs(rows) do
          repo:execute("SELECT abs($1::bigint)", user.id)
          repo:update("users", { id = user.id }, { seen = 1 })
        end]]
      mock.assert_resumable(path, function()
        local one = world()
        for id in ("1 2 10"):gmatch "%d+" do
          one:stub("SELECT abs($1::bigint)", { params = { tonumber(id) }, times = 1, affected = 1 })
        end
        return one
      end)
    end)
  end)

  -- The clock is the script's, which has a Lua state of its own on PostgreSQL.
  describe("a script that does not do the same twice", function()
    local function in_lua()
      return world(mock.pure)
    end

    for what, call in pairs { ["the clock"] = "os.time()", chance = "math.random(1 << 30)",
      ["the date"] = "tonumber((os.date('!%Y%m%d')))" }
    do
      it("is told apart: " .. what, function()
        local path = script(([[
          for _, user in ipairs(rows) do
            repo:update("users", { id = user.id }, { seen = %s })
          end]]):format(call))
        for _, property in ipairs { "assert_resumable", "assert_batch_size_independent" } do
          local message = complaint_in(property, path, in_lua)
          assert.matches("does not do the same twice", message, 1, true)
          assert.matches("Take the value from the row, from an argument", message, 1, true)
        end
        assert.matches("is not idempotent", complaint_in("assert_idempotent", path, in_lua), 1,
          true)
      end)
    end

    it("leaves the clock as it was", function()
      local before, path = os.time(), script [[
        for _, user in ipairs(rows) do
          repo:update("users", { id = user.id }, { seen = os.time() })
        end]]
      complaint_in("assert_resumable", path, in_lua)
      assert.is_true(os.time() - before < 3600)
      assert.equal("function", type(os.date))
    end)
  end)

  describe("what the database gives", function()
    local function with_notes(defaults)
      return mock.new {
        tables = {
          users = { columns = { id = "int8", email = "text", seen = "int4" },
            primary_key = { "id" }, rows = { { id = 1 }, { id = 2 }, { id = 3 } } },
          notes = { columns = { id = "bigserial", user_id = "int8", at = "timestamptz" },
            primary_key = { "id" }, defaults = defaults },
        },
        base = { from = "users" },
      }
    end
    local NOTES = [[
      for _, user in ipairs(rows) do
        repo:insert("notes", { user_id = user.id })
      end]]

    it("is the same after a kill: numbers of a sequence", function()
      mock.assert_resumable(script(NOTES), with_notes)
      mock.assert_batch_size_independent(script(NOTES), with_notes)
    end)

    it("is not compared where it is the time", function()
      mock.assert_resumable(script(NOTES), function()
        return with_notes { at = { sql = "clock_timestamp()",
          value = function() return os.date "!%Y-%m-%d %H:%M:%S+00" end } }
      end)
    end)

    it("has its gaps outside of properties", function()
      local one = with_notes()
      one:run(script(NOTES), { kill = { batch = 1, call = 2 } })
      one:run(script(NOTES))
      assert.equal(2, one:rows("notes")[1].id)
    end)
  end)

  describe("complete", function()
    local WHERE = " WHERE email <> lower(email)"
    local function to_lower()
      local one = world()
      one.base.where = function(row) return row.email ~= row.email:lower() end
      return one
    end

    it("holds for a script that does all that its base query looks for", function()
      mock.assert_complete(script(LOWER, nil, WHERE), to_lower)
    end)

    it("fails for a script that passes rows over, and names them", function()
      local message = complaint_in("assert_complete", script([[
        for _, user in ipairs(rows) do
          if user.email == "" then
            repo:update("users", { id = user.id }, { email = user.email:lower() })
          end
        end]], nil, WHERE), to_lower)
      assert.matches("is not complete: when it is done, the base query still returns 2 rows:\n"
        .. "  (id)=(1), (id)=(10)\n", message, 1, true)
      assert.matches("Does migrate skip it?", message, 1, true)
    end)

    it("allows for the rows that are set aside", function()
      mock.assert_complete(support.script [[
        return {
          config = { on_error = "quarantine" },
          base_query = "SELECT id, email, seen FROM users WHERE email <> lower(email)",
          migrate = function(rows, repo)
            for _, user in ipairs(rows) do
              if user.id == 10 then error "no" end
              repo:update("users", { id = user.id }, { email = user.email:lower() })
            end
          end,
        }]], to_lower)
    end)
  end)

  describe("batch size independent", function()
    it("fails for a script that looks at its neighbours", function()
      local message = complaint("assert_batch_size_independent", script [[
        for i, user in ipairs(rows) do
          repo:update("users", { id = user.id }, { seen = i })
        end]])
      assert.matches("depends on the batch size: in batches of 1 it leaves other rows than in "
        .. "one batch of 3", message, 1, true)
      assert.matches("users: the row (id)=(2): seen is 1, expected 2", message, 1, true)
    end)

    it("says so when some batches fail", function()
      local message = complaint("assert_batch_size_independent", script [[
        if #rows == 1 then error "too few" end]])
      assert.matches("in batches of 1", message, 1, true)
      assert.matches("the run is failed", message, 1, true)
      assert.matches("too few", message, 1, true)
    end)
  end)

  it("tell of rows that are missing or too many", function()
    local message = complaint("assert_batch_size_independent", script [[
      repo:delete("users", { id = rows[1].id })
      repo:insert("totals", { name = "batch " .. run.batch, count = #rows })]])
    assert.matches('totals: there is an extra row: count = 1, name = "batch 2"', message, 1, true)
    assert.matches('users: a row is missing: email = "b@x"', message, 1, true)
  end)

  it("are not tried on a script that fails by itself", function()
    local message = complaint("assert_idempotent", script [[ error "never" ]])
    assert.matches("fails even without a kill or a conflict", message, 1, true)
    assert.matches("never", message, 1, true)
  end)

  it("say what they take", function()
    for _, property in ipairs { "assert_idempotent", "assert_resumable",
      "assert_batch_size_independent" }
    do
      local err = support.raised(mock[property], "x.lua", {})
      assert.matches("a function that makes a world", err, 1, true)
    end
  end)
end)
