--- JSON in text columns: luamig.json.decode and encode.

local contract = dofile "tests/contract/contract.lua"

local function with(texts)
  local rows = {}
  for i, document in ipairs(texts) do
    rows[i] = { id = i, s = document }
  end
  return contract.world({ s = "text" }, rows)
end

-- What is decoded and encoded again, and what comes out where it is not the same.
local SAME = {
  "109876543210987654", "-9223372036854775808", "9223372036854775807", "9223372036854775808",
  "123456789012345678901234567890", "0.1", "1.5", "-0.25", "0.10000000000000000001",
  "[]", "{}", "[[],{}]", "null", "[null]", "true", "false", '""', '"é€😀"', '"a\\"b\\\\c\\n\\u0001"',
  '{"a":1,"b":[1,2.5,"x",null,true],"c":{"d":{}}}', "1.0", "12345678901234567890.5",
}
local CHANGED = {
  [' { "b" : 1 , "a" : [ ] } '] = '{"a":[],"b":1}', ['"\\u20ac\\ud83d\\ude00\\/"'] = '"€😀/"',
  ["1e3"] = "1000.0", ["1.10"] = "1.1", ["-0"] = "0", ["1E-2"] = "0.01",
}

describe("luamig.json #versions", function()
  teardown(contract.clean)

  it("keeps what a text says", function()
    local texts, wanted = {}, {}
    for i, document in ipairs(SAME) do
      texts[i], wanted[i] = document, document
    end
    for document, shown in pairs(CHANGED) do
      texts[#texts + 1], wanted[#wanted + 1] = document, shown
    end
    local world = with(texts)
    contract.ended("done", contract.run(world, [[
      for _, row in ipairs(rows) do
        repo:update("t", { id = row.id }, { s = luamig.json.encode(luamig.json.decode(row.s)) })
      end]]))
    assert.same(wanted, contract.column(world, "t", "s"))
  end)

  it("gives the values that a jsonb column gives", function()
    local world = with {
      '{"n": 109876543210987654, "e": [], "x": null, "d": 0.10000000000000000001}',
    }
    contract.ended("done", contract.run(world, [[
      local doc = luamig.json.decode(rows[1].s)
      assert(math.type(doc.n) == "integer" and doc.x == luamig.json.null)
      assert(luamig.decimal.is(doc.d) and tostring(doc.d) == "0.10000000000000000001")
      doc.e[1], doc.o = "first", luamig.object {}
      repo:update("t", { id = 1 }, { s = luamig.json.encode(doc) })]]))
    assert.same({
      '{"d":0.10000000000000000001,"e":["first"],"n":109876543210987654,"o":{},"x":null}',
    }, contract.column(world, "t", "s"))
  end)

  it("is what a table that is written to a text column needs", function()
    local world = with { "x" }
    local _, result = world, contract.run(world,
      [[repo:update("t", { id = 1 }, { s = { a = 1 } })]])
    contract.failed(result, nil, "a table cannot be written to type text")
    assert.equal("For JSON in a text column, write luamig.json.encode(value).",
      result.error.hint)
  end)

  it("refuses what is no JSON, and what would lose something", function()
    local world = with { "x" }
    contract.ended("done", contract.run(world, [[
      for _, document in ipairs { "", "[1,]", "[1 2]", '{"a":1,"a":2}', "nul", "truex", "01", "1.",
          "+1", ".5", '"\\u0000"', '"\\ud800"', "'a'", "[1] 2", '"a', "{1:2}", "\xff", '"\t"' } do
        local ok, err = pcall(luamig.json.decode, document)
        assert(not ok and tostring(err):find("luamig.json.decode: ", 1, true), document)
      end
      local loop = {}
      loop[1] = loop
      for _, value in ipairs { {}, 0/0, math.huge, loop, print, { [1] = 1, [3] = 3 }, "\xff",
          { a = luamig.NULL }, luamig.bytea "x", luamig.decimal "NaN" } do
        local ok, err = pcall(luamig.json.encode, value)
        assert(not ok and tostring(err):find("luamig.json.encode: ", 1, true), tostring(value))
      end]]))
  end)

  for _, call in ipairs { 'luamig.json.decode "nul"', "luamig.json.encode(print)" } do
    it("has the line of the call in its errors: " .. call, function()
      local function line_of(statement)
        local result = contract.run(with { "x" }, "local _\n_ = " .. statement .. "\n_ = 1")
        contract.failed(result, nil, "")
        return result.error.message:match "%.lua(:%d+): "
      end
      assert.equal(line_of "error 'x'", line_of(call))
    end)
  end
end)
