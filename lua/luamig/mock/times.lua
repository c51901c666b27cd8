--- Dates and times: their texts, as the server writes them back.
--
-- A map from PostgreSQL's name of a type to a function that takes a string and returns the text
-- that is read back, or raises.
--
-- Promises: ISO texts of the years 1 to 9999, `infinity` and `-infinity` come out as the server
-- writes them in the time zone UTC, and dates that do not exist are refused with its SQLSTATE.
-- Refuses, as a mistake of the spec: everything else that the server understands.

local errors = require "luamig.errors"

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function unknown(name, given)
  errors.raise {
    kind = "spec",
    message = ('the mock cannot read "%s" as %s'):format(given, name),
    hint = "The mock reads 2024-01-31, 12:00:00.5 and 2024-01-31 12:00:00+02. For other forms, run "
      .. "the spec on PostgreSQL.",
  }
end

local function out_of_range(given)
  errors.raise {
    kind = "database", sqlstate = "22008",
    message = ('date/time field value out of range: "%s"'):format(given),
  }
end

local function out_of_world(given)
  errors.raise {
    kind = "database", sqlstate = "22009",
    message = ('time zone displacement out of range: "%s"'):format(given),
  }
end

local function days_in(year, month)
  local is_leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  return month == 2 and is_leap and 29 or DAYS[month]
end

--- Days since 0000-03-01, and back.
local function to_days(year, month, day)
  local y = month <= 2 and year - 1 or year
  local m = (month + 9) % 12
  return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 1
end

local function from_days(days)
  local y = (10000 * days + 14780) // 3652425
  local rest = days - (365 * y + y // 4 - y // 100 + y // 400)
  if rest < 0 then
    y = y - 1
    rest = days - (365 * y + y // 4 - y // 100 + y // 400)
  end
  local m = (100 * rest + 52) // 3060
  return y + (m + 2) // 12, (m + 2) % 12 + 1, rest - (m * 306 + 5) // 10 + 1
end

local function read_date(name, given, shown)
  local year, month, day = shown:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)$"
  if not year then
    unknown(name, given)
  end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if year < 1 or month < 1 or month > 12 or day < 1 or day > days_in(year, month) then
    out_of_range(given)
  end
  return year, month, day
end

--- Seconds of the day, and the fraction with its point, "" without one.
local function read_clock(name, given, shown)
  local hour, minute, rest = shown:match "^(%d%d):(%d%d)(.*)$"
  local second, fraction = "0", ""
  if rest and rest ~= "" then
    second, fraction = rest:match "^:(%d%d)(%.?%d*)$"
  end
  if not hour or not second or fraction == "." or #fraction > 7 then
    unknown(name, given)
  end
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if hour > 23 or minute > 59 or second > 59 then
    if minute <= 59 and (hour == 24 or second == 60) then
      unknown(name, given)
    end
    out_of_range(given)
  end
  return hour * 3600 + minute * 60 + second, (fraction:gsub("%.?0*$", ""))
end

local function show_clock(seconds, fraction)
  return ("%02d:%02d:%02d%s"):format(seconds // 3600, seconds // 60 % 60, seconds % 60, fraction)
end

--- Seconds east of UTC of `+02`, `-01:30` or `Z`; "" is UTC.
local function read_offset(name, given, shown)
  local sign, hours, minutes = shown:match "^([+-])(%d%d):?(%d?%d?)$"
  if shown == "" or shown == "Z" then
    return 0
  elseif not sign or #minutes == 1 then
    unknown(name, given)
  end
  hours, minutes = tonumber(hours), tonumber(minutes) or 0
  if hours > 15 or minutes > 59 then
    out_of_world(given)
  end
  local seconds = hours * 3600 + minutes * 60
  return sign == "+" and seconds or -seconds
end

local function is_infinite(given)
  return given == "infinity" or given == "-infinity"
end

--- Reads a timestamp: with `offsets` it is moved to UTC, otherwise an offset is ignored.
local function read_stamp(name, given, offsets)
  local date, clock, offset = given:match "^(%d+%-%d+%-%d+)[ T]?([%d:.]*)(.*)$"
  if not date then
    unknown(name, given)
  end
  local days = to_days(read_date(name, given, date))
  local seconds, fraction = 0, ""
  if clock ~= "" then
    seconds, fraction = read_clock(name, given, clock)
  end
  local east = read_offset(name, given, offset)
  local moved = seconds - (offsets and east or 0)
  local year, month, day = from_days(days + moved // 86400)
  if year < 1 or year > 9999 then
    unknown(name, given)
  end
  return ("%04d-%02d-%02d %s"):format(year, month, day, show_clock(moved % 86400, fraction))
end

return {
  date = function(given)
    if is_infinite(given) then
      return given
    end
    return ("%04d-%02d-%02d"):format(read_date("date", given, given))
  end,
  ["time without time zone"] = function(given)
    return show_clock(read_clock("time", given, given))
  end,
  ["timestamp without time zone"] = function(given)
    return is_infinite(given) and given or read_stamp("timestamp", given, false)
  end,
  ["timestamp with time zone"] = function(given)
    return is_infinite(given) and given or read_stamp("timestamptz", given, true) .. "+00"
  end,
}
