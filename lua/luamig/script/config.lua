--- The `config` table of a script: defaults, types and ranges.
--
-- Promises: what comes out has every key, in one shape: `key` a list of names, `start_after` a
-- list of values or nil, numbers integers.
-- Refuses: unknown keys and wrong values, by name.

local marks = require "luamig.marks"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local config = {}

local INT_MAX = 2147483647

-- A check takes a value and returns what is kept of it, or nil and what it must be.

local function integer(low, high)
  local wanted = ("an integer from %d to %d"):format(low, high)
  return function(value)
    local n = math.type(value) and math.tointeger(value)
    if n and n >= low and n <= high then
      return n
    end
    return nil, wanted
  end
end

local function boolean(value)
  if type(value) == "boolean" then
    return value
  end
  return nil, "true or false"
end

local function one_of(choices)
  return function(value)
    if text.contains(choices, value) then
      return value
    end
    return nil, text.choices(choices)
  end
end

--- How many workers a run has.
local MAX_WORKERS = 64
local is_worker_count = integer(1, MAX_WORKERS)

local function workers(value)
  local kept, wanted = is_worker_count(value)
  if kept or value == "auto" then
    return kept or value
  end
  return nil, wanted .. ' or "auto"'
end

local function filled_string(value)
  if type(value) == "string" and value:find "%S" and text.is_utf8(value) then
    return value
  end
  return nil, "a string that is not empty"
end

--- A check of a list that is not empty, or of one item that stands for it. `check` is for an item.
local function list_of(check, wanted)
  return function(value)
    local mark = marks.kind(value)
    local is_one = type(value) ~= "table" or mark and mark ~= "array"
    local list, kept = is_one and { value } or value, {}
    local is_list, length = marks.is_list(list)
    for i = 1, is_list and length or 0 do
      kept[i] = check(list[i], kept)
      if kept[i] == nil then
        break
      end
    end
    if #kept == 0 or #kept < length then
      return nil, wanted
    end
    return kept
  end
end

local key_columns = list_of(function(name, others)
  return not text.contains(others, name) and filled_string(name) or nil
end, "a column name or a list of distinct column names")

--- A value that a key column may have, or nil.
local function key_value(item)
  local mark = marks.kind(item)
  local is_text = type(item) == "string" and text.is_utf8(item)
  local is_finite = math.type(item) and item == item and math.abs(item) ~= math.huge
  if is_text or is_finite or type(item) == "boolean" or mark == "decimal" or mark == "bytea" then
    return item
  end
  return nil
end

local key_values = list_of(key_value,
  "a key value or a list of key values (strings, finite numbers or booleans)")

--- Limits of the health signals, see docs/operating.md. Each is a number, or false: off.
local HEALTH = {
  batch_ms = 2000,
  blocked_sessions = 0,
  replica_lag_bytes = 128 << 20,
  replay_lag_bytes = 128 << 20,
  slot_wal_bytes = 10 << 30,
  archive_backlog_bytes = 512 << 20,
  vacuums = 0,
  dead_tuple_debt = 4,
  snapshot_age_s = 1800,
  active_sessions_ratio = 3,
}
local HEALTH_NAMES = text.sorted_keys(HEALTH)

local function health_limits(value)
  if value == false or type(value) == "table" and not marks.kind(value) then
    return value
  end
  return nil, "a table of limits, or false"
end

local KEYS = {
  batch_size = { default = 1000, check = integer(1, 1000000), is_integer = true },
  target_ms = { check = integer(1, INT_MAX), is_integer = true },
  throttle_ms = { default = 100, check = integer(0, INT_MAX), is_integer = true },
  workers = { default = 1, check = workers, is_integer = true },
  key = { default = "id", check = key_columns },
  start_after = { check = key_values },
  follow_new = { default = false, check = boolean },
  repo = { default = "default", check = filled_string },
  source = { check = filled_string },
  isolation = {
    default = "repeatable read",
    check = one_of { "repeatable read", "read committed", "serializable" },
  },
  retries = { default = 5, check = integer(0, INT_MAX), is_integer = true },
  on_error = { default = "stop", check = one_of { "stop", "quarantine" } },
  max_failures = { default = 100, check = integer(0, INT_MAX), is_integer = true },
  quarantine_rows = { default = false, check = boolean },
  statement_timeout_ms = { default = 30000, check = integer(0, INT_MAX), is_integer = true },
  lock_timeout_ms = { default = 1000, check = integer(0, INT_MAX), is_integer = true },
  prepare_timeout_ms = { default = 600000, check = integer(1, INT_MAX), is_integer = true },
  timezone = { check = filled_string },
  row_security = { default = false, check = boolean },
  durable_batches = { default = false, check = boolean },
  repeatable = { default = false, check = boolean },
  combine = { default = true, check = one_of { true, false, "always" } },
  assume_unique = { default = false, check = boolean },
  allow_ddl = { default = false, check = boolean },
  allow_unjudged = { default = false, check = boolean },
  health = { check = health_limits },
}

--- All keys, sorted.
config.names = text.sorted_keys(KEYS)

-- What every script says for itself.
local NO_DEFAULT = { repo = true, source = true, start_after = true }

--- What is kept of a value, or a complaint.
local function check_value(name, value, label)
  local kept, wanted = KEYS[name].check(value)
  if kept == nil then
    return nil, ("%s must be %s, not %s"):format(label, wanted, text.describe(value))
  end
  return kept
end

--- The limits that are given, checked.
local function check_health(given, label, fail)
  if given == false then
    return false
  end
  local kept = {}
  for _, name in ipairs(text.ordered_keys(given)) do
    local value, shown = given[name], tostring(name)
    local path = { label, "health", name }
    if HEALTH[name] == nil then
      fail(path, ('unknown field "%s" in %s.health'):format(shown, label),
        suggest.hint(shown, HEALTH_NAMES))
    elseif value ~= false and not (math.type(value) and value >= 0 and value < math.huge) then
      fail(path, ("%s.health.%s must be a number that is at least 0, or false, not %s")
        :format(label, shown, text.describe(value)))
    end
    kept[name] = value
  end
  return kept
end

local function check_given(given, label, fail)
  local kept = {}
  for _, name in ipairs(text.ordered_keys(given)) do
    local value = given[name]
    local path = { label, name }
    if not KEYS[name] then
      local shown = tostring(name)
      fail(path, ('unknown field "%s" in %s'):format(shown, label),
        suggest.hint(shown, config.names)
          or ("It has these fields: %s."):format(table.concat(config.names, ", ")))
    end
    local complaint
    kept[name], complaint = check_value(name, value, label .. "." .. name)
    if complaint then
      fail(path, complaint)
    elseif name == "health" then
      kept.health = check_health(kept.health, label, fail)
    end
  end
  return kept
end

--- Replaces limits by those that are given; false turns all off, nil changes nothing.
local function merge_health(kept, given)
  for name in pairs(HEALTH) do
    if given == false then
      kept[name] = false
    elseif given and given[name] ~= nil then
      kept[name] = given[name]
    end
  end
end

local function apply_overrides(kept, overrides, refuse)
  for _, name in ipairs(text.ordered_keys(overrides)) do
    local value = overrides[name]
    local option = "--" .. tostring(name):gsub("_", "-")
    if not KEYS[name] then
      refuse(("unknown option %s"):format(option))
    end
    if KEYS[name].is_integer and type(value) == "string" and value:find "^[+-]?%d+$" then
      value = tonumber(value)
    end
    local complaint
    kept[name], complaint = check_value(name, value, option)
    if complaint then
      refuse(complaint)
    end
  end
end

--- Checks the defaults that a project gives to all its scripts.
-- @param given a table
-- @param fail as below
-- @return what is given, checked
function config.check_defaults(given, fail)
  for _, name in ipairs(text.sorted_keys(NO_DEFAULT)) do
    if given[name] ~= nil then
      fail({ "defaults", name }, ("%s cannot have a default"):format(name),
        ("Each script sets it itself, in config.%s."):format(name))
    end
  end
  return check_given(given, "defaults", fail)
end

--- Checks a script's `config` and fills in what it leaves out.
-- @param given the table, or nil
-- @param defaults of the project, as `config.check_defaults` leaves them, or nil
-- @param overrides map from key to a value, or to digits for integers; wins over `given`
-- @param fail function(field path, message, hint) that raises: the script is wrong
-- @param refuse function(message) that raises: an override is wrong
-- @return table with every key
function config.resolve(given, defaults, overrides, fail, refuse)
  defaults = defaults or {}
  local kept = check_given(given or {}, "config", fail)
  local health = {}
  merge_health(health, HEALTH)
  merge_health(health, defaults.health)
  merge_health(health, kept.health)
  kept.health = health
  apply_overrides(kept, overrides, refuse)
  for name, rule in pairs(KEYS) do
    if kept[name] == nil then
      kept[name] = defaults[name]
    end
    if kept[name] == nil and rule.default ~= nil then
      kept[name] = rule.check(rule.default)
    end
  end
  if kept.start_after and #kept.start_after ~= #kept.key then
    fail({ "config", "start_after" }, ("config.start_after has length %d, config.key has length %d")
      :format(#kept.start_after, #kept.key))
  end
  return kept
end

return config
