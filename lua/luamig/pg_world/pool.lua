--- Databases of worlds: one that nobody holds any more is cleaned and used again, since making one
-- takes the server ten times as long.
--
-- Promises: a database that is taken is as one that is fresh: no table, no run, and as many entries
-- in the catalog. One that cannot be brought to that is dropped.
-- Refuses to clean databases made from a schema file, whose tables may hold anything.

local server = require "luamig.pg_world.server"

local pool = {}

local idle = {}
-- All that are open: what is reachable from here is not closed with its world.
local pinned = {}

-- Whatever a script may have made leaves a trace in these.
local FINGERPRINT = [[
  SELECT pg_catalog.concat_ws(' ', (SELECT count(*) FROM pg_class),
    (SELECT count(*) FROM pg_depend), (SELECT count(*) FROM pg_proc),
    (SELECT count(*) FROM pg_type), (SELECT count(*) FROM pg_namespace),
    (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_description),
    (SELECT count(*) FROM pg_default_acl), (SELECT count(*) FROM pg_db_role_setting))]]
local fingerprint

local RELATIONS = [[
  SELECT pg_catalog.string_agg(pg_catalog.format('DROP %s IF EXISTS %s CASCADE;',
      CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
      c.oid::regclass), '')
    FROM pg_catalog.pg_class c
   WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')]]

local FORGET_RUNS = [[
  DELETE FROM luamig.request; DELETE FROM luamig.failure; DELETE FROM luamig.progress;
  DELETE FROM luamig.run;
  ALTER TABLE luamig.run ALTER id RESTART; ALTER TABLE luamig.failure ALTER id RESTART;
  ALTER TABLE luamig.request ALTER id RESTART;]]

local function fingerprint_of(database)
  return database:transact(function(repo)
    return repo:scalar(FINGERPRINT)
  end)
end

local function clean(database)
  local relations = database:transact(function(repo)
    return repo:scalar(RELATIONS)
  end)
  database:script((relations or "") .. FORGET_RUNS)
  return fingerprint_of(database) == fingerprint
end

local function connect()
  local database = server.connect()
  pinned[#pinned + 1] = database
  fingerprint = fingerprint or fingerprint_of(database)
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
    local ok, is_clean = pcall(clean, database)
    if ok and is_clean then
      return database
    end
    close(database)
  end
  return connect()
end

--- Gives back a database, whose world is gone. Asks the server nothing: Lua calls this at any time.
function pool.give(database)
  if server.has_schema then
    close(database)
  else
    idle[#idle + 1] = database
  end
end

return pool
