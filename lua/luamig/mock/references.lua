--- Foreign keys between the tables of a store.
--
-- Promises: after each statement every reference has its row, or the statement has raised 23503;
-- ON DELETE does what it says, to the end of the chain.
-- Refuses to know of ON UPDATE and of deferred constraints, which cannot be declared.

local errors = require "luamig.errors"
local rules = require "luamig.mock.rules"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local references = {}

--- Raises what `one`, the table that refers, brings up.
local function raise(one, key, message, detail)
  errors.raise {
    kind = "database", sqlstate = "23503", table = one.name, constraint = key.name,
    message = message, detail = detail,
  }
end

--- The values of a reference as text, nil when one of them is NULL.
local function reference_of(one, key, row)
  return rules.identity(one, row, key.columns)
end

local function is_there(store, key, wanted)
  local other = store.tables[key.references]
  for _, row in ipairs(other.rows) do
    if rules.identity(other, row, key.to) == wanted then
      return true
    end
  end
  return false
end

--- Raises unless each of these rows of a table refers to rows that are there.
-- @param changes map of the columns that have changed; nil: all
function references.check(store, one, rows, changes)
  for _, key in ipairs(one.foreign_keys) do
    for _, row in ipairs(rules.is_touched(key, changes) and rows or {}) do
      local wanted = reference_of(one, key, row)
      if wanted and not is_there(store, key, wanted) then
        raise(one, key,
          ('insert or update on table "%s" violates foreign key constraint "%s"'):format(one.name,
            key.name),
          ('Key %s is not present in table "%s".'):format(value.show_key(key.columns, row),
            key.references))
      end
    end
  end
end

--- The rows of a table that refer by a key to what is no longer there.
local function orphans_of(store, one, key)
  return text.map(one.rows, function(row)
    local wanted = reference_of(one, key, row)
    return wanted and not is_there(store, key, wanted) and row or nil
  end)
end

--- How messages show the key that a row refers to.
local function show_referred(key, row)
  local values = {}
  for i, column in ipairs(key.to) do
    values[column] = row[key.columns[i]]
  end
  return value.show_key(key.to, values)
end

--- Settles the references to a table from which rows have gone, or whose columns have changed.
-- @param was_deleted whether ON DELETE speaks
function references.settle(store, parent, was_deleted)
  for _, name in ipairs(text.sorted_keys(store.tables)) do
    local one = store.tables[name]
    for _, key in ipairs(one.foreign_keys) do
      local orphans = key.references == parent.name and orphans_of(store, one, key) or {}
      if #orphans > 0 and was_deleted and key.on_delete == "cascade" then
        store:remove(one, orphans)
      elseif #orphans > 0 and was_deleted and key.on_delete == "set null" then
        store:clear(one, orphans, key.columns)
      elseif #orphans > 0 then
        raise(one, key,
          ('update or delete on table "%s" violates foreign key constraint "%s" on table "%s"')
            :format(parent.name, key.name, one.name),
          ('Key %s is still referenced from table "%s".'):format(show_referred(key, orphans[1]),
            one.name))
      end
    end
  end
end

return references
