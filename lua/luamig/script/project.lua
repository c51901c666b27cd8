--- The project file `luamig.lua`: the databases of a project, where its scripts lie, and defaults
-- for their config.
--
-- Promises: what comes out is complete and checked. No message shows the value of a repo, since it
-- may hold a password, nor do Lua's own errors.
-- Refuses: unknown fields and wrong types. A repo without a URL is an error only for a script that
-- needs it.

local canonical = require "luamig.script.canonical"
local config = require "luamig.script.config"
local env = require "luamig.script.env"
local paths = require "luamig.script.paths"
local source = require "luamig.script.source"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

local project = {}

local FIELD_NAMES = { "defaults", "repos", "scripts" }
local REPO_FIELDS = { "replicas", "url" }

local KINDS = { table = "a table", ["function"] = "a function" }

--- The type of a value that must not be shown.
local function kind(value)
  return KINDS[type(value)] or ("a value of type %s"):format(type(value))
end

--- Runs the file. Lua's errors quote the text at their place, which may be a URL.
local function evaluate(content, path)
  local ok, result = pcall(source.evaluate, content, path)
  if not ok then
    result.message = result.message:gsub(" near ['<].*$", ""):gsub(" %(constant '.*$", "")
    error(result, 0)
  end
  return result
end

local function is_filled(value)
  return type(value) == "string" and value:find "%S" ~= nil and text.is_utf8(value)
end

--- A URL, or nil of an empty text: a variable that is set to nothing.
local function check_url(value, path, label, fail)
  if type(value) ~= "string" or not text.is_utf8(value) then
    fail(path, ("%s must be a URL, not %s"):format(label, kind(value)))
  end
  return value:find "%S" and value or nil
end

local function check_replicas(given, path, label, fail)
  if type(given) ~= "table" then
    fail(path, ("%s must be a list of URLs, not %s"):format(label, kind(given)))
  end
  local kept = {}
  for _, i in ipairs(text.ordered_keys(given)) do
    if math.type(i) ~= "integer" or i < 1 or i > #given then
      fail(path, ("%s must be a list of URLs without holes"):format(label))
    end
    kept[i] = check_url(given[i], path, ("%s[%d]"):format(label, i), fail)
      or fail(path, ("%s[%d] is empty"):format(label, i))
  end
  return kept
end

local function check_repo(name, given, fail)
  local path, label = { "repos", name }, "repos." .. name
  if type(given) == "string" then
    return { name = name, url = check_url(given, path, label, fail), replicas = {} }
  elseif type(given) ~= "table" then
    fail(path, ("%s must be a URL or a table, not %s"):format(label, kind(given)),
      'Write name = "postgresql://..." or name = { url = "postgresql://..." }.')
  end
  for _, field in ipairs(text.ordered_keys(given)) do
    if field ~= "url" and field ~= "replicas" then
      local hint = type(field) == "string" and suggest.hint(field, REPO_FIELDS)
      fail(path, ("%s has a field that is neither url nor replicas"):format(label), hint or nil)
    end
  end
  return {
    name = name,
    url = given.url ~= nil and check_url(given.url, { "repos", name, "url" }, label .. ".url", fail)
      or nil,
    replicas = given.replicas == nil and {}
      or check_replicas(given.replicas, { "repos", name, "replicas" }, label .. ".replicas", fail),
  }
end

--- "default" first, the others by name.
local function repo_names(repos)
  local names = text.sorted_keys(repos)
  table.sort(names, function(a, b)
    return (a == "default" and "" or a) < (b == "default" and "" or b)
  end)
  return names
end

local function check_repos(given, fail)
  for name in next, given do
    if not is_filled(name) or name:find "%c" then
      fail({ "repos" }, "repos must be a table of names and URLs",
        'Write repos = { default = "postgresql://..." }.')
    end
  end
  local kept = {}
  for i, name in ipairs(repo_names(given)) do
    kept[i] = check_repo(name, given[name], fail)
  end
  return kept
end

local function check_fields(given, fail)
  for _, name in ipairs(text.ordered_keys(given)) do
    local value, shown = given[name], tostring(name)
    if name == "scripts" then
      if not is_filled(value) then
        fail({ name }, 'field "scripts" must be the path of a folder, not ' .. kind(value))
      end
    elseif name ~= "repos" and name ~= "defaults" then
      fail({ name }, ('unknown field "%s"'):format(shown), suggest.hint(shown, FIELD_NAMES)
        or suggest.nearest(shown, config.names) and ('"%s" is a field of defaults.'):format(shown))
    elseif type(value) ~= "table" then
      fail({ name }, ('field "%s" must be a table, not %s'):format(shown, kind(value)))
    end
  end
end

--- Loads a project file and checks it.
-- @param path the file, as messages show it
-- @param opts table: root, the file's directory; cwd; both absolute
-- @return table: repos (a list of { name =, url = or nil, replicas = list }, "default" first;
--   nil when the file has no such field), scripts, defaults_json (see `luamig.script.config`),
--   source (the file's text)
function project.load(path, opts)
  local content = source.read(path, "project file")
  env.search({ paths.join(opts.root, "lib"), opts.root }, opts.cwd)
  local given = evaluate(content, path)
  local fail = source.refuser(path, content)
  check_fields(given, fail)
  return {
    repos = given.repos and check_repos(given.repos, fail),
    scripts = given.scripts or "scripts",
    defaults_json = canonical.encode(config.check_defaults(given.defaults or {}, fail)),
    source = content,
  }
end

return project
