-- The definitions for the language server name what there is: nothing more, nothing less.

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

  it("know every method of the repo", function()
    local methods = {}
    for _, path in ipairs { "src/script/bind.c", "src/script/bind_write.c" } do
      for _, name in ipairs(find(path, '{"([%w_]+)",%s*l_')) do
        methods[name] = true
      end
    end
    assert.is_true(methods.query and methods.insert_all)
    assert.same(text.sorted_keys(methods), names_of(script_types, "luamig.Repo"))
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
    local members = { log = true }
    for name, member in pairs(getmetatable(world).__index) do
      -- The mock's own modules use these.
      local is_own = name == "raise_problem" or name == "attempt" or name == "snapshot"
        or name == "matching_keys"
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
          or script_types.aliases[name]
        assert(is_known, name .. " is not defined")
      end
    end
  end)
end)
