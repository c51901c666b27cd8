--- Tables as functions of the spec see them (a stub, `base`): `tables.users` is a list of rows.
--
-- Promises: the rows are copies, with the values that a script would read; `views.difference` says
-- what a function has changed in them. A column that the table does not have raises, also where it
-- is set.
-- Refuses: tables that the world does not have.

local errors = require "luamig.errors"
local luamig = require "luamig"
local marks = require "luamig.marks"
local strict = require "luamig.strict"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local views = {}

--- A table that the world does not have is a mistake of the spec.
-- @param names of the tables that it has
function views.unknown(name, names)
  local shown = tostring(name)
  errors.raise {
    kind = "spec", message = ('table "%s" does not exist in this world'):format(shown),
    hint = suggest.hint(shown, names),
  }
end

--- Makes rows raise where a column is read, or set, that the table does not have.
local function guard(name, rows, columns)
  local row_meta, list_meta = strict.row(columns)
  local known = text.set(columns)
  local function check(column)
    if not known[column] then
      error(('table "%s" has no column "%s"%s'):format(name, tostring(column),
        suggest.suffix(tostring(column), columns)), 3)
    end
  end
  function row_meta.__index(_, column)
    check(column)
  end
  function row_meta.__newindex(row, column, item)
    check(column)
    rawset(row, column, item)
  end
  for _, row in ipairs(rows) do
    setmetatable(row, row_meta)
  end
  return setmetatable(rows, list_meta)
end

--- Opens the tables of a world for one call of a function. They are read when they are used.
-- @param read function(name): { columns =, rows = list of maps } or nil; `names`, or nil, lists the
--   tables for messages
-- @return tables, and what was opened: from names to views, for the functions below
function views.open(read, names)
  local opened = {}
  local function index(_, name)
    if not opened[name] then
      local found = read(name) or views.unknown(name, names or {})
      local rows = text.map(found.rows, value.copy_row)
      opened[name] = {
        name = name, columns = found.columns, primary_key = found.primary_key,
        before = text.map(rows, function(row)
          return { row = row, was = value.copy_row(row) }
        end),
        rows = guard(name, rows, found.columns),
      }
    end
    return opened[name].rows
  end
  local function refuse()
    error("change the rows of a table, not the list of tables: table.insert(tables.t, row)", 2)
  end
  return setmetatable({}, { __index = index, __newindex = refuse }), opened
end

--- What of a row differs from what it was: columns to values, `luamig.NULL` for NULL; or nil.
local function changes_of(view, item)
  local changes = {}
  for _, column in ipairs(view.columns) do
    local now, was = rawget(item.row, column), item.was[column]
    if now == luamig.NULL then
      now = nil
    end
    if (now == nil) ~= (was == nil) or now ~= nil and not value.equal(now, was) then
      changes[column] = now == nil and luamig.NULL or now
    end
  end
  return next(changes) and changes
end

--- The rows of an opened table as they are now; a hole in the list is a mistake of the spec.
local function rows_of(view)
  if not marks.is_list(view.rows) then
    errors.raise {
      kind = "spec", message = ('the rows of table "%s" must have the keys 1, 2, 3, ...')
        :format(view.name),
      hint = ("Remove a row with table.remove(tables.%s, place), and add one with table.insert.")
        :format(view.name),
    }
  end
  return view.rows
end

--- What a function has changed in an opened table, or nil.
-- @return { changed = from places in the table, as it was, to changes; removed = set of such
--   places; added = list of rows }
function views.difference(view)
  local rows, known = rows_of(view), {}
  local left = text.set(rows)
  local difference = { changed = {}, removed = {}, added = {} }
  for place, item in ipairs(view.before) do
    known[item.row] = true
    if left[item.row] then
      difference.changed[place] = changes_of(view, item)
    else
      difference.removed[place] = true
    end
  end
  for _, row in ipairs(rows) do
    if not known[row] then
      table.insert(difference.added, row)
    end
  end
  local is_changed = next(difference.changed) or next(difference.removed) or difference.added[1]
  return is_changed and difference or nil
end

--- The rows as a function has left them: those that were there, and those that it has added.
-- @return list of rows, list of added rows
function views.outcome(view)
  local known, kept, added = {}, {}, {}
  for _, item in ipairs(view.before) do
    known[item.row] = true
  end
  for _, row in ipairs(rows_of(view)) do
    table.insert(known[row] and kept or added, row)
  end
  return kept, added
end

return views
