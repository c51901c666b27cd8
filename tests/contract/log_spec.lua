--- The log of a world: what happened, in which batch and attempt, and what of it was committed.

local contract = dofile "tests/contract/contract.lua"

-- Fields of an entry beside its verb, in the order in which they are shown.
local FIELDS = { "key", "changes", "row", "rows", "where", "params", "first", "last", "message",
  "fields" }

local function show(item)
  return (contract.show(item):gsub("integer ", ""))
end

--- The log as text, a line for an entry: batch, attempt, "+" if it was committed, verb, table or
-- SQL, fields.
local function log_of(world)
  local lines = {}
  for i, entry in ipairs(world.log) do
    local words = { ("%d/%d"):format(entry.batch, entry.attempt),
      entry.committed and "+" or "-", entry.verb, entry.table or entry.sql }
    for _, name in ipairs(FIELDS) do
      local item = entry[name]
      if item ~= nil then
        words[#words + 1] = ("%s=%s"):format(name, show(item))
      end
    end
    lines[i] = table.concat(words, " ")
  end
  return lines
end

local function logged(world, wanted)
  assert.same(wanted, log_of(world))
end

describe("the log", function()
  teardown(contract.clean)

  it("has each call with what it was given, and where it stands", function()
    local world = contract.numbers(3)
    contract.ended("done", contract.run(world, [[
      repo:update("t", { id = 1 }, { n = luamig.NULL })
      repo:insert("t", { id = 4, s = "x" })
      repo:delete("t", { id = 4 })
      repo:insert_all("t", { { id = 5 }, { id = 6, n = 1 } })
      repo:update_all("t", { s = "y" }, { n = 1 })
      repo:delete_all("t", luamig.ALL)
      run.log("ready", { rows = #rows })]]))
    logged(world, {
      "1/1 + page t first={ 1 = 1 } last={ 1 = 3 }",
      "1/1 + update t key={ id = 1 } changes={ n = luamig.NULL }",
      '1/1 + insert t row={ id = 4, s = "x" }',
      "1/1 + delete t key={ id = 4 }",
      "1/1 + insert_all t rows={ 1 = { id = 5 }, 2 = { id = 6, n = 1 } }",
      '1/1 + update_all t changes={ s = "y" } where={ n = 1 }',
      "1/1 + delete_all t where=luamig.ALL",
      '1/1 - log message="ready" fields={ rows = 3 }',
    })
    assert.matches("s%d+%.lua$", world.log[2].file)
    assert.same({ 8, 9, 13 }, { world.log[2].line, world.log[3].line, world.log[7].line })
  end)

  it("keeps what a call was given, whatever the script does to it later", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      local key, changes, row, list = { id = 1 }, { n = 1 }, { id = 7, n = 7 }, { { id = 8 } }
      local where, fields = { id = 8 }, { a = 1 }
      repo:update("t", key, changes)
      repo:insert("t", row)
      repo:insert_all("t", list)
      repo:update_all("t", changes, where)
      run.log("x", fields)
      key.id, changes.n, row.n, list[1].id, where.id, fields.a = 9, 9, 9, 9, 9, 9]]))
    logged(world, {
      "1/1 + page t first={ 1 = 1 } last={ 1 = 1 }",
      "1/1 + update t key={ id = 1 } changes={ n = 1 }",
      "1/1 + insert t row={ id = 7, n = 7 }",
      "1/1 + insert_all t rows={ 1 = { id = 8 } }",
      "1/1 + update_all t changes={ n = 1 } where={ id = 8 }",
      '1/1 - log message="x" fields={ a = 1 }',
    })
  end)

  it("tells attempts apart, and what of them was committed", function()
    local world = contract.numbers(3)
    world:fail { on = "update", nth = 2, sqlstate = "40001" }
    contract.ended("done", contract.run(world,
      'for _, row in ipairs(rows) do repo:update("t", { id = row.id }, { n = 1 }) end', nil,
      { batch_size = 2 }))
    logged(world, {
      "1/1 - page t first={ 1 = 1 } last={ 1 = 2 }",
      "1/1 - update t key={ id = 1 } changes={ n = 1 }",
      "1/1 - update t key={ id = 2 } changes={ n = 1 }",
      "1/2 + page t first={ 1 = 1 } last={ 1 = 2 }",
      "1/2 + update t key={ id = 1 } changes={ n = 1 }",
      "1/2 + update t key={ id = 2 } changes={ n = 1 }",
      "2/1 + page t first={ 1 = 3 } last={ 1 = 3 }",
      "2/1 + update t key={ id = 3 } changes={ n = 1 }",
    })
  end)

  it("says of a savepoint that is rolled back that nothing in it was committed", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      repo:update("t", { id = 1 }, { n = 1 })
      repo:savepoint(function()
        repo:update("t", { id = 1 }, { n = 2 })
        repo:savepoint(function() repo:update("t", { id = 1 }, { n = 3 }) end)
        error "no"
      end)
      repo:update("t", { id = 1 }, { n = 4 })
      repo:savepoint(function() repo:update("t", { id = 1 }, { n = 5 }) end)]]))
    logged(world, {
      "1/1 + page t first={ 1 = 1 } last={ 1 = 1 }",
      "1/1 + update t key={ id = 1 } changes={ n = 1 }",
      "1/1 + savepoint",
      "1/1 - update t key={ id = 1 } changes={ n = 2 }",
      "1/1 - savepoint",
      "1/1 - update t key={ id = 1 } changes={ n = 3 }",
      "1/1 + update t key={ id = 1 } changes={ n = 4 }",
      "1/1 + savepoint",
      "1/1 + update t key={ id = 1 } changes={ n = 5 }",
    })
  end)

  it("has what a batch did that failed, was killed, or found nothing", function()
    local world = contract.numbers(2)
    local path = contract.script [[
      repo:update("t", { id = rows[1].id }, { n = 1 })
      if run.batch == 2 then repo:insert("t", { id = 1 }) end]]
    contract.ended("killed", world:run(path, { batch_size = 1, kill = { batch = 1, call = 1 } }))
    contract.failed(world:run(path, { batch_size = 1 }), "23505")
    contract.ended("done", world:run(contract.one_shot 'repo:delete("t", { id = 2 })'))
    contract.failed(world:run(contract.one_shot 'pcall(repo.execute, repo, "COMMIT")'))
    contract.ended("done", world:run(path))
    logged(world, {
      "1/1 - page t first={ 1 = 1 } last={ 1 = 1 }",
      "1/1 + page t first={ 1 = 1 } last={ 1 = 1 }",
      "1/1 + update t key={ id = 1 } changes={ n = 1 }",
      "2/1 - page t first={ 1 = 2 } last={ 1 = 2 }",
      "2/1 - update t key={ id = 2 } changes={ n = 1 }",
      "2/1 - insert t row={ id = 1 }",
      "1/1 + delete t key={ id = 2 }",
      "1/1 - execute COMMIT params={ n = 0 }",
      "2/1 - page t",
    })
  end)

  it("has the calls of callbacks; what throttle asks is not committed", function()
    local world = contract.numbers(1)
    world:stub("SELECT 1 AS one", { rows = { { one = 1 } } })
    contract.ended("done", contract.run(world, 'run.log("migrate")', { more = [[
      on_start = function(repo, run) repo:insert("t", { id = 9 }) run.log("start") end,
      throttle = function(repo, run) return repo:scalar("SELECT 1 AS one") == 2 end,
      on_complete = function(repo, run) repo:delete("t", { id = 9 }) end,]] }))
    logged(world, {
      "0/1 + insert t row={ id = 9 }",
      '0/1 - log message="start"',
      "0/1 - scalar SELECT 1 AS one params={ n = 0 }",
      "1/1 + page t first={ 1 = 1 } last={ 1 = 9 }",
      '1/1 - log message="migrate"',
      "1/1 + delete t key={ id = 9 }",
    })
  end)

  it("has a page's key as the script reads it", function()
    local world = contract.world({ a = "numeric(4,1)", b = "text" },
      { { id = 1, a = 2, b = "x" }, { id = 2, a = 1.5, b = "y" } },
      { not_null = { "a", "b" }, unique = { { "b", "a" } } })
    contract.ended("done", contract.run(world, "", { config = 'key = { "b", "a" }' }))
    logged(world, {
      '1/1 + page t first={ 1 = "x", 2 = decimal 2.0 } last={ 1 = "y", 2 = decimal 1.5 }',
    })
  end)

  it("says once that Lua's lower and upper leave a letter as it is", function()
    local world = contract.numbers(4)
    contract.ended("done", contract.run(world, [[
      for _, row in ipairs(rows) do
        run.log(("ABC"):lower() .. string.upper(row.id))
        run.log(("Élodie"):lower() .. string.upper "ß")
      end]]))
    local warnings = {}
    for i, entry in ipairs(world.log) do
      warnings[#warnings + 1] = entry.verb == "warning" and i or nil
    end
    assert.same({ 3 }, warnings)
    assert.matches("s%d+%.lua:10: string.lower changes ASCII letters only",
      world.log[3].message)
    assert.equal("Élodieß", world.log[4].message)
  end)
end)
