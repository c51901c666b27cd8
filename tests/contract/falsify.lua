--- Puts another function into the place of one that a module has.
--
-- Promises: the function is replaced wherever the module holds it: in the fields of its tables, and
-- in the variables of its functions. A function that is not there, or two of one name, is an error
-- that names it.

--- All fields and captured variables that can be reached from a module, through functions of luamig
-- only: a list of { holder =, at = key or number of the variable, name =, value = }.
local function slots_of(module)
  local slots, seen = {}, {}
  local enter
  local function add(holder, at, name, value)
    slots[#slots + 1] = { holder = holder, at = at, name = name, value = value }
    enter(value)
  end
  function enter(item)
    if seen[item] or type(item) ~= "table" and type(item) ~= "function" then
      return
    end
    seen[item] = true
    if type(item) == "table" then
      for name, value in next, item do
        add(item, name, name, value)
      end
      enter(debug.getmetatable(item))
    elseif debug.getinfo(item, "S").source:find "lua/luamig/" then
      for i = 1, debug.getinfo(item, "u").nups do
        local name, value = debug.getupvalue(item, i)
        if name ~= "_ENV" then
          add(item, i, name, value)
        end
      end
    end
  end
  enter(module)
  return slots
end

--- Loads a module and replaces one of its functions by `lie(function, ...)`.
-- @param name of a local or field, or `Table.field`
return function(module_name, name, lie)
  local slots = slots_of(require(module_name))
  local source = "@" .. package.searchpath(module_name, package.path)
  local holder, field = name:match "^([%w_]+)%.([%w_]+)$"
  local found
  for _, slot in ipairs(slots) do
    local value = slot.name == (holder or name) and slot.value
    if field then
      value = type(value) == "table" and rawget(value, field)
    end
    if type(value) == "function" and debug.getinfo(value, "S").source == source then
      assert(not found or found == value, module_name .. " has two functions " .. name)
      found = value
    end
  end
  assert(found, module_name .. " has no function " .. name)
  local function instead(...)
    return lie(found, ...)
  end
  for _, slot in ipairs(slots) do
    if slot.value == found and type(slot.holder) == "table" then
      rawset(slot.holder, slot.at, instead)
    elseif slot.value == found then
      debug.setupvalue(slot.holder, slot.at, instead)
    end
  end
end
