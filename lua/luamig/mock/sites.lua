--- What each line of a script has passed to the repo.
--
-- Promises: as in the program, a line must not lose a column of a key or condition that it passed
-- before. A Lua table drops a field whose value is nil, so the condition would find more rows.

local errors = require "luamig.errors"
local luamig = require "luamig"
local text = require "luamig.text"

local sites = {}

local Sites = {}
Sites.__index = Sites

--- Raises when `map` lacks a column that this line has passed for `what`, and brings no other one.
-- @param where the line
function Sites:check(where, verb, what, map)
  if map == luamig.ALL then
    return
  end
  local id = where .. "\0" .. what
  local noted, missing = self.noted[id] or {}, nil
  for column in next, map do
    if not noted[column] then
      self.noted[id] = text.set(text.sorted_keys(map))
      return
    end
  end
  for _, column in ipairs(text.sorted_keys(noted)) do
    missing = missing or map[column] == nil and column or nil
  end
  if missing then
    errors.raise {
      kind = "script",
      message = ('repo:%s: column "%s" is missing from %s; this line passed it before')
        :format(verb, missing, what),
      hint = "A Lua table drops a field whose value is nil. If you want NULL, write "
        .. "luamig.or_null(value). Put calls with other columns on lines of their own.",
    }
  end
end

function sites.new()
  return setmetatable({ noted = {} }, Sites)
end

return sites
