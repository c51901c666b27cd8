--- Declared arguments of a script: the declaration, and the values given for it.
--
-- Promises: an argument has exactly the declared type, or is refused; nothing is rounded. Errors
-- of the declaration have kind "script", errors of the values kind "usage". The value of a secret
-- is in `run.args` only: in no error, and in nothing that the journal keeps.
-- Refuses: arguments that are not declared, numbers that are not finite, text that PostgreSQL
-- would not take; secrets on the command line, where everybody on the machine can read them.

local errors = require "luamig.errors"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local args = {}

local SPEC_KEYS = { "type", "required", "default", "secret", "desc" }

-- By type name: what a value must be, the value for a text as typed on a command line, and what it
-- is in JSON.
local TYPES = {
  string = {
    wanted = "a string (valid UTF-8)",
    check = function(value)
      return type(value) == "string" and text.is_utf8(value) and value or nil
    end,
    parse = function(typed) return typed end,
    json = "string",
  },
  integer = {
    wanted = "an integer between -2^63 and 2^63-1",
    check = function(value) return math.type(value) and math.tointeger(value) or nil end,
    parse = function(typed) return typed:find "^[+-]?%d+$" and tonumber(typed) end,
    json = "number",
  },
  number = {
    wanted = "a finite number",
    check = function(value)
      local is_finite = math.type(value) and value == value and math.abs(value) ~= math.huge
      return is_finite and value or nil
    end,
    parse = function(typed)
      local is_decimal = typed:find "^[+-]?%d*%.?%d*$" or typed:find "^[+-]?%d*%.?%d*[eE][+-]?%d+$"
      return is_decimal and tonumber(typed)
    end,
    json = "number",
  },
  boolean = {
    wanted = "true or false",
    check = function(value)
      if type(value) == "boolean" then
        return value
      end
    end,
    parse = function(typed)
      if typed == "true" or typed == "false" then
        return typed == "true"
      end
    end,
    json = "boolean",
  },
}
local TYPE_NAMES = { "string", "integer", "number", "boolean" }

local function check_spec_keys(fail, name, spec)
  for _, key in ipairs(text.ordered_keys(spec)) do
    if not text.contains(SPEC_KEYS, key) then
      local hint = suggest.hint(tostring(key), SPEC_KEYS)
      fail({ "args", name, key }, ('unknown key "%s" in args.%s'):format(tostring(key), name), hint)
    end
  end
end

--- Nothing keeps a secret, so it is always required. It is a string.
local function check_secret(fail, name, spec)
  if not spec.secret then
    return
  elseif spec.type ~= "string" then
    fail({ "args", name, "type" }, ('args.%s is secret, so its type must be "string", not %s')
      :format(name, text.describe(spec.type)), "Convert it in the script.")
  elseif spec.default ~= nil then
    fail({ "args", name, "default" }, ("args.%s is secret and has a default"):format(name),
      "Remove the default, and give the value with --arg-env or --arg-file.")
  elseif spec.required == false then
    fail({ "args", name, "required" }, ("args.%s is secret, so it is required"):format(name),
      "Remove required = false.")
  end
end

--- One declaration, checked: { name =, type =, required =, default =, secret =, desc = }.
local function declare_one(fail, name, spec)
  if type(name) ~= "string" or not text.is_name(name) then
    fail({ "args", name }, ('argument name %s is not an identifier'):format(text.describe(name)))
  elseif type(spec) ~= "table" then
    fail({ "args", name }, ("args.%s must be a table, not %s"):format(name, text.describe(spec)),
      'Write ' .. name .. ' = { type = "string" }.')
  end
  check_spec_keys(fail, name, spec)
  local kind = TYPES[spec.type]
  local function complain(key, wanted)
    fail({ "args", name, key }, ("args.%s.%s must be %s, not %s"):format(name, key, wanted,
      text.describe(spec[key])))
  end
  if not kind then
    complain("type", text.choices(TYPE_NAMES))
  elseif spec.required ~= nil and type(spec.required) ~= "boolean" then
    complain("required", "true or false")
  elseif spec.secret ~= nil and type(spec.secret) ~= "boolean" then
    complain("secret", "true or false")
  elseif spec.desc ~= nil and type(spec.desc) ~= "string" then
    complain("desc", "a string")
  end
  check_secret(fail, name, spec)
  local default = kind.check(spec.default)
  if spec.default ~= nil and default == nil then
    complain("default", kind.wanted)
  elseif spec.default ~= nil and spec.required then
    fail({ "args", name }, ("args.%s is required and has a default"):format(name))
  end
  return {
    name = name, type = spec.type, required = spec.required or spec.secret or false,
    default = default, secret = spec.secret or nil, desc = spec.desc,
  }
end

--- Checks a script's `args` field.
-- @param declared the table, or nil
-- @param fail function(field path, message, hint) that raises
-- @return list of { name =, type =, required =, default =, secret =, desc = }, sorted by name
function args.declare(declared, fail)
  return text.map(text.ordered_keys(declared or {}), function(name)
    return declare_one(fail, name, declared[name])
  end)
end

local function usage(path, message, hint)
  errors.raise { kind = "usage", message = path .. ": " .. message, hint = hint }
end

local function names_of(list)
  return text.map(list, function(spec)
    return spec.name
  end)
end

local function refuse_unknown(path, list, given)
  local names = names_of(list)
  for _, name in ipairs(text.ordered_keys(given)) do
    if not text.contains(names, name) then
      local hint = #names == 0 and "This script declares no arguments."
        or "Declared arguments: " .. table.concat(names, ", ") .. "."
      local near = suggest.hint(tostring(name), names)
      usage(path, ('unknown argument "%s"'):format(tostring(name)),
        near and near .. " " .. hint or hint)
    end
  end
end

--- How a value is given, for hints.
local function how_to_give(spec)
  if spec.secret then
    return ("Give it with --arg-env %s=VARIABLE, or --arg-file %s=PATH (- is standard input).")
      :format(spec.name, spec.name)
  end
  return ("Give it with --arg %s=%s."):format(spec.name, spec.type:upper())
end

local function value_of(path, spec, given)
  local kind = TYPES[spec.type]
  local value = given
  if type(given) == "string" then
    value = kind.parse(given)
  end
  value = kind.check(value)
  if value == nil then
    usage(path, ('argument "%s" must be %s%s'):format(spec.name, kind.wanted,
      spec.secret and "" or ", not " .. text.describe(given)), how_to_give(spec))
  end
  return value
end

--- A secret must not stand on the command line. A hidden value must be declared secret, or the
-- journal would keep it.
-- @param hidden set of names whose values did not stand on the command line; nil: no check
local function check_secrecy(path, spec, hidden)
  if not hidden then
    return
  elseif spec.secret and not hidden[spec.name] then
    usage(path, ('argument "%s" is secret, but "ps" shows the command line'):format(
      spec.name), how_to_give(spec))
  elseif hidden[spec.name] and not spec.secret then
    usage(path, ('argument "%s" is not declared secret, so the journal would keep its value')
      :format(spec.name),
      ("Write secret = true in args.%s, or give it with --arg."):format(spec.name))
  end
end

--- One text for one value: 1, 1.0 and "+1" given as a number are the same.
local function text_of(value)
  if math.type(value) == "float" then
    return text.number(math.tointeger(value) or value)
  end
  return tostring(value)
end

--- The values that may be kept: all but those of secrets.
function args.public(list, values)
  local public = {}
  for _, spec in ipairs(list) do
    if not spec.secret then
      public[spec.name] = values[spec.name]
    end
  end
  return public
end

--- What the journal keeps of a run's arguments, to find the run again. It keeps nothing of a
-- secret: a run can be resumed with another value of it.
-- @param list what `args.declare` returned
-- @param given map from name to a value, or to text as typed on a command line
-- @param values what `args.resolve` made of it
-- @return { given = texts of what was given, by name; defaults = values of what has a default;
--   declared = { [name] = { type = of JSON, required =, secret = } } }
function args.identity(list, given, values)
  local known = { given = {}, defaults = {}, declared = {} }
  for _, spec in ipairs(list) do
    if given[spec.name] ~= nil and not spec.secret then
      known.given[spec.name] = text_of(values[spec.name])
    end
    known.defaults[spec.name] = spec.default
    known.declared[spec.name] = {
      type = TYPES[spec.type].json, required = spec.required and not spec.secret,
      secret = spec.secret,
    }
  end
  return known
end

--- The arguments of a run that tries the failed rows of an earlier run again: what is given, else
-- the values of that run. Secrets must be given each time.
-- @param list what `args.declare` returned
-- @param given map from name to a value, or to text as typed on a command line
-- @param kept the same, of the earlier run
-- @return the same map as given, for `args.resolve`
function args.complete(list, given, kept)
  local all = {}
  for name, value in pairs(given) do
    all[name] = value
  end
  for _, spec in ipairs(list) do
    if all[spec.name] == nil and not spec.secret then
      all[spec.name] = kept[spec.name]
    end
  end
  return all
end

--- Gives a script its arguments. Reading one that is not declared raises.
-- @param path the script, for messages
-- @param list what `args.declare` returned
-- @param given map from name to a value, or to text as typed on a command line
-- @param hidden see `luamig.script`
-- @return map from name to typed value, defaults filled in
function args.resolve(path, list, given, hidden)
  refuse_unknown(path, list, given)
  local values = {}
  for _, spec in ipairs(list) do
    if given[spec.name] ~= nil then
      check_secrecy(path, spec, hidden)
      values[spec.name] = value_of(path, spec, given[spec.name])
    elseif spec.required then
      usage(path, ('missing required argument "%s"'):format(spec.name), how_to_give(spec))
    else
      values[spec.name] = spec.default
    end
  end
  local names = names_of(list)
  return setmetatable(values, {
    __index = function(_, name)
      if not text.contains(names, name) then
        name = tostring(name)
        error(('argument "%s" is not declared%s'):format(name, suggest.suffix(name, names)), 2)
      end
    end,
  })
end

return args
