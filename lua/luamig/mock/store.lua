--- The tables of a world, and the structured statements on them.
--
-- Promises: rows go in and out as copies; a statement either works or raises and has then changed
-- nothing that a rolled-back transaction would keep; declared constraints hold after each one.
-- Sequences go on whatever is rolled back, as they do on the server.
-- Refuses, instead of guessing: columns it has never seen, values that do not fit their type.
--
-- Errors are those of `luamig.errors` without a position; the repo adds it.

local computed = require "luamig.mock.computed"
local errors = require "luamig.errors"
local luamig = require "luamig"
local references = require "luamig.mock.references"
local rules = require "luamig.mock.rules"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local types = require "luamig.mock.types"
local value = require "luamig.mock.value"

local NULL = luamig.NULL

local store = {}

local Table = {}
Table.__index = Table
local Store = {}
Store.__index = Store

--- A column's type; raises for a column that is not known.
function Table:type_of(column)
  local found = self.types[column]
  if found then
    return found
  end
  local shown = tostring(column)
  errors.raise {
    kind = "database", sqlstate = "42703",
    message = ('column "%s" of relation "%s" does not exist'):format(shown, self.name),
    detail = not self.declared and "The table declares no columns, and no row given to mock.new "
      .. "has this one." or nil,
    hint = suggest.hint(shown, self.columns),
  }
end

--- A value as it goes to the server: not yet cut to the column's length. NULL stays `luamig.NULL`.
-- @param what the value is, for messages
function Table:encode_item(column, given, what)
  if given == NULL then
    return NULL
  end
  local ok, result = pcall(self.types[column].encode, given)
  if not ok then
    result.message = result.kind == "script" and what .. ": " .. result.message or result.message
    error(result, 0)
  end
  return result
end

--- The same for a map of columns to values. The server sees none of them if one is refused before
-- that.
-- @param row what messages call the row, before the column
-- @param encode_item nil, or a function in the place of the method
function Table:encode(map, row, encode_item)
  encode_item = encode_item or self.encode_item
  local kept = {}
  for _, column in ipairs(text.ordered_keys(map)) do
    self:type_of(column)
  end
  local refused
  for _, column in ipairs(text.ordered_keys(map)) do
    local ok, item = pcall(encode_item, self, column, map[column],
      ('%scolumn "%s" of "%s"'):format(row, column, self.name))
    if not ok and item.kind ~= "database" then
      error(item, 0)
    end
    refused = refused or not ok and item
    kept[column] = item
  end
  if refused then
    error(refused, 0)
  end
  return kept
end

--- Whether a column of this type holds the value that an encoded condition wants.
local function has_value(kind, found, wanted)
  if wanted == NULL or found == nil then
    return wanted == NULL and found == nil
  end
  return value.equal(types.comparable(kind, found), types.comparable(kind, wanted))
end

local function matches(self, row, where)
  for column, wanted in next, where do
    if not has_value(self.types[column], row[column], wanted) then
      return false
    end
  end
  return true
end

--- Rows that match an encoded condition; all rows for `luamig.ALL`.
function Table:find(where)
  for column in next, where == luamig.ALL and {} or where do
    if not self.types[column].has_equality and where[column] ~= NULL then
      errors.raise {
        kind = "database", sqlstate = "42883",
        message = ("operator does not exist: %s = unknown"):format(self.types[column].name),
      }
    end
  end
  return text.map(self.rows, function(row)
    return (where == luamig.ALL or matches(self, row, where)) and row or nil
  end)
end

--- A value that an update sets, which may be computed from the row.
local function encode_change(self, column, given, what)
  return computed.encode(given, function(number)
    return self:encode_item(column, number, what)
  end) or self:encode_item(column, given, what)
end

--- What an update sets, encoded as by `encode`; raises for columns that no update may set.
function Table:encode_changes(changes, row)
  for _, column in ipairs(text.sorted_keys(changes)) do
    self:type_of(column)
  end
  computed.check(self, changes, row)
  local kept = self:encode(changes, row, encode_change)
  rules.refuse_generated(self, kept, 'column "%s" can only be updated to DEFAULT')
  return kept
end

--- Writes encoded values into a row, as the columns keep them: one column after the other, so that
-- the one that the server refuses is refused.
function Table:apply(row, changes)
  local old = value.copy(row)
  for _, column in ipairs(text.ordered_keys(changes)) do
    local item = computed.value(self, old, column, changes[column])
    if item == nil or item == NULL then
      row[column] = nil
    else
      row[column] = self.types[column].fit(item)
    end
  end
  rules.generate(self, row)
end

--- Copies of the rows, by primary key when there is one, else in the order they were inserted.
function Table:sorted_rows()
  local list, places = text.map(self.rows, value.copy_row), {}
  for _, row in ipairs(self.primary_key and list or {}) do
    places[row] = text.map(self.primary_key, function(column)
      return types.comparable(self.types[column], row[column])
    end)
  end
  if self.primary_key then
    table.sort(list, function(a, b)
      return value.compare_lists(places[a], places[b]) < 0
    end)
  end
  return list
end

function Table:copy()
  local twin = setmetatable(value.copy(self), Table)
  twin.rows = text.map(self.rows, value.copy)
  return twin
end

--- The columns that may have other values after a change; nil: all of them.
local function changed_columns(one, changes)
  return next(one.generated) == nil and changes or nil
end

--- Sets columns of rows and checks what that can break.
function Store:change(one, rows, changes)
  local changed = changed_columns(one, changes)
  for _, row in ipairs(rows) do
    one:apply(row, changes)
    rules.check_row(one, row)
    rules.check_unique(one, row, changed)
  end
  references.check(self, one, rows, changed)
  references.settle(self, one, false)
end

--- Sets columns of all matching rows. `where` and `changes` are encoded. Returns a count.
function Store:update(one, where, changes)
  local found = one:find(where)
  self:change(one, found, changes)
  return #found
end

--- A map that sets columns to NULL.
local function all_null(columns)
  local changes = {}
  for _, column in ipairs(columns) do
    changes[column] = NULL
  end
  return changes
end

--- Sets columns of rows to NULL.
function Store:clear(one, rows, columns)
  self:change(one, rows, all_null(columns))
end

--- Takes rows out of a table.
function Store:remove(one, rows)
  local gone = text.set(rows)
  one.rows = text.map(one.rows, function(row)
    return not gone[row] and row or nil
  end)
  references.settle(self, one, true)
end

--- Deletes all matching rows. Returns a count.
function Store:delete(one, where)
  local found = one:find(where)
  self:remove(one, found)
  return #found
end

--- What ON CONFLICT does about a new row: true when the row is dealt with, how many it counts, and
-- the row that was written.
local function meet_conflict(self, one, row, conflict)
  for _, constraint in ipairs(conflict and conflict.constraints or {}) do
    local other = rules.find_conflict(one, constraint, row)
    if other and conflict.update then
      local changes = {}
      for _, column in ipairs(conflict.update) do
        changes[column] = row[column] == nil and NULL or row[column]
      end
      for _, column in ipairs(conflict.add) do
        changes[column] = row[column] == nil and NULL or computed.sum(row[column])
      end
      self:change(one, { other }, changes)
      return true, 1, other
    elseif other then
      return true, 0
    end
  end
  return false, 1
end

--- How many rows are written, and the one.
local function insert_one(self, one, given, conflict)
  local row = {}
  rules.add_defaults(one, row, given)
  one:apply(row, given)
  rules.check_row(one, row)
  local is_met, count, written = meet_conflict(self, one, row, conflict)
  if not is_met then
    one.rows[#one.rows + 1] = row
    rules.check_unique(one, row)
    references.check(self, one, { row })
    written = row
  end
  return count, written
end

--- Raises if a column stands twice in a list.
local function refuse_repeated(columns)
  local seen = {}
  for _, column in ipairs(columns) do
    if seen[column] then
      errors.raise {
        kind = "database", sqlstate = "42601",
        message = ('multiple assignments to same column "%s"'):format(column),
      }
    end
    seen[column] = true
  end
end

--- ON CONFLICT as `meet_conflict` takes it; raises for what the server refuses.
local function read_conflict(one, conflict)
  if not conflict then
    return nil
  elseif not conflict.columns then
    return { constraints = one.uniques }
  end
  local set = table.move(conflict.add, 1, #conflict.add, #conflict.update + 1,
    value.copy(conflict.update))
  refuse_repeated(set)
  computed.check_operator(one, conflict.add)
  one:encode_changes(all_null(set), "")
  return {
    constraints = rules.arbiters(one, conflict.columns, conflict.where), update = conflict.update,
    add = conflict.add,
  }
end

--- Inserts rows, a list of encoded maps, one after the other. Returns how many were written, and
-- what the last of the list has become; nil if it was not written.
-- @param conflict nil, or { columns =, update =, add = } for ON CONFLICT; without columns, nothing
--   is done at a conflict with any constraint
function Store:insert(one, list, conflict)
  local written, last = 0, nil
  conflict = read_conflict(one, conflict)
  for _, given in ipairs(list) do
    rules.refuse_generated(one, given, 'cannot insert a non-DEFAULT value into column "%s"')
    local count, row = insert_one(self, one, given, conflict)
    written, last = written + count, row
  end
  return written, last
end

--- A table as `luamig.mock.views` shows it; nil when there is none.
function Store:view(name)
  local one = self.tables[name]
  return one and not one.absent
    and { columns = one.columns, primary_key = one.primary_key, rows = one.rows }
end

--- What a difference means for a table: rows of it instead of places, and encoded values.
local function read_difference(one, difference)
  local work = { one = one, gone = {}, changed = {}, added = {} }
  for place, row in ipairs(one.rows) do
    local changes = difference.changed[place]
    if difference.removed[place] then
      table.insert(work.gone, row)
    elseif changes then
      table.insert(work.changed, { row = row, changes = one:encode_changes(changes, "") })
    end
  end
  for i, row in ipairs(difference.added) do
    rules.refuse_generated(one, row, 'cannot insert a non-DEFAULT value into column "%s"')
    work.added[i] = one:encode(row, "")
  end
  return work
end

--- Writes a difference, without a look at any rule. The rows that are added are among the changed
-- ones afterwards.
local function write_difference(work)
  local one, gone = work.one, text.set(work.gone)
  one.rows = text.map(one.rows, function(row)
    return not gone[row] and row or nil
  end)
  for _, item in ipairs(work.changed) do
    one:apply(item.row, item.changes)
  end
  for _, given in ipairs(work.added) do
    local row = {}
    rules.add_defaults(one, row, given)
    one:apply(row, given)
    table.insert(one.rows, row)
    table.insert(work.changed, { row = row })
  end
end

--- Writes what a function of the spec has changed in tables, all at once, as a statement does.
-- @param differences from names of tables to differences of `luamig.mock.views`
function Store:rewrite(differences)
  local works = text.map(text.sorted_keys(differences), function(name)
    return read_difference(self:table(name), differences[name])
  end)
  for _, work in ipairs(works) do
    write_difference(work)
  end
  for _, work in ipairs(works) do
    for _, item in ipairs(work.changed) do
      local changed = item.changes and changed_columns(work.one, item.changes)
      rules.check_row(work.one, item.row)
      rules.check_unique(work.one, item.row, changed)
      references.check(self, work.one, { item.row }, changed)
    end
    references.settle(self, work.one, #work.gone > 0)
  end
end

--- The table of that name; raises when there is none.
function Store:table(name)
  if type(name) ~= "string" then
    errors.raise {
      kind = "script", message = "table name must be a string, not " .. text.describe(name),
    }
  elseif not self.tables[name] then
    errors.raise {
      kind = "database", sqlstate = "42P01",
      message = ('relation "%s" does not exist'):format(name),
      detail = "This world has no such table.",
      hint = suggest.hint(name, text.sorted_keys(self.tables)),
    }
  elseif self.tables[name].absent then
    errors.raise {
      kind = "database", sqlstate = "42P01",
      message = ('relation "%s" does not exist'):format(name),
      detail = "The table is declared as absent, and no stub with makes has made it.",
    }
  end
  return self.tables[name]
end

--- A store with the same schema and copies of the rows.
function Store:copy()
  local tables = {}
  for name, one in next, self.tables do
    tables[name] = one:copy()
  end
  return setmetatable({ tables = tables }, Store)
end

--- Where the sequences are; see `Store:set_sequences`.
function Store:sequences()
  local positions = {}
  for name, one in next, self.tables do
    positions[name] = {}
    for column, serial in next, one.serials do
      positions[name][column] = serial.last
    end
  end
  return positions
end

--- Puts the sequences back to where they were.
function Store:set_sequences(positions)
  for name, columns in next, positions do
    for column, last in next, columns do
      self.tables[name].serials[column].last = last
    end
  end
end

--- The rows of a declaration go in; sequences go on after the highest of them.
local function fill(self, one)
  local given = one.rows
  one.rows = {}
  for i, row in ipairs(given) do
    local kept = one:encode(row, ("row %d, "):format(i))
    rules.refuse_generated(one, row, 'column "%s" is generated; leave it out of the rows')
    one.rows[i] = {}
    rules.add_defaults(one, one.rows[i], kept)
    one:apply(one.rows[i], kept)
    rules.check_row(one, one.rows[i])
    rules.check_unique(one, one.rows[i])
    for column, serial in next, one.serials do
      serial.last = math.max(serial.last, one.rows[i][column] or 0)
    end
  end
  return self
end

--- A store of the tables made by `luamig.mock.schema`; checks their rows.
function store.new(schemas)
  local self = setmetatable({ tables = {} }, Store)
  for name, schema in next, schemas do
    self.tables[name] = setmetatable(schema, Table)
  end
  for _, one in next, self.tables do
    fill(self, one)
  end
  for _, one in next, self.tables do
    references.check(self, one, one.rows)
  end
  return self
end

return store
