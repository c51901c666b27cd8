"""Whatever stands on the search_path, luamig's own SQL calls none of it. A
superuser runs every command in a database in which a schema ahead of
pg_catalog shadows each operator, function, type and table that own SQL names;
what is called there raises, and says so in the server's log."""

import json

import psycopg2
import pytest

from harness import hostile
from harness.cluster import SUPERUSER, Cluster
from harness.project import DONE, FAILED, FAILURES, STOPPED, Project
from harness.wait import wait_until

PATH = "evil, pg_catalog, app"

TABLES = """
CREATE SCHEMA app;
CREATE TABLE app.t (id pg_catalog.int8 PRIMARY KEY, n pg_catalog.int4 NOT NULL,
    note pg_catalog.text, most pg_catalog.int4 NOT NULL DEFAULT 1000000);
INSERT INTO app.t SELECT i, i, 'note' FROM generate_series(1, 200) i;
ALTER TABLE app.t ADD CHECK (n <= most);
CREATE TABLE app.log (id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY
    PRIMARY KEY, t_id pg_catalog.int8, word pg_catalog.text);
CREATE VIEW app.v AS SELECT id, n FROM app.t;
ANALYZE;
"""

# The base query and the raw SQL of scripts are the user's, and call nothing.
WRITES = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = {throttle}, {config} }},
  base_query = "SELECT id, n, note FROM {source}",
  on_start = function(repo) repo:execute("SELECT FROM log LIMIT 1") end,
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:insert("log", {{ t_id = row.id, word = "seen" }})
      {more}
    end
  end,
  on_complete = function(repo)
    repo:insert("log", {{ word = "end" }})
  end,
}}
"""


@pytest.fixture(scope="module")
def server():
    cluster = Cluster(log_min_messages="log").start()
    db = cluster.make_database("trapped")
    db.admin(TABLES)
    operators, functions, types = hostile.build(db)
    db.close()
    assert operators > 8000 and functions > 250 and types > 20
    yield cluster
    cluster.remove()


@pytest.fixture
def trapped(server):
    """A database as it is described above, with tables of an application."""
    db = server.make_database(template="trapped")
    db.admin(f'ALTER DATABASE "{db.name}" SET search_path = {PATH}')
    db.close()
    seen = len(server.log())
    yield db
    db.drop()
    assert hostile.called(server.log()[seen:]) == []


@pytest.fixture
def attacked(trapped, tmp_path):
    project = Project(tmp_path,
                      trapped.cluster.url(trapped.name, user=SUPERUSER))
    yield project
    project.close()


def write(project, batch=20, throttle=0, config="", more="", source="t"):
    project.script(WRITES.format(batch=batch, throttle=throttle,
                                 config=config, more=more, source=source))


def peek(db, sql):
    """An own look, which is not attacked."""
    return db.cluster.query("SET search_path = pg_catalog; " + sql,
                            dbname=db.name)


def runs(db):
    """The states of runs."""
    there = peek(db, "SELECT FROM pg_class WHERE relname = 'run'")
    return there and [state for state, in peek(
        db, "SELECT state FROM luamig.run ORDER BY id")]


def test_the_trap_shuts(server):
    """Without which nothing below could fail."""
    db = server.make_database(template="trapped")
    db.admin(f'ALTER DATABASE "{db.name}" SET search_path = {PATH}')
    db.close()
    for sql in ("SELECT 1 = 1::oid", "SELECT 1::oid = 'app.t'::regclass",
                "SELECT length('A')", "SELECT count(*) FROM app.t",
                "SELECT 'a'::text", "SELECT FROM pg_class",
                "SELECT 2 * pg_catalog.make_interval(0)",
                "SELECT 1::int2 IN (2::int8, 3::int8)"):
        with pytest.raises(psycopg2.errors.RaiseException, match="HOSTILE"):
            db.admin(sql)
            pytest.fail(sql)
    db.drop()


def test_a_run_and_all_that_is_asked_about_it(trapped, attacked):
    write(attacked, more='repo:update("t", { id = row.id }, { n = row.n + 1 })')
    attacked.luamig("check", "scripts/x.lua").expect(DONE)
    attacked.luamig("check", "scripts/x.lua", "--json").expect(DONE)
    attacked.luamig("check").expect(DONE)
    attacked.run("--dry-run").expect(DONE)
    attacked.run("--count").expect(DONE)
    attacked.run().expect(DONE, "already")
    attacked.run("--again").expect(DONE)
    for command in (["status"], ["status", 1], ["status", "--json"],
                    ["watch", 1, "--once"], ["wait", 1], ["failures", 1],
                    ["journal", "--sql"]):
        result = attacked.luamig(*command, url=command[0] != "journal")
        assert "HOSTILE" not in result.out + result.err, result
    assert peek(trapped, "SELECT count(*), sum(n) FROM app.t") == [
        (200, 20100 + 400)]
    assert peek(trapped, "SELECT count(*) FROM app.log") == [(402,)]


def test_a_script_that_requires_modules(trapped, attacked):
    attacked.write("luamig.lua", "return {}")
    for name in ("rule", "other"):
        attacked.write(f"lib/{name}.lua", "return 1")
    write(attacked, more='local rule = require("lib.rule") + '
          '(row.id > 100 and require("lib.other") or 0) '
          'repo:update("t", { id = row.id }, { n = row.n + rule })')
    attacked.run("--limit", 120).expect(STOPPED)
    attacked.write("lib/other.lua", "return 2")
    attacked.run().expect(DONE, "lib/other.lua has changed since run 1 began")
    assert peek(trapped, "SELECT count(*) FROM luamig.run"
                " CROSS JOIN jsonb_object_keys(modules)") == [(2,)]


@pytest.mark.parametrize("more", [
    'repo:update("t", { id = row.id }, { n = row.n + 1 })',
    'repo:update("t", { id = row.id }, { n = row.n + 1 }, '
    '{ missing = "ignore" })',
    'repo:update("t", { id = row.id, n = row.n }, { n = 1 })',
    'repo:delete("t", { id = row.id })',
    'repo:insert("t", { id = row.id + 1000, n = 1 }, '
    '{ on_conflict = "nothing" })',
    'repo:insert("t", { id = row.id, n = 1 }, '
    '{ on_conflict = { columns = { "id" }, update = { "n" } } })',
    'repo:savepoint(function() repo:insert("log", { word = "s" }) end)',
    'local _ = repo:insert("log", { word = "s" }).affected',
], ids=lambda more: more.split("(", 1)[0] + str(len(more)))
@pytest.mark.parametrize("config", ['combine = "always"', "combine = false"])
def test_each_kind_of_write(trapped, attacked, more, config):
    write(attacked, more=more, config=config)
    attacked.run("--dry-run").expect(DONE)
    attacked.run().expect(DONE)


def test_writes_by_a_condition(trapped, attacked):
    attacked.script("""local luamig = require "luamig"
    return { run = function(repo)
        repo:update_all("t", { n = 5 }, { id = 7 })
        repo:update_all("t", { n = 5 }, { note = luamig.NULL })
        repo:delete_all("t", { id = 8 })
        repo:update_all("t", { n = 6 }, luamig.ALL)
    end }""")
    attacked.run("--dry-run").expect(DONE)
    attacked.run().expect(DONE)
    assert peek(trapped, "SELECT count(*), max(n) FROM app.t") == [(199, 6)]


def test_failed_rows_are_recorded_and_retried(trapped, attacked):
    trapped.admin("UPDATE app.t SET most = 7 WHERE id"
                  " OPERATOR(pg_catalog.=) 7")
    write(attacked, config='on_error = "quarantine"',
          more='repo:update("t", { id = row.id }, { n = row.n + 1 })')
    attacked.run().expect(FAILURES)
    attacked.luamig("failures", 1).expect(FAILURES, "(id) = (7)")
    attacked.luamig("failures", 1, "--json").expect(FAILURES)
    trapped.admin("UPDATE app.t SET most = 700")
    attacked.luamig("failures", 1, "--retry").expect(DONE)


def test_requests_with_a_runner_and_without(trapped, attacked):
    write(attacked, batch=5, throttle=50)
    runner = attacked.start_run()
    wait_until(lambda: not runner.alive or runs(trapped) == ["running"],
               "the run to begin")
    attacked.luamig("pause", 1).expect(DONE)
    attacked.luamig("set", 1, "batch_size=6").expect(DONE)
    attacked.luamig("resume", 1).expect(DONE)
    attacked.luamig("cancel", 1, "--now").expect(DONE)
    runner.wait()
    attacked.luamig("set", 1, "batch_size=7")
    attacked.luamig("cancel", 1)
    attacked.run("--restart", "--limit", 30).expect(STOPPED)
    attacked.luamig("set", 2, "batch_size=9")
    attacked.run().expect(DONE)


def test_windows(trapped, attacked):
    trapped.admin("""CREATE FUNCTION app.slow(n pg_catalog.int8)
        RETURNS pg_catalog.bool LANGUAGE plpgsql STABLE COST 1000 SET
        search_path = pg_catalog AS $$ BEGIN
        IF n < 190 THEN PERFORM pg_sleep(0.004); END IF;
        RETURN n > 190; END $$""")
    write(attacked, source="t WHERE app.slow(id)", batch=10,
          config="statement_timeout_ms = 150, retries = 2")
    attacked.run("-v").expect(DONE, "reading the key in windows")


def test_new_scripts(trapped, attacked):
    for table in ("app.t", "t", "log", "v"):
        attacked.luamig("new", "--table", table, f"of_{table}").expect(DONE)
    attacked.luamig("new", "--table", "tt", "other").expect(FAILED)
    attacked.luamig("schema", "--lua", "t").expect(DONE)


def test_the_journal_of_an_admin_who_is_attacked(trapped, attacked):
    """psql runs what journal --sql prints under the path of whoever runs it."""
    sql = attacked.luamig("journal", "--sql", url=False).expect(DONE).out
    trapped.admin(sql)
    write(attacked, more='repo:update("t", { id = row.id }, { n = 1 })')
    attacked.run().expect(DONE)
    assert json.loads(attacked.luamig("status", "--json").out)
