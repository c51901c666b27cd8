-- What a script with `prepare` may be, and what luamig.prepared keeps of rows.

local luamig = require "luamig"
local prepared = require "luamig.prepared"
local script = require "luamig.script"
local strict = require "luamig.strict"
local support = dofile "tests/lua/support.lua"

local function loading(fields)
  return script.load(support.script("return {\n" .. fields .. "\n}"))
end

describe("a script with prepare", function()
  after_each(support.clean)

  it("has it beside migrate", function()
    local def = loading 'base_query = "SELECT 1", migrate = print, prepare = function() end'
    assert.is_function(def.prepare)
    assert.equal(600000, def.config.prepare_timeout_ms)
  end)

  for fields, message in pairs {
    ['base_query = "SELECT 1", migrate_range = print, prepare = print'] =
      "prepare gets the rows of migrate, and this script has migrate_range",
    ["run = print, prepare = print"] =
      "prepare gets the rows of migrate, and this script has run",
    ["prepare = print"] = "prepare gets the rows of migrate, and this script has no migrate",
    ['base_query = "SELECT 1", migrate = print, prepare = true'] =
      'field "prepare" must be a function, not true',
    ['base_query = "SELECT 1", migrate = print, config = { prepare_timeout_ms = 0 }'] =
      "config.prepare_timeout_ms must be an integer from 1 to 2147483647, not 0",
  } do
    it("is refused: " .. message, function()
      local err = support.raised(loading, fields)
      assert.matches(message, tostring(err.message), 1, true)
    end)
  end
end)

describe("luamig.prepared", function()
  --- Rows with these ids, and what they hold: the id and a version.
  local function page(...)
    local rows, contents = {}, {}
    for i, shown in ipairs { ... } do
      local id, version = shown:match "^(%d+)(%a?)$"
      rows[i], contents[i] = { id = tonumber(id) }, #id .. ":" .. id .. #version .. ":" .. version
    end
    return strict.rows(rows, { "id", "version" }), contents
  end

  --- Looks at a page, prepares what is missing, and tells which rows these were.
  local function look(known, ...)
    known:look(page(...))
    local ids = {}
    while known.done < #known.missing do
      known:call(function(rows)
        local results = {}
        for _, row in ipairs(rows) do
          ids[#ids + 1], results[row.id] = row.id, row.id * 10
        end
        return results
      end, {}, 2)
    end
    return table.concat(ids, " ")
  end

  it("keeps what a smaller page leaves out, and then has it", function()
    local known = prepared.new { "id" }
    assert.equal("1 2 3 4", look(known, "1", "2", "3", "4"))
    assert.equal("", look(known, "1", "2"))
    known:passed()
    assert.equal("5", look(known, "3", "4", "5"))
    assert.equal(30, known.results[3])
  end)

  it("forgets what is gone before the last row that a page has", function()
    local known = prepared.new { "id" }
    look(known, "1", "2", "3")
    assert.equal("", look(known, "1", "3"))
    assert.equal("2", look(known, "1", "2", "3"))
  end)

  it("forgets a page that is passed, and the older version of a row", function()
    local known = prepared.new { "id" }
    look(known, "1a", "2a")
    assert.equal("1", look(known, "1b", "2a"))
    assert.equal("1", look(known, "1a", "2a"))
    known:passed()
    assert.equal(0, #known.items)
    assert.equal("1 2", look(known, "1a", "2a"))
  end)

  it("keeps what it has for a while where a page has none of it", function()
    local known = prepared.new { "id" }
    look(known, "8", "9")
    assert.equal("1 2", look(known, "1", "2"))
    known:passed()
    assert.equal("", look(known, "8", "9"))
    for id = 10, 20 do
      look(known, tostring(id))
      known:passed()
    end
    assert.equal("8 9", look(known, "8", "9"))
  end)

  it("has results of the rows of the page only", function()
    local known = prepared.new { "id" }
    look(known, "1", "2")
    look(known, "1")
    assert.equal(10, known.results[1])
    assert.has_error(function() return known.results[2] end)
  end)

  it("names a column in which a row has changed", function()
    local known = prepared.new { "id" }
    local function look_at(content)
      local rows = strict.rows({ { id = 1 } }, { "id", "a", "b" })
      local missing, column = known:look(rows, { content })
      known:call(function() return {} end, {}, 1)
      return missing .. tostring(column)
    end
    assert.equal("1nil", look_at "1:1-1:x")
    assert.equal("0nil", look_at "1:1-1:x")
    assert.equal("1a", look_at "1:10:1:x")
    assert.equal("1b", look_at "1:10:3:1:x")
    assert.equal("1b", look_at "1:10:-")
  end)

  it("says how many of the first rows are prepared", function()
    local known = prepared.new { "id" }
    look(known, "1", "2", "3", "4")
    known:look(page("1", "2b", "3", "4b"))
    local function none() return {} end
    assert.equal(3, known:call(none, {}, 1))
    assert.equal(4, known:call(none, {}, 1))
  end)

  it("prepares rows again of a call that has failed", function()
    local known = prepared.new { "id" }
    known:look(page("1", "2"))
    assert.has_error(function() known:call(error, {}, 5) end)
    assert.equal("1 2", look(known, "1", "2"))
  end)

  it("refuses a key that two rows have", function()
    local err = support.raised(look, prepared.new { "id" }, "1", "2", "1")
    assert.matches("two rows of a page have the same key: 1", err.message, 1, true)
  end)

  it("tells values of JSON from texts", function()
    local json = luamig.json.decode '[5, "5", "\\"5\\"", true, "true", [1], "[1]", null, "null"]'
    local rows, contents, seen = {}, {}, {}
    local key_of = prepared.key_of({ "id" }, "x")
    for i, id in ipairs(json) do
      rows[i], contents[i] = { id = id }, "1:x"
      assert.is_nil(seen[key_of(rows[i])])
      seen[key_of(rows[i])] = true
    end
    local known = prepared.new { "id" }
    known:look(strict.rows(rows, { "id" }), contents)
    known:call(function()
      local results = {}
      for i, id in ipairs(json) do results[id] = i end
      return results
    end, {}, #rows)
    for i, id in ipairs(json) do
      assert.equal(i, known.results[id])
    end
  end)

  for _, case in ipairs {
    { 7, "7" }, { 7.0, "7" }, { 1e15, "1000000000000000" }, { -0.0, "0" },
    { -0.5, "-0.5" }, { "a/b c", "a%2Fb%20c" }, { "é", "%C3%A9" },
    { true, "true" }, { luamig.decimal "1.50", "1.50" }, { { 1, 2 }, "%5B1%2C2%5D" },
    { "a,b", "a%2Cb" }, { "\0", "%00" }, { "5", "%225%22" }, { "true", "%22true%22" },
    { '"5"', "%22%225%22%22" }, { "1-2", "1-2" },
  } do
    it("makes a key of printable ASCII: " .. case[2], function()
      local key_of = prepared.key_of({ "k" }, "x-1")
      assert.equal("x-1-" .. case[2], key_of { k = case[1] })
    end)
  end

  it("makes a key of several columns", function()
    local key_of = prepared.key_of({ "b", "a" }, "x-1")
    assert.equal("x-1-2,1", key_of { a = 1, b = 2, c = 3 })
    assert.has_error(function() key_of { b = 2 } end)
  end)
end)
