-- What `luamig new` and `luamig init` write, where no database is needed to tell.

local migration = require "luamig.scaffold.migration"
local project = require "luamig.scaffold.project"
local source = require "luamig.scaffold.source"

local ODD = {
  "", "id", "end", "a b", 'quo"te', "new\nline", "tab\t", "ctrl\1\0012", "]]", "\\n", "é",
}

local function value_of(lua)
  return assert(load("return " .. lua, "=value"))()
end

describe("source", function()
  it("writes any text as a string, on one line", function()
    for _, text in ipairs(ODD) do
      local quoted = source.quote(text)
      assert.equal(text, value_of(quoted))
      assert.is_nil(quoted:find "\n")
      assert.equal(text, value_of(source.sql(text)))
    end
  end)

  it("writes any name as a field", function()
    for _, name in ipairs(ODD) do
      assert.equal(7, value_of("{ " .. source.field(name) .. " = 7 }")[name])
      assert.equal(7, value_of(("(function(row) return %s end) { %s = 7 }"):format(
        source.index("row", name), source.field(name))))
    end
  end)

  it("breaks lists that are too long for a line", function()
    local items = {}
    for i = 1, 40 do
      items[i] = tostring(i)
    end
    local long = source.list(items, "  ", "")
    assert.same(40, #value_of(long))
    for line in long:gmatch "[^\n]+" do
      assert.is_true(#line < 100)
    end
    assert.equal("x = { 1, 2 }", source.list({ "1", "2" }, "  ", "x = "))
    assert.equal("{}", source.list({}, "", ""))
  end)

  it("fills templates, and drops the lines of empty texts", function()
    assert.equal("a 1\nc {{2}}\n", source.fill("a {{one}}\n  {{none}}\nc {{two}}\n",
      { one = "1", none = "", two = "{{2}}" }))
  end)
end)

describe("a new script", function()
  local REQUEST = {
    name = "x", script_path = "scripts/x.lua", spec_path = "spec/x_spec.lua",
  }

  local function make(facts, more)
    local request = { table = "t", facts = facts }
    for _, fields in ipairs { REQUEST, more or {} } do
      for name, value in pairs(fields) do
        request[name] = value
      end
    end
    local files = migration.files(request)
    return value_of("(function() " .. files[1].text .. " end)()"), files
  end

  local function table_of(columns)
    return { sql_name = "t", key = { "id" }, primary_key = true, unique = {}, columns = columns }
  end

  local ID = { name = "id", sql_name = "id", type = "bigint", not_null = true }

  it("fills the first column that may be NULL and be written", function()
    local script = make(table_of {
      ID, { name = "a", sql_name = "a", type = "integer", not_null = true },
      { name = "b", sql_name = "b", type = "text", generated = true },
      { name = "c", sql_name = "c", type = "inet" },
      { name = "d", sql_name = "d", type = "text" },
    })
    assert.equal("SELECT id, a, b FROM t WHERE d IS NULL", script.base_query)
  end)

  it("visits all rows when no column may be NULL", function()
    local script, files = make(table_of { ID,
      { name = "a", sql_name = "a", type = "integer", not_null = true } })
    assert.equal("SELECT id, a FROM t", script.base_query)
    assert.matches("%-%- a = 1,", files[1].text)
    assert.matches("assert.equal%(3, result.rows%)", files[2].text)
  end)

  it("does nothing with its rows, until somebody says what", function()
    local script = make(table_of { ID })
    local repo = setmetatable({}, { __index = function(_, name) error("repo." .. name) end })
    script.migrate({ { id = 1 }, { id = 2 } }, repo)
    make(table_of { ID }, { one_shot = true }).run(repo, {})
  end)

  it("names the table as it was asked for", function()
    local _, files = make(nil, { table = "app.Users", sql_table = '"app"."Users"' })
    assert.matches('FROM "app"."Users" WHERE', files[1].text, 1, true)
    assert.matches('repo:update("app.Users", { id = row.id }, changes)', files[1].text, 1, true)
    assert.matches('["app.Users"] = {', files[2].text, 1, true)
  end)

  it("says so when a table has no columns", function()
    assert.has_error(function() make(table_of {}) end, 'table "t" has no columns')
  end)
end)

describe("the files of a project", function()
  it("have no advice where there is nothing", function()
    local names = {}
    for i, file in ipairs(project.files "/nowhere") do
      names[i] = file.path
      assert.is_nil(file.advice)
    end
    assert.same({ "luamig.lua", ".busted", ".luacheckrc", ".luarc.json", ".gitignore" }, names)
  end)

  it("leave the specs to an interpreter that is Lua 5.4 already", function()
    local busted
    for _, file in ipairs(project.files "/nowhere") do
      busted = file.path == ".busted" and file.text or busted
    end
    assert.equal("lua5.4", load(busted, "=", "t", { _VERSION = "Lua 5.1" })().default.lua)
    assert.is_nil(load(busted, "=", "t", { _VERSION = "Lua 5.4" })().default.lua)
  end)
end)
