--- `config.on_error = "quarantine"`: finds the failing row of a batch, by the program's rule.
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
function bisection.savepoint_catches(err)
  return sqlstates.meaning(err.sqlstate) == "row"
    or err.kind == "script" and OF_REPO[err.sqlstate] or false
end

--- Whether a row can fail with this error; errors of the script count, too.
function bisection.is_row_error(err)
  return err.kind == "script" or bisection.savepoint_catches(err)
end

--- Whether a row can make a page query fail with this error. Then smaller pages find the row.
function bisection.is_page_error(err)
  local meaning = sqlstates.meaning(err.sqlstate)
  return err.kind == "database" and (meaning == "row" or meaning == "page")
end

--- No row is searched: `searched` is how many rows the failing one is among, `rows` the most that
-- the next page may have.
function bisection.new()
  return setmetatable({ searched = 0, rows = nil }, Bisection)
end

--- The most rows that the next page may have, of `size`.
function Bisection:size(size)
  return self.rows and math.min(self.rows, size) or size
end

--- A page of `count` rows is migrated; without the search, pages have `most`.
function Bisection:passed(count, most)
  if not self.rows then
    return
  elseif self.searched > count then
    self.searched = self.searched - count
    self.rows = math.max(self.searched // 2, 1)
  else
    self.searched, self.rows = 0, self.rows * 2
    if self.rows >= most then
      self.rows = nil
    end
  end
end

--- A page of `count` rows has failed. Returns whether that is the failing row alone.
function Bisection:failed(count)
  if count == 1 then
    self.searched, self.rows = 0, 1
    return true
  end
  self.searched, self.rows = count, count // 2
  return false
end

return bisection
