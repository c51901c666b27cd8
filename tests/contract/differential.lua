--- Random scripts on random tables: what a world makes of them.
--
--   local case = differential.make(seed)
--   differential.snapshot(differential.play(mock, case, path)) -- a text, the same in every world
--
-- Promises: the same seed makes the same case. Most statements succeed, some fail; what a script
-- learns it writes into the table `out`, since what it logs in a failed attempt may be logged
-- again.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local differential = {}

local Dice = {}
Dice.__index = Dice

--- A source of chance of its own: nobody else's use of math.random changes a case.
local function new_dice(seed)
  return setmetatable({ state = (seed * 2654435761 + 97) & 0xffffffff }, Dice)
end

function Dice:roll(low, high)
  self.state = (self.state * 6364136223846793005 + 1442695040888963407)
  return low + (self.state >> 33) % (high - low + 1)
end

function Dice:chance(percent)
  return self:roll(1, 100) <= percent
end

function Dice:pick(list)
  return list[self:roll(1, #list)]
end

-- Columns of t: type, Lua texts of good values, of bad ones.
local COLUMNS = {
  n = { "int4", { "0", "7", "-3", "row.n", "(row.n or 0) + 1" }, { "1 << 40", "1.5", "'7'" } },
  s = { "text", { "'x'", "''", "'é'", "row.s", "(row.s or '') .. 'a'" }, { "5", [["\255"]] } },
  q = { "numeric(6,2)", { "'1.005'", "2", "0.1", "row.q" }, { "'12345'", "'x'" } },
  v = { "varchar(4)", { "'abc'", "'abcd  '", "row.v" }, { "'abcde'" } },
  c = { "char(3)", { "'a'", "'abc'", "row.c" }, { "'abcd'" } },
  b = { "bool", { "true", "false", "row.b" }, { "1" } },
  f = { "float4", { "0.1", "1 / 3", "2", "row.f" }, { "16777217" } },
  d = { "date", { "'2024-02-29'", "'infinity'", "row.d" }, { "'2023-02-29'" } },
  z = { "timestamptz", { "'2024-01-31 12:00:00+02'", "row.z" }, { "'2024-13-01'" } },
  j = { "jsonb", { "{ a = { 1, 2.5 } }", "'x'", "luamig.json.null", "row.j" }, { "{}" } },
  a = { "int4[]", { "{ 1, luamig.NULL }", "{}", "row.a" }, { "{ 'x' }" } },
}
local NAMES = { "a", "b", "c", "d", "f", "j", "n", "q", "s", "v", "z" }

-- Changes of t that are computed from the row: good ones, bad ones.
local SUMS = {
  { "n = luamig.add(3)", "n = luamig.add(-7)", "q = luamig.add(luamig.decimal '0.125')",
    "q = luamig.add(1)", "f = luamig.add(0.1)" },
  { "s = luamig.add(1)", "n = luamig.add(1.5)", "n = luamig.add((1 << 31) - 5)",
    "q = luamig.add(9990)", "d = luamig.add(1)" },
}
local COPIES = {
  { { "n", "q" }, { "n", "f" }, { "n", "s" }, { "q", "n" }, { "q", "s" }, { "f", "n" },
    { "s", "v" }, { "v", "s" }, { "c", "s" }, { "v", "c" }, { "c", "v" }, { "b", "s" },
    { "d", "s" }, { "z", "s" }, { "n", "v" } },
  { { "s", "n" }, { "b", "n" }, { "n", "b" }, { "v", "q" }, { "x", "n" } },
}

local KEYS = {
  { "int8", function(dice) return dice:roll(-50, 1000) end },
  { "text", function(dice)
    return dice:pick { "a", "B", "é", "10", "9", "" } .. dice:roll(1, 99)
  end },
  { "numeric", function(dice)
    return luamig.decimal(("%d.%d"):format(dice:roll(-9, 99), dice:roll(0, 99)))
  end },
  { "uuid", function(dice)
    return ("%08x-0000-4000-8000-%012x"):format(dice:roll(0, 1 << 31), dice:roll(0, 99))
  end },
  { "date", function(dice)
    return ("20%02d-%02d-%02d"):format(dice:roll(0, 99), dice:roll(1, 12), dice:roll(1, 28))
  end },
}

local function keyed_rows(dice, make_key, count)
  local rows, seen = {}, {}
  for _ = 1, count do
    local key = make_key(dice)
    local shown = tonumber(tostring(key)) or key -- 86.6 is 86.60
    if not seen[shown] then
      seen[shown] = true
      rows[#rows + 1] = { id = key, n = dice:chance(80) and dice:roll(0, 9) or nil,
        s = dice:chance(70) and "s" .. dice:roll(1, 3) or nil }
    end
  end
  return rows
end

local function make_tables(dice)
  local key_type, make_key = table.unpack(dice:pick(KEYS))
  local columns = { id = key_type }
  for name, column in pairs(COLUMNS) do
    columns[name] = column[1]
  end
  local others, kids = {}, {}
  for id = 1, 6 do
    others[id] = { id = id, u = dice:chance(80) and id * 10 or nil, n = dice:roll(0, 9) }
    kids[id] = { id = id, parent = dice:chance(70) and dice:roll(1, 6) or nil }
  end
  return {
    t = { columns = columns, primary_key = { "id" },
      rows = keyed_rows(dice, make_key, dice:roll(0, 9)) },
    others = { columns = { id = "int8", u = "int4", n = "int4" }, primary_key = { "id" },
      unique = { { "u" } }, not_null = { "n" }, defaults = { n = 5 }, rows = others,
      checks = { others_n_check = { sql = "n < 50",
        holds = function(row) return row.n == nil or row.n < 50 end } } },
    kids = { columns = { id = "int8", parent = "int8" }, primary_key = { "id" }, rows = kids,
      foreign_keys = { { columns = { "parent" }, references = "others",
        on_delete = dice:pick { "cascade", "set null", "restrict" } } } },
    out = { columns = { batch = "int4", nr = "int4", what = "text" },
      primary_key = { "batch", "nr" } },
  }
end

-- -- statements ----------------------------------------------------------------------------

--- `{ n = 7, s = luamig.NULL }` for some columns of t; bad values as often as `luck` allows.
local function changes_of_t(dice, luck)
  local shown, used = {}, {}
  for _ = 1, dice:roll(1, 3) do
    local name = dice:pick(NAMES)
    if not used[name] then
      used[name] = true
      local column = COLUMNS[name]
      local value = dice:chance(luck) and dice:pick(column[2]) or dice:pick(column[3])
      shown[#shown + 1] = ("%s = luamig.or_null(%s)"):format(name,
        dice:chance(10) and "nil" or value)
    end
  end
  return "{ " .. table.concat(shown, ", ") .. " }"
end

local function of_luck(dice, luck, lists)
  return dice:pick(dice:chance(luck) and lists[1] or lists[2])
end

local function id_of(dice, luck)
  return dice:chance(luck) and dice:roll(1, 6) or dice:roll(7, 12)
end

local STATEMENTS = {
  function(dice, luck)
    return ('repo:update("t", { id = row.id }, %s)'):format(changes_of_t(dice, luck))
  end,
  function(dice, luck)
    return ('repo:update("others", { id = %d }, { %s = %d }%s)'):format(id_of(dice, luck),
      dice:pick { "n", "u" }, dice:chance(luck) and dice:roll(11, 49) or dice:roll(1, 9) * 10,
      dice:chance(30) and ', { missing = "ignore" }' or "")
  end,
  function(dice)
    return ('repo:insert("others", { id = %d, u = %s }%s)'):format(dice:roll(1, 30),
      dice:pick { "luamig.NULL", tostring(dice:roll(1, 99)) }, dice:pick { "", "",
      ', { on_conflict = "nothing" }',
      ', { on_conflict = { columns = { "id" }, update = { "u" } } }',
      ', { on_conflict = { columns = { "id" }, update = { "u" }, add = { "n" } } }',
      ', { on_conflict = { columns = { "id" }, where = "u > 0", update = { "u" } } }' })
  end,
  function(dice, luck)
    return ('repo:delete("others", { id = %d }%s)'):format(id_of(dice, luck),
      dice:chance(50) and ', { missing = "ignore" }' or "")
  end,
  function(dice)
    return ('repo:update("kids", { id = %d }, { parent = %d }, { missing = "ignore" })'):format(
      dice:roll(1, 6), dice:roll(1, 7))
  end,
  function(dice, luck)
    local copy = of_luck(dice, luck, COPIES)
    return ('repo:update("t", { id = row.id }, { %s = luamig.column "%s" })'):format(copy[2],
      copy[1])
  end,
  function(dice, luck)
    return ('repo:update("t", { id = row.id }, { %s, j = luamig.column "j" })'):format(
      of_luck(dice, luck, SUMS))
  end,
  function(dice, luck)
    return ('repo:update_all("others", { n = luamig.add(%d), u = luamig.column "u" }, { n = %d })')
      :format(dice:chance(luck) and dice:roll(-3, 3) or dice:roll(40, 50), dice:roll(0, 9))
  end,
  function(dice)
    return ('repo:update_all("t", { n = %d }, { s = %s })'):format(dice:roll(0, 9),
      dice:pick { '"s1"', '"x"', "luamig.NULL" })
  end,
  function(dice)
    return ('repo:delete_all("kids", { parent = %s })'):format(
      dice:pick { "luamig.NULL", tostring(dice:roll(1, 6)) })
  end,
  function(dice)
    return ('repo:insert_all("kids", { { id = %d }, { id = %d, parent = %d } }%s)'):format(
      dice:roll(7, 30), dice:roll(7, 30), dice:roll(1, 6),
      dice:pick { "", ', { on_conflict = "nothing" }' })
  end,
}

local READS = {
  function(dice)
    return ('do local one = repo:insert("others", { id = %d, u = %s }, '
      .. '{ returning = { "u", "n" }%s }) '
      .. 'say("returned", one.row and one.row.u, one.row and one.row.n, one.affected) end'):format(
      dice:roll(1, 30), dice:pick { "luamig.NULL", tostring(dice:roll(1, 99)) },
      dice:pick { "", ', on_conflict = "nothing"',
        ', on_conflict = { columns = { "id" }, update = { "u" } }' })
  end,
  function(dice, luck)
    return ('do local one = repo:get("others", { id = %d }) say("get", one and one.u) end'):format(
      id_of(dice, luck))
  end,
  function(dice)
    return ('say(ids(repo:select("kids", { parent = %s }, { columns = { "id" } })))'):format(
      dice:pick { "luamig.NULL", tostring(dice:roll(1, 6)) })
  end,
}

-- Of scripts that read another database: what is asked there, and what it answers.
local SOURCE_READS = {
  [[say("source", run.source:scalar "SELECT count(*) FROM t")]],
  [[run.source:scalar "SELECT 1 / 0"]],
}
local SOURCE_STUBS = {
  ["SELECT count(*) FROM t"] = function(_, tables) return { { count = #tables.t } } end,
  ["SELECT 1 / 0"] = { error = { sqlstate = "22012", message = "division by zero" } },
}

local make_block

local function add_statement(dice, lines, indent, depth, luck)
  local kind = dice:roll(1, 100)
  if kind <= 18 and depth < 3 then
    lines[#lines + 1] = indent .. "do local ok, err = repo:savepoint(function()"
    make_block(dice, lines, indent .. "  ", depth + 1, luck - 12)
    lines[#lines + 1] = indent .. "end) say(ok, not ok and (err.sqlstate or \"lua\")) end"
  elseif kind <= 28 then
    lines[#lines + 1] = indent .. dice:pick(READS)(dice, luck)
  elseif kind == 29 and dice.has_source then
    lines[#lines + 1] = indent .. dice:pick(SOURCE_READS)
  elseif kind <= 32 then
    lines[#lines + 1] = ('%sif (row.n or 0) > %d then error { message = "too many" } end'):format(
      indent, depth > 0 and dice:roll(0, 9) or dice:roll(8, 12))
  else
    local statement = dice:pick(STATEMENTS)(dice, luck)
    lines[#lines + 1] = indent .. (dice:chance(25) and ("say((%s).affected)"):format(statement)
      or statement)
  end
end

function make_block(dice, lines, indent, depth, luck)
  for _ = 1, dice:roll(1, depth == 0 and 4 or 3) do
    add_statement(dice, lines, indent, depth, luck)
  end
end

--- The body of migrate. Outside of savepoints nearly everything succeeds.
local function make_body(dice)
  local lines = {
    "local nr = 0",
    "local function say(...)",
    "  local words = table.pack(...)",
    "  for i = 1, words.n do words[i] = tostring(words[i]) end",
    "  nr = nr + 1",
    '  repo:insert("out", { batch = run.batch, nr = nr, what = table.concat(words, " ") })',
    "end",
    "local function ids(found)",
    "  local list = {}",
    "  for i, row in ipairs(found) do list[i] = row.id end",
    "  table.sort(list)",
    '  return "select " .. table.concat(list, ",")',
    "end",
    "for _, row in ipairs(rows) do",
    "  say(tostring(row.id), row.n, row.s)",
  }
  if dice.has_source then
    lines[#lines + 1] = "  " .. SOURCE_READS[1]
  end
  local is_guarded = dice:chance(85)
  if is_guarded then
    lines[#lines + 1] = "  local ok, err = repo:savepoint(function()"
    make_block(dice, lines, "    ", 1, 97)
    lines[#lines + 1] = '  end) say(ok, not ok and (err.sqlstate or "lua"))'
  else
    make_block(dice, lines, "  ", 0, 98)
  end
  lines[#lines + 1] = "end"
  return table.concat(lines, "\n")
end

-- -- prepare ---------------------------------------------------------------------------------

local PREPARE = [[
  prepare = function(rows)
    local results = {}
    for _, row in ipairs(rows) do
      results[row.id] = ("%s %s"):format(row.n, row.s)
    end
    return results
  end,]]

--- What others do to t while its rows are prepared, so many times: to its nth row by its key as
-- text, since a world gives rows in no order.
local function make_others(dice)
  local place, times, removes = dice:roll(1, 5), dice:roll(0, 8), dice:chance(30)
  return function(tables, n)
    local rows = tables.t
    table.sort(rows, function(a, b) return tostring(a.id) < tostring(b.id) end)
    if n <= times and rows[place] and removes then
      table.remove(rows, place)
    elseif n <= times and rows[place] then
      rows[place].n = 50 + n
    end
  end
end

local function add_prepare(dice, case)
  case.more, case.others = PREPARE, make_others(dice)
  case.body = case.body:gsub("\nfor _, row in ipairs%(rows%) do\n",
    '%0  say("prepared", run.prepared[row.id])\n', 1)
end

--- The rows come from a file, which says what t was like at first.
local function add_input(case)
  local columns = {}
  for name, type_name in pairs(case.tables.t.columns) do
    columns[#columns + 1] = ("%s = %q"):format(name, type_name)
  end
  table.sort(columns)
  case.input = ('input = { format = "jsonl", columns = { %s } }'):format(
    table.concat(columns, ", "))
  for _, opts in ipairs(case.runs) do
    opts.input = case.tables.t.rows
  end
end

-- -- cases -----------------------------------------------------------------------------------

--- Makes a case: tables, base, body and config of a script, and how it is run.
function differential.make(seed)
  local dice = new_dice(seed)
  local case = { seed = seed, tables = make_tables(dice), base = { from = "t" }, runs = {} }
  case.config = dice:chance(25) and 'on_error = "quarantine", ' or ""
  dice.has_source = dice:chance(15)
  if dice.has_source then
    case.config, case.source = case.config .. 'source = "other"', { t = case.tables.t }
  end
  case.body = make_body(dice)
  for _ = 1, dice:roll(0, 2) do
    local opts = { batch_size = dice:roll(1, 5) }
    if dice:chance(60) then
      opts.kill = { batch = dice:roll(1, 4), call = dice:chance(70) and dice:roll(1, 6) or nil }
    else
      opts.limit = dice:roll(1, 5)
    end
    case.runs[#case.runs + 1] = opts
  end
  if dice:chance(20) then
    case.fault = { on = dice:pick { "update", "insert", "commit" }, sqlstate = "40001" }
  end
  case.runs[#case.runs + 1] = { batch_size = dice:roll(1, 10) }
  if dice:chance(25) then
    add_prepare(dice, case)
  elseif dice:chance(15) and not case.source then
    add_input(case)
  end
  return case
end

--- Runs the script of a case in a new world of `mock`.
-- @return the world, and a list of how the runs ended
function differential.play(mock, case)
  local world = mock.new { tables = case.tables, base = case.base, source = case.source }
  local path = contract.script(case.body, {
    config = case.config, more = case.more, input = case.input,
  })
  local ends = {}
  if case.others then
    world:between(case.others)
  end
  if case.fault then
    world:fail(case.fault)
  end
  for sql, answer in pairs(case.source and SOURCE_STUBS or {}) do
    world.source:stub(sql, answer)
  end
  for i, opts in ipairs(case.runs) do
    local ok, result = pcall(world.run, world, path, opts)
    -- A kill, a fault or a statement that the run never came to is no mistake here.
    ends[i] = ok and ("%s %s rows=%d batches=%d failures=%d"):format(result.state,
      result.error and (result.error.sqlstate or "lua") or "-", result.rows, result.batches,
      result.failures) or tostring(result):match "did not reach"
      or tostring(result):match "used the stub 0 of" or error(result, 0)
  end
  return world, ends
end

--- All that a world holds, and how runs ended, as text: one line for each row.
function differential.snapshot(world, ends)
  local lines = table.move(ends, 1, #ends, 1, {})
  for _, name in ipairs { "t", "others", "kids", "out" } do
    for _, row in ipairs(world:rows(name)) do
      local shown = {}
      for _, column in ipairs { "id", "batch", "nr", "parent", "u", "what", table.unpack(NAMES) } do
        if rawget(row, column) ~= nil then
          shown[#shown + 1] = column .. "=" .. contract.show(row[column])
        end
      end
      lines[#lines + 1] = name .. ": " .. table.concat(shown, ", ")
    end
  end
  return table.concat(lines, "\n")
end

differential.clean = contract.clean

return differential
