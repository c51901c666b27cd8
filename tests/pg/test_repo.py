"""What a script can do with a repo, on a real server."""

import re
import threading

import pytest

from harness.project import DONE, FAILED, INVALID
from harness.wait import wait_until

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, name text UNIQUE, n int NOT NULL DEFAULT 0);
INSERT INTO t SELECT n, 'n' || n FROM generate_series(1, 10) n;
CREATE TABLE said (nr int GENERATED ALWAYS AS IDENTITY, word text);
"""

SCRIPT = """
local luamig = require "luamig"
return {{ {more} run = function(repo, run)
  local function say(...)
    local words = {{}}
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      words[i] = math.type(value) == "float" and string.format("%.17g", value)
                 or tostring(value)
    end
    repo:insert("said", {{ word = table.concat(words, " ") }})
  end
  {body}
end }}
"""


def one_shot(body, more=""):
    return SCRIPT.format(body=body, more=more)


@pytest.fixture
def said(db, project):
    """Runs a one-shot and returns what it said."""
    db.execute(TABLES)

    def run(body, more="", code=DONE, words=()):
        project.script(one_shot(body, more))
        project.run().expect(code, *words)
        return db.column("SELECT word FROM said ORDER BY nr")
    return run


# -- reading ---------------------------------------------------------------


def test_query_one_and_scalar(said):
    assert said("""
        local rows = repo:query("SELECT id, name FROM t WHERE id > $1 "
          .. "ORDER BY id", 8)
        say(#rows, rows[1].id, rows[2].name, table.concat(rows.columns, ","))
        local row = repo:one("SELECT * FROM t WHERE id = $1", 3)
        say(row.name, row.n)
        say(repo:one("SELECT * FROM t WHERE id = 99"))
        say(repo:scalar("SELECT count(*) FROM t"))
        say(repo:scalar("SELECT name FROM t WHERE id = 99"))
        say(repo:scalar("SELECT NULL"))
        """) == ["2 9 n10 id,name", "n3 0", "nil", "10", "nil", "nil"]


def test_parameters_of_every_lua_type(said):
    assert said("""
        say(repo:scalar("SELECT $1::bigint + 1", 41))
        say(repo:scalar("SELECT $1::float8", 1.5))
        say(repo:scalar("SELECT $1::text || '!'", "it's \\\\ \\"q\\""))
        say(repo:scalar("SELECT NOT $1::bool", true))
        say(repo:scalar("SELECT $1::int IS NULL", nil))
        say(repo:scalar("SELECT $1::int IS NULL", luamig.NULL))
        say(repo:scalar("SELECT coalesce($1::text, $2)", nil, "second"))
        """) == ["42", "1.5", "it's \\ \"q\"!", "false", "true", "true",
                 "second"]


def test_a_query_sees_what_was_queued_before(said):
    assert said("""
        repo:update("t", { id = 1 }, { name = "one" })
        say(repo:scalar("SELECT name FROM t WHERE id = 1"))
        repo:delete("t", { id = 2 })
        say(repo:scalar("SELECT count(*) FROM t"))
        repo:execute("INSERT INTO t (id) VALUES ($1)", 50)
        say(repo:scalar("SELECT max(id) FROM t"))
        """) == ["one", "9", "50"]


# -- writing ---------------------------------------------------------------


def test_handles_count_what_was_written(said):
    assert said("""
        say(repo:execute("UPDATE t SET n = 1 WHERE id <= 3").affected)
        say(repo:update("t", { id = 1 }, { n = 2 }).affected)
        say(repo:insert("t", { id = 11 }).affected)
        say(repo:delete("t", { id = 11 }).affected)
        say(repo:update_all("t", { n = 3 }, "id > $1", 8).affected)
        say(repo:update_all("t", { n = 4 }, { n = 3 }).affected)
        say(repo:delete_all("t", { n = 4 }).affected)
        say(repo:insert_all("t", { { id = 9 }, { id = 10 } }).affected)
        say(repo:update_all("t", { n = 5 }, luamig.ALL).affected)
        """) == ["3", "1", "1", "1", "2", "2", "2", "2", "10"]


def test_null_is_written_and_looked_for(said, db):
    assert said("""
        repo:update("t", { id = 1 }, { name = luamig.NULL })
        repo:update("t", { id = 2 }, { name = luamig.or_null(nil) })
        repo:update("t", { id = 3 }, { name = luamig.or_null("kept") })
        say(repo:update_all("t", { n = 9 }, { name = luamig.NULL }).affected)
        """) == ["2"]
    assert db.column("SELECT name FROM t WHERE id <= 3 ORDER BY id") == [
        None, None, "kept"]


def test_a_missing_row_may_be_ignored(said):
    assert said("""
        local gone = repo:update("t", { id = 99 }, { n = 1 },
                                 { missing = "ignore" })
        say(gone.affected)
        say(repo:delete("t", { id = 99 }, { missing = "ignore" }).affected)
        """) == ["0", "0"]


@pytest.mark.versions
def test_conflicts(said, db):
    said("""
        repo:insert("t", { id = 1, name = "other" },
                    { on_conflict = "nothing" })
        repo:insert("t", { id = 2, name = "two", n = 7 },
                    { on_conflict = { columns = { "id" },
                                      update = { "name", "n" } } })
        repo:insert_all("t", { { id = 3, name = "x" }, { id = 30, name = "y" } },
                        { on_conflict = "nothing" })
        """)
    assert db.rows("SELECT id, name, n FROM t WHERE id IN (1, 2, 3, 30) "
                   "ORDER BY id") == [(1, "n1", 0), (2, "two", 7),
                                      (3, "n3", 0), (30, "y", 0)]


def test_writes_keep_their_order(said, db):
    said("""
        repo:update("t", { id = 1 }, { n = 1 })
        repo:execute("UPDATE t SET n = n * 10 WHERE id = 1")
        repo:update("t", { id = 1 }, { name = "last" })
        repo:execute("UPDATE t SET n = n + 2 WHERE id = 1")
        repo:delete("t", { id = 2 })
        repo:insert("t", { id = 2, name = "again" })
        for i = 1, 5 do repo:insert("said", { word = "w" .. i }) end
        """)
    assert db.rows("SELECT n, name FROM t WHERE id <= 2 ORDER BY id") == [
        (12, "last"), (0, "again")]
    assert db.column("SELECT word FROM said ORDER BY nr") == [
        "w1", "w2", "w3", "w4", "w5"]


def test_names_are_quoted(said, db):
    db.execute('CREATE SCHEMA "Odd"; CREATE TABLE "Odd"."My ""T" '
               '(id int PRIMARY KEY, "select" text)')
    said("""
        local t = '"Odd"."My ""T"'
        repo:insert(t, { id = 1, ["select"] = "x" })
        repo:update(t, { id = 1 }, { ["select"] = "'; DROP TABLE t; --" })
        """)
    assert db.scalar('SELECT "select" FROM "Odd"."My ""T"') == (
        "'; DROP TABLE t; --")


# -- savepoints ------------------------------------------------------------


@pytest.mark.versions
def test_a_savepoint_keeps_what_succeeds_and_returns_it(said):
    assert said("""
        say(repo:savepoint(function(a, b)
          repo:update("t", { id = 1 }, { n = a + b })
          return "x", nil, "z"
        end, 2, 3))
        say(repo:scalar("SELECT n FROM t WHERE id = 1"))
        """) == ["true x nil z", "5"]


@pytest.mark.parametrize("error", [
    'repo:query("SELECT 1/0")',
    'repo:insert("t", { id = 1 })',
    'repo:execute("SELECT 1/0")',
    'repo:update("t", { id = 99 }, { n = 1 })',
    'repo:query("DO $$ BEGIN RAISE EXCEPTION \'no\'; END $$")',
    'error("no")',
    'error({ no = true })',
    'error()',
    'local x = nil + 1',
])
def test_a_savepoint_undoes_what_fails_and_the_batch_goes_on(said, error):
    assert said(f"""
        repo:update("t", {{ id = 1 }}, {{ n = 1 }})
        local ok, err = repo:savepoint(function()
          repo:update("t", {{ id = 1 }}, {{ n = 2 }})
          {error}
        end)
        say(ok)
        say(repo:scalar("SELECT n FROM t WHERE id = 1"))
        """) == ["false", "1"]


def test_savepoints_nest(said):
    assert said("""
        say(repo:savepoint(function()
          repo:update("t", { id = 1 }, { n = 1 })
          say(repo:savepoint(function()
            repo:update("t", { id = 1 }, { n = 2 })
            error("inner")
          end) == false)
          repo:update("t", { id = 2 }, { n = 3 })
        end))
        say(repo:scalar("SELECT n FROM t WHERE id = 1"),
            repo:scalar("SELECT n FROM t WHERE id = 2"))
        """) == ["true", "true", "1 3"]


@pytest.mark.parametrize("error", ['repo:query("SELECT * FROM missing")',
                                   'repo:query("SELECT * FORM t")'])
def test_a_savepoint_does_not_catch_what_is_no_data_error(
        said, db, error):
    said(f"repo:savepoint(function() {error} end) say('on')", code=FAILED)
    assert db.scalar("SELECT count(*) FROM said") == 0


@pytest.mark.versions
def test_an_error_from_the_database_can_be_read(said):
    assert said("""
        local ok, err = repo:savepoint(function()
          repo:insert("t", { id = 1 })
        end)
        say(ok, tostring(err):find("t_pkey") ~= nil)
        """) == ["false true"]


# -- the latch -------------------------------------------------------------


def test_nothing_passes_after_a_database_error(said, db):
    said("""
        pcall(function() repo:query("SELECT 1/0") end)
        local ok, err = pcall(repo.query, repo, "SELECT 1")
        local f = io.open("heard", "w") f:write(tostring(err)) f:close()
        """, code=FAILED, words=["22012"])
    assert db.scalar("SELECT count(*) FROM said") == 0


def test_the_latch_says_what_it_is(said, project):
    said("""
        pcall(function() repo:query("SELECT 1/0") end)
        local ok, err = pcall(repo.query, repo, "SELECT 1")
        local f = io.open("heard", "w") f:write(tostring(err)) f:close()
        """, code=FAILED)
    assert "transaction has failed" in project.read("heard")


# -- the guard -------------------------------------------------------------


@pytest.mark.parametrize("sql", [
    "SET search_path = pg_catalog", "SET ROLE none", "RESET ALL",
    "SET SESSION AUTHORIZATION DEFAULT", "DISCARD TEMP", "DEALLOCATE ALL",
    "PREPARE p AS SELECT 1", "LISTEN a", "UNLISTEN *",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1"])
@pytest.mark.parametrize("call", ["execute", "query", "scalar"])
def test_the_session_must_not_be_changed(said, sql, call):
    said(f'repo:{call}("{sql}")', code=FAILED,
         words=["a script must not change the session", "SET LOCAL",
                "scripts/x.lua", sql])


def test_a_setting_that_ends_with_the_transaction_is_allowed(said):
    assert said("""
        repo:execute("SET LOCAL search_path = pg_catalog")
        local path = repo:scalar("SHOW search_path")
        repo:execute("SET LOCAL search_path TO DEFAULT")
        repo:execute("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id")
        say(path, repo:scalar("FETCH c"))
        repo:execute("SET CONSTRAINTS ALL DEFERRED")
        repo:execute("NOTIFY a")
        """) == ["pg_catalog 1"]


MANY = """
    local holes, values = {}, {}
    for i = 1, COUNT do
      holes[i], values[i] = "$" .. i .. "::int", i
    end
    local list = table.concat(holes, ", ")
"""


MAXIMUM = """
    local rows = repo:query("SELECT max(v) AS m FROM unnest(ARRAY[" ..
      list .. "]) v", table.unpack(values))
    say(rows[1].m)
"""


def test_as_many_parameters_as_the_protocol_knows(db, project):
    """Some versions of libpq cannot read what the server says of more than
    7498; then the hint is followed, both ways."""
    db.execute(TABLES)
    project.script(one_shot(MANY.replace("COUNT", "65535") + MAXIMUM, ""))
    result = project.run()
    if result.code == DONE:
        assert db.column("SELECT word FROM said") == ["65535"]
        return
    result.expect(FAILED, re.compile(r"libpq \d+\.\d+ cannot read"), "scripts/x.lua:",
                  "Pass one array", "at most 7498 parameters").refuse(
                      "reconnecting")
    project.script(one_shot(MANY.replace("COUNT", "7498") + MAXIMUM + """
        local all = {}
        for i = 1, 65535 do all[i] = i end
        say(repo:scalar("SELECT count(*) FROM unnest($1::bigint[])",
          all))
        """, ""))
    project.run().expect(DONE)
    assert db.column("SELECT word FROM said ORDER BY nr") == ["7498", "65535"]


@pytest.mark.parametrize("call", [
    'repo:query("SELECT v FROM unnest(ARRAY[" .. list .. "]) v", '
    'table.unpack(values))',
    'repo:execute("DELETE FROM t WHERE id IN (" .. list .. ")", '
    'table.unpack(values))',
    'repo:delete_all("t", "id IN (" .. list .. ")", table.unpack(values))',
])
def test_more_parameters_than_the_protocol_knows(said, call):
    said(MANY.replace("COUNT", "65536") + call, code=FAILED,
         words=["65536 parameters", "65535", "scripts/x.lua"])


def test_more_parameters_than_that_in_a_base_query(db, project):
    db.execute(TABLES)
    project.script("return { base_query = function()"
                   + MANY.replace("COUNT", "65536") + """
        return "SELECT id FROM t WHERE id IN (" .. list .. ")",
               table.unpack(values)
      end, migrate = function() end }""")
    project.run().expect(INVALID, "65536 parameters")


# -- values ----------------------------------------------------------------

LUA_TYPES = {
    "true": "boolean true", "1::int2": "integer 1", "2::int8": "integer 2",
    "3::oid": "integer 3", "1.5::float4": "float 1.5", "0.1::float4": "float",
    "2::float8": "float 2", "'NaN'::float8": "float", "'x'::text": "string x",
    "'-Infinity'::float8": "float -inf", "'y'::\"char\"": "string y",
    "'2024-01-31'::date": "string 2024-01-31", "NULL::int": "nil nil",
    "'a b'::varchar": "string a b", "'10.0.0.1'::inet": "string 10.0.0.1",
    "1.50::numeric": "table 1.50", "'{}'::_int4": "table", "'[]'::jsonb": "table",
    "'abc'::bytea": "string abc", "'\\x00ff'::bytea": "string",
}


@pytest.mark.parametrize("value", LUA_TYPES)
def test_values_are_the_lua_types_they_should_be(said, value):
    word = said(f"""
        local v = repo:scalar([[SELECT {value}]])
        if type(v) == "string" and v:find("\\0") then v = "" end
        say(math.type(v) or type(v), v)""")[0]
    assert word.startswith(LUA_TYPES[value])


def test_a_binary_string_is_written_as_it_is(said, db):
    db.execute("CREATE TABLE b (id int PRIMARY KEY, v bytea)")
    said(r"""
        repo:insert("b", { id = 1, v = "\0\1\255\\'" })
        repo:execute("INSERT INTO b VALUES (2, $1)", "\0\xff")
        """)
    assert [bytes(v) for v in db.column("SELECT v FROM b ORDER BY id")] == [
        b"\0\1\xff\\'", b"\0\xff"]


def test_an_integer_beyond_two_to_the_53_is_not_rounded_into_a_float(said, db):
    db.execute("CREATE TABLE f (v float8)")
    said('repo:insert("f", { v = 9007199254740993 })', code=FAILED,
         words=["scripts/x.lua"])


def test_an_integer_beyond_two_to_the_24_is_not_rounded_into_a_real(said, db):
    db.execute("CREATE TABLE f (v real)")
    said('repo:insert("f", { v = 16777217 })', code=FAILED,
         words=["scripts/x.lua", "would be rounded"])


def test_a_float_is_not_rounded_into_an_integer(said):
    said('repo:update("t", { id = 1 }, { n = 2.5 })', code=FAILED,
         words=["scripts/x.lua", "n"])


# -- rows ------------------------------------------------------------------


def test_a_null_reads_as_nil_and_a_typo_raises(said):
    assert said("""
        local row = repo:one("SELECT NULL::text AS name, 1 AS id")
        say(row.name == nil, row.id)
        local ok, err = pcall(function() return row.nmae end)
        say(ok, tostring(err):find("nmae") ~= nil,
            tostring(err):find("name") ~= nil)
        """) == ["true 1", "false true true"]


# -- conflicts with others -------------------------------------------------

COUNTING = """return {{
  config = {{ batch_size = 5, throttle_ms = 0, {config} }},
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo, run)
    {body}
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = row.n + 1 }})
    end
  end }}"""


@pytest.mark.versions
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_concurrent_update_makes_the_batch_run_again(
        db, project, isolation):
    db.execute(TABLES)
    project.script(COUNTING.format(body="",
                                   config=f'isolation = "{isolation}"'))
    runner = project.start_run(fault="after_page:1=stop")
    runner.wait_frozen()
    db.execute("UPDATE t SET n = 100 WHERE id = 3")
    runner.thaw()

    assert runner.wait().expect(DONE).retries == 1
    assert db.column("SELECT n FROM t ORDER BY id") == [
        1, 1, 101, 1, 1, 1, 1, 1, 1, 1]
    assert project.status()[0]["retries"] == 1


def test_retries_end(db, project):
    """A conflict over one row that comes back with every attempt is tried for
    a minute, here for two seconds, not for ever."""
    db.execute(TABLES)
    db.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW
            WHEN (OLD.id = 8) EXECUTE FUNCTION refuse()""")
    project.script(COUNTING.format(body="", config="retries = 3"))

    project.run(timeout=60, env={"LUAMIG_FAULT_PATIENCE_MS": "2000"}).expect(
        FAILED, "gave up after", "attempts in 2", "40001", "again")

    assert db.scalar("SELECT sum(n) FROM t WHERE id >= 8") == 0
    assert db.progress() == db.scalar("SELECT sum(n) FROM t")


@pytest.mark.versions
def test_a_deadlock_is_survived(db, project):
    """The batch holds row 1 and wants row 2; the neighbour holds row 2 and
    wants row 1. An advisory lock makes them meet."""
    db.execute(TABLES)
    db.admin(f'ALTER DATABASE "{db.name}" SET deadlock_timeout = \'100ms\'')
    gate, other = db.connect(), db.connect(user="postgres")
    gate.cursor().execute("SELECT pg_advisory_lock(42)")
    other.autocommit = False
    held = other.cursor()
    held.execute("SET LOCAL deadlock_timeout = '60s'")
    held.execute("UPDATE t SET name = 'theirs' WHERE id = 2")
    project.script(COUNTING.format(
        config="lock_timeout_ms = 20000", body="""
    if run.attempt == 1 and run.batch == 1 then
      repo:update("t", { id = 1 }, { name = "mine" })
      repo:query("SELECT pg_advisory_xact_lock(42)")
    end"""))
    runner = project.start_run()
    waiting = ("SELECT count(*) FROM pg_locks WHERE NOT granted "
               "AND database = (SELECT oid FROM pg_database WHERE datname = "
               "current_database())")
    wait_until(lambda: db.scalar(waiting) == 1, "the batch at the gate")

    def take_row_1():
        held.execute("UPDATE t SET name = 'theirs too' WHERE id = 1")
        other.commit()

    thread = threading.Thread(target=take_row_1)
    thread.start()
    wait_until(lambda: db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND "
        "wait_event_type = 'Lock'", db.name, user="postgres") == 2,
        "both to wait")
    gate.cursor().execute("SELECT pg_advisory_unlock(42)")
    result = runner.wait().expect(DONE)
    thread.join(10)
    gate.close()
    other.close()

    assert result.retries >= 1
    assert db.rows("SELECT name, n FROM t WHERE id <= 2 ORDER BY id") == [
        ("theirs too", 1), ("theirs", 1)]


def test_read_committed_does_not_conflict(db, project):
    db.execute(TABLES)
    project.script(COUNTING.format(body="",
                                   config='isolation = "read committed"'))
    runner = project.start_run(fault="after_page:1=stop")
    runner.wait_frozen()
    db.execute("UPDATE t SET name = 'theirs' WHERE id = 3")
    runner.thaw()
    assert runner.wait().expect(DONE).retries == 0


def test_a_column_of_a_table_without_columns_does_not_exist(db, project):
    db.execute("CREATE TABLE bare ()")
    project.script("""return { run = function(repo)
      repo:insert("bare", { id = 1 })
    end }""")

    project.run().expect(FAILED, 'column "id" of relation "bare" does not',
                         "42703")
