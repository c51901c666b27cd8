--- The script and the spec that `luamig new` writes.
--
-- Promises: both are valid and lint-free for every table; the script changes nothing until you
-- fill in the changes; the spec passes at once.

local samples = require "luamig.scaffold.samples"
local source = require "luamig.scaffold.source"
local text = require "luamig.text"

local map, set = text.map, text.set

local migration = {}

local MORE_COLUMNS = 4

local PAGED = [=[
-- TODO: write in one sentence what this migration changes, and why.
---@type luamig.Script
return {
  config = {{config}},

  -- TODO: select the rows to migrate, and the columns that migrate needs. luamig adds the
  -- condition on the key, the order and the limit.
  base_query = {{query}},

  -- Called once for each batch, inside its transaction.
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      local changes = {
        -- TODO: the new values of a row, for example
        -- {{example}},
      }
      if next(changes) then
        repo:update({{match}}, changes)
      end
    end
  end,
}
]=]

local ONE_SHOT = [=[
{{require}}-- TODO: write in one sentence what this migration changes, and why.
---@type luamig.Script
return {
  -- Runs in one transaction. It keeps its locks until the end.
  run = function(repo, run)
    local changes = {
      -- TODO: the new values of the rows, for example
      -- {{example}},
    }
    if next(changes) then
      -- TODO: choose the rows.
      {{call}})
      run.log("updated", { rows = handle.affected })
    end
  end,
}
]=]

local SPEC = [=[
local mock = require "luamig.mock"

local SCRIPT = {{path}}

-- Makes a new world for each test: the table's columns, and rows that the script may meet.
local function new_world()
  return mock.new {
    tables = {
      {{field}} = {
        columns = {
          {{columns}},
        },
        {{leftOut}}
        {{primaryKey}}
        {{notNull}}
        {{unique}}
        rows = {
          {{rows}},
        },
      },
    },
    {{base}}
  }
end

describe({{name}}, function()
  it("does what it is for", function()
    local world = new_world()
    local result = world:run(SCRIPT)
    assert.equal("done", result.state, tostring(result.error))
    {{count}}
    -- TODO: check the rows, for example
    -- local row = world:rows({{table}})[1]
    -- assert.equal({{value}}, {{cell}})
    {{complete}}
  end)

  -- TODO: replace pending by it when the script changes rows. Before that, these assertions
  -- cannot test anything.
  pending("changes nothing when it is run once more", function()
    mock.assert_idempotent(SCRIPT, new_world)
  end)

  pending("leaves the same {{when}}", function()
    mock.assert_resumable(SCRIPT, new_world)
    {{anySize}}
  end)
end)
]=]

local BASE = [=[
-- The same as the script's base query, for the mock.
    base = {
      from = {{table}},
      {{select}},
      {{where}}
    },]=]

local WHERE = [=[
where = function(row)
        return {{cell}} == nil
      end,]=]

--- The facts of a table that luamig could not look at.
local function assume(sql_name)
  return {
    sql_name = sql_name, primary_key = true, key = { "id" }, unique = {},
    columns = {
      { name = "id", sql_name = "id", type = "bigint", not_null = true },
      { name = "my_column", sql_name = "my_column", type = "text" },
    },
  }
end

--- The facts as a table, without JSON's nulls.
local function read_facts(json)
  local cjson = require "cjson"
  local function clean(given)
    for key, item in pairs(given) do
      if item == cjson.null then
        given[key] = nil
      elseif type(item) == "table" then
        clean(item)
      end
    end
    return given
  end
  return clean(cjson.decode(json))
end

--- The key of a table: what the catalog proves, else the likeliest column.
local function key_of(facts)
  if facts.key then
    return facts.key, true
  end
  for _, column in ipairs(facts.columns) do
    if column.name == "id" then
      return { "id" }, false
    end
  end
  return { facts.columns[1].name }, false
end

--- The column that a migration might fill: the first that may be NULL and be written. Then the
-- first that may be written, which is not looked for.
local function target_of(facts, key)
  local in_key, other = set(key), nil
  for _, column in ipairs(facts.columns) do
    if not in_key[column.name] and not column.generated and samples.knows(column) then
      if not column.not_null then
        return column, column
      end
      other = other or column
    end
  end
  return nil, other
end

--- The columns of the base query: the key, and a few more that the mock knows.
local function selected(facts, key, target)
  local in_key, by_name = set(key), {}
  for _, column in ipairs(facts.columns) do
    by_name[column.name] = column
  end
  local chosen = map(key, function(name) return by_name[name] end)
  for _, column in ipairs(facts.columns) do
    local wanted = not in_key[column.name] and column ~= target and samples.knows(column)
    if wanted and #chosen < #key + MORE_COLUMNS then
      chosen[#chosen + 1] = column
    end
  end
  return chosen
end

local function quoted(names, indent, lead)
  return source.list(map(names, source.quote), indent, lead)
end

local function one_line(shown)
  return (shown:gsub("%c", " "))
end

local function query_of(facts, columns, target)
  local names = map(columns, function(column) return column.sql_name end)
  local from = " FROM " .. facts.sql_name
  local where = target and " WHERE " .. target.sql_name .. " IS NULL" or ""
  local line = source.sql("SELECT " .. table.concat(names, ", ") .. from .. where)
  if #line < 80 or line:find "%c" then
    return line
  end
  local indent = "    "
  local body = "\n" .. indent .. "SELECT " .. source.wrap(names, ",", indent .. "  ") .. "\n"
    .. indent .. from:sub(2) .. (where ~= "" and "\n" .. indent .. where:sub(2) or "") .. "\n  "
  return source.sql(body)
end

local function config_of(key, is_proved)
  local rest = "batch_size = 1000, throttle_ms = 100"
  if is_proved and #key == 1 and key[1] == "id" then
    return "{ " .. rest .. " }"
  end
  local lines = { quoted(key, "    ", "key = "), "batch_size = 1000", "throttle_ms = 100" }
  if #key == 1 then
    lines[1] = "key = " .. source.quote(key[1])
  end
  if not is_proved then
    table.insert(lines, 1, "-- TODO: check the key: the table has no unique and NOT NULL "
      .. "columns.\n    " .. table.remove(lines, 1))
  end
  return "{\n    " .. table.concat(lines, ",\n    ") .. ",\n  }"
end

--- `"users", { id = row.id }`.
local function match_of(name, key)
  return source.list(map(key, function(column)
    return source.field(column) .. " = " .. source.index("row", column)
  end), "        ", source.quote(name) .. ", ")
end

local function example_of(column)
  return column and source.field(column.name) .. " = " .. samples.literal(column)
    or "column = value"
end

local function script_of(self)
  local facts, target = self.facts, self.target
  local texts = { example = example_of(self.writable) }
  if self.one_shot then
    local first = self.columns[1]
    texts.require = target and 'local luamig = require "luamig"\n\n' or ""
    local where = target and source.field(target.name) .. " = luamig.NULL"
      or source.field(first.name) .. " = " .. samples.literal(first)
    texts.call = source.list({ where }, "      ",
      ("local handle = repo:update_all(%s, changes, "):format(source.quote(self.table)))
    return source.fill(ONE_SHOT, texts)
  end
  texts.config = config_of(self.key, self.is_proved)
  texts.query = query_of(facts, self.columns, target)
  texts.match = match_of(self.table, self.key)
  return source.fill(PAGED, texts)
end

local function base_of(self)
  if self.one_shot then
    return ""
  end
  local names = map(self.columns, function(column) return column.name end)
  return source.fill(BASE, {
    table = source.quote(self.table), select = quoted(names, "      ", "select = "),
    where = self.target and source.fill(WHERE, { cell = source.index("row", self.target.name) })
      or "",
  })
end

--- How many rows the base query returns.
local function count_of(self, rows)
  local count = 0
  for _, row in ipairs(rows) do
    count = count + (self.target and row.has_target and 0 or 1)
  end
  return count
end

local function left_out_of(sample)
  return table.concat(map(sample.left_out, function(column)
    return ("-- Without %s %s: the mock does not support its type."):format(one_line(column.name),
      column.type)
  end), "\n        ")
end

local function spec_of(self)
  local sample = samples.table(self.facts, self.key, self.target and self.target.name)
  local indent, inner = "        ", ",\n          "
  local proved_primary = self.facts.primary_key
  local unique = { table.unpack(sample.unique) }
  if self.is_proved and not proved_primary then
    table.insert(unique, 1, self.key)
  end
  local not_null = source.not_null(sample.columns, proved_primary and self.key or {})
  local writable = self.writable or self.columns[1]
  return source.fill(SPEC, {
    path = source.quote(self.script_path), name = source.quote(self.name),
    field = source.field(self.table),
    columns = table.concat(map(sample.columns, function(column)
      return source.field(column.name) .. " = " .. source.quote(column.type)
    end), inner),
    leftOut = left_out_of(sample),
    primaryKey = proved_primary and quoted(self.key, indent, "primary_key = ") .. "," or "",
    notNull = #not_null > 0 and quoted(not_null, indent, "not_null = ") .. "," or "",
    unique = #unique > 0 and source.list(map(unique, function(columns)
      return quoted(columns, indent .. "  ", "")
    end), indent, "unique = ") .. "," or "",
    rows = table.concat(map(sample.rows, function(row)
      return source.list(row, "          ", "")
    end), inner),
    base = base_of(self),
    complete = self.target and not self.one_shot
      and "-- mock.assert_complete(SCRIPT, new_world)" or "",
    count = self.one_shot and "" or ("assert.equal(%d, result.rows)"):format(
      count_of(self, sample.rows)),
    when = self.one_shot and "wherever it is killed"
      or "wherever it is killed, and in batches of any size",
    anySize = self.one_shot and "" or "mock.assert_batch_size_independent(SCRIPT, new_world)",
    value = samples.literal(writable),
    table = source.quote(self.table), cell = source.index("row", writable.name),
  })
end

--- Makes both files.
-- @param request table:
--   name         the script's name; script_path and spec_path, where the files are to be
--   script_path, spec_path  as seen from the project root
--   table        as the repo takes its name, or nil: not given
--   sql_table    the same as SQL takes it
--   facts        what the catalog says of it (see `core/check/relation.h`), or facts_json, the
--                same as text; neither: luamig could not look
--   one_shot     true: no paging
-- @return list of { path =, text = }
function migration.files(request)
  local facts = request.facts or request.facts_json and read_facts(request.facts_json)
    or assume(request.sql_table or "my_table")
  if #facts.columns == 0 then
    error(('table "%s" has no columns'):format(request.table), 0)
  end
  local self = {
    facts = facts, name = request.name, script_path = request.script_path,
    table = request.table or "my_table", one_shot = request.one_shot,
  }
  self.key, self.is_proved = key_of(facts)
  self.target, self.writable = target_of(facts, self.key)
  self.columns = selected(facts, self.key, self.target)
  return {
    { path = request.script_path, text = script_of(self) },
    { path = request.spec_path, text = spec_of(self) },
  }
end

return migration
