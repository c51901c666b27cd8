--- The file that a script with `input` reads: in a world it is the rows of `world:run`.
--
-- Promises: a table with these rows and their lines, for as long as the run is at work; an
-- unfinished run keeps its rows, so that it can be resumed without them.
-- Refuses: rows that no file of the script could have. It parses nothing: what is wrong with a file
-- only luamig itself can tell.

local base = require "luamig.mock.base"
local errors = require "luamig.errors"
local marks = require "luamig.marks"
local schema = require "luamig.mock.schema"
local store = require "luamig.mock.store"
local suggest = require "luamig.suggest"
local text = require "luamig.text"
local value = require "luamig.mock.value"

local input = {}

--- What functions of the spec call the table.
input.TABLE = "input"

local function complain(message, ...)
  errors.raise { kind = "spec", message = message:format(...) }
end

local function columns_of(given)
  local columns = { line = "int8" }
  for _, column in ipairs(given.columns) do
    columns[column.name] = column.type
  end
  return columns
end

--- A record of a file with one column that would be an empty line, which is no record.
local function is_empty_line(given, row)
  local count = #given.header > 0 and #given.header or #given.columns
  local item = row[given.columns[1].name]
  return given.format == "csv" and given.null == "" and count == 1
    and (item == nil or marks.kind(item) == "NULL")
end

--- Raises unless a file of the script could have these rows.
-- @param given of `luamig.script.input`
function input.check(given, rows)
  local columns = columns_of(given)
  for i, row in ipairs(rows) do
    if type(row) ~= "table" then
      complain("world:run: input must be a list of rows, not of %s", text.describe(row))
    end
    for _, name in ipairs(text.ordered_keys(row)) do
      if (not columns[name] or name == "line") and not given.ignore_others then
        complain('world:run: row %d of input has a column "%s", and input.columns of the script '
          .. "has none%s", i, tostring(name), suggest.suffix(tostring(name),
            text.sorted_keys(columns)))
      end
    end
    if is_empty_line(given, row) then
      complain("world:run: row %d of input would be an empty line in the file, which is no record; "
        .. 'give the script a text for NULL: input.null = "NULL"', i)
    end
  end
end

--- How many lines a row takes in a file: in CSV, a text may have several.
local function height(given, row)
  local lines = 1
  for _, column in ipairs(given.format == "csv" and given.columns or {}) do
    local item = row[column.name]
    if type(item) == "string" then
      lines = lines + select(2, item:gsub("\r\n?", "\n"):gsub("\n", ""))
    end
  end
  return lines
end

--- The rows as they are in the table: copies, with their lines and the script's columns.
function input.lines(given, rows)
  local line = given.format == "csv" and #given.header == 0 and 2 or 1
  return text.map(rows, function(row)
    local kept = { line = line }
    for _, column in ipairs(given.columns) do
      kept[column.name] = value.copy_item(row[column.name])
    end
    line = line + height(given, row)
    return kept
  end)
end

local function identity_of(def)
  return def.name .. "\0" .. def.args_json
end

--- The only unfinished run of the script with these arguments, which has its rows.
local function unfinished(world, def)
  local found
  for _, identity in ipairs(text.sorted_keys(world.journal)) do
    local record = world.journal[identity]
    local is_one = record.input and identity:find(identity_of(def), 1, true) == 1
      and not record.state:find "^done"
    if is_one and found then
      complain("several runs of %s are unfinished; pass input = rows to world:run", def.path)
    end
    found = is_one and record or found
  end
  if not found then
    complain("%s reads a file; pass input = rows to world:run", def.path)
  end
  return found.input
end

--- The rows that a run reads: those that are given, or those of the run that goes on.
function input.rows(world, def, given)
  local rows = given or unfinished(world, def)
  input.check(def.input, rows)
  return rows
end

--- What tells a run from those that read other rows.
function input.identity(def, rows)
  return rows and ("%s\0%s"):format(identity_of(def), value.identity(rows)) or identity_of(def)
end

local function read_table(world, def, rows)
  if world.store.tables[input.TABLE] then
    complain('a world with a table "%s" cannot run a script that reads a file', input.TABLE)
  end
  local ok, found = pcall(function()
    local schemas = schema.read { [input.TABLE] = {
      columns = columns_of(def.input), primary_key = { "line" },
      rows = input.lines(def.input, rows),
    } }
    return { schemas = schemas, table = store.new(schemas).tables[input.TABLE] }
  end)
  if not ok then
    complain("world:run: input: %s", errors.is(found) and found.message or tostring(found))
  end
  return found
end

--- Opens the rows for a run.
-- @param loaded of `workers.load`
-- @return function that takes the table away again; the journal keeps the rows of a run that has
--   not ended
function input.open(world, loaded, rows)
  local def, kept = loaded[1].def, world.base
  local made = read_table(world, def, rows)
  for _, one in ipairs(loaded) do
    one.def.read_input('"luamig".input_1')
  end
  world.store.tables[input.TABLE] = made.table
  if def.whole_input then
    world.base = base.read({ from = input.TABLE }, made.schemas)
  end
  return function()
    world.store.tables[input.TABLE] = nil
    world.base = kept
    local record = world.journal[input.identity(def, rows)]
    if record then
      record.input = record.state ~= "done" and rows or nil
    end
  end
end

return input
