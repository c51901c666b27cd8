--- Generated scripts end in the same way in every world. Where `luamig.mock` is the mock itself,
-- each is held against another way of running it that must make no difference.
--
-- LUAMIG_TEST_SEED repeats a run, LUAMIG_TEST_SCRIPTS says how many scripts there are (1000).

local differential = dofile "tests/contract/differential.lua"
local mock = require "luamig.mock"

local COUNT = tonumber(os.getenv "LUAMIG_TEST_SCRIPTS") or 1000
local SEED = tonumber(os.getenv "LUAMIG_TEST_SEED") or os.time() % 1000000 * 1000

--- The first line in which two texts differ, of each.
local function first_difference(a, b)
  local left, right = a:gmatch "[^\n]+", b:gmatch "[^\n]+"
  while true do
    local one, other = left(), right()
    if one ~= other then
      return ("%s\n  %s"):format(one or "(nothing)", other or "(nothing)")
    end
  end
end

local function compare(seed, mocks)
  local case = differential.make(seed)
  local texts = {}
  for i = 1, 2 do
    texts[i] = differential.snapshot(differential.play(mocks[i], case))
      :gsub("%f[%d]23001%f[%D]", "23503") -- of ON DELETE RESTRICT, since PostgreSQL 18
  end
  if texts[1] ~= texts[2] then
    return ("LUAMIG_TEST_SEED=%d LUAMIG_TEST_SCRIPTS=1: the mock, and the server\n  %s\n%s"):format(
      seed, first_difference(texts[1], texts[2]), case.body)
  end
end

describe("generated scripts #versions", function()
  teardown(differential.clean)

  it(("end in the same way, seeds %d to %d"):format(SEED, SEED + COUNT - 1), function()
    local differences = {}
    for seed = SEED, SEED + COUNT - 1 do
      differences[#differences + 1] = compare(seed, { mock.pure, mock })
      if #differences == 5 then
        break
      end
    end
    if #differences > 0 then
      error(table.concat(differences, "\n\n"), 0)
    end
  end)
end)
