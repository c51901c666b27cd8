--- The `input` of a script: the file that it reads instead of a table.
--
-- Promises: what comes out has one shape: `columns` a list by name, `null`, `delimiter` and
-- `ignore_others` set; and a base query for any table that has the file's records.
-- Refuses: unknown fields, formats and column names that the table cannot have.

local suggest = require "luamig.suggest"
local text = require "luamig.text"

local input = {}

--- The column that has the number of a record's first line; the key, unless config names another.
input.LINE = "line"

local FIELDS = { "format", "columns", "null", "delimiter", "encoding", "header", "ignore_others" }
local FORMATS = { "csv", "jsonl" }
local CSV_ONLY = { "null", "delimiter", "header" }
local LONGEST_NAME = 63
-- Columns that each table has.
local SYSTEM = { "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid" }

local function is_line(value)
  return type(value) == "string" and not value:find "%c" and text.is_utf8(value)
end

local function check_names(given, fail)
  for _, name in ipairs(text.ordered_keys(given)) do
    if not text.contains(FIELDS, name) then
      local shown = tostring(name)
      fail({ "input", name }, ('unknown field "%s" in input'):format(shown),
        suggest.hint(shown, FIELDS) or ("It has these fields: %s."):format(table.concat(FIELDS,
          ", ")))
    end
  end
end

--- A type as SQL writes it, without anything behind it.
local function is_type(value)
  return is_line(value) and value:find '^[%a_"][%w_."%[%]%(%), ]*$' and not value:find "%-%-"
end

--- @return list of { name =, type = }, by name
local function read_columns(given, fail)
  local columns = given.columns
  if type(columns) ~= "table" or next(columns) == nil then
    fail({ "input", "columns" }, "input.columns must be a table, not " .. text.describe(columns),
      'Name each column and its type: columns = { id = "bigint", email = "text" }.')
  end
  return text.map(text.ordered_keys(columns), function(name)
    if not is_line(name) or name == "" or #name > LONGEST_NAME then
      fail({ "input", "columns" }, ("input.columns must map names of columns to types, not %s")
        :format(text.describe(name)),
        'Name each column and its type: columns = { id = "bigint", email = "text" }.')
    elseif text.contains(SYSTEM, name) then
      fail({ "input", "columns", name }, ('input.columns cannot have a column "%s"'):format(name),
        "Each table of the server has that column. Rename the file's column in its header.")
    elseif name == input.LINE then
      fail({ "input", "columns", name }, ('input.columns cannot have a column "%s"'):format(name),
        "The table of the file has that column: the line in which a record begins. Rename the "
          .. "file's column in its header, or leave it out with input.ignore_others = true.")
    elseif not is_type(columns[name]) then
      fail({ "input", "columns", name }, ("input.columns.%s must be a type, not %s"):format(name,
        text.describe(columns[name])), 'Write it as in CREATE TABLE: "bigint", "numeric(10, 2)".')
    end
    return { name = name, type = columns[name] }
  end)
end

--- Each column once; others only if they are left out.
local function check_header(given, columns, fail)
  local function refuse(name, message, hint)
    fail({ "input", "header" }, message:format(name), hint)
  end
  local seen = {}
  for _, name in ipairs(given.header) do
    if given.columns[name] == nil and not given.ignore_others then
      refuse(name, 'input.header names "%s", and input.columns has no such column',
        "Add the column there, or leave such columns out with input.ignore_others = true.")
    elseif given.columns[name] ~= nil and seen[name] then
      refuse(name, 'input.header names "%s" twice')
    end
    seen[name] = true
  end
  for _, column in ipairs(columns) do
    if not seen[column.name] then
      refuse(column.name, 'input.columns has a column "%s", and input.header does not name it',
        "Put it into input.header at the place that it has in the file, or take it out of "
          .. "input.columns.")
    end
  end
end

--- The names of the columns of a file that has no header.
local function read_header(given, columns, fail)
  local header = given.header
  if header == nil then
    return {}
  elseif type(header) ~= "table" or #header == 0 then
    fail({ "input", "header" }, "input.header must be a list of names, not "
      .. text.describe(header), "It is for files without a header. Leave it out if the file's "
      .. "first line names its columns.")
  end
  for _, name in ipairs(header) do
    if not is_line(name) then
      fail({ "input", "header" }, "input.header must be a list of names, not of "
        .. text.describe(name))
    end
  end
  check_header(given, columns, fail)
  return header
end

local function check_kind(given, name, kind, fail)
  if given[name] ~= nil and type(given[name]) ~= kind then
    fail({ "input", name }, ("input.%s must be a %s, not %s"):format(name, kind,
      text.describe(given[name])))
  end
end

local function check_delimiter(given, fail)
  local delimiter = given.delimiter
  if delimiter ~= nil and not (#delimiter == 1 and delimiter:find '^[^"\r\n%z\128-\255]$') then
    fail({ "input", "delimiter" }, "input.delimiter must be one character, not "
      .. text.describe(delimiter), 'Such as ";" or "\\t".')
  end
end

--- A text that a field without quotes can have.
local function check_null(given, fail)
  local null, delimiter = given.null or "", given.delimiter or ","
  if null:find '["\r\n]' or null:find(delimiter, 1, true) then
    fail({ "input", "null" }, "input.null cannot be " .. text.describe(null),
      "No field without quotes has a quote, a line end or the delimiter in it.")
  end
end

--- Checks a script's `input`.
-- @param given the table, or nil
-- @param fail function(field path, message, hint) that raises: the script is wrong
-- @return nil, or { format =, columns = list of { name =, type = }, null =, delimiter =,
--   encoding = or nil, header = list, empty if the file has one, ignore_others = }
function input.read(given, fail)
  if given == nil then
    return nil
  end
  check_names(given, fail)
  if not text.contains(FORMATS, given.format) then
    fail({ "input", "format" }, ("input.format must be %s, not %s"):format(text.choices(FORMATS),
      text.describe(given.format)))
  end
  for _, name in ipairs(given.format ~= "csv" and CSV_ONLY or {}) do
    if given[name] ~= nil then
      fail({ "input", name }, ('input.%s is for the format "csv" only'):format(name))
    end
  end
  check_kind(given, "null", "string", fail)
  check_kind(given, "delimiter", "string", fail)
  check_kind(given, "encoding", "string", fail)
  check_kind(given, "ignore_others", "boolean", fail)
  check_delimiter(given, fail)
  check_null(given, fail)
  local columns = read_columns(given, fail)
  return {
    format = given.format, columns = columns, null = given.null or "",
    delimiter = given.delimiter or ",", encoding = given.encoding,
    header = read_header(given, columns, fail), ignore_others = given.ignore_others or false,
  }
end

--- The base query of a script that has none: all records.
-- @param columns of `input.read`
-- @param place the table, as SQL
function input.base_query(columns, place)
  local names = text.map(columns, function(column)
    return ('"%s"'):format(column.name:gsub('"', '""'))
  end)
  return ("SELECT %s, %s FROM %s"):format(input.LINE, table.concat(names, ", "), place)
end

return input
