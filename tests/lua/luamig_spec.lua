local luamig = require "luamig"
local suggest = require "luamig.suggest"
local text = require "luamig.text"

describe("luamig", function()
  it("tells its version", function()
    assert.equal("0.1.0", luamig.version)
  end)

  it("has sentinels that print their names and cannot be changed", function()
    assert.equal("luamig.NULL", tostring(luamig.NULL))
    assert.equal("luamig.ALL", tostring(luamig.ALL))
    assert.is_false(rawequal(luamig.NULL, luamig.ALL))
    for _, sentinel in ipairs { luamig.NULL, luamig.ALL } do
      assert.has_error(function()
        sentinel.x = 1
      end)
      assert.is_nil(next(sentinel))
    end
  end)

  it("turns nil, and only nil, into NULL", function()
    assert.equal(luamig.NULL, luamig.or_null(nil))
    assert.equal(false, luamig.or_null(false))
    assert.equal(0, luamig.or_null(0))
    assert.equal(luamig.NULL, luamig.or_null(luamig.NULL))
  end)

  it("refuses unknown fields, with a suggestion", function()
    local _, err = pcall(function()
      return luamig.or_nul
    end)
    assert.matches('luamig_spec.lua:%d+: luamig has no field "or_nul" %(did you mean "or_null"%?%)',
      err)
    assert.error_matches(function()
      return luamig[1]
    end, 'luamig has no field "1"$')
  end)

  it("is read-only", function()
    for _, name in ipairs { "json", "NULL", "missing" } do
      assert.error_matches(function()
        luamig[name] = {}
      end, ('cannot set field "%s": luamig is read%%-only'):format(name))
    end
    assert.error_matches(function()
      luamig.json.null = {}
    end, 'cannot set field "null": luamig.json is read%-only')
  end)

  it("marks arrays and objects, and gives the same table back", function()
    for _, mark in ipairs { luamig.array, luamig.object } do
      local given = { 1, 2 }
      assert.is_true(rawequal(given, mark(given)))
      assert.is_nil(next(mark {}))
      assert.is_nil(next(mark()))
      assert.equal(2, #mark { 1, 2 })
      for _, wrong in ipairs { 1, "x", false, luamig.NULL, luamig.json.null, luamig.decimal "1",
        luamig.json "[]", luamig.bytea "x" } do
        assert.error_matches(function()
          mark(wrong)
        end, "^luamig.%a+ takes a table, not ")
      end
      assert.error_matches(function()
        mark(setmetatable({}, {}))
      end, "takes a plain table, this one has a metatable$")
    end
    local given = luamig.array {}
    assert.is_true(rawequal(given, luamig.object(given)))
    assert.equal("luamig.object", getmetatable(given).__name)
  end)

  it("marks what an update computes", function()
    assert.equal('luamig.column "a b"', tostring(luamig.column "a b"))
    assert.equal("luamig.add(-1.5)", tostring(luamig.add(luamig.decimal "-1.5")))
    assert.is_true(luamig.add(1) == luamig.add(1) and luamig.add(1) ~= luamig.add(2))
    for _, wrong in ipairs { "1", false, {}, luamig.NULL } do
      assert.error_matches(function()
        luamig.add(wrong)
      end, "luamig.add takes a number or a luamig.decimal, not ")
    end
    for _, wrong in ipairs { 5, "", "a\0b", "\255", luamig.NULL } do
      assert.error_matches(function()
        luamig.column(wrong)
      end, "luamig.column takes the name of a column, not ")
    end
    assert.error_matches(function()
      luamig.add(1).x = 1
    end, "a luamig.add value cannot be changed")
  end)

  it("has a null of JSON that is not the null of SQL", function()
    assert.equal("luamig.json.null", tostring(luamig.json.null))
    assert.is_false(luamig.json.null == luamig.NULL)
    assert.error_matches(function()
      luamig.json.null.x = 1
    end, "luamig.json.null cannot be changed$")
  end)

  it("takes JSON texts and bytes as they are", function()
    assert.equal("[1, 2]", tostring(luamig.json "[1, 2]"))
    assert.equal("\\x00ff", tostring(luamig.bytea "\0\xff"))
    assert.is_true(luamig.bytea "a" == luamig.bytea "a")
    assert.is_false(luamig.bytea "a" == luamig.json "a")
    for _, name in ipairs { "json", "bytea" } do
      local _, err = pcall(function()
        local value = luamig[name](1)
        return value
      end)
      assert.matches("luamig_spec.lua:%d+: luamig." .. name .. " takes .*, not 1$", err)
      assert.error_matches(function()
        luamig[name]("x").y = 1
      end, "cannot be changed$")
    end
  end)
end)

describe("luamig.suggest", function()
  local known = { "batch_size", "throttle_ms", "key", "isolation", "retries" }
  local cases = {
    { "bach_size", "batch_size" }, { "batchsize", "batch_size" }, { "Batch_Size", "batch_size" },
    { "throttel_ms", "throttle_ms" }, { "isolaton", "isolation" }, { "kye", "key" },
    { "retry", nil }, { "timeout", nil }, { "", nil }, { "k", nil },
  }
  for _, case in ipairs(cases) do
    it(("takes %q for %s"):format(case[1], case[2] or "nothing"), function()
      assert.equal(case[2], suggest.nearest(case[1], known))
    end)
  end

  it("does not depend on the order of the candidates", function()
    assert.equal("ab1", suggest.nearest("ab0", { "ab2", "ab1" }))
    assert.equal("ab1", suggest.nearest("ab0", { "ab1", "ab2" }))
  end)

  it("writes a hint", function()
    assert.equal('Did you mean "key"?', suggest.hint("kye", known))
    assert.is_nil(suggest.hint("zzzzz", known))
    assert.equal(' (did you mean "key"?)', suggest.suffix("kye", known))
    assert.equal("", suggest.suffix("zzzzz", known))
  end)
end)

describe("luamig.text", function()
  it("shows numbers exactly", function()
    assert.equal("9223372036854775807", text.number(math.maxinteger))
    assert.equal("-9223372036854775808", text.number(math.mininteger))
    assert.equal("0.1", text.number(0.1))
    assert.equal("0.30000000000000004", text.number(0.1 + 0.2))
    assert.equal("5", text.number(5.0))
    assert.equal("nan", text.number(0 / 0))
    assert.equal("-inf", text.number(-math.huge))
    assert.equal("5e-324", text.number(5e-324))
  end)

  it("describes any value", function()
    assert.equal('"a?b"', text.describe "a\nb")
    assert.equal("nil", text.describe(nil))
    assert.equal("luamig.NULL", text.describe(luamig.NULL))
    assert.equal("luamig.json.null", text.describe(luamig.json.null))
    assert.equal("the decimal 1.50", text.describe(luamig.decimal "1.50"))
    assert.equal("a luamig.bytea", text.describe(luamig.bytea "x"))
    assert.equal("a table", text.describe(setmetatable({}, { __metatable = 1 })))
    assert.equal("a function", text.describe(print))
    assert.equal(('"%s..."'):format(("x"):rep(40)), text.describe(("x"):rep(41)))
  end)
end)
