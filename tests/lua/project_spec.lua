local project = require "luamig.script.project"
local script = require "luamig.script"
local support = dofile "tests/lua/support.lua"

local ONE_SHOT = "run = function() end"

local function load(content)
  local dir = support.directory()
  local path = support.write(dir, "luamig.lua", content)
  return project.load(path, { root = dir, cwd = dir })
end

local function refused(content)
  local err = support.raised(load, content)
  assert.is_table(err, tostring(err))
  assert.equal("script", err.kind)
  return (err.message:gsub("^.*/luamig%.lua", "luamig.lua"))
end

--- The config of a script whose project has these defaults.
local function config(defaults, source)
  local path = support.script(source or ("return {%s}"):format(ONE_SHOT))
  return script.load(path, { defaults = defaults }).config
end

after_each(support.clean)

describe("a project file", function()
  it("may be empty of everything", function()
    local file = load "return {}"
    assert.is_nil(file.repos)
    assert.equal("scripts", file.scripts)
    assert.equal("{}", file.defaults_json)
  end)

  it("names repos: default first, the others by name", function()
    local file = load [[return { repos = {
      b = "host=b", default = { url = "host=d", replicas = { "host=r" } }, a = "host=a",
    } }]]
    assert.same({
      { name = "default", url = "host=d", replicas = { "host=r" } },
      { name = "a", url = "host=a", replicas = {} },
      { name = "b", url = "host=b", replicas = {} },
    }, file.repos)
  end)

  it("keeps a repo without a URL, for who needs it", function()
    local file = load [[return { repos = { a = {}, b = "", c = { url = " " } } }]]
    for _, repo in ipairs(file.repos) do
      assert.is_nil(repo.url)
    end
    assert.equal(3, #file.repos)
  end)

  it("requires what lies beside it", function()
    local dir = support.directory()
    support.write(dir, "lib/hosts.lua", 'return { shop = "host=shop" }')
    local path = support.write(dir, "luamig.lua",
      'return { repos = { default = require("hosts").shop } }')
    assert.equal("host=shop", project.load(path, { root = dir, cwd = dir }).repos[1].url)
  end)

  it("is refused without a word of what may be a password", function()
    for _, case in ipairs {
      { 'return { repos = { a = "x:s3cret } }', "luamig.lua:1: unfinished string" },
      { 'return { repos = { a = ("s3cret")() } }',
        "luamig.lua:1: attempt to call a string value" },
      { 'return { repos = { "s3cret" } }', "repos must be a table of names and URLs" },
      { 'return { repos = { a = { "s3cret" } } }',
        "repos.a has a field that is neither url nor replicas" },
      { 'return { repos = { a = { replicas = { x = "s3cret" } } } }',
        "repos.a.replicas must be a list of URLs without holes" },
    } do
      local message = refused(case[1])
      assert.truthy(message:find(case[2], 1, true), message)
      assert.falsy(message:find("s3cret", 1, true), message)
    end
  end)
end)

describe("defaults of a project", function()
  it("stand in for what a script leaves out, and for nothing else", function()
    local resolved = config({ batch_size = 7, retries = 2 },
      ("return { config = { retries = 3 }, %s }"):format(ONE_SHOT))
    assert.equal(7, resolved.batch_size)
    assert.equal(3, resolved.retries)
    assert.equal(100, resolved.throttle_ms)
  end)

  it("change thresholds one by one", function()
    local resolved = config({ health = { vacuums = 5, batch_ms = 6 } },
      ("return { config = { health = { batch_ms = false } }, %s }"):format(ONE_SHOT)).health
    assert.equal(5, resolved.vacuums)
    assert.equal(false, resolved.batch_ms)
    assert.equal(1800, resolved.snapshot_age_s)
  end)

  it("may turn all thresholds off, and a script some on again", function()
    local resolved = config({ health = false },
      ("return { config = { health = { vacuums = 1 } }, %s }"):format(ONE_SHOT)).health
    assert.equal(1, resolved.vacuums)
    assert.equal(false, resolved.batch_ms)
  end)

  it("are not for what each script says itself", function()
    assert.truthy(refused("return { defaults = { start_after = 1 } }")
      :find("start_after cannot have a default", 1, true))
  end)
end)
