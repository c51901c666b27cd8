--- The contract notices each lie of tests/contract/lies.lua: its specs run here, one by one, on a
-- mock of which one module is changed.

local support = dofile "tests/lua/support.lua"

local falsify = dofile "tests/contract/falsify.lua"
local lies = dofile "tests/contract/lies.lua"

local MAX_STEPS = 3000 -- of a thousand instructions

--- Calls `fn` with modules of luamig that are loaded anew.
local function with_fresh_modules(fn)
  local kept, path, searchers = {}, package.path, table.move(package.searchers, 1, 9, 1, {})
  for name, module in pairs(package.loaded) do
    if name:find "^luamig" then
      kept[name], package.loaded[name] = module, nil
    end
  end
  collectgarbage() -- many worlds have come and gone
  local ok, result = pcall(fn)
  for name in pairs(package.loaded) do
    if name:find "^luamig" then
      package.loaded[name] = kept[name]
    end
  end
  package.path = path
  package.searchers["luamig.script.env"] = nil
  table.move(searchers, 1, 9, 1, package.searchers)
  return ok and result or not ok and error(result, 0) or nil
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
    "errors", "retries", "log", "dry", "prepare", "input" }
  local function path_of(spec)
    return "tests/contract/" .. spec .. "_spec.lua"
  end

  after_each(support.clean)

  it("is content with the mock as it is", function()
    for _, spec in ipairs(SPECS) do
      assert.is_nil(with_fresh_modules(function()
        return first_failure(path_of(spec))
      end))
    end
  end)

  --- The test of a spec that fails when a function of a module lies, with its message; or nil.
  local function noticed(spec, module, name, lie)
    return with_fresh_modules(function()
      falsify("luamig." .. module:gsub("/", "."), name, lie)
      return first_failure(path_of(spec))
    end)
  end

  it("does not notice a function that is replaced by itself", function()
    assert.is_nil(noticed("writes", "mock/store", "has_value", function(has_value, ...)
      return has_value(...)
    end))
  end)

  it("names a function that is not there", function()
    assert.has_error(function()
      noticed("writes", "mock/store", "Store.upsert", print)
    end, "luamig.mock.store has no function Store.upsert")
  end)

  for _, group in ipairs(lies) do
    for _, lie in ipairs(group) do
      local spec, name, fn, how = table.unpack(lie)
      it("notices that " .. name, function()
        local failure = noticed(spec, group.module, fn, how)
        if not failure then
          error(("nothing in %s notices that %s"):format(path_of(spec), name), 0)
        elseif os.getenv "LUAMIG_TEST_LIES" then
          io.stderr:write(name, "\n    ", failure:sub(1, 150):gsub("\n", " "), "\n")
        end
      end)
    end
  end
end)
