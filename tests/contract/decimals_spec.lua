--- Decimals: what a script works out is what numeric works out.

local contract = dofile "tests/contract/contract.lua"

-- Each is worked out by the script and by the server, whose answer is the stub's.
local SUMS = {
  { "0.1", "+", "0.2", "0.3" }, { "1.50", "+", "2", "3.50" }, { "-1.5", "+", "1.50", "0.00" },
  { "0.05", "-", "0.1", "-0.05" }, { "10", "-", "10.00", "0.00" }, { "2", "-", "-3.5", "5.5" },
  { "1.10", "*", "1.10", "1.2100" }, { "-2", "*", "0.0", "0.0" }, { "-3", "*", "-0.5", "1.5" },
  { "999999999999999999", "+", "1", "1000000000000000000" },
  { "99999999999999999999.99", "+", "0.01", "100000000000000000000.00" },
  { "100000000000000000000", "-", "0.01", "99999999999999999999.99" },
  { "-99999999999999999999", "-", "1", "-100000000000000000000" },
  { "12345678901234567890", "*", "98765432109876543210",
    "1219326311370217952237463801111263526900" },
  { "0.000000000000000001", "*", "0.000000000000000001",
    "0.000000000000000000000000000000000001" },
  { "10000000", "*", "10000000.0", "100000000000000.0" },
  { "123456789.123456789", "-", "123456789.123456789", "0.000000000" },
  { "NaN", "+", "1", "NaN" }, { "1", "*", "NaN", "NaN" }, { "Infinity", "-", "Infinity", "NaN" },
  { "Infinity", "+", "1", "Infinity" }, { "1", "-", "Infinity", "-Infinity" },
  { "-Infinity", "+", "1", "-Infinity" }, { "1", "+", "NaN", "NaN" }, { "NaN", "-", "NaN", "NaN" },
  { "1", "+", "Infinity", "Infinity" }, { "-Infinity", "*", "-1", "Infinity" },
  { "Infinity", "*", "-2", "-Infinity" }, { "0", "*", "Infinity", "NaN" },
}

local ORDERED = {
  { "1.50", "1.5", 0 }, { "0", "-0.0", 0 }, { "2", "10", -1 }, { "-2", "-10", 1 },
  { "-1", "1", -1 }, { "0.1", "0.09", 1 }, { "-0.1", "0", -1 }, { "100", "99.999", 1 },
  { "12345678901234567890.1", "12345678901234567890.10", 0 },
  { "12345678901234567890.1", "12345678901234567890.11", -1 },
  { "1", "Infinity", -1 }, { "1", "NaN", -1 }, { "1", "-Infinity", 1 }, { "NaN", "1", 1 },
  { "NaN", "NaN", 0 }, { "NaN", "Infinity", 1 }, { "Infinity", "1", 1 }, { "-Infinity", "-1", -1 },
  { "Infinity", "Infinity", 0 }, { "-Infinity", "NaN", -1 },
}

local WRITTEN = {
  { "007.50", "7.50" }, { "+5", "5" }, { ".5", "0.5" }, { "5.", "5" }, { "-0.00", "0.00" },
  { "1e3", "1000" }, { "1.5E-3", "0.0015" }, { "120e-1", "12.0" }, { "0e5", "0" }, { " 5 ", "5" },
  { "nan", "NaN" }, { "-inf", "-Infinity" }, { "1.250e1", "12.50" },
}

-- What a method says, and SQL for the same.
local ROUNDED = {
  { "a'2.5':round()", "round(2.5)", "3" }, { "a'-2.5':round()", "round(-2.5)", "-3" },
  { "a'1250':round(-2)", "round(1250, -2)", "1300" }, { "a'49':round(-2)", "round(49, -2)", "0" },
  { "a'12':round(-5)", "round(12, -5)", "0" }, { "a'1.5':round(3)", "round(1.5, 3)", "1.500" },
  { "a'99.996':round(2)", "round(99.996, 2)", "100.00" },
  { "a'-0.004':round(2)", "round(-0.004, 2)", "0.00" },
  { "a'99.99':round(1, 'down')", "trunc(99.99, 1)", "99.9" },
  { "a'-99.99':round(0, 'down')", "trunc(-99.99)", "-99" },
  { "a'-1.5':floor()", "floor(-1.5)", "-2" }, { "a'1.5':floor()", "floor(1.5)", "1" },
  { "a'-1.5':ceil()", "ceil(-1.5)", "-1" }, { "a'1.01':ceil()", "ceil(1.01)", "2" },
  { "a'2.00':ceil()", "ceil(2.00)", "2" }, { "a'7':div(3, 2)", "round(7.0 / 3, 2)", "2.33" },
  { "a'-7':div(2, 0)", "round(-7.0 / 2)", "-4" }, { "a'1':div(8, 2)", "round(1.0 / 8, 2)", "0.13" },
  { "a'100':div(a'0.25', 1)", "round(100 / 0.25, 1)", "400.0" },
  { "a'12345678901234567890123':div(a'1234567890124', 3)",
    "round(12345678901234567890123 / 1234567890124, 3)", "9999999999.996" },
  { "a'NaN':round(1)", "round('NaN'::numeric, 1)", "NaN" },
  { "a'NaN':div(0, 1)", "'NaN'::numeric / 0", "NaN" },
  { "a'-Infinity':floor()", "floor('-Infinity'::numeric)", "-Infinity" },
  { "a'Infinity':div(-2, 1)", "'Infinity'::numeric / -2", "-Infinity" },
}

local function said_of(expression, sql, wanted)
  local world = contract.numbers(1)
  world:stub(sql, { rows = { { x = wanted } } })
  contract.ended("done", contract.run(world, ([[
    repo:one(%q)
    local a = luamig.decimal
    run.log(tostring(%s))]]):format(sql, expression)))
  return contract.said(world)
end

describe("a decimal", function()
  teardown(contract.clean)

  for _, case in ipairs(SUMS) do
    local a, operator, b, wanted = table.unpack(case)
    it(contract.of_numeric(("%s %s %s is %s"):format(a, operator, b, wanted)), function()
      assert.equal(wanted, said_of(("a'%s' %s a'%s'"):format(a, operator, b),
        ("SELECT ('%s'::numeric %s '%s'::numeric)::text AS x"):format(a, operator, b), wanted))
    end)
  end

  for _, case in ipairs(ROUNDED) do
    local expression, sql, wanted = table.unpack(case)
    it(contract.of_numeric(("%s is %s"):format(expression, wanted)), function()
      assert.equal(wanted, said_of(expression, ("SELECT (%s)::text AS x"):format(sql), wanted))
    end)
  end

  for _, case in ipairs(ORDERED) do
    local a, b, order = table.unpack(case)
    it(contract.of_numeric(("%s stands to %s as %d to 0"):format(a, b, order)), function()
      local wanted = ("%s %s %s"):format(order < 0, order <= 0, order == 0)
      local sql = ([[SELECT concat_ws(' ', (a < b)::text, (a <= b)::text, (a = b)::text) AS x
        FROM (VALUES ('%s'::numeric, '%s'::numeric)) AS v (a, b)]]):format(a, b)
      assert.equal(wanted, said_of(
        ("('%%s %%s %%s'):format(a'%s' < a'%s', a'%s' <= a'%s', a'%s' == a'%s')"):format(a, b, a, b,
        a, b), sql, wanted))
      assert.equal(tostring(order), said_of(("a'%s':compare(a'%s')"):format(a, b), sql, wanted))
    end)
  end

  for _, case in ipairs(WRITTEN) do
    it(contract.of_numeric(("may be written %s, and reads %s"):format(case[1], case[2])), function()
      assert.equal(case[2], said_of(("a'%s'"):format(case[1]),
        ("SELECT '%s'::numeric::text AS x"):format(case[1]), case[2]))
    end)
  end

  it("goes with integers, and changes its sign", function()
    local world = contract.numbers(1)
    contract.ended("done", contract.run(world, [[
      local d = luamig.decimal
      for _, item in ipairs { d "1.5" + 2, 2 - d "0.5", 3 * d "1.10", -d "1.50", -d "0", -d "-inf",
        d(7), d(0.1), d(1e23), d "1.50":equals(1), d "2.00":equals(2), d "1.5" < 2, 2 <= d "2.0",
        d "2.00":tointeger() or "none", d "2.50":tointeger() or "none", d "-7":tointeger(),
        d "9223372036854775808":tointeger() or "none", d "2.50":tonumber(), d "3":tonumber(),
        d "NaN" == d "NaN", "x" .. d "1.0",
        -d "nan", -d "inf", d "inf":tonumber(), d(0) * -1, d "-5" + 5 } do
        run.log(tostring(item))
      end]]))
    assert.equal("3.5 1.5 3.30 -1.50 0 Infinity 7 0.1 100000000000000000000000 false true true "
      .. "true 2 none -7 none 2.5 3.0 true x1.0 NaN -Infinity inf 0 0", contract.said(world))
  end)

  it("is read from a column with its digits", function()
    local world = contract.world({ q = "numeric", p = "numeric(6,2)" },
      { { id = 1, q = "1.500", p = "1.5" } })
    contract.ended("done", contract.run(world, [[
      local row = rows[1]
      run.log(tostring(row.q) .. " " .. tostring(row.p) .. " " .. tostring(row.q * row.p))
      repo:update("t", { id = 1 }, { q = row.q * row.p, p = row.q * row.p })]]))
    assert.equal("1.500 1.50 2.25000", contract.said(world))
    assert.equal("2.25000 2.25", tostring(world:rows("t")[1].q) .. " "
      .. tostring(world:rows("t")[1].p))
  end)

  for _, case in ipairs {
    { "a'1' / 2", "a decimal cannot be divided without rounding" },
    { "a'1' // 2", "a decimal cannot be divided without rounding" },
    { "a'1' % 2", "a decimal cannot be divided without rounding" },
    { "a'2' ^ 2", "a decimal cannot be raised to a power without rounding" },
    { "a'1' + 0.5", "a decimal and a float cannot be mixed exactly" },
    { "a'1' < '2'", 'a decimal can be combined with decimals and integers, not with "2"' },
    { "a'one'", '"one" is not a decimal number' }, { "a''", '"" is not a decimal number' },
    { "a'.'", '"." is not a decimal number' }, { "a'1e'", '"1e" is not a decimal number' },
    { "a{}", "luamig.decimal takes a string of digits or a number, not a table" },
    { "a'1':root()", 'a decimal has no method "root"' }, { "a'1':div(0, 2)", "division by zero" },
    { "a'inf':div(0, 2)", "division by zero" }, { "a'1':div(0.5, 2)", "cannot be mixed exactly" },
    { "a'1':div(3)", "the number of digits after the point is an integer from 0 to 16383, not" },
    { "a'1':round(2, 'bankers')",
      'a decimal is rounded "half_up", "half_even", "down" or "up", not "bankers"' },
    { "a'1e131072'", "is out of the range of numeric" },
  } do
    it("refuses " .. case[1], function()
      contract.failed(contract.run(contract.numbers(1),
        ("local a = luamig.decimal return %s"):format(case[1])), nil, case[2])
    end)
  end
end)
