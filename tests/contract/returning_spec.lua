--- repo:insert with returning: what the server has made of the row.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local run_failed, said = contract.run_failed, contract.said

--- A world with a table t, and a table p that has defaults.
local function world_of(more)
  local p = {
    columns = { id = "bigserial", code = "text", price = "numeric(6,2)", made = "text",
      upper = "text" },
    primary_key = { "id" }, unique = { { "code" } },
    defaults = { made = { sql = "'new'", value = "new" } },
    generated = { upper = { sql = "upper(code)", value = function(row)
      return row.code and row.code:upper()
    end } },
    rows = { { id = 1, code = "a" }, { id = 2, code = "b", price = luamig.decimal "1.50" } },
  }
  for key, item in pairs(more or {}) do
    p[key] = item
  end
  return contract.world({ n = "int4" }, { { id = 1, n = 1 }, { id = 2, n = 2 } },
    { tables = { p = p } })
end

local function ran(body, more)
  local world = world_of(more)
  contract.ended("done", contract.run(world, body))
  return world
end

describe("returning", function()
  teardown(contract.clean)

  it("gives what the server has made of the row", function()
    local world = ran [[
      local row = repo:insert("p", { code = "c", price = "2.345" },
        { returning = { "id", "price", "made", "upper" } }).row
      run.log(("%s %s %s %s"):format(row.id, row.price, row.made, row.upper))]]
    assert.equal("3 2.35 new C", said(world))
  end)

  it("gives the columns that it names, and no others", function()
    local world = world_of()
    contract.failed(contract.run(world, [[
      local row = repo:insert("p", { code = "c" }, { returning = { "id" } }).row
      run.log(tostring(row.id))
      return row.code]]), nil, 'column "code" was not returned by the query')
    assert.equal("3", said(world))
  end)

  it("reads NULL as nil", function()
    assert.equal("nil", said(ran [[
      run.log(tostring(repo:insert("p", { code = "c" }, { returning = { "price" } }).row.price))]]))
  end)

  it("gives each handle its own row", function()
    local world = ran [[
      local handles = {}
      for i, row in ipairs(rows) do
        handles[i] = repo:insert("p", { code = "c" .. row.id }, { returning = { "id", "code" } })
      end
      for i, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { n = handles[i].row.id })
        run.log(handles[i].row.code .. handles[i].affected)
      end]]
    assert.equal("c11 c21", said(world))
    assert.same({ 3, 4 }, contract.column(world, "t", "n"))
  end)

  it("gives the row as it was then, in a table of the script's own", function()
    local world = ran [[
      local handle = repo:insert("p", { code = "c" }, { returning = { "id", "code" } })
      repo:update("p", { id = handle.row.id }, { code = "d" })
      handle.row.code = "e"
      run.log(handle.row.code .. repo:get("p", { id = 3 }).code)]]
    assert.equal("cd", said(world))
  end)

  it("gives the row that on_conflict updates", function()
    local world = ran [[
      local row = repo:insert("p", { code = "b", price = 7 }, {
        returning = { "id", "price", "made" },
        on_conflict = { columns = { "code" }, update = { "price" } } }).row
      run.log(row.id .. " " .. tostring(row.price) .. " " .. tostring(row.made))]]
    assert.equal("2 7.00 new", said(world))
  end)

  it("gives no row where on_conflict does nothing", function()
    local world = ran [[
      for _, code in ipairs { "b", "c" } do
        local one = repo:insert("p", { code = code },
          { returning = { "id" }, on_conflict = "nothing" })
        run.log((one.row and "a row" or "none") .. one.affected)
      end]]
    assert.equal("none0 a row1", said(world))
  end)

  it("may be asked for where a row may be missing", function()
    assert.equal("3", said(ran [[
      run.log(tostring(repo:insert("p", { code = "c" },
        { returning = { "id" }, missing = "ignore" }).row.id))]]))
  end)

  it("fails where the insert fails", function()
    run_failed(world_of(), 'return repo:insert("p", { code = "a" }, { returning = { "id" } }).row',
      "23505", "p_code_key")
    assert.equal("23505 3", said(ran [[
      local ok, err = repo:savepoint(function()
        return repo:insert("p", { code = "a" }, { returning = { "id" } }).row.id
      end)
      local _, id = repo:savepoint(function()
        return repo:insert("p", { id = 3, code = "c" }, { returning = { "id" } }).row.id
      end)
      run.log(err.sqlstate .. " " .. id)]]))
  end)

  it("is for the batch", function()
    local world = world_of()
    contract.failed(contract.run(world, [[
      if kept then return kept.row end
      kept = repo:insert("p", { code = "c" }, { returning = { "id" } })]],
      { head = "local kept" }, { batch_size = 1 }), nil,
      "the handle is used after its batch has ended")
  end)

  for _, field in ipairs { "row", "affected" } do
    it("is gone with a savepoint that is rolled back, with " .. field, function()
      local world = ran(([[
        local kept, gone, inner, none, late
        repo:savepoint(function()
          kept = repo:insert("p", { code = "k" }, { returning = { "id" } })
        end)
        repo:savepoint(function()
          gone = repo:insert("p", { code = "c" }, { returning = { "id" } })
          run.log(tostring(gone.affected))
          repo:savepoint(function()
            inner = repo:insert("p", { code = "d" }, { returning = { "id" } })
          end)
          none = repo:insert_all("p", {})
          error "no"
        end)
        late = repo:insert("p", { code = "e" }, { returning = { "id" } })
        for _, handle in ipairs { gone, inner, none } do
          local ok, message = pcall(function() return handle.%s end)
          run.log(tostring(ok) .. tostring(message):match ":%%d+: (.*)")
        end
        run.log(tostring(kept.%s ~= nil) .. tostring(late.%s ~= nil))
      ]]):format(field, field, field))
      assert.equal("1" .. (" falsethe handle is used after its savepoint was rolled back"):rep(3)
        .. " truetrue", said(world))
    end)
  end

  it("must be asked for", function()
    run_failed(world_of(), 'return repo:insert("p", { code = "c" }).row', nil,
      "the handle has no row; pass { returning = {...} } to repo:insert")
    run_failed(world_of(), 'return repo:update("p", { id = 1 }, { code = "c" }).row', nil,
      "the handle has no row")
  end)

  it("refuses columns that are not there, and what is no list", function()
    local function refused(opts, sqlstate, message)
      run_failed(world_of(), ('repo:insert("p", { code = "c" }, %s)'):format(opts), sqlstate,
        message)
    end
    refused('{ returning = { "idd" } }', "42703", 'column "idd" of relation "p" does not exist')
    refused('{ returning = "id" }', nil, "repo:insert: returning must be a list of column names")
    refused('{ returning = {} }', nil, "repo:insert: returning is empty")
    refused('{ returning = { 5 } }', nil, "repo:insert: returning must be a list of column names")
    refused('{ returning = { "ctid" } }', "42703",
      'column "ctid" of relation "p" does not exist')
    refused('{ returning = { id = true } }', nil,
      "repo:insert: returning must be a list of column names")
    refused('{ returns = { "id" } }', nil, 'repo:insert: unknown option "returns"; the options are '
      .. '"on_conflict", "missing" and "returning"')
    run_failed(world_of(), 'repo:insert_all("p", { { code = "c" } }, { returning = { "id" } })',
      nil, 'repo:insert_all: unknown option "returning"; the options are '
      .. '"on_conflict" and "missing"')
  end)
end)
