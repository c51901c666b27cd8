--- Keyset pages over `base`, the spec's stand-in for a script's base query.
--
-- Promises: the order of the key, the bound, and copies of rows that raise on unknown columns.
-- Refuses: a key that is NULL, a key that occurs twice (unless `assume_unique`), a base query that
-- does not return its key.

local base = require "luamig.mock.base"
local errors = require "luamig.errors"
local strict = require "luamig.strict"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local pages = {}

local function refuse(message, hint)
  errors.raise { kind = "script", message = message, hint = hint }
end

--- Raises unless the base query returns its key.
local function check_key(columns, key)
  for _, column in ipairs(key) do
    if not text.contains(columns, column) then
      refuse(('the base query does not return the key column "%s"'):format(column),
        suggest.hint(column, columns))
    end
  end
end

--- The same before a run; a base that computes its columns is checked with its rows.
function pages.check_key(given, key)
  if given.select then
    check_key(given.select, key)
  end
end

--- Raises if the table of the base query is not there.
function pages.check_table(given, store)
  local ok, err = pcall(store.table, store, given.from)
  if given.from and not ok then
    err.kind = "script"
    error(err, 0)
  elseif given.from and err.is_temporary then
    errors.raise {
      kind = "script", message = ('the base query reads "%s", which is temporary')
        :format(given.from),
      detail = "A temporary table is there for one connection. Workers, and a run that goes on "
        .. "after it was stopped, have others.",
      hint = "Make an ordinary table: CREATE TABLE in on_start, and DROP TABLE in on_complete.",
    }
  end
end

--- The types of the columns of a base that its table has.
function pages.types(given, store)
  local types = {}
  for column, kind in next, given.from and store:table(given.from).types or {} do
    types[column] = not given.computed[column] and kind or nil
  end
  return types
end

--- The values of a key as they compare: a list. What no table has compares as its value does.
local function places(types, key, values)
  local list = {}
  for i, column in ipairs(key) do
    local kind = types[column]
    if kind and type(kind.order) ~= "function" then
      errors.raise {
        kind = "spec",
        message = ('key column "%s": %s'):format(column, kind.order),
        hint = "Run the spec on PostgreSQL.",
      }
    end
    list[i] = kind and kind.order(kind.encode(values[i])) or values[i]
  end
  return list
end

--- The rows the base query would return, unordered: list of { row =, key = list of values, place =
-- the same as they compare }.
-- @return that list, the columns
local function matching(given, store, key, args)
  local types = pages.types(given, store)
  local rows, columns = base.compute(given, function(name)
    return store:view(name)
  end, text.sorted_keys(store.tables), args)
  if #rows > 0 then
    check_key(columns, key)
  end
  return text.map(rows, function(row)
    local item = { row = row, key = {} }
    for i, column in ipairs(key) do
      item.key[i] = row[column]
      if row[column] == nil then
        refuse(('key column "%s" is NULL in a row of %s'):format(column,
          given.from and ('table "%s"'):format(given.from) or "the base query"),
          "luamig cannot page to such a row. Let the base query leave it out.")
      end
    end
    item.place = places(types, key, item.key)
    return item
  end), columns
end

local function sort(items)
  table.sort(items, function(a, b)
    return value.compare_lists(a.place, b.place) < 0
  end)
  return items
end

--- The keys of all rows that the base query returns, in their order, as messages show them.
function pages.keys(given, store, key, args)
  return text.map(sort((matching(given, store, key, args))), function(item)
    return value.show_key(key, item.row)
  end)
end

--- Raises when a key occurs twice among the first `count` items.
local function check_unique(items, key, count)
  for i = 2, math.min(count, #items) do
    if value.compare_lists(items[i - 1].place, items[i].place) == 0 then
      refuse("two rows of the base query have the same key: " .. value.show_key(key, items[i].row),
        "Set config.key to columns that are unique together.")
    end
  end
end

--- Whether a key comes after the cursor; without a cursor, each does.
local function is_after(place, cursor)
  return not cursor or value.compare_lists(place, cursor) > 0
end

--- Whether a key is not above the bound; without a bound, none is.
local function is_within(place, bound)
  return not bound or value.compare_lists(place, bound) <= 0
end

--- Cuts the keys after a cursor into ranges of about as many rows. They end at the highest key.
-- @param cursor list of values or nil
-- @param count how many ranges, at most
-- @return list of { cursor, bound = lists of values }; empty if the base query returns no row
function pages.cut(given, store, key, args, cursor, count)
  local all, rows = sort((matching(given, store, key, args))), {}
  local place = cursor and places(pages.types(given, store), key, cursor)
  for _, item in ipairs(all) do
    rows[#rows + 1] = is_after(item.place, place) and item or nil
  end
  count = math.max(math.min(count, #rows), 1)
  local ranges = {}
  for i = 1, #all > 0 and count or 0 do
    local last = i == count and all[#all] or rows[(#rows * i + count - 1) // count]
    ranges[i] = { cursor = cursor, bound = last.key }
    cursor = last.key
  end
  return ranges
end

--- Reads the page after a cursor.
-- @param range cursor (list of values or nil), bound (the same), size (rows), assume_unique
-- @return { rows = rows for the script, first, last = keys of its first and last row (nil without
--   rows), more = whether rows follow }
function pages.fetch(given, store, key, args, range)
  local items, types = {}, pages.types(given, store)
  local cursor = range.cursor and places(types, key, range.cursor)
  local bound = range.bound and places(types, key, range.bound)
  local all, columns = matching(given, store, key, args)
  for _, item in ipairs(all) do
    if is_after(item.place, cursor) and is_within(item.place, bound) then
      items[#items + 1] = item
    end
  end
  sort(items)
  if not range.assume_unique then
    check_unique(items, key, range.size + 1)
  end
  local rows = {}
  for i = 1, math.min(range.size, #items) do
    rows[i] = items[i].row
  end
  local first, last = items[1], items[#rows]
  strict.rows(rows, columns, function(name)
    return types[name] and " (base.select of the spec does not name it)" or nil
  end)
  return {
    rows = rows, first = first and first.key, last = last and last.key, more = #items > #rows,
  }
end

return pages
