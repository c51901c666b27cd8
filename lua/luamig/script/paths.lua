--- Where a script lies: its directory, the project root, and its name.
--
-- Promises: `scripts/a.lua`, `./scripts/a.lua` and, from inside `scripts`, `a.lua` have the same
-- name: it never depends on the current directory. Paths are worked out by their text; a host that
-- can follow symbolic links gives the resolved path.
-- Refuses: nothing. Without any way to learn the current directory, it looks no higher than that.

local paths = {}

--- Removes `.`, inner `..` and doubled slashes; "" becomes ".".
function paths.normalize(path)
  local absolute = path:sub(1, 1) == "/"
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." and #parts > 0 and parts[#parts] ~= ".." then
      table.remove(parts)
    elseif part ~= "." and not (part == ".." and absolute) then
      parts[#parts + 1] = part
    end
  end
  local joined = table.concat(parts, "/")
  return absolute and "/" .. joined or joined == "" and "." or joined
end

--- `path` seen from `dir`, normalised; an absolute path stays itself.
function paths.join(dir, path)
  return paths.normalize(path:sub(1, 1) == "/" and path or dir .. "/" .. path)
end

--- The directory of a normalised path; of "/", "." and ".." there is none to be had from the text.
function paths.dirname(path)
  if path == "/" or path == "." or path == ".." or path:sub(-3) == "/.." then
    return nil
  end
  local dir = path:match "^(.*)/[^/]*$"
  return dir == nil and "." or dir == "" and "/" or dir
end

local function split(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return parts
end

--- The way from directory `base` to `path`, both absolute or both relative and normalised.
function paths.relative(path, base)
  local to, from = split(path), split(base)
  local common = 0
  while common < #from and from[common + 1] == to[common + 1] do
    common = common + 1
  end
  local parts = {}
  for _ = common + 1, #from do
    parts[#parts + 1] = ".."
  end
  table.move(to, common + 1, #to, #parts + 1, parts)
  return #parts == 0 and "." or table.concat(parts, "/")
end

--- The whole text of a file, or nil and the system's reason.
function paths.read(path)
  local file, why = io.open(path, "rb")
  if not file then
    return nil, (why:gsub("^.*: ", ""))
  end
  local content
  content, why = file:read "a"
  file:close()
  return content, why
end

--- As `paths.read`, but at most once: the host has what was read under that key, perhaps by another
-- Lua state that runs the same script.
-- @param texts nil: no host; else a table of functions: find(key) and keep(key, path, content)
--   return the content under the key, and the path that it is from; nothing if there is none
-- @param path nil: only what was read already
-- @return the text and its path, or nil and the system's reason
function paths.read_once(texts, key, path)
  if texts then
    local content, file = texts.find(key)
    if content then
      return content, file
    end
  end
  if not path then
    return nil
  end
  local content, why = paths.read(path)
  if not content then
    return nil, why
  elseif texts then
    return texts.keep(key, path, content)
  end
  return content, path
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

--- The current directory, or nil.
local function current_directory()
  local found, lfs = pcall(require, "lfs")
  return found and lfs.currentdir() or nil
end

local function is_below(path, dir)
  if dir == "." then
    return path:sub(1, 1) ~= "/" and path ~= ".." and path:sub(1, 3) ~= "../"
  end
  return dir == "/" or path:sub(1, #dir + 1) == dir .. "/"
end

--- The directory itself, or the nearest one above it, for which `test` holds; else nil.
local function upward(dir, test)
  while dir and not test(dir) do
    dir = paths.dirname(dir)
  end
  return dir
end

--- Whether a file or folder in the directory marks a project.
local function is_marked(dir)
  return exists(paths.join(dir, "luamig.lua")) or exists(paths.join(dir, ".luamig"))
    or exists(paths.join(dir, ".git"))
end

local function is_scripts(dir)
  return dir == "scripts" or dir:sub(-8) == "/scripts"
end

--- Places a script. A script is in a project when a folder above it is marked or called "scripts".
-- @param path as the user wrote it
-- @param given may hold `cwd` (absolute), `abspath` (the script's absolute path, links resolved)
--   and `root` (a directory)
-- @return { dir =, root =, cwd =, name = }: name is the path relative to the project root, else the
--   full path; root is then the script's directory. Directories are absolute, unless the current
--   directory cannot be learnt (then cwd is "." and they are relative to it, or cwd is nil and they
--   come from an absolute path)
function paths.place(path, given)
  local cwd = given.cwd or current_directory()
  local full = paths.join(cwd or ".", given.abspath or path)
  if not cwd and full:sub(1, 1) ~= "/" then
    cwd = "."
  end
  local dir = paths.dirname(full)
  local root = given.root and paths.join(cwd or ".", given.root)
    or upward(dir, is_marked) or paths.dirname(upward(dir, is_scripts) or ".")
  return {
    dir = dir, root = root or dir, cwd = cwd, name = root and paths.relative(full, root) or full,
  }
end

--- A path as messages show it: relative to the current directory `cwd` when it lies below it.
function paths.shown(path, cwd)
  local is_near = cwd and cwd ~= "/" and is_below(path, cwd)
  return is_near and paths.relative(path, cwd) or path
end

return paths
