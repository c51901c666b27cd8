--- The contract notices each lie of tests/contract/lies.lua: its specs run here, one by one, on a
-- mock of which one module is changed.

local support = dofile "tests/lua/support.lua"

local lies = dofile "tests/contract/lies.lua"

local MAX_STEPS = 3000 -- of a thousand instructions

--- The module's text with the lie in it; raises when there is no place for it.
local function changed(path, text, instead)
  local file = assert(io.open(path, "rb"))
  local source = file:read "a"
  file:close()
  local from, to = source:find(text, 1, true)
  assert(from, path .. " has no longer: " .. text)
  assert(not source:find(text, to + 1, true), path .. " has more than once: " .. text)
  return source:sub(1, from - 1) .. instead .. source:sub(to + 1)
end

--- Calls `fn` with modules of luamig that are loaded anew; `loaders` come first.
local function with_fresh_modules(loaders, fn)
  local kept, path, searchers = {}, package.path, table.move(package.searchers, 1, 9, 1, {})
  for name, module in pairs(package.loaded) do
    if name:find "^luamig" then
      kept[name], package.loaded[name] = module, nil
    end
  end
  for name, loader in pairs(loaders) do
    package.preload[name] = loader
  end
  local result = fn()
  for name in pairs(loaders) do
    package.preload[name] = nil
  end
  for name in pairs(package.loaded) do
    if name:find "^luamig" then
      package.loaded[name] = kept[name]
    end
  end
  package.path = path
  package.searchers["luamig.script.env"] = nil
  table.move(searchers, 1, 9, 1, package.searchers)
  return result
end

--- The tests of a spec file, in order: { name =, run = }; and what is to be called after them.
local function tests_of(path)
  local tests, teardowns, prefix = {}, {}, ""
  local env = setmetatable({ assert = assert }, { __index = _G })
  function env.teardown(fn)
    teardowns[fn] = true
  end
  function env.describe(name, fn)
    prefix = name .. " "
    fn()
  end
  function env.it(name, fn)
    tests[#tests + 1] = { name = prefix .. name, run = fn }
  end
  assert(loadfile(path, "t", env))()
  return tests, teardowns
end

--- Calls a function that a lie may keep from ever ending.
local function bounded_call(fn)
  local steps = 0
  debug.sethook(function()
    steps = steps + 1
    if steps > MAX_STEPS then
      error("does not end", 0)
    end
  end, "", 1000)
  local ok, why = pcall(fn)
  debug.sethook()
  return ok, why
end

--- The first test of a spec that fails, with its message; nil when there is none.
local function first_failure(path)
  local tests, teardowns = tests_of(path)
  local failure
  for _, test in ipairs(tests) do
    local ok, why = bounded_call(test.run)
    if not ok then
      failure = test.name .. ": " .. tostring(type(why) == "table" and why.message or why)
      break
    end
  end
  for teardown in pairs(teardowns) do
    teardown()
  end
  return failure
end

describe("the contract", function()
  local SPECS = { "values", "decimals", "writes", "inserts", "constraints", "raw", "pages", "runs",
    "errors", "retries", "log", "dry" }
  local function path_of(spec)
    return "tests/contract/" .. spec .. "_spec.lua"
  end

  after_each(support.clean)

  it("is content with the mock as it is", function()
    for _, spec in ipairs(SPECS) do
      assert.is_nil(with_fresh_modules({}, function()
        return first_failure(path_of(spec))
      end))
    end
  end)

  for _, lie in ipairs(lies) do
    local spec, name, module, text, instead = table.unpack(lie)
    it("notices that " .. name, function()
      local path = ("lua/luamig/%s.lua"):format(module)
      local loader = assert(load(changed(path, text, instead), "@" .. path))
      local loaders = { ["luamig." .. module:gsub("/", ".")] = loader }
      local failure = with_fresh_modules(loaders, function()
        return first_failure(path_of(spec))
      end)
      if not failure then
        error(("nothing in %s notices that %s"):format(path_of(spec), name), 0)
      elseif os.getenv "LUAMIG_TEST_LIES" then
        io.stderr:write(name, "\n    ", failure:sub(1, 150):gsub("\n", " "), "\n")
      end
    end)
  end
end)
