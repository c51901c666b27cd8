"""The value contract: every type there and back, and what is refused.

Each value is inserted as text, read into Lua, and written back by insert,
update and execute. The server compares the copies by their text; documents by
jsonb's idea of equality.
"""

import json
import random
import re

import psycopg2
import pytest

from harness.cases import cases
from harness.project import DONE, FAILED, INVALID

TYPES = """
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('happy', 'so so', 'NULL', 'a,b', '"q"');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE DOMAIN price AS numeric(12, 2);
CREATE DOMAIN document AS jsonb;
CREATE DOMAIN list AS int[];
CREATE DOMAIN lists AS list;
CREATE DOMAIN moods AS mood[];
CREATE TYPE pair AS (a int, b text);
"""

SPECIAL_TEXTS = ["", " ", "NULL", "null", "{}", "{a,b}", "[1]", "\\", "\\\\", '"', '""', "'",
                 "a,b", "a;b", "a b", "\t", "line\nbreak", "\r\n", "$1", "%s", "é€😀",
                 "\u0001\u001f\u007f", "\ufeff", "\U0010ffff", "x" * 100000, "\\x00", "null\\"]


def array(items):
    """The text of a one-dimensional array of texts."""
    return "{" + ",".join(
        "NULL" if item is None
        else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for item in items) + "}"


CORPUS = {
    "bool": ["true", "false"],
    "int2": ["-32768", "0", "32767"],
    "int4": ["-2147483648", "0", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807", "9007199254740993",
             "-9007199254740993"],
    "oid": ["0", "4294967295"],
    "float4": ["0.1", "3.4028235e38", "NaN", "-Infinity", "1e-45", "16777216", "-0", "1e15"],
    "float8": ["0.1", "1.7976931348623157e308", "5e-324", "NaN", "Infinity", "-0", "1e15", "1e16",
               "9007199254740993", "0.30000000000000004", "5.684341886080802e-14",
               "2.2250738585072014e-308", "1e22", "1e23"],
    "numeric": ["0", "0.10", "-0.000", "12345678901234567890.12345678901234567890", "NaN", "1e30",
                "Infinity", "-Infinity", "1e400", "-1e-400", "1e-16383", "1.50", "9e131071",
                "100", "9007199254740993", "123456789012345678901234567890"],
    "numeric(10,2)": ["1.5", "-99999999.99", "0"],
    "numeric(5,-2)": ["12345"],
    "price": ["9999999999.99", "0.1"],
    "money": ["12.34", "-92233720368547758.08"],
    "text": SPECIAL_TEXTS,
    "citext": ["MiXed", "", "É"],
    "varchar(5)": ["12345", "", "é€😀\\\""],
    "char(5)": ["ab", "", "12345"],
    '"char"': ["x", "é"],
    "name": ["a name"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "date": ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "99999-01-01",
             "4713-01-01 BC", "5874897-12-31"],
    "time": ["23:59:59.999999", "24:00", "00:00"],
    "timetz": ["12:00:00.000001+05:30", "24:00-15:59:59", "00:00+00"],
    "timestamp": ["2024-01-01 00:00:00.000001", "-infinity", "0044-03-15 12:00 BC",
                  "294276-12-31 23:59:59.999999"],
    "timestamptz": ["2024-10-27 01:30:00.123456+00", "0001-01-01 00:00:00Z", "infinity",
                    "1883-11-18 12:03:58Z", "0044-03-15 12:00Z BC"],
    "interval": ["1 year -2 mons 3 days -04:05:06.789", "-1 day", "0", "178000000 years",
                 "-1 mon +1 day", "1 microsecond", "-00:00:00.000001"],
    "bytea": ["\\x", "\\x00", "\\x" + bytes(range(256)).hex(), "\\x5c785c", "\\x" + "ab" * 50000],
    "inet": ["::1", "10.0.0.1/8", "10.0.0.1", "ffff::/16"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(3)": ["101"],
    "varbit": ["1", "", "0101"],
    "point": ["(1.5,2)", "(NaN,-Infinity)"],
    "box": ["(2,2),(0,0)"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "numrange": ["[1.50,2.0]"],
    "tstzrange": ["[2024-01-01Z,infinity)"],
    "int4multirange": ["{}", "{[1,3),[5,9)}"],
    "xml": ["<a>1</a>", "<a b=\"1\">&lt;</a>"],
    "tsvector": ["a:1 b:2", "'it''s':3A"],
    "tsquery": ["a & !b"],
    "jsonpath": ['$."a"[*] ? (@ > 1)'],
    "pg_lsn": ["16/B374D848"],
    "int2vector": ["1 2 3", ""],
    "oidvector": ["1 4294967295"],
    "mood": ["happy", "so so", "NULL", "a,b", '"q"'],
    "posint": ["42"],
    "pair": ['(1,"a,b")', "(,)", '(,"")', '(1,"\\"q\\" \\\\")'],
    "pair[]": ['{"(1,\\"a,b\\")",NULL,"(,)"}'],
    "bool[]": ["{t,f,NULL}"],
    "int4[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "{{{{{{7}}}}}}", "{{NULL},{NULL}}"],
    "int8[]": ["{9007199254740993,-9223372036854775808}"],
    "float8[]": ["{NaN,Infinity,-0,0.1,NULL,5e-324}"],
    "numeric[]": ["{1.50,NaN,1e400,NULL,-0.00}", "{{1.0},{2}}"],
    "text[]": ["{}", array(SPECIAL_TEXTS[:-3]), array(["NULL", None, "", "nUll"]),
               '{{"a,b",NULL},{"\\"","\\\\"}}'],
    "varchar(3)[]": ["{abc,\"\"}"],
    "char(3)[]": ["{a,\"  \"}"],
    "citext[]": ["{MiXed,null,\"NULL\"}"],
    "bytea[]": [array(["\\x", "\\x00ff5c27", None])],
    "date[]": ["{0044-03-15 BC,infinity,NULL}"],
    "timestamptz[]": ['{"2024-10-27 01:30:00.123456+00"}'],
    "interval[]": ['{"1 day","-1 mon"}'],
    "box[]": ["{(1,1),(0,0);(3,3),(2,2)}", "{}", "{NULL;(1,1),(0,0)}",
              "{{(1,1),(0,0)};{(3,3),(2,2)}}"],
    "point[]": ['{"(1,2)","(3,4)"}'],
    "int4range[]": ['{"[1,5)",empty}'],
    "int4multirange[]": ['{"{[1,3),[5,9)}"}'],
    "uuid[]": ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"],
    "mood[]": ['{happy,"so so","NULL","a,b","\\"q\\"",NULL}'],
    "moods": ['{happy,"NULL",NULL}', "{}"],
    "posint[]": ["{1,2}"],
    "price[]": ["{1.50,NULL}"],
    "list": ["{1,2}", "{}", "{{1},{2}}"],
    "lists": ["{1,2}"],
    "list[]": ['{"{1,2}","{}",NULL}', '{{"{1}"},{"{2}"}}'],
    "json[]": ['{"{\\"a\\": []}","null",NULL,"1"}', '{"[1,2]","[]"}', '{{"[1]","{}"}}'],
    "document[]": ['{"{\\"a\\": [null]}"}'],
}

DOCUMENTS = [
    '{"a": [1, 2.5, null, {}], "b": []}', "null", "[]", "{}", "[[]]", "[{}]", '{"": ""}',
    '"x"', '"NULL"', '""', "true", "false", "0", "-0", "1.0", "1.50", "-0.0", "1e2", "1e-7",
    "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
    "123456789012345678901234567890", "0.1", "1.10", "0.30000000000000004", "5e-324", "1e22",
    "0.1000000000000000000000000001", "3.14159265358979323846264338327950288", "1e400", "-1e-400",
    "1.7976931348623157e308", "5.684341886080802e-14", '{"n": [1e400, 12345678901234567890.10]}',
    r'"\" \\ \/ \b \f \n \r \t \u0001 \u001f \u007f \u00e9 \u20ac \ud83d\ude00"',
    '"é€😀\u007f"', r'{"\u0061\n\"": {"k\\": 1}}', '{"1": 1, "2": 2, "10": [3]}',
    "[" * 500 + "]" * 500, '{"a":' * 300 + "1" + "}" * 300,
    json.dumps({f"key {n}": n for n in range(2000)}), json.dumps(list(range(5000))),
    json.dumps("x" * 100000), '{"null": null, "array": [null, [null]], "object": {"null": null}}',
]
for kind in "json", "jsonb", "document":
    CORPUS[kind] = DOCUMENTS
CORPUS["jsonb[]"] = [array(DOCUMENTS), '{{"[1]",NULL},{"null","{}"}}', "{}"]

BIG = 10 ** 30


def random_document(rng, depth=0):
    kind = rng.randrange(9 if depth < 4 else 7)
    if kind == 0:
        return rng.choice(["null", "true", "false"])
    if kind == 1:
        return str(rng.randrange(-BIG, BIG) // 10 ** rng.randrange(30))
    if kind in (2, 3):
        return repr(rng.uniform(-1, 1) * 10 ** rng.randrange(-300, 300))
    if kind == 4:
        return f"{rng.randrange(-BIG, BIG)}.{rng.randrange(BIG)}e{rng.randrange(-99, 99)}"
    if kind in (5, 6):
        return json.dumps(random_text(rng), ensure_ascii=rng.random() < 0.5)
    items = [random_document(rng, depth + 1) for _ in range(rng.randrange(6))]
    if kind == 7:
        return "[" + ", ".join(items) + "]"
    keys = list(dict.fromkeys(random_text(rng) for _ in items))
    return "{" + ", ".join(f"{json.dumps(key)}: {item}"
                           for key, item in zip(keys, items)) + "}"


def random_text(rng):
    letters = "aZ09 ,;{}[]\"\\/'\t\n\r\u0001\u007f%$é€😀\U0010ffff"
    return "".join(rng.choice(letters) for _ in range(rng.randrange(12)))


def random_decimal(rng):
    whole = rng.randrange(10 ** rng.randrange(1, 40))
    fraction = "".join(rng.choice("0123456789") for _ in range(rng.randrange(40)))
    return f"{rng.choice(['', '-'])}{whole}" + (f".{fraction}" if fraction else "")


RANDOM = {
    "int8": lambda rng: str(rng.randrange(-2 ** 63, 2 ** 63)),
    "float8": lambda rng: repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)),
    "float4": lambda rng: repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-30, 30)),
    "numeric": random_decimal,
    "text": random_text,
    "bytea": lambda rng: "\\x" + rng.randbytes(rng.randrange(40)).hex(),
    "interval": lambda rng: (f"{rng.randrange(-99, 99)} mons {rng.randrange(-99, 99)} days "
                             f"{rng.randrange(-10 ** 12, 10 ** 12)} microseconds"),
    "timestamptz": lambda rng: (f"{rng.randrange(1, 9999):04}-{rng.randrange(1, 13):02}-"
                                f"{rng.randrange(1, 29):02} {rng.randrange(24):02}:30:"
                                f"{rng.randrange(60):02}.{rng.randrange(10 ** 6):06}Z"),
    "jsonb": random_document,
    "json": random_document,
    "text[]": lambda rng: array([None if rng.random() < 0.1 else random_text(rng)
                                 for _ in range(rng.randrange(9))]),
    "numeric[]": lambda rng: array([random_decimal(rng) for _ in range(rng.randrange(5))]),
    "jsonb[]": lambda rng: array([random_document(rng) for _ in range(rng.randrange(5))]),
}

ROUND_TRIP = """
local luamig = require "luamig"
return {
  config = { batch_size = 7, throttle_ms = 0 },
  base_query = "SELECT id, v FROM source",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      local again = repo:scalar("SELECT v FROM source WHERE id = $1", row.id)
      repo:insert("inserted", { id = row.id, v = luamig.or_null(row.v) })
      repo:insert("updated", { id = row.id })
      repo:update("updated", { id = row.id }, { v = luamig.or_null(again) })
      repo:execute("INSERT INTO executed (id, v) VALUES ($1, $2)", row.id, row.v)
    end
  end,
}"""


# json promises values, not texts, and has no "=".
SAME = {kind: f"s.v::{cast} IS NOT DISTINCT FROM t.v::{cast}" for kind, cast in {
    "json": "jsonb", "jsonb": "jsonb", "document": "jsonb", "json[]": "jsonb[]",
    "jsonb[]": "jsonb[]", "document[]": "jsonb[]"}.items()}


@pytest.fixture
def typed(db):
    """A database with the types of the tests, and awkward settings."""
    db.admin(TYPES)
    db.set("timezone", "America/St_Johns")
    db.set("datestyle", "German")
    db.set("intervalstyle", "iso_8601")
    return db


def put(typed, kind, number, value):
    """A row of source; older servers do not know each value."""
    try:
        typed.execute(f"INSERT INTO source SELECT %s, cast(cast(%s AS text) AS {kind})",
                      number, value)
    except psycopg2.DataError:
        assert typed.cluster.version < 15


@pytest.mark.parametrize("kind", cases(
    CORPUS, versions=[
        "numeric", "float8", "money", "citext", '"char"', "timestamptz",
        "interval", "bytea", "inet", "int4multirange", "int2vector", "mood",
        "pair[]", "text[]", "box[]", "list[]", "document[]"],
    since={"int4multirange": 14, "int4multirange[]": 14, "numeric(5,-2)": 15,
           '"char"': 15}))
def test_values_come_back_as_they_went(typed, project, kind):
    rng = random.Random(f"values of {kind}")
    values = CORPUS[kind] + [RANDOM[kind](rng) for _ in range(60) if kind in RANDOM] + [None]
    for table in "source", "inserted", "updated", "executed":
        typed.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v {kind})")
    for number, value in enumerate(values):
        put(typed, kind, number, value)
    same = SAME.get(kind, "s.v::text IS NOT DISTINCT FROM t.v::text")
    project.script(ROUND_TRIP)

    project.run().expect(DONE)

    for table in "inserted", "updated", "executed":
        assert typed.rows(f"""
            SELECT id, left(s.v::text, 200), left(t.v::text, 200) FROM source s
            FULL JOIN {table} t USING (id) WHERE NOT ({same})""") == [], table


SAYING = """
local luamig = require "luamig"
return {{ run = function(repo)
  local said = {{}}
  local function say(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    said[#said + 1] = table.concat(words, " ")
  end
  {body}
  local file = io.open("said", "w")
  file:write(table.concat(said, "\\n"))
  file:close()
end }}
"""


@pytest.fixture
def said(typed, project):
    """Runs a one-shot and returns the lines that it said."""
    def run(body):
        project.script(SAYING.format(body=body))
        project.run().expect(DONE)
        return project.read("said").split("\n")
    return run


def test_documents_are_the_tables_they_should_be(said):
    assert said("""
        local doc = repo:scalar([[SELECT
          '{"a": [1, 2.0, null], "e": [], "o": {}, "d": 0.12345678901234567890,
            "i": 12345678901234567890}'::jsonb]])
        say(math.type(doc.a[1]), math.type(doc.a[2]), doc.a[3], #doc.a)
        say(getmetatable(doc.e) == getmetatable(luamig.array {}),
            getmetatable(doc.o) == getmetatable(luamig.object {}))
        say(luamig.decimal.is(doc.d), doc.d, doc.i)
        say(repo:scalar("SELECT 'null'::jsonb"), repo:scalar("SELECT NULL::jsonb"))
        """) == ["integer float luamig.json.null 3", "true true",
                 "true 0.12345678901234567890 12345678901234567890",
                 "luamig.json.null nil"]


@pytest.mark.versions
def test_every_lua_value_has_a_place_in_a_document(typed, said):
    typed.execute("CREATE TABLE d (id int PRIMARY KEY, v jsonb)")
    said("""
        local function put(id, v) repo:insert("d", { id = id, v = v }) end
        put(1, "text")
        put(2, 5)
        put(3, false)
        put(4, luamig.json.null)
        put(5, luamig.json '{"b": 1, "a": [1.50]}')
        put(6, luamig.array {})
        put(7, { a = { 1, 2 }, b = luamig.object {}, c = luamig.json.null })
        put(8, { 0.1, 1e20, luamig.decimal "1e400", luamig.json "[]" })
        put(9, luamig.NULL)
        repo:execute("INSERT INTO d VALUES (10, $1)", { x = "y" })
        """)
    assert typed.column("SELECT v::text FROM d ORDER BY id") == [
        '"text"', "5", "false", "null", '{"a": [1.50], "b": 1}', "[]",
        '{"a": [1, 2], "b": {}, "c": null}',
        f"[0.1, {10 ** 20}.0, {10 ** 400}, []]", None, '{"x": "y"}']


@pytest.mark.versions
@pytest.mark.since(14)
def test_decimals_calculate_as_the_server_does(typed, said):
    rng = random.Random("decimals")
    typed.execute("CREATE TABLE n (a numeric, b numeric)")
    special = ["NaN", "Infinity", "-Infinity", "0", "0.00", "-1", "1.50"]
    pairs = [(a, b) for a in special for b in special] + [
        (random_decimal(rng), random_decimal(rng)) for _ in range(300)]
    for pair in pairs:
        typed.execute("INSERT INTO n VALUES (%s, %s)", *pair)
    assert said("""
        local rows = repo:query([[SELECT a, b, (a + b)::text AS sum,
          (a - b)::text AS difference, (a * b)::text AS product, (-a)::text AS negative,
          a = b AS equal, a < b AS less, a <= b AS less_or_equal FROM n]])
        for _, row in ipairs(rows) do
          local a, b = row.a, row.b
          assert(tostring(a + b) == row.sum, a .. " + " .. b)
          assert(tostring(a - b) == row.difference, a .. " - " .. b)
          assert(tostring(a * b) == row.product, a .. " * " .. b)
          assert(tostring(-a) == row.negative, "-" .. a)
          assert((a == b) == row.equal and (a < b) == row.less)
          assert((a <= b) == row.less_or_equal)
          assert(luamig.decimal(tostring(a)) == a)
        end
        say(#rows)
        """) == [str(len(pairs))]


@pytest.mark.since(14)
def test_decimals_read_texts_as_the_server_does(said):
    texts = ["1e400", "-12.3400", "1.5e-3", "0e5", ".5", "5.", "+7", "1.50E1", "-0.0", "1e-20",
             "NaN", "-Infinity", "inf", "00012.0"]
    wanted = "\n".join(texts)
    assert said(f"""
        for text in ([[{wanted}]]):gmatch "%S+" do
          local server = repo:scalar("SELECT ($1::text)::numeric::text", text)
          assert(tostring(luamig.decimal(text)) == server, text)
        end
        say "all" """) == ["all"]


@pytest.mark.versions
def test_parameters_of_the_base_query_say_what_they_are(typed, project):
    typed.execute("""
        CREATE TABLE t (id numeric PRIMARY KEY, kind text, b bytea, doc jsonb, n int);
        INSERT INTO t SELECT g + 0.5, 'k' || g, decode('0' || g || 'ff', 'hex'),
          jsonb_build_object('g', g), 0 FROM generate_series(1, 9) g""")
    project.script("""
        local luamig = require "luamig"
        return {
          config = { start_after = luamig.decimal "2.50", throttle_ms = 0 },
          base_query = function()
            return "SELECT id FROM t WHERE kind = ANY($1) AND b > $2 AND doc <@ ANY($3) "
              .. "AND doc <> $4 AND id <> $5 AND $6::int[] = '{}'",
              { "k1", "k3", "k4", "k5", "k6" }, luamig.bytea "\\3", 
              { luamig.json '{"g": 3}', luamig.object { g = 4 }, luamig.object { g = 5 } },
              luamig.object { g = 5 }, luamig.decimal "7.5", {}
          end,
          migrate = function(rows, repo)
            for _, row in ipairs(rows) do repo:update("t", { id = row.id }, { n = 1 }) end
          end }""")

    project.run().expect(DONE)

    assert typed.column("SELECT kind FROM t WHERE n = 1 ORDER BY id") == ["k3", "k4"]


def test_a_key_of_bytes_can_be_started_after(typed, project):
    typed.execute("CREATE TABLE t (id bytea PRIMARY KEY, n int);"
                  r"INSERT INTO t VALUES ('\x00ff', 0), ('\x01', 0), ('\xff00', 0)")
    project.script("""return {
      config = { start_after = require("luamig").bytea "\\0\\xff", batch_size = 1,
                 throttle_ms = 0 },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do repo:update("t", { id = row.id }, { n = 1 }) end
      end }""")
    project.run().expect(DONE)
    assert typed.column("SELECT n FROM t ORDER BY id") == [0, 1, 1]


# -- refusals ----------------------------------------------------------------------------

REFUSED_WRITES = {
    # expression: (type, what is said)
    "2.5": ("int4", "a float cannot be written to type integer"),
    "2.0": ("int8", "a float cannot be written to type bigint"),
    "'5'": ("int4", "a string cannot be written to type integer"),
    "2147483648": ("int4", "2147483648 is out of range for type integer"),
    "-32769": ("int2", "out of range for type smallint"),
    "-1": ("oid", "out of range for type oid"),
    "luamig.decimal '5'": ("int4", "a luamig.decimal cannot be written to type integer"),
    "luamig.decimal '0.5'": ("float8", "a luamig.decimal cannot be written to type double"),
    "luamig.decimal '1'": ("text", "a luamig.decimal cannot be written to type text"),
    "9007199254740993": ("float8", "would be rounded by type double precision"),
    "16777217": ("float4", "would be rounded by type real"),
    "'1,50'": ("numeric", "a string that is not a decimal number"),
    "true": ("numeric", "a boolean cannot be written to type numeric"),
    "'a\\0b'": ("text", "a string with a NUL byte (at byte 2)"),
    "'a\\xff'": ("text", "a string that is not valid UTF-8 (at byte 2)"),
    "'\\xed\\xa0\\x80'": ("varchar(9)", "not valid UTF-8"),
    "{}": ("text", "a table cannot be written to type text"),
    "5": ("text", "an integer cannot be written to type text"),
    "1": ("bool", "an integer cannot be written to type boolean"),
    "luamig.json.null": ("text", "luamig.json.null cannot be written to type text"),
    "luamig.bytea 'x'": ("text", "a luamig.bytea cannot be written to type text"),
    "'1'": ("posint", "a string cannot be written to type public.posint"),
    "{ 1 }": ("pair", "a table cannot be written to type public.pair"),
    "{ }": ("jsonb", "an empty table may be an array or an object"),
    "{ a = { {} } }": ("json", "at a[1]: an empty table may be an array or an object"),
    "{ 1, a = 2 }": ("jsonb", "keys 1, 2, 3, ... or strings"),
    "{ 0/0 }": ("jsonb", "at [1]: JSON has neither NaN"),
    "{ '\\0' }": ("jsonb", "at [1]: a string with a NUL byte"),
    "{ luamig.NULL }": ("jsonb", "at [1]: luamig.NULL cannot be written to JSON"),
    "loop": ("jsonb", "at loop: the table contains itself"),
    "{ 1, 2.5 }": ("int4[]", "element [2]: a float cannot be written to type integer"),
    "{ { 1 }, { 2, 3 } }": ("int4[]", "the array is not rectangular"),
    "{ 1, nil, 2 }": ("int4[]", "must have the keys 1, 2, 3, ..."),
    "'{1}'": ("int4[]", "a string cannot be written to type integer[]"),
    "{ 'a\\0' }": ("text[]", "element [1]: a string with a NUL byte"),
    "{ {} }": ("document[]", "element [1]"),
}


@pytest.mark.parametrize("way", ["insert", "update", "execute"])
@pytest.mark.parametrize("value", REFUSED_WRITES)
def test_what_a_type_cannot_hold_is_refused(typed, project, value, way):
    kind, message = REFUSED_WRITES[value]
    if value == "{ {} }":
        message = "not rectangular"
    typed.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {kind}); INSERT INTO t VALUES (1)")
    call = {"insert": 'repo:insert("t", { id = 2, v = value })',
            "update": 'repo:update("t", { id = 1 }, { v = value })',
            "execute": 'repo:execute("UPDATE t SET v = $1 WHERE id = 1", value)'}[way]
    project.script(f"""local luamig = require "luamig"
local loop = {{}} loop.loop = loop
return {{ run = function(repo)
  local value = {value}
  {call}
end }}""")

    result = project.run().expect(FAILED, message, "scripts/x.lua:5")

    assert ("parameter $1" if way == "execute" else 'column "v" of "t"') in result.err, result
    assert typed.scalar("SELECT count(v) FROM t") == 0


REFUSED_READS = {
    """'{"a": 1, "b": {"k": 1, "k": 2}}'::json""": 'has the key "k" twice in one object',
    r"""'["a\u0000b"]'::json""": r"has the escape \u0000",
    r"""'"\ud800"'::json""": "half of a character",
    "'1e999999'::json": "1e999999 is out of range for type numeric",
    "(repeat('[', 2001) || repeat(']', 2001))::json": "nested more deeply than 2000 levels",
    "'[2:3]={1,2}'::int[]": "has the bounds [2:3], which a Lua table cannot keep",
    """ARRAY['{"k": 1, "k": 2}'::json]""": 'has the key "k" twice',
}


@pytest.mark.parametrize("value", REFUSED_READS)
def test_what_a_table_cannot_hold_is_refused(typed, project, value):
    typed.execute(f"CREATE TABLE t AS SELECT 7 AS id, {value} AS v;"
                  "ALTER TABLE t ADD PRIMARY KEY (id)")
    project.script("""return { base_query = "SELECT id, v FROM t", migrate = print }""")
    project.run().expect(FAILED, 'row (id) = (7): column "v": ', REFUSED_READS[value])
    project.script("""return { run = function(repo)
      repo:query("SELECT v FROM t")
    end }""", name="scripts/y.lua")
    project.run(script="scripts/y.lua").expect(FAILED, 'row 1: column "v": ', REFUSED_READS[value],
                                "scripts/y.lua:2")


def test_a_read_that_is_refused_does_not_fail_the_transaction(said):
    assert said(r"""
        local ok, err = pcall(repo.scalar, repo, [[SELECT '"\u0000"'::json]])
        say(ok, tostring(err):find("u0000", 1, true) ~= nil)
        say(repo:scalar("SELECT 1"))
        """) == ["false true", "1"]


UNKNOWN = {
    "insert": 'repo:insert("t", { id = 1, nmae = "x" })',
    "update": 'repo:update("t", { id = 1 }, { nmae = "x" })',
    "key": 'repo:delete("t", { nmae = "x" })',
    "on_conflict": """repo:insert("t", { id = 1 },
        { on_conflict = { columns = { "id" }, update = { "nmae" } } })""",
}


@pytest.mark.parametrize("combine", ["true", "false"])
@pytest.mark.parametrize("call", UNKNOWN)
def test_an_unknown_column_gets_a_hint_with_the_nearest_column(typed, project, call, combine):
    typed.execute("CREATE TABLE t (id int PRIMARY KEY, name text, nom text)")
    project.script(f"""return {{ config = {{ combine = {combine} }}, run = function(repo)
      {UNKNOWN[call]}
    end }}""")
    project.run().expect(FAILED, 'column "nmae" of relation "t" does not exist', "42703",
                         "scripts/x.lua:2", 'Did you mean "name"?')


def test_an_unknown_column_fails_the_batch_also_when_it_is_swallowed(typed, project):
    typed.execute("CREATE TABLE t (id int PRIMARY KEY)")
    project.script("""return { run = function(repo)
      pcall(repo.insert, repo, "t", { id = 1, x = 2 })
    end }""")
    project.run().expect(FAILED, 'column "x" of relation "t" does not exist', "scripts/x.lua:2")


ROWS = {
    "update": ('repo:update("t", { id = i, k = "x" }, { n = i / 2 })', "row id = 1, k = x, "),
    "a key": ('repo:update("t", { id = i / 2 }, { n = 1 })', "row id = 0.5, "),
    "delete": ('repo:delete("t", { id = i + 0.5 })', "row id = 1.5, "),
    "the second of its line": ("""repo:update("t", { id = i, k = "x" }, { n = (i - 1) / 2 * 2 })""",
                               "row id = 1, k = x, "),
}


@pytest.mark.parametrize("combine", ["true", "false"])
@pytest.mark.parametrize("case", ROWS)
def test_a_value_that_cannot_be_written_is_named_with_its_row(typed, project, case, combine):
    call, row = ROWS[case]
    typed.execute("CREATE TABLE t (id int PRIMARY KEY, k text, n int);"
                  "INSERT INTO t VALUES (1, 'x', 0), (2, 'x', 0)")
    project.script(f"""return {{ config = {{ combine = {combine} }}, run = function(repo)
      for i = 1, 2 do
        {call}
      end
    end }}""")
    project.run().expect(FAILED, row + "column ", "a float cannot be written to type integer",
                         "scripts/x.lua:3")


def test_a_row_of_a_list_is_named_by_its_number(typed, project):
    typed.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    project.script("""return { run = function(repo)
      repo:insert_all("t", { { id = 1, n = 1 }, { id = 2, n = "2" } })
    end }""")
    project.run().expect(FAILED, 'row 2, column "n" of "t": a string cannot be written to type'
                         " integer", "scripts/x.lua:2")


def test_a_parameter_that_is_no_list_is_refused_before_connecting(project):
    project.script("""return { base_query = function() return "SELECT 1 AS id", { a = 1 } end,
                                migrate = print }""")
    project.run().expect(INVALID, "parameter 1 of base_query is a table")


def test_more_parameters_than_the_protocol_has_are_refused(typed, project):
    typed.execute("CREATE TABLE t (id int)")
    project.script("""return { run = function(repo)
      local marks, values = {}, {}
      for i = 1, 65536 do marks[i], values[i] = "$" .. i .. "::int", i end
      repo:execute("SELECT " .. table.concat(marks, "+"), table.unpack(values))
    end }""")
    assert re.search("parameter|stack|limit", project.run().expect(FAILED).err)


# -- letters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("word, warned", [("Élodie", True), ("ELODIE", False)])
def test_letters_that_lua_does_not_know_are_warned_of_once(db, project, word, warned):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, word text);"
               f"INSERT INTO t SELECT n, '{word}' FROM generate_series(1, 3) n")
    project.write("scripts/helper.lua", "return { down = function(s)\n  return (s:lower())\nend }")
    project.script("""local helper = require "helper"
return {
  config = { batch_size = 2, throttle_ms = 0 },
  base_query = "SELECT id, word FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { word = helper.down(row.word) })
      row.word:gsub(".+", string.upper)
    end
  end }""")
    result = project.run().expect(DONE)
    said = "warning: string.lower changes ASCII letters only"
    assert result.err.count(said) == result.err.count("warning: ") == int(warned), result
    assert ("at: scripts/helper.lua:2" in result.err) == warned
    assert db.column("SELECT DISTINCT word FROM t") == ["Élodie" if warned else "elodie"]
