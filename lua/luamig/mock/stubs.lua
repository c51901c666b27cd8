--- Answers to raw SQL, given by the spec.
--
-- Promises: only a stub for this very statement answers it. A stub that the run did not use, or not
-- as often as `times` says, is reported. Answers are copies. A stub with a function computes its
-- answer, and may change the tables of the world. With `answers_always`, set by
-- `luamig.mock.properties`, neither `times` nor `order` limits what a stub answers.
-- Refuses: to invent rows or counts that the stub does not have.

local check = require "luamig.mock.check"
local errors = require "luamig.errors"
local luamig = require "luamig"
local sql = require "luamig.mock.sql"
local strict = require "luamig.strict"
local text = require "luamig.text"
local types = require "luamig.mock.types"
local value = require "luamig.mock.value"

local stubs = {}

local Stubs = {}
Stubs.__index = Stubs

local KEYS = { "params", "rows", "columns", "affected", "error", "times", "order", "answer",
  "makes" }
local ERROR_KEYS = { "sqlstate", "message", "detail", "hint", "table", "column", "constraint" }

local function check_error(given)
  if given == nil then
    return
  end
  check.options(3, "world:stub error", given, ERROR_KEYS)
  if not check.is_sqlstate(given.sqlstate) or type(given.message) ~= "string" then
    check.fail(3, "world:stub: error needs sqlstate (five digits or capital letters) and message")
  end
end

--- What is wrong with the rows of an answer, or nil.
local function fault_of(rows)
  for _, row in ipairs(rows) do
    if type(row) ~= "table" then
      return "rows must be a list of tables, not of " .. text.describe(row)
    end
    for _, item in next, row do
      if item ~= luamig.NULL and not pcall(types.check_loose, item) then
        return "rows hold " .. text.describe(item)
      end
    end
  end
end

local function check_rows(rows)
  check.type(3, "world:stub: rows", rows, "table", "a list of tables")
  local fault = fault_of(rows or {})
  if fault then
    check.fail(3, "world:stub: " .. fault)
  end
end

--- A function says all of the answer.
local function check_answer(spec)
  check.type(3, "world:stub: answer", spec.answer, "function", "a function")
  for _, name in ipairs(spec.answer and { "rows", "affected", "error", "makes" } or {}) do
    if spec[name] ~= nil then
      check.fail(3, ("world:stub: answer and %s cannot be combined"):format(name))
    end
  end
end

local function check_params(params)
  check.type(3, "world:stub: params", params, "table", "a list")
  for i in next, params or {} do
    if math.type(i) ~= "integer" then
      check.fail(3, "world:stub: params must be a list, it has the key " .. text.describe(i))
    end
  end
end

--- Adds a stub; to be called by `world:stub` only (errors show the spec's line).
function Stubs:add(statement, spec)
  if type(statement) ~= "string" or #sql.tokens(statement) == 0 then
    check.fail(2, "world:stub takes SQL text, not " .. text.describe(statement))
  end
  spec = type(spec) == "function" and { answer = spec } or spec or {}
  check.options(2, "world:stub", spec, KEYS)
  check_error(spec.error)
  check.integer(2, "world:stub: times", spec.times, 1)
  check.integer(2, "world:stub: affected", spec.affected, 0)
  check.integer(2, "world:stub: order", spec.order, 1)
  check_params(spec.params)
  check_rows(spec.rows)
  check_answer(spec)
  check.type(2, "world:stub: makes", spec.makes, "string", "the name of a table")
  local stub = value.copy(spec)
  stub.sql, stub.fingerprint, stub.used = statement, sql.fingerprint(statement), 0
  stub.columns, stub.gives_columns = spec.columns or spec.rows and value.columns_of(spec.rows),
    spec.columns ~= nil
  self.list[#self.list + 1] = stub
end

--- Whether parameters are those of a stub; a stub without `params` takes any.
local function same_params(wanted, given)
  local last = given.n
  for i in next, wanted or {} do
    last = math.max(last, i)
  end
  for i = 1, wanted and last or 0 do
    local expected = wanted[i]
    if expected == luamig.NULL then
      expected = nil
    end
    if not value.equal(expected, given[i]) then
      return false
    end
  end
  return true
end

--- Parameters of a statement as messages show them: ` with $1 = 7`.
function stubs.show_params(params)
  local shown = {}
  for i = 1, params.n do
    shown[i] = ("$%d = %s"):format(i, text.describe(params[i]))
  end
  return #shown > 0 and " with " .. table.concat(shown, ", ") or ""
end

--- How many tokens two statements have in common, at their beginnings and at their ends.
local function common_tokens(a, b)
  local shorter, first, last = math.min(#a, #b), 0, 0
  while first < shorter and a[first + 1] == b[first + 1] do
    first = first + 1
  end
  while first + last < shorter and a[#a - last] == b[#b - last] do
    last = last + 1
  end
  return first + last
end

--- What to say of a statement that no stub is for: the stub that more than half of it is like.
local function nearest(list, statement)
  local tokens = sql.tokens(statement)
  local most, near = #tokens // 2, nil
  for _, stub in ipairs(list) do
    local count = common_tokens(tokens, sql.tokens(stub.sql))
    if count > most then
      most, near = count, stub
    end
  end
  return near and "The nearest stub is for another statement: " .. near.sql
end

local function unexpected(statement, params, reason)
  errors.raise {
    kind = "spec", sql = statement,
    message = ("unexpected statement: %s%s"):format(statement, stubs.show_params(params)),
    detail = reason, hint = "Declare its answer with world:stub.",
  }
end

--- Why a stub does not answer once more, or not at this time; nil when it does.
function Stubs:why_not_now(stub)
  if self.answers_always then
    return nil
  elseif stub.times and stub.used >= stub.times then
    return ("Its stub answers only %s."):format(text.count(stub.times, "time"))
  elseif stub.order and stub.order < self.last_order then
    return ("Its stub has order %d, but a stub with order %d was used before."):format(stub.order,
      self.last_order)
  end
end

--- The stub that answers a statement; nil, and why there is none.
-- @param params table with `n`; nil is NULL
function Stubs:find(statement, params)
  local fingerprint = sql.fingerprint(statement)
  local reason
  for _, stub in ipairs(self.list) do
    local is_same = stub.fingerprint == fingerprint
    if is_same and not same_params(stub.params, params) then
      reason = reason or "A stub for this statement has other params."
    elseif is_same then
      local why = self:why_not_now(stub)
      if not why then
        return stub
      end
      reason = why
    end
  end
  return nil, reason or nearest(self.list, statement)
end

--- The same stub, counted as used; raises when there is none.
function Stubs:take(statement, params)
  local stub, reason = self:find(statement, params)
  if not stub then
    unexpected(statement, params, reason)
  end
  stub.used = stub.used + 1
  self.last_order = stub.order or self.last_order
  return stub
end

local function refuse_answer(stub, message)
  errors.raise { kind = "spec", message = ("the function of the stub %s: %s"):format(message,
    stub.sql) }
end

--- What the function of a stub has raised: an error of the server, or a mistake of the spec.
local function raised(stub, err)
  if errors.is(err) and err.kind == "spec" then
    error(err, 0)
  elseif type(err) ~= "table" or not check.is_sqlstate(rawget(err, "sqlstate")) then
    refuse_answer(stub, "failed: " .. tostring(err))
  end
  local given = value.copy(err)
  given.message = given.message or "an error of the stub"
  return { sql = stub.sql, error = given }
end

--- Calls the function of a stub.
-- @param tables of `luamig.mock.views`, which it may change
-- @return a stub that has the answer
function stubs.play(stub, params, tables)
  local given = table.move(params, 1, params.n, 1, { n = params.n })
  local ok, answer = pcall(stub.answer, given, tables)
  if not ok then
    return raised(stub, answer)
  elseif math.type(answer) == "integer" and answer >= 0 then
    return { sql = stub.sql, is_played = true, affected = answer }
  elseif type(answer) ~= "table" then
    refuse_answer(stub, "must return a list of rows, or how many rows are affected, not "
      .. text.describe(answer))
  end
  local fault = fault_of(answer)
  if fault then
    refuse_answer(stub, "returned a wrong answer, " .. fault)
  end
  return {
    sql = stub.sql, is_played = true, rows = answer, affected = #answer,
    columns = stub.columns or value.columns_of(answer), gives_columns = stub.gives_columns,
  }
end

--- Raises the error of a stub that has one.
function stubs.raise_error(stub, statement)
  if stub.error then
    local err = value.copy(stub.error)
    err.kind, err.sql = "database", statement
    errors.raise(err)
  end
end

--- The rows of a stub, as a query returns them.
function stubs.rows(stub)
  if not stub.rows then
    errors.raise { kind = "spec", message = "the stub has no rows: " .. stub.sql }
  end
  return strict.rows(text.map(stub.rows, value.read_row), stub.columns)
end

--- Descriptions of the stubs that were not used as declared.
function Stubs:unused()
  return text.map(self.list, function(stub)
    local times = stub.times or 1
    return stub.used < times and ("the run used the stub %d of %d times: %s"):format(stub.used,
      times, stub.sql) or nil
  end)
end

function stubs.new()
  return setmetatable({ list = {}, last_order = 0 }, Stubs)
end

return stubs
