--- What an SQLSTATE of the server means for a run.
--
-- One table for the program, which makes C of it (CMakeLists.txt, src/pg/conn/sqlstate.c), and for
-- the mock. Codes and classes are those of appendix A of PostgreSQL's manual.
-- Promises: no function here raises.

local sqlstates = {}

-- A code outweighs its class. One entry a line, since CMake reads them, too.
local MEANINGS = {
  -- "lost": the session is over, whatever the socket says. luamig connects again.
  { "08", "lost" },
  { "25P03", "lost" },
  { "25P04", "lost" },
  { "57P01", "lost" },
  { "57P02", "lost" },
  { "57P03", "lost" },
  { "57P05", "lost" },
  -- "conflict": another transaction was in the way. The batch is tried again.
  { "40001", "conflict" },
  { "40P01", "conflict" },
  -- "timeout": it took too long, or waited too long for a lock. Tried again with fewer rows.
  { "55P03", "timeout" },
  { "57014", "timeout" },
  -- "stale": the prepared statements are out of date. Tried again with new ones. A table that gets
  -- another shape under a prepared statement has no code of its own, and a message that is
  -- translated: 0A000.
  { "0A000", "stale" },
  { "26000", "stale" },
  { "42P05", "stale" },
  -- "shortage": the server lacks memory, disk space or connections. The run waits.
  { "53", "shortage" },
  -- Likewise a service that the script needs: run.retry raises it.
  { "LM011", "shortage" },
  -- "row": it lies in a row, or in what the script makes of it. A savepoint can catch it, and the
  -- row can be recorded as a failed row.
  { "22", "row" },
  { "23", "row" },
  { "P0001", "row" },
  -- "page": it lies in a row if the base query raises it. The server's own trouble with what it has
  -- stored (XX) is among them.
  { "21", "page" },
  { "2F", "page" },
  { "38", "page" },
  { "39", "page" },
  { "54", "page" },
  { "P0", "page" },
  { "XX", "page" },
}

local meaning_of = {}
for _, entry in ipairs(MEANINGS) do
  meaning_of[entry[1]] = entry[2]
end

--- The word for what an SQLSTATE means; nil when it means nothing in particular, or there is none.
function sqlstates.meaning(state)
  return state and (meaning_of[state] or meaning_of[state:sub(1, 2)])
end

return sqlstates
