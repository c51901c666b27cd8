--- The file of a script with `input`, for a world on PostgreSQL: written from the rows of
-- `world:run`, in the script's format.
--
-- Promises: a record a row, with the lines that the mock gives them.

local decimal = require "luamig.decimal"
local json = require "luamig.json"
local marks = require "luamig.marks"
local text = require "luamig.text"

local input = {}

--- A value as a text that its type reads; nil for NULL.
local function text_of(item)
  local mark = marks.kind(item)
  if item == nil or mark == "NULL" then
    return nil
  elseif mark == "bytea" then
    return "\\x" .. rawget(item, marks.TEXT):gsub(".", function(byte)
      return ("%02x"):format(byte:byte())
    end)
  elseif math.type(item) then
    return text.number(item)
  elseif type(item) == "table" and not decimal.is(item) then
    return json.encode(item)
  end
  return tostring(item)
end

local function quoted(shown)
  return shown and '"' .. shown:gsub('"', '""') .. '"' or ""
end

local function csv(given, rows)
  local names = given.header
  local lines = {}
  if #names == 0 then
    names = text.map(given.columns, function(column) return column.name end)
    lines[1] = table.concat(text.map(names, quoted), given.delimiter)
  end
  for _, row in ipairs(rows) do
    local fields = {}
    for i, name in ipairs(names) do
      local shown = text_of(row[name])
      fields[i] = shown and quoted(shown) or given.null
    end
    lines[#lines + 1] = table.concat(fields, given.delimiter)
  end
  return lines
end

--- A value of JSON: numbers and documents are themselves, what JSON lacks is a text.
local function json_of(item)
  local is_nan = type(item) == "number" and (item ~= item or math.abs(item) == math.huge)
  local shown = is_nan and text.number(item) or marks.kind(item) == "bytea" and text_of(item)
  return shown or item
end

local function jsonl(given, rows)
  return text.map(rows, function(row)
    local fields = text.map(given.columns, function(column)
      local item = row[column.name]
      return item ~= nil and marks.kind(item) ~= "NULL"
        and ("%s:%s"):format(json.encode(column.name), json.encode(json_of(item))) or nil
    end)
    return "{" .. table.concat(fields, ",") .. "}"
  end)
end

--- Writes the file. Returns its path; the caller removes it.
-- @param given of `luamig.script.input`
function input.write(given, rows)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, line in ipairs((given.format == "csv" and csv or jsonl)(given, rows)) do
    file:write(line, "\n")
  end
  file:close()
  return path
end

return input
