-- The definitions for the language server name what there is: nothing more, nothing less. The pages
-- for authors name what the definitions do.

local config = require "luamig.script.config"
local luamig = require "luamig"
local mock = require "luamig.mock"
local paths = require "luamig.script.paths"
local text = require "luamig.text"

local function read(path)
  return assert(paths.read(path))
end

--- What a file of definitions says.
-- @return { module =, classes = { name = { field = description } }, aliases = set, used = set },
--   functions being fields of their class
local function parse(path)
  local self = { classes = {}, aliases = {}, used = {} }
  local owners, notes, class = {}, {}, nil
  local function note_types(line)
    for name in line:gsub("`[^`]*`", ""):gmatch "luamig%.%u%w*" do
      self.used[name] = true
    end
  end
  for line in read(path):gmatch "[^\n]*" do
    local tag, rest = line:match "^%-%-%-@(%w+)%s*(.*)$"
    local owner, method = line:match "^function ([%w]+)[.:]([%w_]+)%("
    local object = line:match "^local (%w+) = {}$"
    if tag == "meta" then
      self.module = rest
    elseif tag == "class" then
      class = rest
      self.classes[class] = {}
      notes = {}
    elseif tag == "alias" then
      self.aliases[rest:match "^[%w.]+"] = true
      note_types(rest:match "^%S+(.*)$")
    elseif tag == "field" then
      local name, after = rest:match "^(%[?[%w_]+%]?)%??%s*(.*)$"
      note_types(after)
      self.classes[class][name] = table.concat(notes, " ") .. after
      notes = {}
    elseif tag then
      note_types(rest)
    elseif line:find "^%-%-%-" then
      notes[#notes + 1] = line
    elseif object then
      owners[object] = self.classes[class]
      notes = {}
    elseif owner then
      local fields = owners[owner]
      fields[method] = table.concat(notes, " ")
      notes = {}
    elseif line == "" then
      notes = {}
    end
  end
  return self
end

local script_types = parse "lua/types/luamig.lua"
local mock_types = parse "lua/types/luamig/mock.lua"

--- The names of a class, sorted; without the integer index of lists.
local function names_of(types, class)
  local names = text.sorted_keys(assert(types.classes[class], class))
  return names[1] == "[integer]" and { table.unpack(names, 2) } or names
end

--- What a pattern finds in a source, sorted.
local function find(path, pattern)
  local found = {}
  for name in read(path):gmatch(pattern) do
    found[name] = true
  end
  return text.sorted_keys(found)
end

--- The names in a list of the source, such as `local KEYS = { "a", "b" }`.
local function list_in(path, list)
  local body = assert(read(path):match("local " .. list .. " = (%b{})"), list)
  local names = {}
  for name in body:gmatch '"([%w_]+)"' do
    names[name] = true
  end
  return text.sorted_keys(names)
end

describe("types", function()
  it("are Lua, for the modules that they describe", function()
    for path, module in pairs {
      ["lua/types/luamig.lua"] = "luamig", ["lua/types/luamig/mock.lua"] = "luamig.mock",
    } do
      assert(loadfile(path, "t"))
      assert.equal(module, parse(path).module)
      assert.is_table(dofile(path))
    end
  end)

  it("know every key of config, and of health", function()
    assert.same(config.names, names_of(script_types, "luamig.Config"))
    local resolved = config.resolve({}, {}, {}, error, error)
    assert.same(text.sorted_keys(resolved.health), names_of(script_types, "luamig.Health"))
  end)

  it("know every field of a script", function()
    local fields = assert(read("lua/luamig/script.lua"):match "local FIELDS = (%b{})")
    local names = {}
    for name in fields:gmatch "([%w_]+) = {" do
      names[name] = true
    end
    assert.same(text.sorted_keys(names), names_of(script_types, "luamig.Script"))
  end)

  it("know every key of an argument's declaration", function()
    local keys = list_in("lua/luamig/script/args.lua", "SPEC_KEYS")
    assert.same(keys, names_of(script_types, "luamig.ArgSpec"))
  end)

  it("know every field of an input", function()
    assert.same(list_in("lua/luamig/script/input.lua", "FIELDS"),
      names_of(script_types, "luamig.Input"))
  end)

  it("know every method of the repo", function()
    local methods = {}
    for _, path in ipairs { "src/script/bind/bind.c", "src/script/bind/read.c",
      "src/script/bind/write.c" } do
      for _, name in ipairs(find(path, '{"([%w_]+)",%s*l_')) do
        methods[name] = true
      end
    end
    assert.is_true(methods.query and methods.insert_all)
    assert.same(text.sorted_keys(methods), names_of(script_types, "luamig.Repo"))
  end)

  it("know every method of run.source", function()
    local listed = assert(read("src/script/bind/bind.c"):match "reading_methods%[%] = (%b{})")
    local methods = {}
    for name in listed:gmatch '"([%w_]+)"' do
      methods[name] = true
    end
    assert.same(text.sorted_keys(methods), names_of(script_types, "luamig.Source"))
  end)

  it("know every field of the run", function()
    assert.same(list_in("lua/luamig/mock/runner.lua", "RUN_FIELDS"),
      names_of(script_types, "luamig.Run"))
  end)

  it("know all of luamig", function()
    assert.same(text.sorted_keys(luamig), names_of(script_types, "luamig"))
    assert.same(text.sorted_keys(luamig.decimal), names_of(script_types, "luamig.DecimalModule"))
    assert.same(text.sorted_keys(luamig.json), names_of(script_types, "luamig.JsonModule"))
    local methods = find("lua/luamig/decimal.lua", "function methods:([%w_]+)")
    assert.same(methods, names_of(script_types, "luamig.Decimal"))
  end)

  it("know all of the mock", function()
    assert.same(text.sorted_keys(mock), names_of(mock_types, "luamig.mock"))
    local world = mock.new { tables = {} }
    local members = { log = true, source = true }
    for name, member in pairs(getmetatable(world).__index) do
      -- The mock's own modules use these.
      local is_own = name == "raise_problem" or name == "attempt" or name == "snapshot"
        or name == "matching_keys" or name == "play_others"
      members[name] = type(member) == "function" and not is_own or nil
    end
    assert.same(text.sorted_keys(members), names_of(mock_types, "luamig.World"))
    assert.same(list_in("lua/luamig/mock/declarations.lua", "RUN_KEYS"),
      names_of(mock_types, "luamig.MockRunOptions"))
    assert.same(list_in("lua/luamig/mock/schema.lua", "KEYS"),
      names_of(mock_types, "luamig.MockTable"))
  end)

  it("describe everything", function()
    for _, types in ipairs { script_types, mock_types } do
      for class, fields in pairs(types.classes) do
        for name, description in pairs(fields) do
          assert(#description > 3, ("%s.%s has no description"):format(class, name))
        end
      end
    end
  end)

  it("use no type that they do not define", function()
    for _, types in ipairs { script_types, mock_types } do
      for name in pairs(types.used) do
        local is_known = script_types.classes[name] or mock_types.classes[name]
          or script_types.aliases[name] or mock_types.aliases[name]
        assert(is_known, name .. " is not defined")
      end
    end
  end)
end)

local SCRIPTING, TESTING, OPERATING = "docs/scripting.md", "docs/testing.md", "docs/operating.md"

--- The cells of a page's table by the name in the first one, which may hold several.
local function rows_of(page, header)
  local pattern = "\n" .. header:gsub("%p", "%%%0") .. "\n|[-|]+\n(.-)\n\n"
  local body = assert(read(page):match(pattern), header)
  local rows = {}
  for line in body:gmatch "[^\n]+" do
    local cells = {}
    for cell in line:gmatch "| ([^|]+) %f[|]" do
      cells[#cells + 1] = cell
    end
    for name in cells[1]:gmatch "`([^`]+)`" do
      rows[name] = cells
    end
  end
  return rows
end

--- A figure or word as the pages write it, such as 1,000 or `"id"`.
local function plain(cell)
  return (cell:gsub("`", ""):gsub("(%d),(%d)", "%1%2"))
end

describe("pages", function()
  for _, case in ipairs {
    { "luamig.Script", SCRIPTING, "| field | type | meaning |" },
    { "luamig.Config", SCRIPTING, "| key | type | default | meaning |" },
    { "luamig.ArgSpec", SCRIPTING, "| key | meaning |" },
    { "luamig.Input", SCRIPTING, "| field of `input` | |" },
    { "luamig.Error", SCRIPTING, "| field | |" },
    { "luamig.MockTable", TESTING, "| field | |" },
    { "luamig.MockStub", TESTING, "| field of a stub | |" },
    { "luamig.MockRunOptions", TESTING, "| field of `opts` | |" },
  } do
    it("have a table of " .. case[1], function()
      local types = script_types.classes[case[1]] and script_types or mock_types
      assert.same(names_of(types, case[1]), text.sorted_keys(rows_of(case[2], case[3])))
    end)
  end

  for _, case in ipairs {
    { "luamig.Repo", SCRIPTING, "| `repo:%s(" }, { "luamig.Run", SCRIPTING, "| `run.%s" },
    { "luamig.Source", SCRIPTING, "| `run.source:%s(" },
    { "luamig.Handle", SCRIPTING, "`%s`" }, { "luamig", SCRIPTING, "`luamig.%s" },
    { "luamig.Decimal", SCRIPTING, "`d:%s(" },
    { "luamig.DecimalModule", SCRIPTING, "`luamig.decimal.%s(" },
    { "luamig.JsonModule", SCRIPTING, "`luamig.json.%s" },
    { "luamig.Rows", SCRIPTING, "`rows.%s`" }, { "luamig.Range", SCRIPTING, "| `range.%s" },
    { "luamig.Health", OPERATING, "| `%s` |" },
    { "luamig.mock", TESTING, "`mock.%s" }, { "luamig.World", TESTING, "| `world%s" },
    { "luamig.MockSpec", TESTING, "%s =" }, { "luamig.MockBase", TESTING, "`%s" },
    { "luamig.MockForeignKey", TESTING, "%s =" }, { "luamig.MockFault", TESTING, "%s =" },
    { "luamig.MockError", TESTING, "%s" }, { "luamig.MockEntry", TESTING, "`%s`" },
    { "luamig.MockResult", TESTING, "`%s`" },
  } do
    it("name all of " .. case[1], function()
      local types = script_types.classes[case[1]] and script_types or mock_types
      local page = read(case[2]):gsub("world[.:]", "world"):gsub("range:", "range.")
      for _, name in ipairs(names_of(types, case[1])) do
        assert(page:find(case[3]:format(name), 1, true), ("%s has no %s"):format(case[2], name))
      end
    end)
  end

  it("tell the defaults and ranges of config", function()
    local function is_taken(name, value)
      return (pcall(config.resolve, { [name] = value }, {}, {}, error, error))
    end
    local defaults = config.resolve({}, {}, {}, error, error)
    defaults.key, defaults.health = '"id"', "{}"
    for name, cells in pairs(rows_of(SCRIPTING, "| key | type | default | meaning |")) do
      local kind, default = plain(cells[2]), plain(cells[3]):gsub('^"(.*)"$', "%1")
      assert.equal(tostring(defaults[name] or defaults[name] == false and "false" or "none")
        :gsub('^"(.*)"$', "%1"), default, name)
      local low, high = kind:match "^integer, (%d+) to (%d+)"
      low, high = low or kind:match "^integer, (%d+) or more$", high or "2147483647"
      if low then
        low, high = math.tointeger(low), math.tointeger(high)
        assert.is_true(is_taken(name, low) and is_taken(name, high), name)
        assert.is_false(is_taken(name, low - 1) or is_taken(name, high + 1), name)
      end
      local takes_booleans = kind:find "^boolean" or kind:find "^value"
      assert.equal(takes_booleans ~= nil, is_taken(name, true), name)
      for word in kind:gmatch '"([^"]+)"' do
        assert.is_true(is_taken(name, word), word)
      end
    end
  end)

  it("tell the thresholds of health", function()
    local defaults = config.resolve({}, {}, {}, error, error).health
    local shown = {}
    for line in read(OPERATING):gmatch "| [%l ]+ | `[%l_]+` | %d+[ %a]* |" do
      local name, figure, unit = line:match "`(.-)` | (%d+) ?(%a*)"
      local shift = ({ MB = 20, GB = 30 })[unit] or 0
      shown[name] = math.tointeger(figure) << shift
    end
    assert.same(defaults, shown)
  end)
end)
