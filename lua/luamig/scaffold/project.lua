--- The files that `luamig init` puts into a project.
--
-- Promises: what an existing file lacks is said, line by line; whether it says it in another way
-- is for people to judge.
-- Refuses to change anything: it reads only.

local paths = require "luamig.script.paths"

local project = {}

local PROJECT_FILE = [=[
-- The databases of this project, and defaults for its scripts. Do not write passwords here:
-- os.getenv reads the environment, and the file .env next to this file.
---@type luamig.Project
return {
  -- Without repos, DATABASE_URL or libpq's variables (PGHOST, ...) name the database.
  -- repos = {
  --   default = os.getenv "SHOP_URL",
  --   analytics = os.getenv "ANALYTICS_URL",
  -- },
  scripts = "scripts",
  defaults = {
    -- batch_size = 500,
  },
}
]=]

local BUSTED = [=[
-- How busted runs the specs.
return {
  default = {
    -- Scripts are Lua 5.4. If busted runs under another Lua, it starts lua5.4 and loses the quotes
    -- on its command line.
    lua = _VERSION ~= "Lua 5.4" and "lua5.4" or nil,
    ROOT = { "spec" },
  },
}
]=]

local LUACHECKRC = [=[
std = "lua54"
exclude_files = { ".luamig" }
files["spec"] = { std = "+busted" }
]=]

local LUARC = [=[
{
  "$schema": "https://raw.githubusercontent.com/LuaLS/vscode-lua/master/setting/schema.json",
  "runtime.version": "Lua 5.4",
  "workspace.library": [
    ".luamig/types",
    "${3rd}/busted/library",
    "${3rd}/luassert/library"
  ],
  "workspace.checkThirdParty": false
}
]=]

local GITIGNORE = [=[
.luamig/
.env
]=]

--- Whether one of these stands in a line of its own.
local function has_line(content, lines)
  for line in content:gmatch "[^\r\n]+" do
    for _, wanted in ipairs(lines) do
      if line:match "^%s*(.-)%s*$" == wanted then
        return true
      end
    end
  end
  return false
end

local function contains(word)
  return function(content)
    return content:find(word, 1, true) ~= nil
  end
end

local function ignores(name)
  local lines = { name, "/" .. name, name .. "/", "/" .. name .. "/", name .. "*" }
  return function(content)
    return has_line(content, lines)
  end
end

--- In the order in which they are made. `needs` is what an existing file should have: a test of its
-- text, and what to add.
local FILES = {
  { path = "luamig.lua", text = PROJECT_FILE, needs = {} },
  { path = ".busted", text = BUSTED, needs = {
    { test = contains "lua5.4", add = 'lua = "lua5.4"' },
  } },
  { path = ".luacheckrc", text = LUACHECKRC, needs = {
    { test = contains "lua54", add = 'files["scripts"] = { std = "lua54" }' },
    { test = contains "busted", add = 'files["spec"] = { std = "lua54+busted" }' },
    { test = contains ".luamig", add = 'exclude_files = { ".luamig" }' },
  } },
  { path = ".luarc.json", text = LUARC, needs = {
    { test = contains ".luamig/types", add = '"workspace.library": [".luamig/types"]' },
  } },
  { path = ".gitignore", text = GITIGNORE, needs = {
    { test = ignores ".luamig", add = ".luamig/" },
    { test = ignores ".env", add = ".env" },
  } },
}

--- @param root the project's folder
-- @return list of { path = below the root, text =, advice = lines to add to the file that is there,
--   or nil }
function project.files(root)
  local files = {}
  for i, file in ipairs(FILES) do
    local content = paths.read(root .. "/" .. file.path)
    local lines = {}
    for _, need in ipairs(content and file.needs or {}) do
      if not need.test(content) then
        lines[#lines + 1] = need.add
      end
    end
    files[i] = {
      path = file.path, text = file.text, advice = #lines > 0 and table.concat(lines, "\n") or nil,
    }
  end
  return files
end

return project
