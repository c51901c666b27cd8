--- What the contract's specs share: worlds, scripts and what they said.
--
-- The contract states what a script may rely on in every world of `luamig.mock`: it runs on the
-- mock, and on PostgreSQL when `luamig.mock` stands for one. So it uses the public interface only,
-- each script has a base query that says in SQL what `base` says in Lua, and what a script sees it
-- says with `run.log` or writes into a table.
--
-- What is marked #versions runs on other versions of PostgreSQL as well: `./dev test versions`.

local decimal = require "luamig.decimal"
local marks = require "luamig.marks"
local mock = require "luamig.mock"
local support = dofile "tests/lua/support.lua"

local contract = { raised = support.raised }

-- Adds one to n of every row, so that a row migrated twice, or never, shows.
contract.COUNT = [[
  for _, row in ipairs(rows) do
    repo:update("t", { id = row.id }, { n = row.n + 1 })
  end]]

local SCRIPT = [[
local luamig = require "luamig"
%s
return {
  name = "script %d",
  config = { timezone = "UTC", %s },
  %s,
  %s, repo, run)
%s
  end,
%s
}]]

local ONE_SHOT = [[
local luamig = require "luamig"
return {
  name = "script %d",
  run = function(repo, run)
%s
  end,
%s
}]]

-- Scripts lie in one directory and have names of their own: a world may run several.
local scripts, directory = 0, nil

local function write(content)
  directory = directory or support.directory()
  return support.write(directory, ("s%d.lua"):format(scripts), content)
end

--- Removes the scripts.
function contract.clean()
  directory = nil
  support.clean()
end

--- Writes a script whose migrate has this body.
-- @param parts optional table of Lua text: head (before the table), config (fields of it), more
--   (fields of the table); query is the base query, `SELECT * FROM t` without it, or input is Lua
--   text that stands instead of it; with by_range, the body is that of migrate_range
-- @return its path
function contract.script(body, parts)
  parts = parts or {}
  scripts = scripts + 1
  return write(SCRIPT:format(parts.head or "", scripts, parts.config or "",
    parts.input or ("base_query = %q"):format(parts.query or "SELECT * FROM t"),
    parts.by_range and "migrate_range = function(range" or "migrate = function(rows", body,
    parts.more or ""))
end

--- Writes a one-shot script whose run has this body. Returns its path.
function contract.one_shot(body, more)
  scripts = scripts + 1
  return write(ONE_SHOT:format(scripts, body, more or ""))
end

--- A world with a table t, which the base query returns whole.
-- @param columns map from name to type; `id = "int8"`, the primary key, is added when there is none
-- @param rows of t; without it, one row with id = 1
-- @param more optional table: more of t's declaration; `tables` are other tables, `where` is of
--   the base
function contract.world(columns, rows, more)
  local t = { primary_key = { "id" }, rows = rows or { { id = 1 } } }
  local tables = { t = t }
  local where
  t.columns = { id = "int8" }
  for name, type_name in pairs(columns or {}) do
    t.columns[name] = type_name
  end
  for name, given in pairs(more or {}) do
    if name == "tables" then
      for other, declaration in pairs(given) do
        tables[other] = declaration
      end
    elseif name == "where" then
      where = given
    else
      t[name] = given
    end
  end
  return mock.new { tables = tables, base = { from = "t", where = where } }
end

--- A world whose table t has the ids 1 to `count`, and a number and a text of each.
function contract.numbers(count, more)
  local rows = {}
  for id = 1, count do
    rows[id] = { id = id, n = id * 10, s = "s" .. id }
  end
  return contract.world({ n = "int4", s = "text" }, rows, more)
end

--- Runs a script with this body in a world; see `contract.script`.
function contract.run(world, body, parts, opts)
  return world:run(contract.script(body, parts), opts)
end

--- What scripts said with run.log, from first to last, joined by spaces.
function contract.said(world)
  local said = {}
  for _, entry in ipairs(world.log) do
    if entry.verb == "log" then
      said[#said + 1] = entry.message
    end
  end
  return table.concat(said, " ")
end

--- The values of a column, by primary key.
function contract.column(world, name, column)
  local values = {}
  for i, row in ipairs(world:rows(name)) do
    local item = row[column]
    values[i] = item == nil and "NULL" or item
  end
  return values
end

--- The numbers n of t, joined by spaces.
function contract.numbers_of(world)
  return table.concat(contract.column(world, "t", "n"), " ")
end

--- A value as text that tells apart what PostgreSQL tells apart: `integer 1`, `float 1.0`.
function contract.show(item)
  local mark = marks.kind(item)
  if type(item) == "number" then
    return ("%s %s"):format(math.type(item), item ~= item and "nan" or tostring(item))
  elseif decimal.is(item) then
    return "decimal " .. tostring(item)
  elseif type(item) ~= "table" or mark and mark ~= "array" and mark ~= "object" then
    return type(item) == "string" and ("%q"):format(item) or tostring(item)
  end
  local keys, shown = {}, {}
  for key in next, item do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    shown[i] = ("%s = %s"):format(key, contract.show(item[key]))
  end
  return (mark or "") .. "{ " .. table.concat(shown, ", ") .. " }"
end

--- Asserts how a run ended; shows its error when it ended otherwise.
function contract.ended(state, result)
  if result.state ~= state then
    error(("the run is %s, expected %s: %s"):format(result.state, state,
      tostring(result.error or "no error")), 2)
  end
  return result
end

--- The name of a spec about numerics, with a tag for what older servers do not know: infinity, and
-- a scale above the precision.
function contract.of_numeric(name)
  if name:find "numeric%(2,4%)" then
    return name .. " #since15"
  end
  return (name:find "[iI]nf" or name:find "1 / 0") and name .. " #since14" or name
end

--- An error, about a generated column in the words that servers have for it since PostgreSQL 14.
local function as_of_14(err)
  if err.sqlstate ~= "42601" or not (err.detail or ""):find "is a generated column" then
    return err
  end
  local later = { sqlstate = "428C9",
    message = err.message:gsub("cannot insert into", "cannot insert a non-DEFAULT value into") }
  return setmetatable(later, { __index = err, __tostring = function() return tostring(err) end })
end

--- Asserts that a run failed with a message (a part of it), and an SQLSTATE or none; the server's
-- errors have one, and the repo's P0002 and P0003.
function contract.failed(result, sqlstate, message)
  contract.ended("failed", result)
  local err = as_of_14(result.error)
  local is_server = sqlstate and not (sqlstate:find "^P000[23]$" and err.message:find "matched")
  local kind = is_server and "database" or "script"
  if err.sqlstate ~= sqlstate then
    error(("the SQLSTATE is %s, expected %s: %s"):format(err.sqlstate or "none",
      sqlstate or "none", tostring(err)), 2)
  elseif err.kind ~= kind then
    error(("the error is of kind %s, expected %s: %s"):format(err.kind, kind, tostring(err)), 2)
  elseif message and not err.message:find(message, 1, true) then
    error(("the message is %q, expected %q"):format(err.message, message), 2)
  end
  return result
end

--- Runs one batch of three rows with this body; the world, and how the run ended.
function contract.three(body, more, state)
  local world = contract.numbers(3, more)
  local result = contract.run(world, body)
  contract.ended(state or "done", result)
  return world, result
end

--- Runs a batch with this body, which fails.
function contract.run_failed(world, body, sqlstate, message)
  return contract.failed(contract.run(world, body), sqlstate, message)
end

return contract
