--- Exact decimal numbers of any size: what PostgreSQL's numeric holds.
--
--   local price = luamig.decimal "12.50"
--   price * 2 + 1                  --> 26.00
--   price < 13, -price             --> true, -12.50
--   price == luamig.decimal "12.5" --> true; with an integer: price:equals(12)
--   price:tointeger(), price:tonumber(), tostring(price)  --> nil, 12.5, "12.50"
--   price:div(7, 2), price:round(0, "half_even")          --> 1.79, 12
--
-- `==` between a decimal and a number is false, because Lua never asks; `:equals` and `:compare`
-- take integers. `<`, `<=` and the arithmetic do so too.
--
-- Promises: only `round`, `floor`, `ceil` and `div` round. A decimal prints as the server does:
-- with the scale it was written with; sums have the greater scale of the two, products the sum of
-- both. NaN equals itself and is greater than everything. Decimals do not change. The limits are
-- numeric's.
-- Refuses, by raising: `/` and powers, which would round in silence; floats next to a decimal,
-- since 0.1 is not one tenth; text that numeric would not take.

local marks = require "luamig.marks"
local strict = require "luamig.strict"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local TEXT = marks.TEXT
local PARTS = {} -- key of what the text was found to say, once it was asked

-- The limits of numeric: digits before and after the point.
local MAX_WHOLE, MAX_SCALE = 131072, 16383

-- Limbs of long numbers: base 10^7, so that sums of their products fit an integer.
local BASE, WIDTH = 10000000, 7
-- Numbers of so many digits can be added as integers, and multiplied when both together have them.
local SHORT = 18

local SPECIALS = {
  nan = "NaN", inf = "Infinity", infinity = "Infinity", ["+inf"] = "Infinity",
  ["+infinity"] = "Infinity", ["-inf"] = "-Infinity", ["-infinity"] = "-Infinity",
}
-- Parts of what is not finite: `order` is where it stands against all finite numbers.
local NAN = { text = "NaN", order = 2 }
local INFINITY = { text = "Infinity", order = 1 }
local MINUS_INFINITY = { text = "-Infinity", order = -1 }
local SPECIAL_PARTS = { NaN = NAN, Infinity = INFINITY, ["-Infinity"] = MINUS_INFINITY }

-- -- limbs, least significant first --------------------------------------------------------

local function to_limbs(digits)
  local limbs = {}
  for last = #digits, 1, -WIDTH do
    limbs[#limbs + 1] = tonumber(digits:sub(math.max(last - WIDTH + 1, 1), last))
  end
  return limbs
end

local function to_digits(limbs)
  local parts = {}
  for i = #limbs, 1, -1 do
    parts[#parts + 1] = ("%07d"):format(limbs[i])
  end
  return table.concat(parts)
end

local function add_limbs(a, b)
  local sum, carry = {}, 0
  for i = 1, math.max(#a, #b) do
    local limb = (a[i] or 0) + (b[i] or 0) + carry
    carry = limb // BASE
    sum[i] = limb % BASE
  end
  sum[#sum + 1] = carry
  return sum
end

--- a - b, where a is not less than b.
local function subtract_limbs(a, b)
  local difference, borrow = {}, 0
  for i = 1, #a do
    local limb = a[i] - (b[i] or 0) - borrow
    borrow = limb < 0 and 1 or 0
    difference[i] = limb + borrow * BASE
  end
  return difference
end

local function multiply_limbs(a, b)
  local product = {}
  for i = 1, #a + #b do
    product[i] = 0
  end
  for i = 1, #a do
    local carry, factor = 0, a[i]
    for j = 1, #b do
      local limb = product[i + j - 1] + factor * b[j] + carry
      carry = limb // BASE
      product[i + j - 1] = limb % BASE
    end
    product[i + #b] = carry
  end
  return product
end

--- What a // b is, and the rest; b is less than BASE.
local function divide_by_limb(a, b)
  local quotient, rest = {}, 0
  for i = #a, 1, -1 do
    local value = rest * BASE + a[i]
    quotient[i] = value // b
    rest = value % b
  end
  return quotient, { rest }
end

local function trim(limbs)
  while #limbs > 1 and limbs[#limbs] == 0 do
    limbs[#limbs] = nil
  end
  return limbs
end

--- One step of the long division: takes from rest, at that place, as often b as it has it.
local function divide_step(rest, b, place)
  local top = (rest[place + #b] or 0) * BASE + (rest[place + #b - 1] or 0)
  local guess = math.min(top // b[#b], BASE - 1)
  while guess * b[#b - 1] > (top - guess * b[#b]) * BASE + (rest[place + #b - 2] or 0) do
    guess = guess - 1
  end
  local function take(times)
    local borrow = 0
    for i = 1, #b do
      local limb = rest[place + i - 1] - times * b[i] - borrow
      borrow = -(limb // BASE)
      rest[place + i - 1] = limb % BASE
    end
    local limb = (rest[place + #b] or 0) - borrow
    rest[place + #b] = limb
    return limb < 0
  end
  if take(guess) then
    take(-1)
    guess = guess - 1
  end
  return guess
end

--- a // b and a % b; b is not zero. The greatest limb of b is first made half of BASE or more, so
-- that a guess from the greatest limbs is too high by two at most (Knuth, volume 2, 4.3.1, D).
local function divide_limbs(a, b)
  if #trim(b) == 1 then
    return divide_by_limb(a, b[1])
  end
  local factor = BASE // (b[#b] + 1)
  local rest, divisor = trim(multiply_limbs(a, { factor })), trim(multiply_limbs(b, { factor }))
  local quotient = { 0 }
  for place = #rest - #divisor + 1, 1, -1 do
    quotient[place] = divide_step(rest, divisor, place)
  end
  return quotient, (divide_by_limb(rest, factor))
end

-- -- coefficients: texts of digits ---------------------------------------------------------

--- -1, 0 or 1 for two texts of digits without leading zeros.
local function compare_digits(a, b)
  if #a ~= #b then
    return #a < #b and -1 or 1
  elseif a == b then
    return 0
  end
  return a < b and -1 or 1
end

local function add_digits(a, b)
  if #a <= SHORT and #b <= SHORT then
    return ("%d"):format(tonumber(a) + tonumber(b))
  end
  return to_digits(add_limbs(to_limbs(a), to_limbs(b)))
end

local function subtract_digits(a, b)
  if #a <= SHORT then
    return ("%d"):format(tonumber(a) - tonumber(b))
  end
  return to_digits(subtract_limbs(to_limbs(a), to_limbs(b)))
end

local function multiply_digits(a, b)
  if #a + #b <= SHORT then
    return ("%d"):format(tonumber(a) * tonumber(b))
  end
  return to_digits(multiply_limbs(to_limbs(a), to_limbs(b)))
end

--- The digits of a // b and of a % b.
local function divide_digits(a, b)
  if #a <= SHORT and #b <= SHORT then
    local x, y = tonumber(a), tonumber(b)
    return ("%d"):format(x // y), ("%d"):format(x % y)
  end
  local quotient, rest = divide_limbs(to_limbs(a), to_limbs(b))
  return to_digits(quotient):match "^0*(%d+)$", to_digits(rest):match "^0*(%d+)$"
end

--- Whether a number between whole ones goes away from zero, by how its rest stands against a half
-- (-1, 0 or 1) and its last digit.
local MODES = { "half_up", "half_even", "down", "up" }
local AWAY = {
  up = function()
    return true
  end,
  down = function()
    return false
  end,
  half_up = function(half)
    return half >= 0
  end,
  half_even = function(half, last)
    return half > 0 or half == 0 and last:find "[13579]" ~= nil
  end,
}

-- -- parts: { negative =, digits =, scale = } or one of the specials -----------------------

--- The text of a finite number, or nil and why there is none.
local function to_text(negative, digits, scale)
  digits = digits:match "^0*(%d+)$"
  if #digits - scale > MAX_WHOLE or scale > MAX_SCALE then
    return nil, "the result is out of the range of numeric"
  elseif scale > 0 then
    if #digits <= scale then
      digits = ("0"):rep(scale - #digits + 1) .. digits
    end
    digits = digits:sub(1, -scale - 1) .. "." .. digits:sub(-scale)
  end
  return negative and digits:find "[1-9]" and "-" .. digits or digits
end

--- Reads a text that `to_text` or the server made.
local function read(shown)
  local special = SPECIAL_PARTS[shown]
  if special then
    return special
  end
  local sign, whole, fraction = shown:match "^(-?)(%d+)%.?(%d*)$"
  return {
    negative = sign == "-", scale = #fraction, digits = (whole .. fraction):match "^0*(%d+)$",
  }
end

local function parts_of(self)
  local parts = rawget(self, PARTS)
  if not parts then
    parts = read(rawget(self, TEXT))
    rawset(self, PARTS, parts)
  end
  return parts
end

--- The parts of a decimal or integer, or nil and why it has none.
local function operand(value)
  if marks.kind(value) == "decimal" then
    return parts_of(value)
  elseif math.type(value) == "integer" then
    local digits = ("%d"):format(value)
    return { negative = value < 0, digits = digits:match "%d+", scale = 0 }
  elseif type(value) == "number" then
    return nil, "a decimal and a float cannot be mixed exactly; use luamig.decimal(x) for the "
      .. "number that the float shows, or :tonumber() to continue with floats"
  end
  return nil, "a decimal can be combined with decimals and integers, not with "
    .. text.describe(value)
end

--- The parts of two operands; raises at the line that used the operator.
local function operands(a, b)
  local x, why = operand(a)
  local y
  if x then
    y, why = operand(b)
  end
  if not y then
    error(why, 3)
  end
  return x, y
end

local function new(shown)
  return marks.new("decimal", shown)
end

--- The digits of two numbers at one scale, and that scale.
local function align(x, y)
  local scale = math.max(x.scale, y.scale)
  local a = (x.digits .. ("0"):rep(scale - x.scale)):match "^0*(%d+)$"
  local b = (y.digits .. ("0"):rep(scale - y.scale)):match "^0*(%d+)$"
  return a, b, scale
end

local function is_zero(parts)
  return parts.digits == "0"
end

--- -1, 0 or 1; NaN is the greatest.
local function compare(x, y)
  if x.order or y.order then
    local a, b = x.order or 0, y.order or 0
    return a == b and 0 or a < b and -1 or 1
  elseif is_zero(x) and is_zero(y) then
    return 0
  elseif x.negative ~= y.negative then
    return x.negative and -1 or 1
  end
  local a, b = align(x, y)
  local order = compare_digits(a, b)
  return x.negative and -order or order
end

local function add(x, y, minus)
  local y_negative = y.negative ~= minus
  if x.order or y.order then
    local a, b = x.order or 0, y.order or 0
    if a == 2 or b == 2 then
      return "NaN"
    end
    b = minus and -b or b
    return a + b == 0 and "NaN" or a + b > 0 and "Infinity" or "-Infinity"
  end
  local a, b, scale = align(x, y)
  if x.negative == y_negative then
    return to_text(x.negative, add_digits(a, b), scale)
  elseif compare_digits(a, b) >= 0 then
    return to_text(x.negative, subtract_digits(a, b), scale)
  end
  return to_text(y_negative, subtract_digits(b, a), scale)
end

local function sign_of(parts)
  if parts.order then
    return parts.order
  end
  return is_zero(parts) and 0 or parts.negative and -1 or 1
end

local function multiply(x, y)
  if x == NAN or y == NAN then
    return "NaN"
  elseif x.order or y.order then
    local sign = sign_of(x) * sign_of(y)
    return sign == 0 and "NaN" or sign > 0 and "Infinity" or "-Infinity"
  end
  return to_text(x.negative ~= y.negative, multiply_digits(x.digits, y.digits), x.scale + y.scale)
end

--- The text of a number at a scale that is not greater than its own; away: one of AWAY.
local function cut(parts, scale, away)
  local drop = parts.scale - scale
  local digits = ("0"):rep(drop - #parts.digits + 1) .. parts.digits
  local whole, rest = digits:sub(1, -drop - 1), digits:sub(-drop)
  local half = rest:byte() == 53 and not rest:find("[^0]", 2) and 0 or rest:byte() >= 53 and 1 or -1
  if rest:find "[^0]" and away(half, whole:sub(-1)) then
    whole = add_digits(whole, "1")
  end
  if scale < 0 then
    whole, scale = whole .. ("0"):rep(-scale), 0
  end
  return to_text(parts.negative, whole, scale)
end

local function round(parts, scale, away)
  if parts.order then
    return parts.text
  elseif scale >= parts.scale then
    return to_text(parts.negative, parts.digits .. ("0"):rep(scale - parts.scale), scale)
  end
  return cut(parts, scale, away)
end

local function divide_special(x, y, scale)
  if x == NAN or y == NAN or x.order and y.order then
    return "NaN"
  elseif y.order then
    return to_text(false, "0", scale)
  end
  return sign_of(x) == sign_of(y) and "Infinity" or "-Infinity"
end

--- The text of x / y at a scale, or nil and why there is none.
local function divide(x, y, scale, away)
  if x ~= NAN and not y.order and is_zero(y) then
    return nil, "division by zero"
  elseif x.order or y.order then
    return divide_special(x, y, scale)
  end
  local shift = scale + y.scale - x.scale
  local a = x.digits .. ("0"):rep(shift)
  local b = y.digits .. ("0"):rep(-shift)
  local whole, rest = divide_digits(a:match "^0*(%d+)$", b)
  local half = compare_digits(add_digits(rest, rest):match "^0*(%d+)$", b)
  if rest ~= "0" and away(half, whole:sub(-1)) then
    whole = add_digits(whole, "1")
  end
  return to_text(x.negative ~= y.negative, whole, scale)
end

-- -- what scripts see ----------------------------------------------------------------------

local Decimal = marks.metatables.decimal
marks.seal("decimal", function(shown)
  return shown
end)

--- A metamethod that makes a decimal of two numbers.
local function operator(calculate)
  return function(a, b)
    local shown, why = calculate(operands(a, b))
    if not shown then
      error(why, 2)
    end
    return new(shown)
  end
end

Decimal.__add = operator(function(x, y)
  return add(x, y, false)
end)
Decimal.__sub = operator(function(x, y)
  return add(x, y, true)
end)
Decimal.__mul = operator(multiply)

function Decimal.__unm(self)
  local parts = parts_of(self)
  if parts.order then
    return new(parts == NAN and "NaN" or parts == INFINITY and "-Infinity" or "Infinity")
  end
  return new(to_text(not parts.negative, parts.digits, parts.scale))
end

--- A metamethod that refuses what would round.
local function refuser(what, instead)
  return function()
    error(("a decimal cannot be %s without rounding; use %s"):format(what, instead), 2)
  end
end

local DIVIDE = "d:div(x, scale), which rounds as you say"
Decimal.__div = refuser("divided", DIVIDE)
Decimal.__idiv = refuser("divided", DIVIDE)
Decimal.__mod = refuser("divided", DIVIDE)
Decimal.__pow = refuser("raised to a power", ":tonumber() to continue with floats, or do it in SQL")

function Decimal.__eq(a, b)
  local x, y = operand(a), operand(b)
  return x ~= nil and y ~= nil and compare(x, y) == 0
end

function Decimal.__lt(a, b)
  return compare(operands(a, b)) < 0
end

function Decimal.__le(a, b)
  return compare(operands(a, b)) <= 0
end

function Decimal.__concat(a, b)
  return tostring(a) .. tostring(b)
end

local methods = {}

--- Whether it is the same number as a decimal or integer.
function methods:equals(other)
  return compare(operands(self, other)) == 0
end

--- -1, 0 or 1: less than, equal to or greater than a decimal or integer.
function methods:compare(other)
  return compare(operands(self, other))
end

--- How to round, by the name that a method was given; raises at the line that called it.
local function mode_of(mode)
  if mode == nil then
    return AWAY.half_up
  elseif not AWAY[mode] then
    error(("a decimal is rounded %s, not %s"):format(
      text.choices(MODES), text.describe(mode)), 3)
  end
  return AWAY[mode]
end

--- Digits after the point, as a method was given them.
local function scale_of(scale, least)
  if math.type(scale) ~= "integer" or scale < least or scale > MAX_SCALE then
    error(("the number of digits after the point is an integer from %d to %d, not %s"):format(
      least, MAX_SCALE, text.describe(scale)), 3)
  end
  return scale
end

local function decimal_or_raise(shown, why)
  if not shown then
    error(why, 3)
  end
  return new(shown)
end

--- The nearest decimal with `scale` digits after the point (0), as SQL's round(numeric, int) says
-- it: -2 rounds to hundreds. `mode`: "half_up" (away from zero, as the server does it),
-- "half_even", "down" (towards zero) or "up".
function methods:round(scale, mode)
  local away = mode_of(mode)
  return decimal_or_raise(round(parts_of(self), scale_of(scale or 0, -MAX_WHOLE), away))
end

--- The greatest whole number that is not greater.
function methods:floor()
  local parts = parts_of(self)
  return decimal_or_raise(round(parts, 0, parts.negative and AWAY.up or AWAY.down))
end

--- The least whole number that is not less.
function methods:ceil()
  local parts = parts_of(self)
  return decimal_or_raise(round(parts, 0, parts.negative and AWAY.down or AWAY.up))
end

--- The quotient with `scale` digits after the point, rounded as `round` does it. Raises where the
-- divisor is zero.
function methods:div(divisor, scale, mode)
  local x, y = operands(self, divisor)
  return decimal_or_raise(divide(x, y, scale_of(scale, 0), mode_of(mode)))
end

--- The integer of the same value; nil when it has a fraction, or is beyond 64 bits.
function methods:tointeger()
  local whole, fraction = rawget(self, TEXT):match "^(-?%d+)%.?(%d*)$"
  local number = whole and tonumber(whole)
  if math.type(number) == "integer" and not fraction:find "[1-9]" then
    return number
  end
  return nil
end

--- The nearest float. Raises when the number is beyond all floats.
function methods:tonumber()
  local parts = parts_of(self)
  if parts.order then
    return parts == NAN and 0 / 0 or parts.order * math.huge
  end
  local float = tonumber(rawget(self, TEXT)) + 0.0
  if math.abs(float) == math.huge then
    error("the decimal is beyond the range of floats", 2)
  end
  return float
end

local METHOD_NAMES = text.sorted_keys(methods)

function Decimal.__index(_, name)
  if methods[name] then
    return methods[name]
  elseif type(name) ~= "string" or name:find "^__" then
    return nil
  end
  error(('a decimal has no method "%s"%s'):format(name, suggest.suffix(name, METHOD_NAMES)), 2)
end

-- -- making decimals -----------------------------------------------------------------------

--- The text of a number written as numeric takes it, or nil and why there is none.
local function normalize(given)
  local trimmed = given:match "^%s*(.-)%s*$"
  local special = SPECIALS[trimmed:lower()]
  if special then
    return special
  end
  local sign, rest = trimmed:match "^([+-]?)(.*)$"
  local mantissa, exponent = rest:match "^([^eE]*)[eE]([+-]?%d+)$"
  local whole, fraction = (mantissa or rest):match "^(%d*)%.?(%d*)$"
  if not whole or #whole + #fraction == 0 then
    return nil, text.describe(given) .. " is not a decimal number"
  end
  local digits = (whole .. fraction):match "^0*(%d+)$"
  exponent = tonumber(exponent or 0)
  local scale = #fraction - exponent
  if scale > MAX_SCALE or digits ~= "0" and #digits - scale > MAX_WHOLE then
    return nil, text.describe(given) .. " is out of the range of numeric"
  elseif scale < 0 then
    digits = digits == "0" and digits or digits .. ("0"):rep(math.tointeger(-scale))
    scale = 0
  end
  return to_text(sign == "-", digits, math.tointeger(scale))
end

--- A decimal of a string of digits, an integer, or a float (the shortest text that reads back as
-- the same float); a decimal is itself. Raises for anything else.
local function make(given)
  if marks.kind(given) == "decimal" then
    return given
  elseif type(given) ~= "string" and type(given) ~= "number" then
    error("luamig.decimal takes a string of digits or a number, not " .. text.describe(given), 2)
  end
  local shown, why = normalize(type(given) == "number" and text.number(given) or given)
  if not shown then
    error(why, 2)
  end
  return new(shown)
end

local decimal = {}

--- Whether a value is a decimal.
function decimal.is(value)
  return marks.kind(value) == "decimal"
end

return strict.module("luamig.decimal", decimal, make)
