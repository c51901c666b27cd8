--- `config.on_error = "quarantine"`: looking for the row at fault, by the program's rule.
--
-- Promises: the sizes of pages are those that the program would ask for, so that a script sees the
-- same batches here and there.

local sqlstates = require "luamig.sqlstates"

local bisection = {}

local Bisection = {}
Bisection.__index = Bisection

-- Rows that were not written as they should be, in luamig's own words.
local OF_REPO = { P0002 = true, P0003 = true }

--- Whether a savepoint can contain an error of the database: never one of connections, timeouts or
-- conflicts.
function bisection.may_catch(err)
  return sqlstates.meaning(err.sqlstate) == "row"
    or err.kind == "script" and OF_REPO[err.sqlstate] or false
end

--- Whether an error may set rows aside; errors of the script do as well.
function bisection.lies_in_rows(err)
  return err.kind == "script" or bisection.may_catch(err)
end

--- Whether a page that raises this is cut, so that its rows are met one by one.
function bisection.cuts_page(err)
  local meaning = sqlstates.meaning(err.sqlstate)
  return err.kind == "database" and (meaning == "row" or meaning == "page")
end

--- Nothing is sought.
function bisection.new()
  return setmetatable({ suspects = 0, rows = nil }, Bisection)
end

--- The most rows that the next page may have, of `size`.
function Bisection:size(size)
  return self.rows and math.min(self.rows, size) or size
end

--- A page of `count` rows is migrated; pages might have `most`.
function Bisection:passed(count, most)
  if not self.rows then
    return
  elseif self.suspects > count then
    self.suspects = self.suspects - count
    self.rows = math.max(self.suspects // 2, 1)
  else
    self.suspects, self.rows = 0, self.rows * 2
    if self.rows >= most then
      self.rows = nil
    end
  end
end

--- A page of `count` rows has failed. Returns whether it was the row at fault itself.
function Bisection:failed(count)
  if count == 1 then
    self.suspects, self.rows = 0, 1
    return true
  end
  self.suspects, self.rows = count, count // 2
  return false
end

return bisection
