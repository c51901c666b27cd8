--- What a migration script gets from `require "luamig"`.
--
-- Promises: `NULL` and `ALL` are unique and cannot be changed. Pure Lua, no dependencies.
-- Refuses: unknown fields, fields of later versions, assignment.

local strict = require "luamig.strict"
local version = require "luamig.version"

--- A unique value that only ever compares equal to itself.
local function sentinel(name)
  return setmetatable({}, {
    __name = "luamig.sentinel",
    __tostring = function()
      return name
    end,
    __newindex = function()
      error(name .. " cannot be changed", 2)
    end,
  })
end

local luamig = {
  --- The version of luamig, "major.minor.patch".
  version = version.full,
  --- SQL NULL, where a Lua table cannot hold nil: `{ nick = luamig.NULL }`.
  NULL = sentinel "luamig.NULL",
  --- Says "every row" where an empty condition would be refused.
  ALL = sentinel "luamig.ALL",
}

--- The value, or `luamig.NULL` when it is nil. `false` stays `false`.
function luamig.or_null(value)
  if value == nil then
    return luamig.NULL
  end
  return value
end

local LATER = { json = true, array = true, object = true, bytea = true, decimal = true }

return strict.module("luamig", luamig, LATER)
