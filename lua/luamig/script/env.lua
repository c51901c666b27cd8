--- The environment scripts run in, and how they find the files they require.
--
-- Promises: reading an undefined global and assigning to any global raise at that line; `os` has
-- no `exit` and no `setlocale`; the script's directory, its `lib/` and the project root are
-- searched before `package.path`, and files found there get the same environment. Installing is
-- idempotent: one searcher in a process, however many scripts are loaded.
-- Refuses: bytecode, wherever it comes from; a project file `luamig.lua` posing as the module.

local advice = require "luamig.advice"
local paths = require "luamig.script.paths"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local env = {}

-- Where the searcher keeps its state, in `package.searchers` itself, so that a second instance of
-- this module finds it.
local STATE_KEY = "luamig.script.env"

-- What people mean by names that are no globals.
local MEANT = { args = "run.args", luamig = 'local luamig = require "luamig"' }
for name in ("query one scalar execute get update delete insert insert_all update_all delete_all "
  .. "savepoint"):gmatch "%g+"
do
  MEANT[name] = "repo:" .. name
end
for name in ("NULL ALL or_null decimal json array object bytea add column"):gmatch "%g+" do
  MEANT[name] = "luamig." .. name
end

-- A module's file below the project root is called by its path from there, so that another checkout
-- has the same names.
local function shown_file(state, file)
  local root = state.root
  local full = state.cwd and paths.join(state.cwd, file) or file
  if root and full:sub(1, #root + 1) == (root == "/" and "/" or root .. "/") then
    return paths.relative(full, root)
  end
  return full
end

--- Notes a file whose code the script runs, for `env.loaded`: under the module's name, or, of a
-- file that was opened by its path, under that.
local function note(state, name, file, content)
  if state and content then
    local shown = shown_file(state, file)
    state.loaded[#state.loaded + 1] = { name = name or shown, file = shown, text = content }
  end
end

--- The list of what `require`, `loadfile` and `dofile` have read, in that order:
-- { name =, file =, text = }. It is the same table as it grows.
function env.loaded()
  return package.searchers[STATE_KEY].loaded
end

--- Puts other instances of the project's modules in the place of those that `require` has loaded.
-- What a spec has put into `package.loaded` stays.
-- @param instances map from name to module; what is not in it is loaded anew when it is required
-- @return the map of those that were loaded
function env.exchange(instances)
  local state, previous = package.searchers[STATE_KEY], {}
  for name, own in next, state and state.modules or {} do
    local loaded, instance = package.loaded[name], instances[name]
    if loaded == nil or loaded == own then
      previous[name], package.loaded[name] = loaded, instance
      state.modules[name] = instance == nil and own or instance
    end
  end
  return previous
end

--- Names that the function at `level` can see; the level is counted as `error` counts it.
local function visible_names(level)
  local names = text.sorted_keys(_G)
  local caller = debug.getinfo(level + 1, "f")
  local i = 1
  while debug.getlocal(level + 1, i) do
    names[#names + 1] = debug.getlocal(level + 1, i)
    i = i + 1
  end
  i = 1
  while caller and debug.getupvalue(caller.func, i) do
    names[#names + 1] = debug.getupvalue(caller.func, i)
    i = i + 1
  end
  return names
end

local strict_meta = {
  __index = function(_, name)
    local value = _G[name]
    if value == nil then
      local shown = tostring(name)
      local near = MEANT[shown] and (" (did you mean %s?)"):format(MEANT[shown])
        or advice.names[shown] and "; " .. advice.names[shown]
        or suggest.suffix(shown, visible_names(2))
      if shown == "NULL" then
        near = near .. "; a column that is NULL reads nil"
      end
      error(('global "%s" is not defined%s'):format(shown, near), 2)
    end
    return value
  end,
  __newindex = function(_, name)
    error(('assignment to global "%s"; declare it with local'):format(tostring(name)), 2)
  end,
}

--- The text of a file without what Lua skips: a byte order mark, and a first line that begins with
-- `#`. Line numbers stay as in the file.
local function source_of(content)
  return (content:gsub("^\239\187\191", ""):gsub("^#[^\n]*", ""))
end

--- A fresh strict environment. `_G` in it is the environment itself, and `load`, `loadfile` and
-- `dofile` take text only and give their chunks the same environment unless told otherwise.
function env.new()
  local self = { os = {} }
  for name, value in pairs(os) do
    self.os[name] = value
  end
  self.os.exit = nil
  self.os.setlocale = nil -- numbers are read and written with a decimal point
  self._G = self
  function self.load(chunk, name, _, ...)
    if select("#", ...) > 0 then
      return load(chunk, name, "t", ...)
    end
    return load(chunk, name, "t", self)
  end
  local function load_file(file, _, ...)
    local state = package.searchers[STATE_KEY]
    local content = type(file) == "string"
      and paths.read_once(state and state.texts, "file " .. file, file)
    if content then
      note(state, nil, file, content)
      return self.load(source_of(content), "@" .. file, "t", ...)
    elseif select("#", ...) > 0 then
      return loadfile(file, "t", ...)
    end
    return loadfile(file, "t", self) -- standard input, or it says why it cannot
  end
  self.loadfile = load_file
  function self.dofile(file)
    local chunk, why = load_file(file)
    return (chunk or error(why, 2))()
  end
  return setmetatable(self, strict_meta)
end

--- Compiles the text of a file for a fresh strict environment.
-- @return function, or nil and a message that begins with the path
function env.compile(content, shown_path)
  local body = source_of(content)
  if body:find "^\n?\27" then
    return nil, shown_path .. " is precompiled Lua bytecode; luamig loads source text only"
  end
  return load(body, "@" .. shown_path, "t", env.new())
end

--- `package.path` without the entries that luamig put there.
local function foreign_path(state)
  local kept = {}
  for entry in package.path:gmatch "[^;]+" do
    if not state.entries[entry] then
      kept[#kept + 1] = entry
    end
  end
  return table.concat(kept, ";")
end

local function own_path(state)
  local list = {}
  for _, dir in ipairs(state.dirs) do
    local prefix = dir == "/" and "/" or dir .. "/"
    list[#list + 1] = prefix .. "?.lua"
    list[#list + 1] = prefix .. "?/init.lua"
  end
  return list
end

--- Finds luamig's own modules where they would be without the script's directories: the project
-- file `luamig.lua` lies in the root and is no module.
local function search_luamig(state, name)
  local file = package.searchpath(name, foreign_path(state))
  if not file then
    return nil
  end
  local chunk, why = loadfile(file, "t")
  return chunk or error(why, 0), file
end

--- Finds a module that is not luamig's: what was read of it before, else the first file in the
-- script's directories, else one that Lua itself would find.
-- @return its text, its file, and whether it is the script's own; or nil
local function find_module(state, name)
  local places = {
    { key = "module " .. name, path = table.concat(own_path(state), ";"), is_own = true },
    { key = "other module " .. name, path = package.path },
  }
  for _, place in ipairs(places) do
    local content, file = paths.read_once(state.texts, place.key)
    if content then
      return content, file, place.is_own
    end
  end
  for _, place in ipairs(places) do
    local file = package.searchpath(name, place.path)
    if file then
      local content, why = paths.read_once(state.texts, place.key, file)
      return content or error(('could not load module "%s": %s'):format(name, why), 0), why,
        place.is_own
    end
  end
end

local function search_script_dirs(state, name)
  local content, file, is_own = find_module(state, name)
  if not content then
    file = package.searchpath(name, package.cpath)
    if file then
      note(state, name, file, paths.read(file)) -- Lua's own searcher loads it
    end
    return nil
  end
  local chunk, why
  if is_own then
    state.modules[name] = true
    chunk, why = env.compile(content, paths.shown(file, state.cwd))
  else
    chunk, why = load(source_of(content), "@" .. file)
  end
  if not chunk then
    error(('could not load module "%s": %s'):format(name, why), 0)
  end
  note(state, name, file, content)
  return function(...)
    local module = chunk(...)
    state.modules[name] = module == nil or module
    return module
  end, file
end

local function install(state)
  for i = #package.searchers, 1, -1 do
    if package.searchers[i] == state.searcher then
      table.remove(package.searchers, i)
    end
  end
  function state.searcher(name)
    local is_own = name == "luamig" or name:sub(1, 7) == "luamig."
    return (is_own and search_luamig or search_script_dirs)(state, name)
  end
  table.insert(package.searchers, 2, state.searcher)
  package.searchers[STATE_KEY] = state
end

--- Makes `require` search these directories first, in this order; directories of earlier calls
-- follow. Modules that are loaded already stay.
-- @param dirs list of directories; the last one is the project root
-- @param cwd the current directory, for the paths in messages
-- @param texts see `paths.read_once`
function env.search(dirs, cwd, texts)
  local state = package.searchers[STATE_KEY]
    or { dirs = {}, entries = {}, loaded = {}, modules = {} }
  local rest = foreign_path(state)
  local order = {}
  for _, list in ipairs { dirs, state.dirs } do
    for _, dir in ipairs(list) do
      order[#order + 1] = not text.contains(order, dir) and dir or nil
    end
  end
  state.dirs, state.cwd, state.root, state.texts = order, cwd, dirs[#dirs], texts
  local own = own_path(state)
  state.entries = text.set(own)
  package.path = table.concat(own, ";") .. (rest ~= "" and ";" .. rest or "")
  install(state)
end

return env
