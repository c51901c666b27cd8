--- Values: what of a Lua value is stored in a column of a type, and what is refused.

local contract = dofile "tests/contract/contract.lua"
local luamig = require "luamig"

local decimal = luamig.decimal
local array, object = luamig.array, luamig.object
local NAN = 0 / 0

-- Type, Lua text of what is written, what is read then.
local STORED = {
  { "bool", "true", true },
  { "bool", "false", false },
  { "int2", "-32768", -32768 },
  { "int4", "2147483647", 2147483647 },
  { "int8", "math.mininteger", math.mininteger },
  { "int8", "math.maxinteger", math.maxinteger },
  { "oid", "4294967295", 4294967295 },
  { "float8", "0.1", 0.1 },
  { "float8", "1", 1.0 },
  { "float8", "-1 / 0", -math.huge },
  { "float8", "0 / 0", NAN },
  { "float4", "0.1", 0.1 },
  { "float4", "1 / 3", 0.33333334 },
  { "float4", "16777216", 16777216.0 },
  { "float4", "1e20", 1e20 },
  { "numeric", "'1.50'", decimal "1.50" },
  { "numeric", "7", decimal "7" },
  { "numeric", "0.1", decimal "0.1" },
  { "numeric", "-0.0", decimal "0" },
  { "float8", "-0.0", -0.0 },
  { "numeric", "'NaN'", decimal "NaN" },
  { "numeric", "luamig.decimal '12345678901234567890.5'", decimal "12345678901234567890.5" },
  { "numeric(6,2)", "'1.005'", decimal "1.01" },
  { "numeric(6,2)", "'-1.005'", decimal "-1.01" },
  { "numeric(6,2)", "1", decimal "1.00" },
  { "numeric(6,2)", "'9999.994'", decimal "9999.99" },
  { "numeric(4)", "'1.5'", decimal "2" },
  { "text", "'é😀'", "é😀" },
  { "text", "''", "" },
  { "varchar(2)", "'é😀'", "é😀" },
  { "varchar(3)", "'abc  '", "abc" },
  { "char(4)", "'ab'", "ab  " },
  { "char(2)", "'ab   '", "ab" },
  { "char", "'a'", "a" },
  { "bytea", [["\0\255a"]], "\0\255a" },
  { "bytea", "luamig.bytea 'x'", "x" },
  { "uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
  { "uuid", "'{a0eebc999c0b4ef8bb6d6bb9bd380a11}'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
  { "date", "'2024-02-29'", "2024-02-29" },
  { "date", "'infinity'", "infinity" },
  { "timestamp", "'2024-01-31T12:00'", "2024-01-31 12:00:00" },
  { "timestamp", "'2024-01-31 12:00:00.500'", "2024-01-31 12:00:00.5" },
  { "timestamp", "'2024-01-31'", "2024-01-31 00:00:00" },
  { "timestamptz", "'2024-01-31 12:00:00'", "2024-01-31 12:00:00+00" },
  { "timestamptz", "'2024-12-31 23:30:00-01:00'", "2025-01-01 00:30:00+00" },
  { "timestamptz", "'2024-03-01 01:00+02'", "2024-02-29 23:00:00+00" },
  { "timestamptz", "'2024-03-01T01:00:00Z'", "2024-03-01 01:00:00+00" },
  { "time", "'12:30'", "12:30:00" },
  { "jsonb", "{ a = { 1, 2.5 } }", object { a = array { 1, 2.5 } } },
  { "jsonb", "luamig.array {}", array {} },
  { "jsonb", "luamig.object {}", object {} },
  { "jsonb", "'x'", "x" },
  { "jsonb", "false", false },
  { "jsonb", "1.0", 1.0 },
  { "jsonb", "9007199254740993", 9007199254740993 },
  { "jsonb", "1e300", 1e300 },
  { "jsonb", "1e15", 1e15 },
  { "jsonb", "-0.0", 0.0 },
  { "jsonb", "luamig.decimal '1.10'", 1.1 },
  { "jsonb", "luamig.decimal '0.12345678901234567890'", decimal "0.12345678901234567890" },
  { "jsonb", "{ a = luamig.json.null }", object { a = luamig.json.null } },
  { "jsonb", "luamig.json.null", luamig.json.null },
  { "json", "{ a = { b = 'é' } }", object { a = object { b = "é" } } },
  { "int4[]", "{ 1, luamig.NULL, 3 }", { 1, luamig.NULL, 3 } },
  { "int4[]", "{}", {} },
  { "int4[]", "{ { 1, 2 }, { 3, 4 } }", { { 1, 2 }, { 3, 4 } } },
  { "text[]", [[{ "NULL", "a,b", '"', "" }]], { "NULL", "a,b", '"', "" } },
  { "numeric(4,1)[]", "{ 1.25 }", { decimal "1.3" } },
  { "jsonb[]", "{ luamig.array { 1 }, luamig.object {}, luamig.NULL }",
    { array { 1 }, object {}, luamig.NULL } },
}

-- Type, Lua text of what is written, SQLSTATE or nil, message.
local REFUSED = {
  { "bool", "1", nil,
    'row id = 1, column "v" of "t": an integer cannot be written to type boolean' },
  { "int2", "32768", nil, "32768 is out of range for type smallint" },
  { "int4", "2147483648", nil, "2147483648 is out of range for type integer" },
  { "int8", "1.5", nil, "a float cannot be written to type bigint" },
  { "int8", "'1'", nil, "a string cannot be written to type bigint" },
  { "int8", "luamig.decimal '1'", nil, "a luamig.decimal cannot be written to type bigint" },
  { "oid", "-1", nil, "-1 is out of range for type oid" },
  { "float8", "9007199254740993", nil,
    "9007199254740993 would be rounded by type double precision" },
  { "float4", "16777217", nil, "16777217 would be rounded by type real" },
  { "float4", "1e300", "22003", '"1e+300" is out of range for type real' },
  { "float8", "'1'", nil, "a string cannot be written to type double precision" },
  { "numeric", "'1,5'", nil,
    "a string that is no decimal number cannot be written to type numeric" },
  { "numeric", "true", nil, "a boolean cannot be written to type numeric" },
  { "numeric(6,2)", "'9999.995'", "22003", "numeric field overflow" },
  { "numeric(6,2)", "12345", "22003", "numeric field overflow" },
  { "text", "5", nil, "an integer cannot be written to type text" },
  { "text", "true", nil, "a boolean cannot be written to type text" },
  { "text", [["a\0b"]], nil,
    "a string with a NUL byte (at byte 2) cannot be written to type text" },
  { "text", [["a\255"]], nil,
    "a string that is not valid UTF-8 (at byte 2) cannot be written to type text" },
  { "varchar(3)", "'abcd'", "22001", "value too long for type character varying(3)" },
  { "char(2)", "'abc'", "22001", "value too long for type character(2)" },
  { "uuid", "'a0eebc99'", "22P02", 'invalid input syntax for type uuid: "a0eebc99"' },
  { "date", "'2023-02-29'", "22008", 'date/time field value out of range: "2023-02-29"' },
  { "date", "20240131", nil, "an integer cannot be written to type date" },
  { "timestamp", "'2024-13-01 00:00:00'", "22008", "date/time field value out of range" },
  { "bytea", "5", nil, "an integer cannot be written to type bytea" },
  { "jsonb", "{}", nil, "an empty table may be an array or an object" },
  { "jsonb", "{ a = luamig.NULL }", nil, "at a: luamig.NULL cannot stand inside of JSON" },
  { "jsonb", "{ 1, a = 2 }", nil, "a table must have the keys 1, 2, 3, ... or strings" },
  { "jsonb", "0 / 0", nil, "JSON has no word for NaN and infinities" },
  { "int4[]", "'{1}'", nil, "a string cannot be written to type integer[]" },
  { "int4[]", "{ 1, 'x' }", nil, "element [2]: a string cannot be written to type integer" },
  { "int4[]", "{ { 1 }, { 2, 3 } }", nil, "the array is not rectangular" },
  { "int4[]", "{ a = 1 }", nil, "a table for an array must have the keys 1, 2, 3, ..." },
}

describe("a value", function()
  teardown(contract.clean)

  for _, case in ipairs(STORED) do
    local type_name, written, wanted = table.unpack(case, 1, 3)
    it(("of type %s: %s is stored as %s"):format(type_name, written, contract.show(wanted)),
      function()
        local world = contract.world { v = type_name, w = type_name }
        local path = contract.script(([[
          if rows[1].v == nil then
            repo:update("t", { id = 1 }, { v = %s })
          else
            repo:update("t", { id = 1 }, { w = rows[1].v })
          end]]):format(written))
        contract.ended("done", world:run(path))
        local row = world:rows("t")[1]
        assert.equal(contract.show(wanted), contract.show(row.v))
        contract.ended("done", world:run(path, { again = true })) -- what is read can be written
        row = world:rows("t")[1]
        assert.equal(contract.show(wanted), contract.show(row.w))
      end)
  end

  for _, case in ipairs(REFUSED) do
    local type_name, written, sqlstate, message = table.unpack(case, 1, 4)
    it(("of type %s: %s is refused"):format(type_name, written), function()
      local world = contract.world { v = type_name }
      contract.failed(contract.run(world,
        ('repo:update("t", { id = 1 }, { v = %s })'):format(written)), sqlstate, message)
      assert.is_nil(world:rows("t")[1].v)
    end)
  end
end)
