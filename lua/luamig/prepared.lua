--- What a script's `prepare` has made of rows, and which rows it has to see again.
--
-- Promises: a result belongs to the key of a row and to what the row held when `prepare` saw it. A
-- row that somebody has changed is prepared again; all others keep their results, also those that
-- a smaller page leaves out. What `migrate` changes in a result is gone in its next attempt. The
-- program and the mock share this module.
-- Refuses: results for keys that `prepare` was not given.

local canonical = require "luamig.script.canonical"
local decimal = require "luamig.decimal"
local errors = require "luamig.errors"
local marks = require "luamig.marks"
local text = require "luamig.text"

local prepared = {}

local Prepared = {}
Prepared.__index = Prepared

-- What no page has had for so many looks is forgotten.
local MOST_LOOKS = 8

-- -- keys ------------------------------------------------------------------------------------

local JSON_WORDS = text.set { "true", "false", "null" }

--- Whether a text also reads as something else in JSON: a column of JSON may have both.
local function is_ambiguous(value)
  return JSON_WORDS[value] or tonumber(value) or value:find '^["%[{]'
end

--- A value of a key as text. Texts of a column are equal only if the values are.
local function value_text(value)
  local mark = marks.kind(value)
  local is_plain = type(value) == "string" or type(value) == "boolean" or decimal.is(value)
    or mark == "bytea"
  local shown
  if type(value) == "number" then
    shown = text.number(math.tointeger(value) or value) -- as keys of tables are
  elseif is_plain then
    shown = tostring(value)
  elseif type(value) == "table" then
    local ok, encoded = pcall(canonical.encode, value)
    shown = ok and encoded
  end
  if not shown then
    return nil
  elseif type(value) == "string" and is_ambiguous(value) then
    shown = '"' .. value .. '"'
  end
  return (shown:gsub("[^%w_.:~-]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

--- The key of a row as one text, in ASCII; nil if the table lacks a column of it.
local function key_text(key, row)
  local parts = {}
  for i, column in ipairs(key) do
    parts[i] = value_text(rawget(row, column))
    if not parts[i] then
      return nil
    end
  end
  return table.concat(parts, ",")
end

--- The text of a key behind a byte that no text has.
local function text_id(key, row)
  local shown = key_text(key, row)
  return shown and "\0" .. shown
end

--- What a row is known by: the value of its key, if that is one integer or text; otherwise the text
-- of its key.
local function id_of(key, row)
  local value = key[2] == nil and rawget(row, key[1])
  if type(value) == "string" or math.type(value) == "integer" then
    return value
  end
  return text_id(key, row)
end

--- What stands for a row: the value of its key, or the row itself if the key has several columns.
local function given_of(key, row)
  return key[2] and row or rawget(row, key[1])
end

--- Makes `run.key_of`.
-- @param key names of the key's columns
-- @param prefix what tells this run from all others
function prepared.key_of(key, prefix)
  return function(row)
    local shown = type(row) == "table" and key_text(key, row)
    if not shown then
      error(("run.key_of takes a row with its key (%s), not %s"):format(table.concat(key, ", "),
        text.describe(row)), 2)
    end
    return prefix .. "-" .. shown
  end
end

--- `run.retry`: the batch fails, and is tried again later.
function prepared.retry(message)
  if type(message) ~= "string" then
    error("run.retry takes a message: run.retry(message)", 2)
  end
  errors.raise {
    kind = "script", sqlstate = "LM011", message = message, where = errors.line_at(2),
  }
end

-- -- what is known ---------------------------------------------------------------------------

--- What is known of the rows of one worker.
-- @param key names of the key's columns
function prepared.new(key)
  local self = setmetatable({
    key = key, items = {}, by_id = {}, missing = {}, count = 0, done = 0,
  }, Prepared)
  self.results = self:make_results()
  return self
end

local function refuse_change()
  error("run.prepared cannot be changed: it has what prepare returns", 2)
end

local function refuse_length()
  error("run.prepared has no length: it has results by key; #rows counts the rows", 2)
end

--- What is known of the row that a key stands for: the row itself, or the value of a key of one
-- column.
local function find(self, given)
  if type(given) ~= "table" and self.by_id[given] then
    return self.by_id[given]
  end
  local mark = marks.kind(given)
  local is_row = type(given) == "table" and (not mark or mark == "object")
  local id = is_row and id_of(self.key, given)
    or #self.key == 1 and text_id(self.key, { [self.key[1]] = given })
  return id and self.by_id[id]
end

--- Whether a result is a plain table, an array, an object or a row: what a script may change. A
-- table with a metatable of the script's own is the script's to keep.
local function is_plain(value)
  local meta, mark = getmetatable(value), marks.kind(value)
  return type(value) == "table" and (not meta or mark == "array" or mark == "object"
    or type(meta) == "table" and rawget(meta, "columns") ~= nil)
end

--- A result with copies of the plain tables in it, also if they contain themselves.
-- @param copies what has been copied
local function copy(value, copies)
  if not is_plain(value) then
    return value
  elseif not copies[value] then
    local made = setmetatable({}, getmetatable(value))
    copies[value] = made
    for key, inner in next, value do
      made[key] = copy(inner, copies)
    end
  end
  return copies[value]
end

--- `run.prepared`: results by key. A table is a copy for this reading of the page.
function Prepared:make_results()
  return setmetatable({}, {
    __len = refuse_length,
    __pairs = function()
      local place = 0
      return function()
        for at = place + 1, self.count do
          local item = self.items[at]
          if item.value ~= nil then
            place = at
            return item.given, copy(item.value, self.copies)
          end
        end
      end
    end,
    __index = function(_, given)
      local item = find(self, given)
      if not item or item.place > self.count then
        local shown = type(given) == "table" and not marks.kind(given) and "such row"
          or text.describe(given)
        error(("run.prepared has no %s: it is not the key of a row of this batch"):format(shown), 2)
      end
      return copy(item.value, self.copies)
    end,
    __newindex = refuse_change,
  })
end

local function refuse_use()
  error("run.prepared is for migrate: prepare makes the results, and has none yet", 2)
end

--- `run.prepared` in prepare.
local none_yet = setmetatable({}, {
  __index = refuse_use, __newindex = refuse_use, __len = refuse_use, __pairs = refuse_use,
})

--- `run.prepared` where nothing is prepared: a dry run.
function prepared.nothing()
  return setmetatable({}, { __newindex = refuse_change, __len = refuse_length })
end

--- Results of rows that follow the page stay. They are those behind the last one that the page
-- has; where it has none of them, nobody knows, and all stay for a while.
local function keep_others(self, items, by_id, last)
  for place = last + 1, #self.items do
    local item = self.items[place]
    item.looks = last > 0 and 0 or item.looks + 1
    if item.is_done and not by_id[item.id] and item.looks <= MOST_LOOKS then
      items[#items + 1], by_id[item.id] = item, item
    end
  end
end

--- Where the value that begins at a place of a content ends, and the next one begins.
local function next_value(content, at)
  local length, from = content:match("^(%d+):()", at)
  return length and from + tonumber(length) or at + 1
end

--- The first column in which two contents differ.
local function first_difference(was, now, columns)
  local a, b = 1, 1
  for _, column in ipairs(columns) do
    local after_a, after_b = next_value(was, a), next_value(now, b)
    if was:sub(a, after_a - 1) ~= now:sub(b, after_b - 1) then
      return column
    end
    a, b = after_a, after_b
  end
end

--- Looks at a page.
-- @param rows of `luamig.strict`
-- @param contents a text for each row: for each value its length, a colon and the value, or "-" for
--   NULL
-- @return how many of them `prepare` has not seen as they are
-- @return the name of a column in which one of them has changed; nil if they are new
function Prepared:look(rows, contents)
  local items, by_id, missing, last = {}, {}, {}, 0
  local key, before, changed = self.key, self.by_id, nil
  for i, row in ipairs(rows) do
    local id = id_of(key, row)
    local known = before[id]
    last = known and math.max(last, known.place) or last
    if by_id[id] then
      errors.raise {
        kind = "script", message = "two rows of a page have the same key: " .. key_text(key, row),
        hint = "prepare needs a key that is unique.",
      }
    elseif not known or not known.is_done or known.content ~= contents[i] then
      changed = changed or known and first_difference(known.content, contents[i], rows.columns)
      known = { id = id, content = contents[i], looks = 0, row = row }
      missing[#missing + 1] = known
    end
    items[i], by_id[id] = known, known
  end
  self.count = #items
  keep_others(self, items, by_id, last)
  for place, item in ipairs(items) do
    item.place, item.given = place, rows[place] and given_of(key, rows[place])
  end
  self.items, self.by_id, self.missing, self.done = items, by_id, missing, 0
  self.rows, self.copies = rows, {}
  return #missing, changed
end

--- What `prepare` returned for rows.
local function take(self, asked, results)
  if type(results) ~= "table" or marks.kind(results) then
    errors.raise {
      kind = "script",
      message = "prepare must return a table of results by key, not " .. text.describe(results),
    }
  end
  local wanted = text.set(asked)
  for given, result in next, results do
    local item = find(self, given)
    if not item or not wanted[item] then
      errors.raise {
        kind = "script",
        message = ("prepare returned a result for %s, which is not the key of a row that it got")
          :format(text.describe(given)),
        hint = #self.key == 1 and ("Its results are by key: results[row.%s] = ...")
          :format(self.key[1]) or "Its results are by row: results[row] = ...",
      }
    end
    if wanted[item] == "taken" then
      errors.raise {
        kind = "script",
        message = "prepare returned two results for one row: by its key, and by the row itself",
      }
    end
    item.value, wanted[item] = result, "taken"
  end
end

--- Lets the script prepare the next of the rows that it has not seen.
-- @param most how many, at most
-- @return how many rows of the page, from its first, are prepared
function Prepared:call(prepare, run, most)
  local asked, rows = {}, {}
  for i = self.done + 1, math.min(self.done + most, #self.missing) do
    asked[#asked + 1], rows[#rows + 1] = self.missing[i], self.missing[i].row
  end
  rawset(run, "prepared", none_yet)
  take(self, asked, (prepare(setmetatable(rows, getmetatable(self.rows)), run)))
  for _, item in ipairs(asked) do
    item.is_done, item.row = true, nil
  end
  self.done = self.done + #asked
  local next_one = self.missing[self.done + 1]
  return next_one and next_one.place - 1 or self.count
end

--- The page is committed.
function Prepared:passed()
  local items = table.move(self.items, self.count + 1, #self.items, 1, {})
  self.items, self.by_id, self.missing, self.count, self.rows = items, {}, {}, 0, nil
  for place, item in ipairs(items) do
    item.place, self.by_id[item.id] = place, item
  end
end

return prepared
