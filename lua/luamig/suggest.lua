--- Finds the known name that somebody probably meant.
--
-- Promises: the same answer for the same input, whatever the order of the candidates.
-- Refuses to guess: when nothing is near, the answer is nil.

local suggest = {}

--- Number of insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
local function distance(a, b)
  local before, last = nil, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, last = last, row
  end
  return last[#b]
end

--- The candidate nearest to `name`, or nil. Letter case does not count as a difference.
-- One edit is allowed for every three letters, three at most.
-- @param name string
-- @param candidates list of strings
function suggest.nearest(name, candidates)
  local allowed = math.max(1, math.min(3, #name // 3))
  local best, best_distance
  for _, candidate in ipairs(candidates) do
    if math.abs(#candidate - #name) <= allowed then
      local d = distance(name:lower(), candidate:lower())
      local better = not best or d < best_distance or (d == best_distance and candidate < best)
      if d <= allowed and d < #name and better then
        best, best_distance = candidate, d
      end
    end
  end
  return best
end

--- A sentence for the hint of an error: `Did you mean "x"?`, or nil.
function suggest.hint(name, candidates)
  local near = suggest.nearest(name, candidates)
  return near and ('Did you mean "%s"?'):format(near)
end

--- The same in brackets, to be appended to a message that has no hint: ` (did you mean "x"?)`,
-- or the empty string.
function suggest.suffix(name, candidates)
  local near = suggest.nearest(name, candidates)
  return near and (' (did you mean "%s"?)'):format(near) or ""
end

return suggest
