--- What a migration script gets from `require "luamig"`.
--
-- Promises: `NULL`, `ALL` and `json.null` are unique and cannot be changed. Pure Lua, no
-- dependencies.
-- Refuses: unknown fields, assignment.

local decimal = require "luamig.decimal"
local json = require "luamig.json"
local marks = require "luamig.marks"
local strict = require "luamig.strict"
local text = require "luamig.text"
local version = require "luamig.version"

local luamig = {
  --- The version of luamig, "major.minor.patch".
  version = version.full,
  --- SQL NULL, where a Lua table cannot hold nil: `{ nick = luamig.NULL }`.
  NULL = marks.sentinel "NULL",
  --- Says "every row" where an empty condition would be refused.
  ALL = marks.sentinel "ALL",
  --- Exact decimal numbers, see `luamig.decimal`.
  decimal = decimal,
}

--- The value, or `luamig.NULL` when it is nil. `false` stays `false`.
function luamig.or_null(value)
  if value == nil then
    return luamig.NULL
  end
  return value
end

--- Makes the function that marks a table, so that it is an array or an object even when empty.
local function marker(kind)
  local meta = marks.metatables[kind]
  return function(given)
    if given == nil then
      given = {}
    end
    local mark = marks.kind(given)
    if type(given) ~= "table" or mark and mark ~= "array" and mark ~= "object" then
      error(("luamig.%s takes a table, not %s"):format(kind, text.describe(given)), 2)
    elseif not mark and getmetatable(given) ~= nil then
      error(("luamig.%s takes a plain table, this one has a metatable"):format(kind), 2)
    end
    return setmetatable(given, meta)
  end
end

--- Marks a table as a JSON array, also when it is empty: `luamig.array {}`. Returns the table.
luamig.array = marker "array"
--- Marks a table as a JSON object, also when it is empty: `luamig.object {}`. Returns the table.
luamig.object = marker "object"

marks.seal("bytea", function(bytes)
  return "\\x" .. bytes:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end)
end)

--- Says that a string is bytes, where no column says so: a parameter of `base_query`, a key in
-- `config.start_after`.
function luamig.bytea(bytes)
  if type(bytes) ~= "string" then
    error("luamig.bytea takes a string, not " .. text.describe(bytes), 2)
  end
  return marks.new("bytea", bytes)
end

marks.seal("json", function(document)
  return document
end)

marks.seal("column", function(name)
  return ("luamig.column %q"):format(name)
end)

--- In the changes of an update: the value that a column of the row has before the call.
function luamig.column(name)
  if type(name) ~= "string" or name == "" or not text.is_utf8(name) then
    error("luamig.column takes the name of a column, not " .. text.describe(name), 2)
  end
  return marks.new("column", name)
end

marks.seal("add", function(number)
  return ("luamig.add(%s)"):format(math.type(number) and text.number(number) or tostring(number))
end)

--- In the changes of an update: the value that the column has before the call, plus this number.
-- NULL stays NULL.
function luamig.add(number)
  if not math.type(number) and not decimal.is(number) then
    error("luamig.add takes a number or a luamig.decimal, not " .. text.describe(number), 2)
  end
  return marks.new("add", number)
end

--- `luamig.json(text)` is a JSON document given as its text, for a json column;
-- `luamig.json.null` is JSON's null, which is not SQL's NULL. `decode` and `encode` are for JSON in
-- text columns, see luamig/json.lua.
luamig.json = strict.module("luamig.json", json, function(document)
  if type(document) ~= "string" then
    error("luamig.json takes the text of a document, not " .. text.describe(document), 2)
  end
  return marks.new("json", document)
end)

return strict.module("luamig", luamig)
