--- `stub`, `fail`, `between` and `run` of every kind of world: what a spec declares, and whether it
-- came true.

local check = require "luamig.mock.check"
local errors = require "luamig.errors"
local text = require "luamig.text"

local declarations = {}

local RUN_KEYS = {
  "args", "batch_size", "limit", "again", "kill", "dry_run", "prepare", "workers", "order",
  "input",
}
local MAX_WORKERS = 64

function declarations.stub(world, statement, spec)
  world.stubs:add(statement, spec)
  return world
end

function declarations.fail(world, spec)
  world.faults:add(spec)
  return world
end

--- Other sessions change tables each time that rows are prepared, before their transaction begins.
-- @param act function(tables, n), in its nth call
function declarations.between(world, act)
  if type(act) ~= "function" then
    check.fail(1, "world:between takes a function, not " .. text.describe(act))
  end
  world.others = { act = act, calls = 0 }
  return world
end

--- Whether a list has the number of each worker, and no others.
local function names_each(list, count)
  local seen = text.set(list)
  for number = 1, count do
    if not seen[number] then
      return false
    end
    seen[number] = nil
  end
  return next(seen) == nil
end

--- Checks how many workers there are and whose turn it is.
local function check_workers(count, order)
  check.integer(3, "world:run: workers", count, 1)
  count = count or 1
  if count > MAX_WORKERS then
    check.fail(3, ("world:run: workers must be at most %d, not %d"):format(MAX_WORKERS, count))
  elseif order ~= nil and order ~= "round" and order ~= "reverse"
    and math.type(order) ~= "integer"
    and not (type(order) == "table" and names_each(order, count))
  then
    check.fail(3, ('world:run: order must be "round", "reverse", an integer, or a list that has '
      .. "each worker from 1 to %d, not %s"):format(count, text.describe(order)))
  end
end

--- Checks the options of `world:run`; to be called by it only (errors show the spec's line).
local function check_options(opts)
  check.options(2, "world:run", opts, RUN_KEYS)
  check.integer(2, "world:run: limit", opts.limit, 1)
  check.type(2, "world:run: args", opts.args, "table", "a table")
  check.type(2, "world:run: input", opts.input, "table", "a list of rows")
  check.type(2, "world:run: again", opts.again, "boolean", "true or false")
  check.type(2, "world:run: dry_run", opts.dry_run, "boolean", "true or false")
  check.type(2, "world:run: prepare", opts.prepare, "boolean", "true or false")
  check_workers(opts.workers, opts.order)
  if opts.prepare and not opts.dry_run then
    check.fail(2, "world:run: prepare is for a dry run; a run always calls it")
  elseif opts.dry_run and (opts.again or opts.kill) then
    check.fail(2, "world:run: dry_run cannot be combined with again or kill")
  elseif opts.kill ~= nil then
    check.options(2, "world:run: kill", opts.kill, { "batch", "call" })
    check.integer(2, "world:run: kill.batch", opts.kill.batch or 0, 1)
    check.integer(2, "world:run: kill.call", opts.kill.call, 1)
  end
end

--- Raises, at the line of the spec that called `world:run`, what the spec declared and the run did
-- not do.
local function check_declarations(world, result, opts)
  local complaints = {}
  if world.problem then
    local problem = world.problem
    world.problem = nil
    complaints[1] = tostring(problem)
  elseif result.state == "done" then
    table.move(world.stubs:unused(), 1, 100, 1, complaints)
    table.move(world.source and world.source.stubs:unused() or {}, 1, 100, #complaints + 1,
      complaints)
    table.move(world.faults:unused(), 1, 100, #complaints + 1, complaints)
    if world.others and world.others.calls == 0 then
      complaints[#complaints + 1] = "the run did not reach world:between"
    end
    if opts.kill then
      complaints[#complaints + 1] = "the run did not reach the kill in batch " .. opts.kill.batch
    end
  end
  if #complaints > 0 then
    error(table.concat(complaints, "\n"), 3)
  end
end

--- Raises unless the world has another database exactly if the script reads one.
function declarations.check_source(world, def)
  local name = def.config.source
  if (name == nil) ~= (world.source == nil) then
    errors.raise {
      kind = "spec",
      message = name and ('%s reads source "%s"; pass source to mock.new'):format(def.path, name)
        or def.path .. " has no config.source; do not pass source to mock.new",
    }
  end
end

--- The method `run` of a world.
-- @param world needs stubs, faults, a method attempt(path, opts), and problem, which is taken away
function declarations.run(world, path, opts)
  opts = opts or {}
  check_options(opts)
  local ok, result, _, has_run = pcall(world.attempt, world, path, opts)
  if not ok and errors.is(result) and result.kind == "spec" then
    check.fail(1, tostring(result))
  elseif not ok then
    error(result, 0)
  elseif has_run then
    check_declarations(world, result, opts)
  end
  return result
end

return declarations
