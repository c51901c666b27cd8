--- Keyset pages over `base`, the spec's stand-in for a script's base query.
--
-- Promises: the order of the key, the bound, and copies of rows that raise on unknown columns.
-- Refuses: a key that is NULL, a key that occurs twice (unless `assume_unique`), a base query that
-- does not return its key.

local errors = require "luamig.errors"
local strict = require "luamig.strict"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local pages = {}

local function refuse(message, hint)
  errors.raise { kind = "script", message = message, hint = hint }
end

--- Checks that a script's key can order this base.
function pages.check_key(base, key)
  for _, column in ipairs(key) do
    if not text.contains(base.select, column) then
      refuse(('the base query does not return the key column "%s"'):format(column),
        suggest.hint(column, base.select))
    end
  end
end

--- Whether `base` gives a row.
function pages.is_wanted(base, row, args)
  local ok, answer = true, true
  if base.where then
    ok, answer = pcall(base.where, row, args)
  end
  if not ok then
    errors.raise { kind = "spec", message = "base.where failed: " .. tostring(answer) }
  end
  return answer
end

--- The values of a key as they compare: a list.
local function places(one, key, values)
  local list = {}
  for i, column in ipairs(key) do
    local kind = one.types[column]
    if type(kind.order) ~= "function" then
      errors.raise {
        kind = "spec",
        message = ('key column "%s" of "%s": %s'):format(column, one.name, kind.order),
        hint = "Run the spec on PostgreSQL.",
      }
    end
    list[i] = kind.order(kind.encode(values[i]))
  end
  return list
end

--- What the base query returns of a row: copies, so that a script cannot change the table.
local function selected(base, row)
  local shown = {}
  for _, column in ipairs(base.select) do
    shown[column] = value.copy_item(row[column])
  end
  return shown
end

--- The rows the base query would return, unordered: list of { row =, key = list of values, place =
-- the same as they compare }.
local function matching(base, store, key, args)
  local one = store:table(base.from)
  local found = {}
  for _, row in ipairs(one.rows) do
    local shown = base.where and strict.rows({ value.copy_row(row) }, one.columns)[1]
    if pages.is_wanted(base, shown, args) then
      local item = { row = selected(base, row), key = {} }
      for i, column in ipairs(key) do
        item.key[i] = row[column]
        if row[column] == nil then
          refuse(('key column "%s" is NULL in a row of table "%s"'):format(column, base.from),
            "luamig cannot page to such a row. Let the base query leave it out.")
        end
      end
      item.place = places(one, key, item.key)
      found[#found + 1] = item
    end
  end
  return found
end

local function sort(items)
  table.sort(items, function(a, b)
    return value.compare_lists(a.place, b.place) < 0
  end)
  return items
end

--- The keys of all rows that the base query returns, in their order, as messages show them.
function pages.keys(base, store, key, args)
  return text.map(sort(matching(base, store, key, args)), function(item)
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
function pages.cut(base, store, key, args, cursor, count)
  local all, rows = sort(matching(base, store, key, args)), {}
  local place = cursor and places(store:table(base.from), key, cursor)
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
function pages.fetch(base, store, key, args, range)
  local items, one = {}, store:table(base.from)
  local cursor = range.cursor and places(one, key, range.cursor)
  local bound = range.bound and places(one, key, range.bound)
  for _, item in ipairs(matching(base, store, key, args)) do
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
  strict.rows(rows, value.copy(base.select), function(name)
    return text.contains(one.columns, name) and " (base.select of the spec does not name it)" or nil
  end)
  return {
    rows = rows, first = first and first.key, last = last and last.key, more = #items > #rows,
  }
end

--- Reads the `base` of `mock.new`. Raises a string.
-- @return { from =, select = list, selects = whether the spec said so, where = function or nil }
function pages.read_base(base, schemas)
  local schema = schemas[base.from]
  if not schema then
    error(("base.from must name a table of this world, not %s"):format(text.describe(base.from))
      .. suggest.suffix(tostring(base.from), text.sorted_keys(schemas)), 0)
  elseif base.where ~= nil and type(base.where) ~= "function" then
    error("base.where must be a function, not " .. text.describe(base.where), 0)
  elseif base.select ~= nil and (type(base.select) ~= "table" or #base.select == 0) then
    error("base.select must be a list of columns, not " .. text.describe(base.select), 0)
  end
  for _, column in ipairs(base.select or {}) do
    if not schema.types[column] then
      error(('base.select: table "%s" has no column "%s"%s'):format(base.from, tostring(column),
        suggest.suffix(tostring(column), schema.columns)), 0)
    end
  end
  local select = value.copy(base.select or schema.columns)
  return {
    from = base.from, select = select, selects = base.select ~= nil, where = base.where,
  }
end

return pages
