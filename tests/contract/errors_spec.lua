--- Errors: those of the server, those of the script, and savepoints, which contain some.

local contract = dofile "tests/contract/contract.lua"

local COUNT, numbers, said = contract.COUNT, contract.numbers_of, contract.said

describe("an error of the server #versions", function()
  teardown(contract.clean)

  it("fails the batch although pcall caught it", function()
    local world = contract.numbers(2)
    contract.failed(contract.run(world, [[
      repo:update("t", { id = 1 }, { n = 5 })
      pcall(function() return repo:insert("t", { id = 1 }).affected end)]]), "23505")
    assert.equal("10 20", numbers(world))
  end)

  it("is told from what luamig itself refuses", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      local function kind_of(method, ...)
        local call = table.pack(repo, ...)
        local _, err = repo:savepoint(function()
          return repo[method](table.unpack(call, 1, call.n)).affected
        end)
        return err.kind
      end
      run.log(kind_of("insert", "t", { id = 1 }))
      run.log(kind_of("update", "t", { id = 9 }, { n = 5 }))
      error "enough"]]), nil, "enough")
    assert.equal("database script", said(world))
  end)

  it("is a table with SQLSTATE, message and position", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      local ok, err = pcall(function() return repo:insert("t", { id = 1 }).affected end)
      run.log(err.sqlstate .. " " .. err.constraint .. " " .. err.message)]]), "23505")
    assert.matches("23505 t_pkey duplicate key value violates unique constraint", said(world), 1,
      true)
  end)

  it("names the line of the call", function()
    local world = contract.numbers(1)
    local result = contract.run(world, '\n\nrepo:insert("t", { id = 1 })')
    assert.matches("s%d+%.lua:10$", contract.failed(result, "23505").error.where)
  end)

  it("that is a mistake in a call's arguments does not fail the batch when it is caught", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      pcall(repo.update, repo, "t", { id = 1 }, { n = "five" })
      pcall(repo.update, repo, "t", {}, { n = 5 })
      repo:update("t", { id = 1 }, { n = 6 })]]))
    assert.equal("6", numbers(world))
  end)

  it("in a change of the pages' key fails the batch although pcall caught it", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      pcall(repo.update, repo, "t", { id = 1 }, { id = 5 })]]), nil,
      "belongs to the key of the run")
  end)

  it("in a transaction command fails the batch although pcall caught it", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, 'pcall(repo.execute, repo, "COMMIT")'), nil,
      "a script must not begin or end transactions")
  end)
end)

describe("an error of the script", function()
  teardown(contract.clean)

  it("is its message, with the line", function()
    local world = contract.numbers(1)
    local result = contract.run(world, 'error("user 1 has no plan")')
    assert.matches("s%d+%.lua:8: user 1 has no plan$", contract.failed(result).error.message)
  end)

  it("may be a table with __tostring", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world,
      'error(setmetatable({}, { __tostring = function() return "odd" end }))'), nil, "odd")
  end)

  it("that is caught is no error", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, 'pcall(error, "x")\n' .. COUNT))
    assert.equal("11", numbers(world))
  end)

  it("is reading a global that is not defined", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, "return undefined_name"), nil,
      'global "undefined_name" is not defined')
  end)

  it("is assigning to a global", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, "count = 1"), nil,
      'assignment to global "count"; declare it with local')
  end)
end)

describe("a savepoint #versions", function()
  teardown(contract.clean)

  it("returns true and the results", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      local ok, a, b, c = repo:savepoint(function(x, y) return y, nil, x end, 1, 2)
      run.log(tostring(ok) .. a .. tostring(b) .. c)]]))
    assert.equal("true2nil1", said(world))
  end)

  it("keeps what was written in it", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      repo:savepoint(function() repo:update("t", { id = 1 }, { n = 5 }) end)]]))
    assert.equal("5", numbers(world))
  end)

  local CONTAINED = {
    { "a unique violation", 'repo:insert("t", { id = 1 })', "23505" },
    { "a NOT NULL violation", 'repo:insert("t", { n = 1 })', "23502" },
    { "a text that is too long", 'repo:update("t", { id = 1 }, { v = "abcd" })', "22001" },
    { "a row that is missing", 'repo:update("t", { id = 9 }, { n = 5 })', "P0002" },
    { "several rows", 'repo:update("t", { s = "same" }, { n = 5 })', "P0003" },
    { "an error in Lua", 'error { sqlstate = "mine" }', "mine" },
  }
  for _, case in ipairs(CONTAINED) do
    it("contains " .. case[1] .. ", and takes back what was written in it", function()
      local world = contract.world({ n = "int4", s = "text", v = "varchar(3)" },
        { { id = 1, n = 10, s = "same" }, { id = 2, n = 20, s = "same" } })
      contract.ended("done", contract.run(world, ([[
        local ok, err = repo:savepoint(function()
          repo:update("t", { id = 1 }, { n = 99 })
          %s
        end)
        run.log(tostring(ok) .. " " .. err.sqlstate)
        repo:update("t", { id = 2 }, { n = 21 })]]):format(case[2])))
      assert.equal("false " .. case[3], said(world))
      assert.equal("10 21", numbers(world))
    end)
  end

  it("does not contain a name that does not exist", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      repo:savepoint(function() repo:update("tt", { id = 1 }, { n = 5 }) end)]]), "42P01")
  end)

  it("does not contain a change of the pages' key", function()
    local world = contract.numbers(1)
    contract.failed(contract.run(world, [[
      repo:savepoint(function() repo:update("t", { id = 1 }, { id = 5 }) end)]]), nil,
      "belongs to the key of the run")
  end)

  it("finds an error that pcall swallowed in it", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      local ok, err = repo:savepoint(function()
        repo:update("t", { id = 1 }, { n = 5 })
        pcall(function() return repo:insert("t", { id = 1 }).affected end)
        return "fine"
      end)
      run.log(tostring(ok) .. " " .. err.sqlstate)]]))
    assert.equal("false 23505", said(world))
    assert.equal("10", numbers(world))
  end)

  it("in a savepoint is rolled back alone", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, [[
      repo:savepoint(function()
        repo:update("t", { id = 1 }, { n = 5 })
        repo:savepoint(function()
          repo:update("t", { id = 2 }, { n = 5 })
          error "inner"
        end)
      end)]]))
    assert.equal("5 20", numbers(world))
  end)

  it("takes savepoints in it along", function()
    local world = contract.numbers(2)
    contract.ended("done", contract.run(world, [[
      repo:savepoint(function()
        repo:savepoint(function() repo:update("t", { id = 2 }, { n = 5 }) end)
        error "outer"
      end)]]))
    assert.equal("10 20", numbers(world))
  end)
end)
