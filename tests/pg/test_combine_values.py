"""Values and keys of combined writes are what they would be one by one."""

import pytest

from harness.combining import NOISY, T, line, run
from harness.project import DONE, FAILED


# -- values ----------------------------------------------------------------

TEXTS = ["NULL", "null", "", " ", "{", "}", "{}", '"', '\\"', "\\", "\\\\",
         "a,b", "a;b", "(1,2)", "it's", "$1", "%s", "\n", "é😀", " x ",
         "\t", "'';--"]
KINDS_OF_VALUES = {
    "text": TEXTS,
    "varchar": TEXTS,
    "varchar(3)": ["abc", "", "é😀ü"],
    "char(4)": ["abcd", "ab", ""],
    "char": ["x", ""],
    '"char"': ["x", ""],
    "name": ["a name", ""],
    "citext": ["Abc", "NULL"],
    "numeric(6,2)": ["1.005", "-9999.99", "0.125"],
    "numeric": ["0.10", "NaN", "1e30", "12345678901234567890.123456789"],
    "bit(3)": ["101"],
    "varbit(5)": ["1", "10101"],
    "box": ["(2,2),(1,1)", "(1.5,1),(0,0)"],
    "point": ["(1,2)"],
    "mood": ["happy", "so so", "a,b", '"q"', "NULL"],
    "posint": ["1", "42"],
    "short": ["abc", "NULL"],
    "pair": ['(1,"a,b")', '(,"")', "(,)", r'(2,"\"\\")'],
    "int4range": ["[1,5)", "empty", "(,)"],
    "jsonb": ['{"a": [1, null, "\\"x\\\\"]}', "null", '"{}"'],
    "json": ['{ "b":1,  "a" : [] }', "null"],
    "xml": ["<a b='1'>x</a>"],
    "timestamptz(0)": ["2024-01-01 00:00:00.6+00", "infinity"],
    "timestamp(3)": ["2024-01-01 00:00:00.123456"],
    "interval day to minute": ["1 day 02:03:04"],
    "date": ["0044-03-15 BC", "infinity"],
    "inet": ["::1"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "money": ["12.34", "-1234567.89"],
    "tsvector": ["'it''s':1 b:2A"],
    "regclass": ["pg_class"],
}
TYPES = """CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('happy', 'so so', 'a,b', '"q"', 'NULL');
    CREATE DOMAIN posint AS text CHECK (VALUE::int > 0);
    CREATE DOMAIN short AS varchar(4);
    CREATE TYPE pair AS (a int, b text);"""


def quoted(text):
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'


@pytest.mark.parametrize("kind", KINDS_OF_VALUES)
def test_values_are_what_they_would_be_one_by_one(db, run, kind):
    """Inserted and updated, combined and one by one; always with a NULL.
    unnest makes several columns of a composite type, so that one may stay
    uncombined."""
    values = KINDS_OF_VALUES[kind]
    listed = ", ".join(quoted(value) for value in values + values[:1])
    body = f"""
  local values = {{ {listed} }}
  if {str(kind.startswith("json")).lower()} then
    for i, value in ipairs(values) do values[i] = luamig.json(value) end
  end
  for _, prefix in ipairs {{ "a", "b" }} do
    for i, value in ipairs(values) do
      repo:insert(prefix .. "i", {{id = i, v = value}})
    end
    repo:insert(prefix .. "i", {{id = 1000, v = luamig.NULL}})
    for i, value in ipairs(values) do
      repo:update(prefix .. "u", {{id = i}}, {{v = value}})
    end
    repo:update(prefix .. "u", {{id = 1000}}, {{v = luamig.NULL}})
  end
"""
    schema = TYPES + NOISY
    for prefix in "ab":
        schema += (f"CREATE TABLE {prefix}i (id int PRIMARY KEY, v {kind});"
                   f"CREATE TABLE {prefix}u (id int PRIMARY KEY, v {kind});"
                   f"INSERT INTO {prefix}u SELECT "
                   f"generate_series(1, {len(values) + 1});"
                   f"INSERT INTO {prefix}u VALUES (1000);")
    for table, verb in (("bi", "INSERT"), ("bu", "UPDATE")):
        schema += (f"CREATE TRIGGER f AFTER {verb} ON {table} "
                   "EXECUTE FUNCTION f();")
    combined = run(schema, body)
    assert kind == "pair" or combined == ["INSERT ai", "UPDATE au"]
    expected = db.rows("SELECT id, v::text FROM bi ORDER BY id")
    assert len(expected) == len(values) + 2
    for table in ("ai", "au", "bu"):
        assert db.rows(f"SELECT id, v::text FROM {table} "
                       "ORDER BY id") == expected, table


ARRAYS = {
    "int[]": ["{1, 2, 3}", "luamig.array{}", "{{1, 2}, {3, 4}}",
              "{1, luamig.NULL}", "luamig.NULL"],
    "text[]": ["{'a', 'NULL', '{}', '\"', 'b,c'}", "{luamig.NULL}"],
    "char(3)[]": ["{'abc', 'de '}"],
    "varchar(4)[]": ["{'abcd'}"],
    "numeric(5,2)[]": ["{luamig.decimal('1.25')}"],
    "ints": ["{1, 2}"],
    "box[]": ["{'(2,2),(1,1)', '(3,3),(0,0)'}"],
    "jsonb[]": ["{luamig.json('{\"a\": [1]}'), luamig.json('null')}"],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_combined_and_are_what_they_would_be(db, run, kind):
    values = ARRAYS[kind] + ARRAYS[kind][:1]
    schema = f"""CREATE DOMAIN ints AS int[];
        CREATE TABLE t (id int PRIMARY KEY, a {kind});
        INSERT INTO t SELECT generate_series(1, 9)"""
    calls = "".join(f"""
  repo:update("t", {{id = {i}}}, {{a = {value}}})""" for i, value in enumerate(
        values, 1)) + "".join(f"""
  repo:insert("t", {{id = {i}, a = {value}}})""" for i, value in enumerate(
            values, 11))
    read = "SELECT id, a::text FROM t WHERE id <> 9 ORDER BY id"
    run(schema, calls, combine="false")
    alone = db.rows(read)
    db.execute("DROP TABLE t; DROP DOMAIN ints")
    assert run(schema, calls) == ["UPDATE t", "INSERT t"]
    assert db.rows(read) == alone


def test_numbers_booleans_and_bytes(db, run):
    assert run("""CREATE TABLE t (id int8 PRIMARY KEY, b bool, f float8,
        r real, n numeric, y bytea)""", r"""
  repo:insert("t", {id = 1, b = true, f = 0.1, r = 0.1, n = 0.1, y = "\0\"\\"})
  repo:insert("t", {id = math.mininteger, b = false, f = -0.0, r = 1/0,
                    n = 12345678901234567, y = ""})
  repo:insert("t", {id = math.maxinteger, b = false, f = -1/0, r = 1e-45,
                    n = 1e300, y = "\xff,{}"})
""") == ["INSERT t"]
    assert db.rows("SELECT id, b, f::text, r::text, n::text, y::text FROM t "
                   "ORDER BY id") == [
        (-2**63, False, "-0", "Infinity", "12345678901234567", "\\x"),
        (1, True, "0.1", "0.1", "0.1", "\\x00225c"),
        (2**63 - 1, False, "-Infinity", "1e-45", "1" + "0" * 300,
         "\\xff2c7b7d")]


KEYS = {
    "text": TEXTS, "citext": ["a", "B", "NULL"], "char(3)": ["a", "bc", "def"],
    "varchar(5)": ["a", "NULL"], "mood": ["happy", "a,b", "NULL"],
    "short": ["a", "NULL"], "numeric(5,2)": ["1.50", "2"],
    "date": ["2024-01-01", "infinity"], "int4range": ["[1,2)", "empty"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_many_types(db, run, kind):
    values = KEYS[kind]
    listed = ", ".join(quoted(value) for value in values)
    combined = run(TYPES + f"CREATE TABLE t (k {kind} PRIMARY KEY, n int)", f"""
  local keys = {{ {listed} }}
  for i, k in ipairs(keys) do repo:insert("t", {{k = k, n = 0}}) end
  for i, k in ipairs(keys) do repo:update("t", {{k = k}}, {{n = i}}) end
""")
    assert combined == (["INSERT t", "UPDATE t"] if len(values) > 1 else [])
    assert db.column("SELECT n FROM t ORDER BY n") == list(
        range(1, len(values) + 1))


# -- keys ------------------------------------------------------------------


def test_the_last_write_to_a_key_wins(db, run):
    run(T, """
  for n = 1, 3 do
    for i = 1, 3 do repo:update("t", {id = i}, {n = n * 10 + i}) end
  end
""")
    assert db.column("SELECT n FROM t WHERE id <= 3 ORDER BY id") == [
        31, 32, 33]


@pytest.mark.parametrize("kind", ["citext", 'text COLLATE nocase', "char(3)",
                                  "numeric"])
def test_keys_are_equal_when_the_server_says_so(db, run, kind):
    one, same = {"char(3)": ("a", "a "), "numeric": ("1", "1.0")}.get(
        kind, ("a", "A"))
    run(f"""CREATE EXTENSION citext;
        CREATE COLLATION nocase (provider = icu, deterministic = false,
            locale = 'und-u-ks-level2');
        CREATE TABLE t (k {kind} PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('2', 0)""", f"""
  repo:update("t", {{k = "{one}"}}, {{n = 1}})
  repo:update("t", {{k = "2"}}, {{n = 2}})
  repo:update("t", {{k = "{same}"}}, {{n = 3}})
""")
    assert db.column("SELECT n FROM t ORDER BY n") == [2, 3]


def test_a_row_deleted_twice_is_missing_the_second_time(run):
    run(T, """
  repo:delete("t", {id = 1})
  repo:delete("t", {id = 2})
  repo:delete("t", {id = 1})
""", code=FAILED, words=["P0002", "id = 1", line(3)])


# -- what could be taken for something else --------------------------------

LENGTHS = {
    "numeric": ("numeric(6,2)", "1.50", "2.50", "1.501", "2.499"),
    "timestamp": ("timestamp(0)", "2024-01-01 00:00:01",
                  "2024-01-01 00:00:03", "2024-01-01 00:00:01.4",
                  "2024-01-01 00:00:02.6"),
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_a_key_is_not_rounded_to_the_length_of_its_domain(db, run, kind):
    base, one, two, near_one, near_two = LENGTHS[kind]
    run(f"""CREATE DOMAIN d AS {base}; CREATE TABLE t (k d PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('{two}', 0)""", f"""
  repo:delete("t", {{k = "{near_one}"}}, {{missing = "ignore"}})
  repo:delete("t", {{k = "{near_two}"}}, {{missing = "ignore"}})
  repo:update("t", {{k = "{one}"}}, {{n = 1}})
  repo:update("t", {{k = "{two}"}}, {{n = 1}})
""")
    assert db.column("SELECT n FROM t") == [1, 1]


def test_a_name_that_the_server_cuts_is_the_same_name(run):
    name = "n" * 70
    assert run(f"""CREATE TABLE t (id int PRIMARY KEY, {name} int UNIQUE);
        INSERT INTO t SELECT i, i FROM generate_series(1, 3) i""", f"""
  for i = 3, 1, -1 do repo:update("t", {{id = i}}, {{{name} = i + 1}}) end
""") == []


@pytest.mark.parametrize("base, value, state", [
    ("varchar(4)[]", "abcdefgh", "22001"), ("bit(3)[]", "10101", "22026")])
def test_a_domain_over_an_array_does_not_cut(run, base, value, state):
    run(f"CREATE DOMAIN d AS {base}; CREATE TABLE t (id int, v d)", f"""
  for i = 1, 2 do repo:insert("t", {{id = i, v = {{"{value}"}}}}) end
""", code=FAILED, words=[state])


def test_a_cast_of_the_users_is_not_an_input_function(db, run):
    db.admin("""CREATE TYPE pair AS (a int, b text);
        CREATE FUNCTION mkp(text) RETURNS pair LANGUAGE sql AS
            'SELECT ROW(42, $1)::pair';
        CREATE CAST (text AS pair) WITH FUNCTION mkp(text)""")
    run("CREATE TABLE t (id int, v pair)", """
  for i = 1, 2 do repo:insert("t", {id = i, v = "(1,x)"}) end
""")
    assert db.column("SELECT v::text FROM t") == ["(1,x)", "(1,x)"]


KEY_TYPES = {"regclass": ("pg_class", "pg_type"), "cidr": ("10.1", "10.2")}


@pytest.mark.parametrize("kind", KEY_TYPES)
@pytest.mark.parametrize("combine", ["true", "false"])
def test_a_key_is_what_the_server_takes_it_for(run, kind, combine):
    """It compares these as values of another type, which refuses the text."""
    one, two = KEY_TYPES[kind]
    run(f"""CREATE TABLE t (k {kind} PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('{two}', 0)""", f"""
  repo:update("t", {{k = "{one}"}}, {{n = 1}})
  repo:update("t", {{k = "{two}"}}, {{n = 1}})
""", combine=combine, code=FAILED)


COUNTING = """CREATE FUNCTION few(int) RETURNS bool LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN (SELECT count(*) < 2 FROM t); END';"""
HIDDEN = {
    "a domain's check": COUNTING + """
        CREATE DOMAIN d AS int CHECK (few(VALUE)); CREATE TABLE t (id d)""",
    "an operator": COUNTING.replace("(int)", "(int, int)") + """
        CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = few);
        CREATE TABLE t (id int, CHECK (id ### id))""",
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_function_behind_something_else_that_reads_the_table(run, case):
    run(HIDDEN[case], "for i = 1, 4 do repo:insert('t', {id = i}) end",
        code=FAILED, words=["23514"])


def test_a_type_that_others_widen_is_wide_at_once(db, project):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT generate_series(1, 6)""")
    project.script("""return {
      config = { batch_size = 3, throttle_ms = 0 },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for i, row in ipairs(rows) do
          local n = row.id > 3 and 3000000000 or 1
          repo:update("t", { id = row.id }, { n = n })
          repo:query("SELECT 1")
        end
      end }""")
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    db.execute("ALTER TABLE t ALTER n TYPE bigint")
    runner.thaw()
    runner.wait().expect(DONE)
    assert db.scalar("SELECT sum(n) FROM t") == 9000000003
