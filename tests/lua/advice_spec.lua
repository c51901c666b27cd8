--- What a beginner in Lua gets wrong, as a script has it: the error has a hint, and who follows the
-- hint has a script that works.

local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

local function world()
  return mock.new {
    tables = {
      users = {
        columns = { id = "int8", name = "text", n = "int8", doc = "jsonb" },
        primary_key = { "id" },
        rows = {
          { id = 1, name = "Ann", n = 1, doc = { 1, 2 } }, { id = 2, name = "Bo", doc = { a = 1 } },
        },
      },
    },
    base = { from = "users" },
  }
end

--- A script whose migrate has this body.
local function script(body)
  return support.script(([[
return {
  base_query = "SELECT * FROM users",
  migrate = function(rows, repo, run)
%s
  end,
}]]):format(body))
end

--- The error of a script that does not load, or whose run fails; nil when all is well.
local function error_of(path)
  local ok, result = pcall(function() return world():run(path) end)
  return not ok and result or result.error
end

local function in_loop(body)
  return "for _, row in ipairs(rows) do\n" .. body .. "\nend"
end

-- What is wrong, what the message or the hint says, and the same when the hint is followed.
local BODIES = {
  { "!=", in_loop "if row.id != 2 then run.log 'x' end", "~=",
    in_loop "if row.id ~= 2 then run.log 'x' end" },
  { "!==", in_loop "if row.id !== 2 then run.log 'x' end", "~=",
    in_loop "if row.id ~= 2 then run.log 'x' end" },
  { "<>", in_loop "if row.id <> 2 then run.log 'x' end", "~=",
    in_loop "if row.id ~= 2 then run.log 'x' end" },
  { "===", in_loop "if row.id === 2 then run.log 'x' end", "compares with ==",
    in_loop "if row.id == 2 then run.log 'x' end" },
  { "a single =", in_loop "if row.id = 2 then run.log 'x' end", "compares with ==",
    in_loop "if row.id == 2 then run.log 'x' end" },
  { "&&", in_loop "if row.id == 1 && row.n == 1 then run.log 'x' end", "the words and, or, not",
    in_loop "if row.id == 1 and row.n == 1 then run.log 'x' end" },
  { "||", in_loop "if row.id == 1 || row.n == 1 then run.log 'x' end", "the words and, or, not",
    in_loop "if row.id == 1 or row.n == 1 then run.log 'x' end" },
  { "!", in_loop "if !row.n then run.log 'x' end", "the words and, or, not",
    in_loop "if not row.n then run.log 'x' end" },
  { "+=", "local n = 0\nn += 1", "n = n + ...", "local n = 0\nn = n + 1\nreturn" },
  { "-=", "local n = 0\nn -= 1", "n = n - ...", "local n = 0\nn = n - 1\nreturn" },
  { "++", "local n = 0\nn++", "n = n + 1", "local n = 0\nn = n + 1\nreturn" },
  { "--", "local n = 0\nn--\nrun.log 'x'", "n = n - 1", "local n = 0\nn = n - 1\nrun.log 'x'" },
  { "**", "local n = 2 ** 3", "with ^", "local n = 2 ^ 3\nreturn n" },
  { "?:", "local n = rows[1] ? 1 : 2", "a and b or c", "local n = rows[1] and 1 or 2" },
  { "?.", "local n = rows[1]?.id", "Test for nil first", "local n = rows[1] and rows[1].id" },
  { "a text with +", in_loop "run.log('user ' + row.name)", "a .. b",
    in_loop "run.log('user ' .. row.name)" },
  { "texts joined with one dot", in_loop 'run.log("a" . "b")', "two dots",
    in_loop 'run.log("a" .. "b")' },
  { "else if", in_loop "if row.n then run.log 'a' else if row.id then run.log 'b' end",
    "elseif, in one word", in_loop "if row.n then run.log 'a' elseif row.id then run.log 'b' end" },
  { "elif", in_loop "if row.n then run.log 'a' elif row.id then run.log 'b' end", "elseif",
    in_loop "if row.n then run.log 'a' elseif row.id then run.log 'b' end" },
  { "continue", in_loop "if not row.n then continue end\nrun.log 'x'", "goto continue",
    in_loop "if not row.n then goto continue end\nrun.log 'x'\n::continue::" },
  { "an if without then", in_loop "if row.n\nrun.log 'x'\nend", "if CONDITION then",
    in_loop "if row.n then\nrun.log 'x'\nend" },
  { "braces", in_loop "if (row.n) {\nrun.log 'x'\n}", "no braces",
    in_loop "if (row.n) then\nrun.log 'x'\nend" },
  { "a function with braces", "local function f(x) { return x }", "no braces",
    "local function f(x) return x end\nreturn f(1)" },
  { "for of C", "for (i = 0; i < 10; i++) do end", "for i = 1, 10 do",
    "for i = 1, 10 do run.log('' .. i) end" },
  { "for in without ipairs", "for row in rows do run.log 'x' end",
    "for _, row in ipairs", "for _, row in ipairs(rows) do run.log 'x' end" },
  { "foreach", "foreach row in rows do run.log 'x' end", "for _, row in ipairs(rows) do",
    "for _, row in ipairs(rows) do run.log 'x' end" },
  { "const", "const n = 1", "local x = 1", "local n = 1\nreturn n" },
  { "let", "let n = 1", "local x = 1", "local n = 1\nreturn n" },
  { "def", "def f(x)\nreturn x\nend", "local function name",
    "local function f(x)\nreturn x\nend\nreturn f(1)" },
  { "a comment of C", "// all of them", "begins with --", "-- all of them" },
  { "a comment of the shell", "# all of them", "begins with --", "-- all of them" },
  { "await", "local n = await repo:execute 'x'", "leave await out" },
  { "a missing end", in_loop "if row.n then\nrun.log 'x'", "Is an end missing",
    in_loop "if row.n then\nrun.log 'x'\nend" },
  { "an end too many", in_loop "run.log 'x'\nend", "one end too many", in_loop "run.log 'x'" },
  { "a missing )", "run.log('x'", "a closing ), } or ] missing", "run.log('x')" },
  { "a missing comma", 'repo:update("users", { id = 1 } { n = 2 })', "comma missing between",
    'repo:update("users", { id = 1 }, { n = 2 })' },
  { "a ; for a comma", 'repo:update("users"; { id = 1 }, { n = 2 })', "comma missing between",
    'repo:update("users", { id = 1 }, { n = 2 })' },
  { "fields with a colon", 'repo:update("users", { id: 1 }, { n: 2 })', "with =, as in { id = 1 }",
    'repo:update("users", { id = 1 }, { n = 2 })' },
  { "fields in quotes", 'repo:update("users", { "id" : 1 }, { n = 2 })', '["first name"]',
    'repo:update("users", { ["id"] = 1 }, { n = 2 })' },
  { "a list of JSON", "local list = [1, 2]", "{ 1, 2, 3 }", "local list = { 1, 2 }\nreturn list" },
  { "an open text", 'run.log("x)', "ends on its line", 'run.log("x")' },
  { "an apostrophe", "run.log('it's')", "double quotes", 'run.log("it\'s")' },
  { "backticks", "run.log(`x`)", 'Put a text into "', 'run.log("x")' },
  { "a word of Lua as a field", "local t = { end = 1 }", '["end"]', 'local t = { ["end"] = 1 }' },
  { "repo.update", 'repo.update("users", { id = 1 }, { n = 2 })', "with a colon",
    'repo:update("users", { id = 1 }, { n = 2 })' },
  { "null", in_loop "if row.n == null then run.log 'x' end", "Lua writes nil",
    in_loop "if row.n == nil then run.log 'x' end" },
  { "NULL", in_loop "if row.n == NULL then run.log 'x' end", "a column that is NULL reads nil",
    in_loop "if row.n == nil then run.log 'x' end" },
  { "None", 'repo:update("users", { id = 1 }, { n = None })', "Lua writes nil" },
  { "True", "local yes = True", "Lua writes true", "local yes = true\nreturn yes" },
  { "len", "run.log('' .. len(rows))", "#list", "run.log('' .. #rows)" },
  { "an f-string", 'run.log(f"user {rows[1].id}")', "string.format",
    'run.log(string.format("user %d", rows[1].id))' },
  { "rows.length", "run.log('' .. rows.length)", "#rows", "run.log('' .. #rows)" },
  { "rows[0]", "run.log('' .. rows[0].id)", "list[1]", "run.log('' .. rows[1].id)" },
  { "rows.forEach", "rows.forEach(print)", "for _, row in ipairs(rows) do",
    "for _, row in ipairs(rows) do run.log(tostring(row)) end" },
  { "NULL + 1", in_loop 'repo:update("users", { id = row.id }, { n = row.n + 1 })', "(n or 0)",
    in_loop 'repo:update("users", { id = row.id }, { n = (row.n or 0) + 1 })' },
  { "NULL in a text", in_loop "run.log('n is ' .. row.n)", '(n or "")',
    in_loop "run.log('n is ' .. (row.n or ''))" },
  { "NULL > 1", in_loop "if row.n > 1 then run.log 'x' end", "as in (value or 0)",
    in_loop "if (row.n or 0) > 1 then run.log 'x' end" },
  { "a text > 1", in_loop "if row.name > 1 then run.log 'x' end", "tonumber(text)",
    in_loop "if (tonumber(row.name) or 0) > 1 then run.log 'x' end" },
  { "a field of NULL", in_loop "run.log(row.doc.x.y or '')", "if x then",
    in_loop "if row.doc.x then run.log(row.doc.x.y) end" },
  { "#NULL", in_loop "run.log('' .. #row.doc.list)", "#(list or {})",
    in_loop "run.log('' .. #(row.doc.list or {}))" },
  { "# of a number", "run.log('' .. #rows[1].n)", "# counts", nil },
  { "ipairs(NULL)", in_loop "for _ in ipairs(row.doc.list) do end", "ipairs(list or {})",
    in_loop "for _ in ipairs(row.doc.list or {}) do end" },
  { "%d of 1.5", 'run.log(string.format("%d", 1.5))', "%.2f",
    'run.log(string.format("%.2f", 1.5))' },
  { "trim", in_loop "run.log(row.name:trim())", 's:match "^%s*(.-)%s*$"',
    in_loop 'run.log(row.name:match "^%s*(.-)%s*$")' },
  { "toLowerCase", in_loop "run.log(row.name:toLowerCase())", "s:lower()",
    in_loop "run.log(row.name:lower())" },
}

describe("an error of a beginner", function()
  teardown(support.clean)

  for _, case in ipairs(BODIES) do
    it("is told how to mend it: " .. case[1], function()
      local err = error_of(script(case[2]))
      assert.is_not_nil(err, "no error")
      assert.truthy(tostring(err):find(case[3], 1, true),
        ("expected %q in: %s"):format(case[3], tostring(err)))
      if case[4] then
        assert.is_nil(error_of(script(case[4])))
      end
    end)
  end

  local FILES = {
    { "a } is missing", 'return {\n  run = function(repo) end,\n', "is a }, a ) or an end missing",
      'return {\n  run = function(repo) end,\n}\n' },
    { "a } is missing behind the last field", 'return {\n  run = function(repo) end\n',
      "a closing ), } or ] missing", 'return {\n  run = function(repo) end\n}\n' },
    { "a comma between fields",
      'return {\n  run = function(repo) end\n  name = "x"\n}', "comma missing between the fields",
      'return {\n  run = function(repo) end,\n  name = "x"\n}' },
    { "an end above a field",
      'return {\n  run = function(repo)\n    if repo then\n  end,\n  name = "x",\n}',
      "Is an end missing above",
      'return {\n  run = function(repo)\n    if repo then end\n  end,\n  name = "x",\n}' },
    { "parameters without a comma", "return { run = function(repo run) end }",
      "comma missing between",
      "return { run = function(repo, run) end }" },
    { "return is forgotten", "local M = { run = function() end }",
      "Write return { ... } as its last statement",
      "local M = { run = function() end }\nreturn M" },
    { "a function is returned", "return function() end", "return { ... }",
      "return { run = function() end }" },
    { "something behind return", "return { run = function() end }\nprint 'x'",
      "return must be the last statement", "print 'x'\nreturn { run = function() end }" },
  }

  for _, case in ipairs(FILES) do
    it("is told how to mend the file: " .. case[1], function()
      local err = error_of(support.script(case[2]))
      assert.is_not_nil(err, "no error")
      assert.truthy(tostring(err):find(case[3], 1, true),
        ("expected %q in: %s"):format(case[3], tostring(err)))
      assert.is_nil(error_of(support.script(case[4])))
    end)
  end

  it("is told of a module, too", function()
    local dir = support.directory()
    support.write(dir, "rule.lua", "local function f(x)\n  if x != 1 then return x end\nend\n")
    local path = support.write(dir, "s.lua",
      'local rule = require "rule"\nreturn { run = function() return rule end }')
    local shown = tostring(error_of(path))
    assert.truthy(shown:find("rule.lua:2", 1, true), shown)
    assert.truthy(shown:find("Lua writes ~=", 1, true), shown)
  end)

  for _, case in ipairs {
    { "an end", "if rows[1].n then\nend -- rows\nfor _ in ipairs(rows) do" },
    { "a comment behind a word", "for _, row in ipairs(rows) do -- each\n"
      .. "local n = row.n\nn = n -- the same" },
    { "a goto and its label", "for _, row in ipairs(rows) do\nif row.n then goto continue end\n"
      .. "::continue::\n" },
  } do
    it("is not told of something that stands beside it: " .. case[1], function()
      local shown = tostring(error_of(script(case[2])))
      assert.truthy(shown:find("Is an end missing above", 1, true), shown)
    end)
  end

  it("is told of the line, not of a text in it", function()
    for _, query in ipairs { "[[SELECT id FROM users WHERE name <> lower(name)]]",
      "[==[SELECT id FROM users\nWHERE name != '?']==]" }
    do
      local shown = tostring(error_of(support.script(
        ("return {\n  base_query: %s,\n  migrate = function() end,\n}"):format(query))))
      assert.truthy(shown:find("with =, as in { id = 1 }", 1, true), shown)
    end
  end)

  it("has no hint where the script raises a text of its own", function()
    for _, text in ipairs { "no such plan: a != b", "attempt to pay twice", "x" } do
      local err = error_of(script(("error(%q)"):format(text)))
      assert.is_nil(err.hint)
    end
  end)

  it("has its line, also where Lua gives none", function()
    local path = script "for _ in ipairs(rows[1].doc.list) do end"
    assert.equal(path .. ":4", error_of(path).where)
  end)

  it("shows a row that is printed", function()
    local shown
    local path = script [[ repo:update("users", { id = 1 }, { name = tostring(rows[1]) }) ]]
    local one = world()
    assert.equal("done", one:run(path).state)
    shown = one:rows("users")[1].name
    assert.truthy(shown:find('name = "Ann"', 1, true), shown)
    assert.truthy(shown:find("id = 1", 1, true), shown)
  end)
end)
