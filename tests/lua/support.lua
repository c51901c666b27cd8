--- What several specs need: scripts and projects in temporary directories.

local lfs = require "lfs"

local support = {}

local made = {}

--- Makes a directory that `support.clean` removes.
function support.directory()
  local path = os.tmpname()
  os.remove(path)
  assert(lfs.mkdir(path))
  made[#made + 1] = path
  return path
end

--- Writes a file below a directory, with the directories on its way. Returns its path.
function support.write(dir, name, content)
  local at = dir
  for part in name:gmatch "([^/]+)/" do
    at = at .. "/" .. part
    lfs.mkdir(at)
  end
  local path = dir .. "/" .. name
  local file = assert(io.open(path, "wb"))
  file:write(content)
  file:close()
  return path
end

--- Writes a script into a directory of its own. Returns its path.
function support.script(content)
  return support.write(support.directory(), "s.lua", content)
end

local function remove(path)
  if lfs.symlinkattributes(path, "mode") == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then
        remove(path .. "/" .. name)
      end
    end
    lfs.rmdir(path)
  else
    os.remove(path)
  end
end

--- Removes what the specs made.
function support.clean()
  for _, path in ipairs(made) do
    remove(path)
  end
  made = {}
end

--- Calls a function that must raise; returns the error.
function support.raised(fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then
    error("expected an error", 2)
  end
  return err
end

--- The message of an error value, without position.
function support.message(err)
  local message = type(err) == "table" and err.message or tostring(err)
  return (message:gsub("^[^%s]*%.lua:?%d*: ", ""))
end

return support
