--- The workers of a run: whose turn it is, which ranges they have, and what each has loaded.
--
-- Promises: the same order gives the same turns, whatever the script does with math.random. A
-- variable of the script, or of a module of its project, belongs to one worker.
-- Differs from the program: globals of the standard library (`package.path`, `os.time`) and modules
-- from elsewhere belong to all workers.

local env = require "luamig.script.env"
local text = require "luamig.text"

local workers = {}

local function numbers(first, last, step)
  local list = {}
  for number = first, last, step do
    list[#list + 1] = number
  end
  return list
end

--- A generator of numbers from 1 to `count` that follow from `seed`.
local function shuffled(seed, count)
  local state = seed & 0x7fffffff
  return function()
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return (state >> 16) % count + 1
  end
end

--- Whose turn it is, as the `order` of `world:run` says.
-- @return function that returns the number of the next worker, without end
function workers.turns(order, count)
  if math.type(order) then
    return shuffled(order, count)
  end
  local list = order == "reverse" and numbers(count, 1, -1) or order
  list = type(list) == "table" and list or numbers(1, count, 1)
  local turn = 0
  return function()
    turn = turn % #list + 1
    return list[turn]
  end
end

--- Whether some of these ranges is not done.
function workers.have_rows(ranges)
  for _, range in ipairs(ranges) do
    if not range.is_done then
      return true
    end
  end
  return false
end

--- Shares the ranges that are left out among workers. The last one may have new rows.
-- @return the ranges that are left
function workers.share(ranges, count)
  local last = ranges[#ranges]
  local left = text.map(ranges, function(range)
    return (range == last or not range.is_done) and range or nil
  end)
  for i, range in ipairs(left) do
    range.worker, range.is_done = (i - 1) % count + 1, false
  end
  return left
end

--- Loads the script with modules of its own.
local function load_apart(load)
  local kept = env.exchange {}
  local one = { def = load() }
  one.modules = env.exchange(kept)
  return one
end

--- Loads the script for each worker. A one-shot has one worker.
-- @param load function that loads and returns a definition
-- @param is_shared true: all have what the first has loaded
-- @return list of { def =, modules = }, for `workers.enter`: the first is at work
function workers.load(load, count, is_shared)
  local list = { { def = load() } }
  for number = 2, list[1].def.kind == "paged" and count or 1 do
    list[number] = is_shared and list[1] or load_apart(load)
  end
  return list
end

--- Lets another worker go on, with its own modules.
function workers.enter(one, previous)
  if one ~= previous then
    previous.modules = env.exchange(one.modules)
  end
end

return workers
