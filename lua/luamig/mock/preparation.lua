--- The work of `prepare` in a run of the mock, and what other sessions do meanwhile.
--
-- Promises: which rows `prepare` gets, in how many calls, and when a page is halved because its
-- rows change all the time, are those of the program, as far as they do not depend on the time:
-- here no call takes any.

local errors = require "luamig.errors"
local prepared = require "luamig.prepared"
local text = require "luamig.text"
local value = require "luamig.mock.value"
local views = require "luamig.mock.views"

local preparation = {}

local Preparation = {}
Preparation.__index = Preparation

-- As in src/core/lane/prepare.c: rows of the first call, by how much a call may grow, and how often
-- a page may change before it is halved.
local FIRST_ROWS, GROWTH, MOST_ROUNDS = 8, 4, 3

--- What the rows of a page hold, a text each.
local function contents_of(rows)
  return text.map(rows, function(row)
    local parts = {}
    for i, column in ipairs(rows.columns) do
      local item = rawget(row, column)
      local shown = item ~= nil and value.identity(item)
      parts[i] = shown and #shown .. ":" .. shown or "-"
    end
    return table.concat(parts)
  end)
end

--- For one worker; nil if the script has no prepare.
-- @param is_dry whether it is a dry run
-- @param is_skipped true: rows are migrated without it
function preparation.new(def, is_dry, is_skipped)
  return def.prepare and setmetatable({
    def = def, known = prepared.new(def.config.key), most = FIRST_ROWS, rounds = 0,
    is_dry = is_dry, is_skipped = is_skipped,
  }, Preparation)
end

--- `run.prepared` in migrate.
function Preparation:results()
  return self.is_skipped and prepared.nothing() or self.known.results
end

--- Whether all rows of a page are prepared as they are.
function Preparation:is_ready(page)
  if self.is_skipped or #page.rows == 0 then
    return true
  end
  local missing, changed = self.known:look(page.rows, contents_of(page.rows))
  self.changed = changed
  return missing == 0
end

--- A page that was read again has rows that are not prepared. Returns whether it may try once more;
-- otherwise the page is to be smaller.
-- @param retries config.retries
function Preparation:may_try_again(page, retries)
  self.rounds = self.rounds + 1
  if page.count == 1 and self.rounds > retries then
    errors.raise {
      kind = "script",
      message = ("the row was changed %s while it was prepared"):format(
        text.count(self.rounds, "time")),
      detail = self.changed
        and ('The last time, column "%s" had another value.'):format(self.changed),
      hint = self.is_dry and self.def.on_start
        and "A dry run calls on_start again in each transaction. If that gives rows other values "
          .. "each time, such as random ones or the time, they change here, but not in a run, "
          .. "which calls it once."
        or "prepare is called again when a column of the base query changes. Leave out columns "
          .. "that the script does not need, and values that depend on the time, such as now().",
    }
  elseif page.count == 1 or self.rounds <= MOST_ROUNDS then
    return true
  end
  self.rounds = 0
  return false
end

--- Lets the script prepare the rows of the page that was looked at.
function Preparation:work(run)
  repeat
    local ready = self.known:call(self.def.prepare, run, self.most)
    self.most = self.most * GROWTH
  until ready == self.known.count
end

--- A page is migrated, or has no row any more.
function Preparation:passed()
  self.rounds = 0
  self.known:passed()
end

-- -- others ----------------------------------------------------------------------------------

--- What the function that `world:between` was given does.
-- @param read function(name) that returns what `luamig.mock.views` needs of a table, or nil
-- @param names of the tables, for messages
-- @return map from names of tables to differences of `luamig.mock.views`, and what was opened
function preparation.play(others, read, names)
  others.calls = others.calls + 1
  local tables, opened = views.open(read, names)
  others.act(tables, others.calls)
  local differences = {}
  for name, view in next, opened do
    differences[name] = views.difference(view)
  end
  return differences, opened
end

return preparation
