--- Tables that raise where plain Lua would answer nil, so that a typo is seen at its line.
--
-- Promises: an error names the line that made the mistake, and the nearest known name.
-- Refuses nothing else: fields that exist, `pairs`, `ipairs` and `next` work as in any table.

local errors = require "luamig.errors"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local strict = {}

--- Raises at the innermost line of Lua that led here: `ipairs` and others of C have no lines.
local function complain(message)
  local where = errors.line_at(3)
  error((where and where .. ": " or "") .. message, 0)
end

--- Makes a module: a view of `fields` that raises on unknown fields and on assignment.
-- @param name the module's name in messages
-- @param call optional function: what the module does when it is called itself
function strict.module(name, fields, call)
  return setmetatable({}, {
    __index = function(_, key)
      local value = fields[key]
      if value ~= nil then
        return value
      end
      key = tostring(key)
      local near = suggest.suffix(key, text.sorted_keys(fields))
      error(('%s has no field "%s"%s'):format(name, key, near), 2)
    end,
    __newindex = function(_, key)
      error(('cannot set field "%s": %s is read-only'):format(tostring(key), name), 2)
    end,
    __pairs = function()
      return next, fields, nil
    end,
    __call = call and function(_, ...)
      return call(...)
    end,
  })
end

--- Makes a plain record raise on unknown fields. Returns `fields`.
-- @param what what messages call it, for example `run`
-- @param known list of legal names, those of `fields` if left out; a name that is legal and unset
--   reads nil
function strict.record(what, fields, known)
  known = known or text.sorted_keys(fields)
  return setmetatable(fields, {
    __index = function(_, key)
      if math.type(key) then
        complain(("%s is not a list; functions get (rows, repo, run), (range, repo, run) or "
          .. "(repo, run), in this order"):format(what))
      elseif not text.contains(known, key) then
        key = tostring(key)
        complain(('%s has no field "%s"%s'):format(what, key, suggest.suffix(key, known)))
      end
    end,
  })
end

--- What other languages call the number of rows.
local COUNTS = text.set { "length", "len", "size", "count", "n" }

--- A row as `print` shows it.
local function show(row, columns)
  return "{ " .. table.concat(text.map(columns, function(name)
    local value = rawget(row, name)
    return name .. " = " .. (type(value) == "string" and ("%q"):format(value) or tostring(value))
  end), ", ") .. " }"
end

--- Makes the metatables of a result. Its rows raise when a column is read that the query did not
-- return; a NULL column reads nil. The list of rows raises when a column is read of it.
-- @param columns list of column names
-- @param explain function(name) or nil: what more to say of a column that is missing, or nil
-- @return metatable of the rows, metatable of the list; the latter has a field `columns`, too, for
--   C, where nothing may raise
function strict.row(columns, explain)
  local returned = text.set(columns)
  return {
    columns = columns,
    __index = function(_, key)
      if not returned[key] then
        key = tostring(key)
        local more = explain and explain(key) or suggest.suffix(key, columns)
        error(('column "%s" was not returned by the query%s'):format(key, more), 2)
      end
    end,
    __tostring = function(row)
      return show(row, columns)
    end,
  }, {
    columns = columns,
    __tostring = function(rows)
      return "a list of " .. text.count(#rows, "row")
    end,
    __index = function(_, key)
      if key == "columns" then
        return columns
      elseif COUNTS[key] then
        error(('the list of rows has no field "%s"; #rows counts the rows'):format(key), 2)
      elseif type(key) == "string" then
        error(('the list of rows has no field "%s"; loop over the list: for _, row in '
          .. "ipairs(rows) do"):format(key), 2)
      end
    end,
  }
end

--- Makes a result of rows, which are changed in place. Returns `rows`.
-- @param rows list of row tables
-- @param columns list of column names
-- @param explain see strict.row
function strict.rows(rows, columns, explain)
  local row_meta, list_meta = strict.row(columns, explain)
  for _, row in ipairs(rows) do
    setmetatable(row, row_meta)
  end
  return setmetatable(rows, list_meta)
end

return strict
