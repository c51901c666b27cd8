--- The tables that stand for one value of the database, and how they are told from plain ones.
--
-- A marked table is known by its metatable alone. `kinds` maps each metatable to a number, which
-- the program's C side reads too; the numbers are those of src/script/value/marks.h. The text of
-- a value has a key of its own: a script can neither read it by accident nor change it.
-- Promises: no function here raises, and `kind` answers for any value.

local marks = {
  --- The key of what a value holds: the text of a decimal, bytea, json or column, the number of an
  -- add.
  TEXT = {},
  --- Map from metatable to number.
  kinds = {},
  --- Map from kind to metatable. "array" and "object" mark tables that stay ordinary tables.
  metatables = {},
}

local NAMES = {
  "NULL", "ALL", "json.null", "json", "array", "object", "bytea", "decimal", "column", "add",
}

for number, name in ipairs(NAMES) do
  local meta = { __name = "luamig." .. name }
  marks.metatables[name] = meta
  marks.kinds[meta] = number
end

--- "NULL", "ALL", "json.null", "json", "array", "object", "bytea", "decimal", "column" or "add";
-- nil for others.
function marks.kind(value)
  return type(value) == "table" and NAMES[marks.kinds[getmetatable(value)]] or nil
end

--- Whether a table has the keys 1 to its length and no others. Tells the length, too.
function marks.is_list(value)
  local count, length = 0, rawlen(value)
  for key in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > length then
      return false
    end
    count = count + 1
  end
  return count == length, length
end

--- Makes the value of a kind that holds nothing and only ever equals itself.
function marks.sentinel(name)
  local meta = marks.metatables[name]
  local shown = meta.__name
  function meta.__tostring()
    return shown
  end
  function meta.__newindex()
    error(shown .. " cannot be changed", 2)
  end
  return setmetatable({}, meta)
end

--- Makes a value of a kind that holds a text, or a number.
function marks.new(name, content)
  return setmetatable({ [marks.TEXT] = content }, marks.metatables[name])
end

--- Makes the values of a kind equal by what they hold, unchangeable and empty to `pairs`.
-- @param show function(text or number) that returns what `tostring` gives
function marks.seal(name, show)
  local meta = marks.metatables[name]
  function meta.__eq(a, b)
    return getmetatable(a) == getmetatable(b) and a[marks.TEXT] == b[marks.TEXT]
  end
  function meta.__tostring(self)
    return show(rawget(self, marks.TEXT))
  end
  function meta.__newindex()
    error(("a %s value cannot be changed"):format(meta.__name), 2)
  end
  function meta.__pairs()
    return next, {}, nil
  end
end

return marks
