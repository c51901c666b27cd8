--- Databases of worlds. When a spec drops a world, its database is restored and used again: to make
-- a new one takes the server ten times as long.
--
-- Promises: `take` returns a database that is like a fresh one. A database that cannot be restored
-- is dropped.

local restore = require "luamig.pg_world.restore"
local server = require "luamig.pg_world.server"

local pool = {}

local idle = {}
-- All that are open: what is reachable from here is not closed with its world.
local pinned = {}
local fresh

local function connect()
  local database = server.connect()
  pinned[#pinned + 1] = database
  fresh = fresh or restore.new(database)
  return database
end

local function close(database)
  for i, other in ipairs(pinned) do
    if rawequal(other, database) then
      table.remove(pinned, i)
    end
  end
  database:close()
end

--- A database without tables of a world, and without runs.
function pool.take()
  if #idle == 0 and #pinned > 0 then
    collectgarbage() -- gives back what forgotten worlds hold
  end
  while #idle > 0 do
    local database = table.remove(idle)
    local ok, is_fresh = pcall(fresh.apply, fresh, database)
    if ok and is_fresh then
      return database
    end
    close(database)
  end
  return connect()
end

--- Gives back the database of a world that is gone. Lua may call this at any time, so it sends
-- nothing to the server.
function pool.give(database)
  idle[#idle + 1] = database
end

return pool
