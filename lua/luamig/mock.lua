--- A world for testing migrations without a database. lua/types/luamig/mock.lua says what a spec
-- may pass to it, and what it returns.
--
-- Promises: scripts run by the program's rules (`luamig.script` loads them, batches are keyset
-- pages in transactions, runs resume); two worlds share nothing, and neither a script nor a spec
-- can change a world through a row it was given.
-- Refuses, with an error in the spec: whatever it cannot know. Raw SQL needs a stub, a column must
-- be declared or occur in a row, undeclared constraints and triggers do not exist. Mistakes of the
-- spec (an unexpected statement, an unused stub, an unknown option) raise from `world:run`, `stub`
-- or `fail`; a script that does not load raises from `world:run`; failures of a loaded script are
-- in `result.error`.

local assertions = require "luamig.mock.assertions"
local base = require "luamig.mock.base"
local check = require "luamig.mock.check"
local errors = require "luamig.errors"
local faults = require "luamig.mock.faults"
local input = require "luamig.mock.input"
local pages = require "luamig.mock.pages"
local preparation = require "luamig.mock.preparation"
local properties = require "luamig.mock.properties"
local declarations = require "luamig.mock.declarations"
local runner = require "luamig.mock.runner"
local schema = require "luamig.mock.schema"
local script = require "luamig.script"
local store = require "luamig.mock.store"
local strict = require "luamig.strict"
local stubs = require "luamig.mock.stubs"
local text = require "luamig.text"
local workers = require "luamig.mock.workers"

local World = { plays_workers = true }
World.__index = World

local mock = {}

--- The committed rows of a table: copies, by primary key if it has one. Reading an unknown column
-- raises.
function World:rows(name)
  local one = self.store.tables[name]
  if not one or one.absent then
    local _, err = pcall(self.store.table, self.store, name)
    error(tostring(err), 2)
  end
  return strict.rows(one:sorted_rows(), one.columns)
end

--- Keeps a mistake of the spec and raises it; `World:run` raises it again.
function World:raise_problem(message)
  self.problem = self.problem or errors.new { kind = "spec", message = message }
  error(self.problem, 0)
end

--- Runs what is loaded.
local function run(self, loaded, opts)
  local def = loaded[1].def
  if def.kind == "paged" and not self.base then
    errors.raise {
      kind = "spec", message = def.path .. " has a base query; pass a base to mock.new",
    }
  end
  return runner.run(self, loaded, opts)
end

--- The same of a script that reads a file, which stands in the world meanwhile.
local function run_with_input(self, loaded, opts)
  local def = loaded[1].def
  local rows = input.rows(self, def, opts.input)
  local close = input.open(self, loaded, rows)
  self.input = rows
  local results = table.pack(pcall(run, self, loaded, opts))
  close()
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

--- One call of the script, without a word about what the spec has declared: for
-- `luamig.mock.properties`. Takes the options of `run`, and two more: ranges (how many to cut the
-- keys into; default: one for each worker), shares_lua (true: all workers have the same Lua
-- variables). Mistakes of the spec are in `problem`.
-- @return result, definition of the script, whether there was anything to run
function World:attempt(path, opts)
  local overrides = { batch_size = opts.batch_size }
  local function load()
    return script.load(path, { args = opts.args, overrides = overrides })
  end
  local loaded = workers.load(load, not opts.dry_run and opts.workers or 1, opts.shares_lua)
  local def = loaded[1].def
  if opts.input and not def.input then
    errors.raise { kind = "spec", message = path .. " reads no file; leave input out" }
  end
  declarations.check_source(self, def)
  local result, has_run = (def.input and run_with_input or run)(self, loaded, opts)
  return result, def, has_run
end

--- The keys of the rows that the base query of a loaded script returns, as messages show them.
function World:matching_keys(def)
  local from = self.source or self
  return pages.keys(self.base, from.store, def.config.key, def.args)
end

--- The tables as they are, for `luamig.mock.difference`.
function World:snapshot()
  return self.store
end

--- Other sessions change what `between` says. What they may not is a mistake of the spec.
function World:play_others()
  if not self.others then
    return
  end
  local changed = self.store:copy()
  local ok, err = pcall(function()
    changed:rewrite(preparation.play(self.others, function(name)
      return changed:view(name)
    end, text.sorted_keys(changed.tables)))
  end)
  if not ok then
    self:raise_problem("the function of world:between failed: " .. tostring(err))
  end
  self.store = changed
end

World.stub, World.fail, World.run = declarations.stub, declarations.fail, declarations.run
World.between = declarations.between

local function in_lua(schemas, stand_in, source)
  return setmetatable({
    log = {}, journal = {}, last_id = 0, stubs = stubs.new(), faults = faults.new(),
    store = store.new(schemas), base = stand_in, source = source,
  }, World)
end

--- `mock.new` for one kind of world.
local function maker(make)
  return function(spec)
    if type(spec) ~= "table" then
      check.fail(1, "mock.new takes a table, not " .. text.describe(spec))
    end
    check.options(1, "mock.new", spec, { "tables", "base", "source" })
    check.type(1, "mock.new: source", spec.source, "table", "a table of tables")
    if type(spec.tables) ~= "table" then
      check.fail(1, "mock.new: tables must be a table, not " .. text.describe(spec.tables))
    end
    if type(spec.base) ~= "function" then
      check.options(1, "mock.new: base", spec.base, base.FIELDS)
    end
    local ok, result = pcall(function()
      local schemas = schema.read(spec.tables, make ~= in_lua)
      local others = spec.source and schema.read(spec.source, make ~= in_lua)
      return make(schemas, spec.base and base.read(spec.base, others or schemas),
        others and make(others))
    end)
    if not ok then
      check.fail(1, "mock.new: " .. tostring(result))
    end
    return result
  end
end

--- Makes a world: in Lua, or, where `luamig test --pg` has loaded that module, on PostgreSQL.
local on_server = package.loaded["luamig.pg_world"]
mock.new = maker(on_server and on_server.new or in_lua)

-- The spec that busted runs.
local current
local busted = package.loaded.busted
if busted then
  busted.subscribe({ "test", "start" }, function(element)
    current = element
    return nil, true
  end)
end

--- The spec that calls this runs on PostgreSQL only, under `luamig test --pg`; elsewhere busted
-- leaves it pending.
-- @param reason optional string that busted prints
function mock.only_pg(reason)
  check.type(1, "mock.only_pg: the reason", reason, "string", "a string")
  if on_server then
    return nil
  elseif not current or not current.env.pending then
    check.fail(1, "mock.only_pg belongs into a spec: it(..., function() mock.only_pg() ... end)")
  end
  return current.env.pending(reason or "runs on PostgreSQL only: luamig test --pg")
end

--- The same module, whose worlds are in Lua wherever the spec runs.
local pure = { new = maker(in_lua) }

for _, module in ipairs { properties, assertions } do
  for name, assertion in pairs(module) do
    mock[name], pure[name] = assertion, assertion
  end
end
mock.pure = strict.module("luamig.mock.pure", pure)

return strict.module("luamig.mock", mock)
