"""A run writes the same bytes whatever its role, database and server set.

The server itself says which settings there are. For each that a role may have,
other values are found by its type; a text has to be listed below. A new setting
of a new server is so tried, or makes a test fail until somebody has looked at
it.
"""

import itertools
import re

import pytest

from harness.cluster import Cluster
from harness.project import DONE, FAILED, Project
from harness.wait import wait_until

# -- what is read and written ----------------------------------------------------

COLUMNS = {
    "flag": ("boolean", "true"),
    "big": ("bigint", "9007199254740993"),
    "num": ("numeric", "12345678901234567890.1234500"),
    "f8": ("float8", "0.1::float8 + 0.2::float8"),
    "f4": ("float4", "1.1::float4 * 3"),
    "word": ("text", "E'C:\\\\dir\\\\ it''s \\t \"q\" NULL €'"),
    "fixed": ("character(4)", "'ab'"),
    "raw": ("bytea", r"'\x00ff5c27'"),
    "day": ("date", "date '2024-01-02'"),
    "local": ("timestamp", "timestamp '2024-02-01 03:04:05.678901'"),
    "moment": ("timestamptz", "timestamptz '2024-07-01 23:30:00.25+00'"),
    "clock": ("timetz", "timetz '10:11:12+02'"),
    "span": ("interval", "interval '-1 year 2 days -03:04:05.6'"),
    "cash": ("money", "1234567.89::numeric::money"),
    "doc": ("xml", "xmlparse(CONTENT 'a<b/>c')"),
    "words": ("text[]", "ARRAY['NULL', NULL, 'a,b', 'x\"y', E'\\\\', '']"),
    "days": ("date[]", "ARRAY[date '2024-01-02', NULL, date '2024-03-04']"),
    "spans": ("interval[]", "ARRAY[interval '1 mon -1 day', NULL]"),
    "floats": ("float8[]", "ARRAY[0.1::float8 + 0.2, 'NaN', NULL]"),
    "blobs": ("bytea[]", r"ARRAY['\x00ff'::bytea, NULL]"),
    "json": ("jsonb", """'{"a": [1, null, 1.10], "é": "\\u20ac"}'"""),
    "lexemes": ("tsvector", "to_tsvector('english', 'The quick foxes ran')"),
    "period": ("tstzrange", "tstzrange('2024-01-02 00:00+00', '2024-07-01 00:00+00')"),
    "pair": ("pair", "ROW(date '2024-01-02', ARRAY['NULL', NULL], 1.5::float8)::pair"),
    "pairs": ("pair[]", "ARRAY[ROW(date '2024-01-02', NULL, -0.1)::pair, NULL]"),
}

# What the script's own SQL means: literals, casts, and what they come to.
SAID = r"""
  '01/02/2024'::date::text,
  ('3 4 2024 10:00'::timestamp)::text,
  ('2024-07-01 12:00'::timestamptz)::text,
  extract(epoch FROM '2024-07-01 12:00'::timestamptz)::text,
  ('2024-07-01 12:00 EST'::timestamptz)::text,
  ('2024-07-01 12:00 IST'::timestamptz)::text,
  (timestamptz '2024-07-01 23:30+00')::date::text,
  ('1 year -2 days 03:04'::interval)::text,
  ('P1Y2M3DT4H5M6S'::interval)::text,
  ('1 2:03:04'::interval)::text,
  ('{NULL,"NULL",a}'::text[])[1],
  array_to_string('{NULL,"NULL",a}'::text[], ',', '-'),
  ('$1,234.56'::money)::text,
  (0.1::float8 + 0.2)::text, (1.1::float4 * 3)::text,
  '\x4142'::bytea::text, 'C:\dir\', E'it\'s', 'a\nb' || length('a\nb'),
  (n = NULL)::text, quote_ident('plain'), format('%I', 'plain'),
  xmlserialize(CONTENT '<a/>b'::xml AS text),
  xmlelement(name x, bytea '\x4142')::text,
  to_char(1234567.5, 'L9G999G999D99'), to_char(date '2024-03-01', 'TMMonth TMDay'),
  pg_get_expr(adbin, adrelid), '10:00 IST'::timetz::text,
  row_to_json(row(timestamptz '2024-07-01 12:00+00', interval '1 mon'))::text,
  (SELECT string_agg(id::text, ',' ORDER BY id) FROM tagged WHERE tags @> '{a}')
"""

TABLES = f"""
CREATE TYPE pair AS (day date, words text[], f float8);
CREATE TABLE corpus (id int PRIMARY KEY, n int,
  {', '.join(f'{name} {kind}' for name, (kind, _) in COLUMNS.items())});
INSERT INTO corpus VALUES (1, 1, {', '.join(text for _, text in COLUMNS.values())}),
  (2, 1{', NULL' * len(COLUMNS)});
INSERT INTO corpus SELECT 3, (c).n, {', '.join(f'(c).{name}' for name in COLUMNS)}
  FROM (SELECT c FROM corpus c WHERE id = 1) s;
CREATE TABLE tagged (id int PRIMARY KEY DEFAULT 7, tags text[]);
CREATE INDEX ON tagged USING gin (tags);
INSERT INTO tagged SELECT n, '{{a}}' FROM generate_series(1, 40) n;
CREATE TABLE copied (LIKE corpus INCLUDING ALL);
CREATE TABLE seen (id int, name text, value text);
CREATE TABLE said (id int, words text);
"""

SCRIPT = """
local luamig = require "luamig"
local function show(value)
  if type(value) == "string" and not utf8.len(value) then
    return (value:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
  elseif type(value) ~= "table" or luamig.decimal.is(value) then
    return tostring(value)
  end
  local out = {}
  for _, item in ipairs(value) do out[#out + 1] = show(item) end
  return "{" .. table.concat(out, "|") .. "}"
end
return {
  config = { batch_size = 2, throttle_ms = 0, combine = COMBINE, health = false },
  base_query = [[SELECT * FROM corpus WHERE day IS NULL OR day < '12/01/2024'
    AND moment < '2024-07-01 23:45' AND E'\\\\' = '\\']],
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      local copy = {}
      for _, name in ipairs(rows.columns) do copy[name] = luamig.or_null(row[name]) end
      repo:insert("copied", copy)
      for _, name in ipairs(rows.columns) do
        repo:insert("seen", { id = row.id, name = name, value = show(row[name]) })
      end
    end
    for _, row in ipairs(rows) do
      copy = nil
      repo:update("copied", { id = row.id }, { words = luamig.or_null(row.words),
        day = luamig.or_null(row.day), span = luamig.or_null(row.span) })
      repo:execute([[INSERT INTO said SELECT $1, concat_ws(' # ', SAID)
        FROM (SELECT NULL::int AS n) s, pg_attrdef
        WHERE adrelid = 'tagged'::regclass]], row.id)
    end
  end,
}""".replace("      copy = nil\n", "").replace("SAID", SAID)

RESULT = ("SELECT 'copied', c::text FROM copied c UNION ALL "
          "SELECT 'seen', s::text FROM seen s UNION ALL "
          "SELECT 'said', s::text FROM said s ORDER BY 1, 2")

# -- which settings, and which values ----------------------------------------------

TEXTS = {
    "DateStyle": ["German, DMY", "SQL, DMY", "ISO, YMD", "Postgres, MDY"],
    "TimeZone": ["America/St_Johns", "Asia/Kolkata"],
    "timezone_abbreviations": ["India", "Australia"],
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "application_name": ["x"],
    "backtrace_functions": ["int4in"],
    "dynamic_library_path": ["$libdir:/nonexistent"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table"],
    "wal_consistency_checking": ["heap"],
    "createrole_self_grant": ["set, inherit"],
    "log_connections": ["all"],
    "extension_destdir": ["/nonexistent"],
}
LOCALES = "lc_monetary", "lc_numeric", "lc_time", "lc_messages"

# Why a setting is not tried here.
SKIPPED = {
    "search_path": "says which tables are meant; a run is bound to them",
    "default_text_search_config": "the language of the database's texts, as its "
                                  "collation is",
    "default_transaction_read_only": "a role that may not write is refused",
    "transaction_read_only": "belongs to a transaction",
    "transaction_isolation": "belongs to a transaction",
    "transaction_deferrable": "belongs to a transaction",
    "session_replication_role": "refused, see below",
    "row_security": "see tests/pg/test_row_security.py",
    "idle_session_timeout": "may end a session before it can set anything; see below",
    "max_stack_depth": "the server refuses statements",
    "default_tablespace": "where files lie",
    "temp_tablespaces": "where files lie",
    "default_table_access_method": "how files are written; there is one",
    "local_preload_libraries": "code of others",
    "session_preload_libraries": "code of others",
    "log_statement_stats": "excludes the other log_*_stats",
    "client_min_messages": "what the server says beside results",
    "exit_on_error": "ends the session at any error",
    "post_auth_delay": "a pause for debuggers",
}


# In less time no server answers anything.
SHORTEST = {"statement_timeout": 998}


def numbers(low, high, default):
    """The least, the next, and a greater one."""
    ends = {low, low + 1, min(high, 1000)}
    return [str(int(end) if float(end).is_integer() else end)
            for end in sorted(ends - {default}) if low <= end <= high]


def values_of(row, locales):
    name, kind, setting, low, high, choices = row
    if name in LOCALES:
        return locales
    if kind == "bool":
        return ["off" if setting == "on" else "on"]
    if kind == "enum":
        return [choice for choice in choices if choice != setting]
    if kind == "string":
        return TEXTS[name]  # a KeyError: see the top of this file
    if name in SHORTEST:
        low = SHORTEST[name]
    return numbers(float(low), float(high), float(setting))


def settings_of(db):
    """[(name, values)] of everything that a role may set, or have set."""
    rows = db.rows("SELECT name, vartype, reset_val, min_val, max_val, enumvals "
                   "FROM pg_settings WHERE context IN ('user', 'superuser') "
                   "AND name NOT LIKE '%.%' ORDER BY name", user="postgres")
    locales = db.column("SELECT DISTINCT collcollate FROM pg_collation "
                        "WHERE collprovider = 'c' AND collcollate NOT IN "
                        "('C', 'POSIX', 'C.UTF-8', 'C.utf8')")
    return [(row[0], values) for row in rows if row[0] not in SKIPPED
            and (values := values_of(row, locales))]


# What a script's values and literals are made of; of each a value that is rare.
ODD = {"array_nulls": "off", "datestyle": "SQL, DMY", "intervalstyle": "sql_standard",
       "timezone": "Asia/Kolkata", "bytea_output": "escape", "extra_float_digits": "-10",
       "standard_conforming_strings": "off", "backslash_quote": "off",
       "transform_null_equals": "on", "quote_all_identifiers": "on",
       "xmloption": "document", "xmlbinary": "hex", "gin_fuzzy_search_limit": "1",
       "timezone_abbreviations": "India", "default_transaction_isolation": "serializable",
       "default_transaction_deferrable": "on", "enable_indexscan": "off",
       "enable_seqscan": "off"}


# -- running --------------------------------------------------------------------------


class Bench:
    """One database; every role finds tables of its own by its search_path."""

    def __init__(self, cluster, folder):
        self.db = cluster.make_database()
        self.folder = folder
        self.numbers = itertools.count(1)
        self.roles = []

    def role(self):
        """A new one, with tables of its own."""
        name = f"{self.db.name}_{next(self.numbers)}"
        self.roles.append(name)
        self.db.admin(f"""
          CREATE ROLE {name} LOGIN; GRANT CREATE ON DATABASE "{self.db.name}" TO {name};
          CREATE SCHEMA {name} AUTHORIZATION {name};
          ALTER ROLE {name} SET search_path = {name}""")
        self.neutral()
        self.db.admin(f"SET ROLE {name}; SET search_path = {name}; {TABLES}; "
                      "RESET ROLE; RESET search_path")
        return name

    def neutral(self):
        """The session of these tests is to mean the same each time."""
        self.db.rows("SELECT set_config(name, boot_val, false) FROM pg_settings "
                     "WHERE lower(name) = ANY (%s)", list(ODD), user="postgres")

    def run(self, settings, combine="true", **options):
        """What a role with these settings writes."""
        name = self.role()
        for key, value in settings:
            self.db.admin(f"ALTER ROLE {name} SET {key} = '{value}'")
        project = Project(self.folder / name, self.db.cluster.url(self.db.name, user=name))
        project.script(SCRIPT.replace("COMBINE", combine))
        result = project.run("--force", "--journal-schema", f"j{name}", timeout=60,
                             **options)
        self.db.admin(f"ALTER ROLE {name} RESET ALL")
        assert result.code == DONE, f"{settings}\n{result.err}"
        self.neutral()
        found = self.db.rows(f"SET search_path = {name}; {RESULT}", user="postgres")
        self.db.admin("RESET search_path")
        return found


@pytest.fixture
def bench(cluster, tmp_path):
    made = Bench(cluster, tmp_path)
    yield made
    made.db.drop()
    for name in made.roles:
        cluster.execute(f"DROP ROLE {name}")


def rounds(settings, size):
    """Groups of settings, so that each value of each is in one of them."""
    for turn in range(max(len(values) for _, values in settings)):
        chosen = [(name, values[turn]) for name, values in settings if turn < len(values)]
        for at in range(0, len(chosen), size):
            yield chosen[at:at + size]


def culprits(bench, group, combine, expected):
    """Which setting of a group alone makes the difference."""
    found = {}
    for setting in group:
        got = bench.run([setting], combine)
        if got != expected:
            found[setting] = sorted(set(got) ^ set(expected))
    return found or f"only together: {group}"


@pytest.mark.long
@pytest.mark.parametrize("combine", ["true", "false"])
def test_a_role_may_set_what_it_likes(bench, combine):
    expected = bench.run([], combine)
    assert len(expected) == 3 + 3 * (len(COLUMNS) + 2) + 3

    for group in rounds(settings_of(bench.db), 24):
        if bench.run(group, combine) != expected:
            pytest.fail(f"{culprits(bench, group, combine, expected)}")


def test_a_database_may_set_what_it_likes(bench):
    expected = bench.run([])
    for name, value in ODD.items():
        bench.db.set(name, value)
    bench.db.close()  # its sessions would go on without

    assert bench.run([]) == expected


def test_a_server_may_set_what_it_likes(tmp_path):
    plain, odd = Cluster().start(), Cluster(**ODD).start()
    try:
        assert Bench(odd, tmp_path / "odd").run([]) == (
            Bench(plain, tmp_path / "plain").run([]))
    finally:
        plain.remove()
        odd.remove()


def test_the_environment_may_set_what_it_likes(bench):
    expected = bench.run([])

    assert bench.run([], env={
        "PGTZ": "America/St_Johns", "PGDATESTYLE": "German", "PGGEQO": "off",
        "PGCLIENTENCODING": "LATIN1",
        "PGOPTIONS": " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}"
                              for name, value in ODD.items())}) == expected


def test_the_roles_statement_timeout_is_not_for_luamigs_own_look(db, project):
    db.execute("CREATE TABLE few AS SELECT generate_series(1, 3) AS id;"
               "ALTER TABLE few ADD PRIMARY KEY (id)")
    project.script("""return { base_query = "SELECT id FROM few",
                               migrate = function() end }""")
    project.run().expect(DONE)
    db.set("statement_timeout", "200ms")
    holder = db.connect(user="postgres")
    holder.cursor().execute("BEGIN; LOCK TABLE luamig.version")
    runner = project.start_run("--again")
    wait_until(lambda: not runner.alive or db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND"
        " wait_event_type = 'Lock' AND query_start < now() - interval '300 ms'",
        db.name, user="postgres"), "it to wait for the table")
    holder.close()
    runner.wait().expect(DONE)


def test_what_a_function_sets_for_the_session_is_gone_with_the_batch(db, project):
    """Three rows in three batches; the first sets what the others would read."""
    db.execute("""
      CREATE TABLE t (id int PRIMARY KEY, words text[]);
      INSERT INTO t SELECT n, '{x}' FROM generate_series(1, 3) n;
      CREATE FUNCTION spoil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        SET array_nulls = off; SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo';
        RETURN ''; END $$""")
    project.script("""
      local luamig = require "luamig"
      return {
        config = { batch_size = 1, throttle_ms = 0 },
        base_query = "SELECT id FROM t",
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            repo:update("t", { id = row.id }, { words = { luamig.NULL,
              repo:scalar "SELECT date '02/01/2024' || ' ' || timestamptz '2024-01-01 12:00'" } })
          end
          repo:query "SELECT spoil()"
        end,
      }""")
    project.run().expect(DONE)
    assert db.column("SELECT words::text FROM t ORDER BY id") == (
        ['{NULL,"2024-02-01 2024-01-01 12:00:00+00"}'] * 3)


def test_a_role_whose_sessions_leave_triggers_out_is_refused(db, project, cluster):
    """session_replication_role = replica switches triggers and foreign keys off."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    db.admin("ALTER ROLE app SET session_replication_role = replica")
    try:
        project.script("""return { base_query = "SELECT id FROM t", migrate = function() end }""")
        project.run().expect(FAILED, "session_replication_role", "ALTER ROLE")
    finally:
        db.admin("ALTER ROLE app RESET session_replication_role")


def test_a_session_may_idle_for_longer_than_the_role_allows(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0);"
               "INSERT INTO t SELECT n FROM generate_series(1, 3) n")
    db.admin(f"ALTER DATABASE {db.name} SET idle_session_timeout = 300")
    project.script("""return {
      config = { batch_size = 1, throttle_ms = 900 },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        repo:update("t", { id = rows[1].id }, { n = 1 })
      end }""")
    result = project.run().expect(DONE)
    assert result.retries == 0 and "lost" not in result.err, result


def test_timestamps_are_utc_unless_the_script_says_otherwise(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, shown text);"
               "INSERT INTO t VALUES (1, '2024-07-01 12:00+00')")
    db.set("timezone", "Asia/Tokyo")
    text = """return { %s base_query = "SELECT id, at FROM t", migrate = function(rows, repo)
      repo:update("t", { id = 1 }, { shown = rows[1].at, at = "2024-01-01 12:00" })
    end }"""
    shown = "SELECT shown || ' ' || (at AT TIME ZONE 'UTC') FROM t"
    project.script(text % "")
    project.run().expect(DONE, "reads and writes timestamps in UTC",
                         'config.timezone = "Asia/Tokyo" sets that zone')
    assert db.scalar(shown) == "2024-07-01 12:00:00+00 2024-01-01 12:00:00"

    db.execute("UPDATE t SET at = '2024-07-01 12:00+00'")
    project.script(text % "config = { timezone = 'Asia/Tokyo' },")
    project.run("--again").expect(DONE).refuse("UTC")
    assert db.scalar(shown) == "2024-07-01 21:00:00+09 2024-01-01 03:00:00"


@pytest.mark.parametrize("timeout_ms, limit", [
    (900000, "15min"), (20000, "5min"), (0, "0")])
def test_the_highest_key_has_the_longer_of_two_limits(db, project, timeout_ms,
                                                      limit):
    db.execute("""
        CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
        CREATE TABLE limits (place serial, said text);
        CREATE FUNCTION note() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO limits (said) VALUES (current_setting(
                'statement_timeout'));
            RETURN true; END $$""")
    project.script(f"""return {{
        config = {{ statement_timeout_ms = {timeout_ms} }},
        base_query = "SELECT id FROM t WHERE note()",
        migrate = function() end }}""")
    project.run().expect(DONE)
    assert db.column("SELECT said FROM limits ORDER BY place")[0] == limit


# -- what a script sets in its own batch ---------------------------------------------------

SETS = """
CREATE TABLE t (id int PRIMARY KEY, word text DEFAULT 'old');
INSERT INTO t (id) SELECT generate_series(1, 8);
CREATE FUNCTION sets(name text, value text, is_local bool) RETURNS int
  LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config(name, value, is_local); RETURN 1; END $$;
CREATE TABLE log (id int);
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('array_nulls', 'off', true); RETURN NEW; END $$;
CREATE TRIGGER fires BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION fires();
"""


def sets_first(first, write, config=""):
    return f"""
      local luamig = require "luamig"
      return {{
        config = {{ batch_size = 4, throttle_ms = 0, {config} }},
        base_query = "SELECT id FROM t",
        migrate = function(rows, repo)
          for i, row in ipairs(rows) do
            if i == 1 then repo:{first} end
            repo:{write}
          end
        end }}"""


@pytest.mark.parametrize("write", [
    'update("t", { id = row.id }, { word = luamig.NULL })',
    'insert("copy", { id = row.id, word = luamig.NULL }, { on_conflict = "nothing" })',
    'insert("copy", { id = row.id, word = luamig.NULL }, { missing = "ignore" })'])
@pytest.mark.parametrize("first", [
    "execute [[SET LOCAL array_nulls = off]]",
    "query [[SELECT sets('array_nulls', 'off', false)]]", 'insert("log", { id = 1 })'])
def test_null_is_null_whatever_the_batch_has_set(db, project, first, write):
    db.execute(SETS + "CREATE TABLE copy (LIKE t INCLUDING ALL)")
    project.script(sets_first(first, write))
    project.run("--dry-run").expect(DONE)
    project.run().expect(DONE)
    table = "t" if "update" in write else "copy"
    assert db.rows(f"SELECT count(*), count(word) FROM {table}") == [(8, 0)]


LATIN1 = "SELECT sets('client_encoding', 'LATIN1', %s)"


@pytest.mark.parametrize("version, first, config", [
    (15, "execute [[SET LOCAL client_encoding = 'LATIN1']]", ""),
    (15, "execute [[SET LOCAL NAMES 'SQL_ASCII']]", ""),
    (15, f"query [[{LATIN1 % 'true'}]]", ""),
    (15, f"execute [[{LATIN1 % 'true'}]]", ""),
    (15, f"execute [[{LATIN1 % 'false'}]]", 'on_error = "quarantine"'),
    (13, f"execute [[{LATIN1 % 'true'}]]", ""),
    (18, f"execute [[{LATIN1 % 'true'}]]", "combine = false"),
])
def test_another_client_encoding_ends_the_run(project_of, version, first, config):
    """The server would take each letter that follows for two."""
    project = project_of(version)
    write = 'update("t", { id = row.id }, { word = "é" })'
    project.db.execute(SETS)
    project.script(sets_first(first, write, config))

    project.run().expect(FAILED, "client_encoding was set to ", "luamig sends and reads UTF-8",
                         re.compile("at: scripts/x.lua:[89]"))

    assert project.db.column("SELECT DISTINCT word FROM t") == ["old"]
    project.script(sets_first("execute [[SET LOCAL client_encoding = 'UTF8']]", write))
    project.run().expect(DONE)
    assert project.db.column("SELECT DISTINCT word FROM t") == ["é"]
