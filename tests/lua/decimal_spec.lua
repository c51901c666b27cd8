local luamig = require "luamig"
local support = dofile "tests/lua/support.lua"

local decimal = luamig.decimal

--- A second, plain arithmetic: texts of digits, one digit at a time.
local slow = {}

--- Sign (1 or -1), digits and scale of a text.
local function split(shown)
  local sign, whole, fraction = shown:match "^(-?)(%d+)%.?(%d*)$"
  return sign == "-" and -1 or 1, whole .. fraction, #fraction
end

local function join(sign, digits, scale)
  digits = ("0"):rep(scale + 1 - #digits) .. digits
  local whole = digits:sub(1, #digits - scale):gsub("^0+(%d)", "%1")
  local shown = scale > 0 and whole .. "." .. digits:sub(-scale) or whole
  return sign < 0 and shown:find "[1-9]" and "-" .. shown or shown
end

local function pad(a, b)
  local width = math.max(#a, #b)
  return ("0"):rep(width - #a) .. a, ("0"):rep(width - #b) .. b
end

local function sum(a, b, factor)
  a, b = pad(a, b)
  local digits, carry = {}, 0
  for i = #a, 1, -1 do
    local digit = a:byte(i) - 48 + factor * (b:byte(i) - 48) + carry
    carry = digit // 10
    table.insert(digits, 1, digit % 10)
  end
  return (carry > 0 and carry or "") .. table.concat(digits)
end

function slow.add(a, b)
  local sign_a, digits_a, scale_a = split(a)
  local sign_b, digits_b, scale_b = split(b)
  local scale = math.max(scale_a, scale_b)
  digits_a = digits_a .. ("0"):rep(scale - scale_a)
  digits_b = digits_b .. ("0"):rep(scale - scale_b)
  local x, y = pad(digits_a, digits_b)
  if sign_a == sign_b then
    return join(sign_a, sum(x, y, 1), scale)
  elseif x >= y then
    return join(sign_a, sum(x, y, -1), scale)
  end
  return join(sign_b, sum(y, x, -1), scale)
end

function slow.multiply(a, b)
  local sign_a, digits_a, scale_a = split(a)
  local sign_b, digits_b, scale_b = split(b)
  local total = "0"
  for i = 1, #digits_b do
    total = total .. "0"
    for _ = 1, digits_b:byte(i) - 48 do
      total = sum(total, digits_a, 1)
    end
  end
  return join(sign_a * sign_b, total, scale_a + scale_b)
end

local function random_text(longest)
  local function digits(count)
    local list = {}
    for i = 1, count do
      list[i] = math.random(4) == 1 and 0 or math.random(0, 9)
    end
    return table.concat(list)
  end
  local whole = digits(math.random(1, longest)):gsub("^0+(%d)", "%1")
  local fraction = digits(math.random(0, longest))
  local shown = fraction == "" and whole or whole .. "." .. fraction
  return math.random(2) == 1 and shown:find "[1-9]" and "-" .. shown or shown
end

describe("luamig.decimal", function()
  local written = {
    { "0", "0" }, { "-0.00", "0.00" }, { "-12.3400", "-12.3400" }, { "007.50", "7.50" },
    { "+1", "1" }, { ".5", "0.5" }, { "5.", "5" }, { "-.5", "-0.5" }, { " 1 ", "1" },
    { "1e3", "1000" }, { "1.50E1", "15.0" }, { "1.5e-3", "0.0015" }, { "-25e+2", "-2500" },
    { "1e400", "1" .. ("0"):rep(400) }, { "1e-20", "0." .. ("0"):rep(19) .. "1" },
    { "NaN", "NaN" }, { "nan", "NaN" }, { "Infinity", "Infinity" }, { "-inf", "-Infinity" },
    { "123456789012345678901234567890.12345", "123456789012345678901234567890.12345" },
    { "0e99", "0" }, { "0.0e1", "0" }, { "0e-3", "0.000" },
    { 7, "7" }, { math.mininteger, "-9223372036854775808" }, { 0.1, "0.1" }, { 1e22,
      "10000000000000000000000" }, { -2.50, "-2.5" }, { 0 / 0, "NaN" }, { math.huge, "Infinity" },
    { 5e-324, "0." .. ("0"):rep(323) .. "5" }, { 0.1 + 0.2, "0.30000000000000004" },
  }
  for _, case in ipairs(written) do
    it(("reads %s as numeric does"):format(case[1]), function()
      assert.equal(case[2], tostring(decimal(case[1])))
      assert.equal(case[2], tostring(decimal(decimal(case[1]))))
      assert.equal(case[2], tostring(decimal(case[2])))
    end)
  end

  for _, wrong in ipairs { "", " ", ".", "-", "1e", "e1", "1.2.3", "1,5", "0x10", "1_000", "--1",
    "1 2", "infinite", "NaN1", "12a" } do
    it(("refuses %q"):format(wrong), function()
      assert.matches("decimal_spec.lua:%d+: .* is not a decimal number$", support.raised(function()
        decimal(wrong)
      end))
    end)
  end

  it("refuses what numeric cannot hold", function()
    for _, wrong in ipairs { "1e131072", "1e99999999999999999999", "1e-16384", "-1e200000" } do
      assert.error_matches(function()
        decimal(wrong)
      end, "is out of the range of numeric$")
    end
    assert.equal(131072, #tostring(decimal "9e131071"))
    assert.error_matches(function()
      return decimal "1e-9000" * decimal "1e-9000"
    end, "the result is out of the range of numeric$")
  end)

  it("refuses other values", function()
    for _, wrong in ipairs { true, {}, luamig.NULL, print } do
      assert.error_matches(function()
        decimal(wrong)
      end, "luamig.decimal takes a string of digits or a number, not ")
    end
  end)

  local ways = {
    --            half_up, half_even, down, up
    { "2.5", 0, "3", "2", "2", "3" }, { "3.5", 0, "4", "4", "3", "4" },
    { "-2.5", 0, "-3", "-2", "-2", "-3" }, { "2.51", 0, "3", "3", "2", "3" },
    { "2.49", 0, "2", "2", "2", "3" }, { "0.4", 0, "0", "0", "0", "1" },
    { "-0.05", 1, "-0.1", "0.0", "0.0", "-0.1" }, { "9.995", 2, "10.00", "10.00", "9.99", "10.00" },
    { "150", -2, "200", "200", "100", "200" }, { "2.00", 1, "2.0", "2.0", "2.0", "2.0" },
    { "99999999999999999999.5", 0, "100000000000000000000", "100000000000000000000",
      "99999999999999999999", "100000000000000000000" },
  }
  for _, case in ipairs(ways) do
    it(("rounds %s to %d digits in four ways"):format(case[1], case[2]), function()
      for i, mode in ipairs { "half_up", "half_even", "down", "up" } do
        assert.equal(case[i + 2], tostring(decimal(case[1]):round(case[2], mode)))
      end
    end)
  end

  it("divides so that the quotient and the rest are the dividend", function()
    local function part(longest)
      local list = {}
      for i = 1, math.random(longest) do -- numbers at the edges of a long division's limbs
        list[i] = ({ "9999999", "0000000", "0000001", "5000000", "4999999", "123" })[math.random(6)]
      end
      return "1" .. table.concat(list)
    end
    for i = 1, 2000 do
      local long = i % 2 == 0
      local a = decimal(long and part(8) or random_text(40))
      local b = decimal(long and part(5) or random_text(30))
      local scale = math.random(0, 9)
      if not b:equals(0) then
        local rest = a - a:div(b, scale, "down") * b
        local unit = decimal("1e-" .. scale) * b
        assert(rest:equals(0) or (rest < 0) == (a < 0) and rest * rest < unit * unit,
          ("%s / %s"):format(a, b))
      end
    end
  end)

  it("keeps the scale in sums and products", function()
    local function shows(wanted, value)
      assert.equal(wanted, tostring(value))
    end
    shows("2.50", decimal "1.50" + 1)
    shows("2.50", 1 + decimal "1.50")
    shows("-0.50", 1 - decimal "1.50")
    shows("0.00", decimal "1.50" - decimal "1.5")
    shows("3.375", decimal "1.5" * decimal "2.25")
    shows("-3.0", decimal "1.5" * -2)
    shows("-1.50", -decimal "1.50")
    shows("0.0", -decimal "0.0")
    shows("19.99 EUR", decimal "19.99" .. " EUR")
    shows("NaN", decimal "NaN" + 1)
    shows("NaN", decimal "Infinity" - decimal "Infinity")
    shows("NaN", decimal "Infinity" * 0)
    shows("-Infinity", decimal "Infinity" * -1)
    shows("-Infinity", 1 - decimal "Infinity")
    shows("Infinity", -decimal "-Infinity")
  end)

  it("compares by value", function()
    assert.is_true(decimal "1.50" == decimal "1.5")
    assert.is_true(decimal "0.0" == decimal "-0")
    assert.is_false(decimal "1" == 1)
    assert.is_true(decimal("1.0"):equals(1))
    assert.is_false(decimal("1.1"):equals(1))
    assert.is_true(decimal "NaN" == decimal "NaN")
    assert.is_false(decimal "1" == luamig.NULL)
    local ascending = { decimal "-Infinity", decimal "-1e30", math.mininteger, -2, decimal "-1.9",
      0, decimal "0.001", decimal "0.01", 1, decimal "1.0000000000000000000000001", decimal "10",
      math.maxinteger, decimal "9223372036854775807.5", decimal "1e30", decimal "Infinity",
      decimal "NaN" }
    for i = 1, #ascending do
      for j = 1, #ascending do
        local a, b = ascending[i], ascending[j]
        assert.equal(i < j, a < b)
        assert.equal(i <= j, a <= b)
        assert.equal(i < j and -1 or i > j and 1 or 0, decimal(a):compare(b))
      end
    end
  end)

  it("refuses what would round, and says how", function()
    local cases = {
      { function() return decimal "1" / 3 end, "cannot be divided" },
      { function() return 1 // decimal "3" end, "cannot be divided" },
      { function() return decimal "1" % 3 end, "cannot be divided" },
      { function() return decimal "2" ^ 3 end, "cannot be raised to a power" },
      { function() return decimal "1" + 0.5 end, "a float cannot be mixed" },
      { function() return 0.5 * decimal "1" end, "a float cannot be mixed" },
      { function() return decimal "1" < 0.5 end, "a float cannot be mixed" },
      { function() local d = decimal("1"):equals(0.5) return d end, "a float cannot be mixed" },
      { function() return decimal "1" + "1" end,
        'can be combined with decimals and integers, not with "1"' },
      { function() return decimal "1" <= luamig.NULL end, "not with luamig.NULL" },
    }
    for _, case in ipairs(cases) do
      assert.matches("decimal_spec.lua:%d+: .*" .. case[2], support.raised(case[1]))
    end
  end)

  it("turns into integers and floats", function()
    assert.equal(12, decimal("12.00"):tointeger())
    assert.equal("integer", math.type(decimal("12.00"):tointeger()))
    assert.equal(math.mininteger, decimal("-9223372036854775808"):tointeger())
    assert.equal(math.maxinteger, decimal("9223372036854775807.0"):tointeger())
    for _, text in ipairs { "1.5", "9223372036854775808", "-9223372036854775809", "NaN",
      "Infinity", "1e400" } do
      assert.is_nil(decimal(text):tointeger())
    end
    assert.equal(0, decimal("-0.0"):tointeger())
    assert.equal("float", math.type(decimal("3"):tonumber()))
    assert.equal(0.1, decimal("0.10"):tonumber())
    assert.equal(-math.huge, decimal("-Infinity"):tonumber())
    local nan = decimal("NaN"):tonumber()
    assert.is_true(nan ~= nan)
    assert.error_matches(function()
      decimal("1e400"):tonumber()
    end, "beyond the range of floats$")
  end)

  it("cannot be changed, and hides what it is made of", function()
    local one = decimal "1"
    assert.error_matches(function()
      one[1] = 2
    end, "a luamig.decimal value cannot be changed$")
    for key in pairs(one) do
      error(tostring(key))
    end
    assert.error_matches(function()
      return one:tonumer()
    end, 'a decimal has no method "tonumer" %(did you mean "tonumber"%?%)$')
    assert.is_true(decimal.is(one))
    assert.is_false(decimal.is(1))
  end)

  it("calculates as digits on paper do", function()
    math.randomseed(20240607)
    for _ = 1, 150 do
      local longest = math.random(4) == 1 and 60 or 12
      local a, b = random_text(longest), random_text(longest)
      local x, y = decimal(a), decimal(b)
      assert.equal(a, tostring(x))
      assert.equal(slow.add(a, b), tostring(x + y), a .. " + " .. b)
      assert.equal(slow.multiply(a, b), tostring(x * y), a .. " * " .. b)
    end
  end)

  it("obeys the laws of numbers", function()
    math.randomseed(7)
    for _ = 1, 300 do
      local a, b, c = decimal(random_text(30)), decimal(random_text(9)), decimal(random_text(20))
      assert.is_true(a + b == b + a)
      assert.is_true(a * b == b * a)
      assert.is_true((a + b) + c == a + (b + c))
      assert.is_true((a + b) * c == a * c + b * c)
      assert.is_true((a - b) + b == a)
      assert.is_true(a - b == -(b - a))
      assert.is_true((a - a):equals(0))
      assert.equal(a < b, (a - b) < 0)
      assert.equal(a < b, a + c < b + c)
      assert.equal(a:compare(b), -b:compare(a))
    end
  end)

  it("is exact with integers where floats are not", function()
    local big = decimal "9007199254740993"
    assert.equal("18014398509481986", tostring(big * 2))
    assert.equal("85070591730234615847396907784232501249",
      tostring(decimal(math.maxinteger) * math.maxinteger))
  end)
end)
