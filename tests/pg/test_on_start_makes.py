"""A base query that reads what on_start makes: luamig looks at it after
on_start, in the same transaction, and refuses what it refuses of others."""

import json

import pytest

from harness.dry import counts, dry, untouched
from harness.project import DONE, INVALID, STOPPED
from harness.wait import wait_until

SCRIPT = """local luamig = require "luamig"
return {{
  config = {{ allow_ddl = true, batch_size = 10, throttle_ms = 0, {config} }},
  base_query = "SELECT id, n FROM work{where}",
  on_start = function(repo)
    repo:execute "{sql}"
    repo:execute "INSERT INTO seen VALUES (0)"
  end,
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("work", {{ id = row.id }}, {{ n = luamig.add(1) }})
      repo:insert("seen", {{ id = row.id }})
    end
  end }}
"""
MAKES = ("CREATE TABLE work (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); "
         "INSERT INTO work SELECT generate_series(1, 25)")


def write(db, project, sql=MAKES, config="", where=""):
    db.execute("CREATE TABLE IF NOT EXISTS seen (id bigint)")
    sql = ' repo:execute "'.join(f'{one}"' for one in sql.split("; "))[:-1]
    project.script(SCRIPT.format(sql=sql, config=config, where=where))


def test_rows_of_a_table_that_on_start_makes_are_migrated(db, project):
    write(db, project, config="workers = 2, health = { vacuums = 0 }")
    assert project.run().expect(DONE).rows == 25
    assert db.rows("SELECT count(*), min(n), max(n) FROM work") == [(25, 1, 1)]
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM seen") == [
        (26, 26)]
    project.run().expect(DONE, "done already")
    assert db.scalar("SELECT fingerprint->'tables' IS NOT NULL"
                     " FROM luamig.run") is not None


@pytest.mark.parametrize("fault", [
    "on_start_before_commit=kill", "on_start_after_commit_sent=kill",
    "on_start_after_commit=kill", "after_migrate:2=kill"])
def test_on_start_makes_it_once_whatever_happens(db, project, fault):
    write(db, project)
    project.run(fault=fault)
    project.run().expect(DONE)
    assert db.rows("SELECT count(*), min(n), max(n) FROM work") == [(25, 1, 1)]
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM seen") == [
        (26, 26)]


def test_who_joins_before_on_start_has_made_it_waits_and_helps(db, project):
    write(db, project, "SELECT pg_advisory_xact_lock(7); " + MAKES)
    db.execute("SELECT pg_advisory_lock(7)")
    first = project.start_run("--throttle-ms", 20, "--batch-size", 1)
    wait_until(lambda: db.scalar("SELECT count(*) FROM pg_locks WHERE"
                                 " locktype = 'advisory' AND NOT granted"),
               "on_start")
    second = project.start_run("--join")
    wait_until(lambda: "joining run 1" in second.stderr(), "the second")
    db.execute("SELECT pg_advisory_unlock(7)")
    first.wait().expect(DONE)
    second.wait().expect(DONE)
    assert db.rows("SELECT count(*), min(n), max(n) FROM work") == [(25, 1, 1)]
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM seen") == [
        (26, 26)]


def test_a_run_begins_after_a_key_of_the_new_table(db, project):
    write(db, project, config="start_after = 20")
    project.run("--limit", 2).expect(STOPPED)
    assert project.run().expect(DONE).rows == 5
    assert db.column("SELECT id FROM work WHERE n = 1") == [21, 22, 23, 24, 25]


NO_KEY = "CREATE TABLE work (id bigint, n int)"
BARE = ("CREATE TABLE work (id int NOT NULL, n int); INSERT INTO work"
        " SELECT generate_series(1, 150000); ANALYZE work")


@pytest.mark.parametrize("sql, config, words", [
    ("CREATE TABLE works (id int)", "",
     ['relation "work" does not exist', "on_start has run",
      "in the schema that the base query reads"]),
    (NO_KEY, "", ["may be NULL"]),
    ("CREATE TABLE work (n int)", "", ['column "id" does not exist']),
    (MAKES, "start_after = 'x'", ["start_after does not fit the key", "--restart"]),
    (MAKES.replace("TABLE", "TEMP TABLE"), "",
     ['the base query reads "work", which is temporary',
      "Make an ordinary table: CREATE TABLE in on_start"]),
    (BARE, "",
     ["plan: each page reads", "What on_start did is rolled back",
      "--force runs the script anyway"])])
def test_what_is_refused_of_others_is_refused_and_on_start_taken_back(
        db, project, sql, config, words):
    write(db, project, sql, config)
    project.run().expect(INVALID, *words)
    assert db.scalar("SELECT to_regclass('work') IS NULL")
    assert db.column("SELECT id FROM seen") == []
    assert db.state() == "failed"

    write(db, project)
    again = ("--restart",) if config else ()
    assert project.run(*again).expect(DONE, "run 1").rows == 25


def test_a_temporary_table_in_the_place_of_another_is_refused(db, project):
    db.execute(MAKES)
    write(db, project, MAKES.replace("TABLE", "TEMP TABLE"))
    project.run().expect(INVALID, 'the base query reads "work", which is temporary')
    assert db.column("SELECT id FROM seen") == []


def test_it_is_forced_as_others_are(db, project):
    write(db, project, BARE)
    project.run("--force", "--limit", 100).expect(
        STOPPED, "overridden by --force: plan: each page reads")


def test_a_table_that_is_gone_later_is_no_reason_to_begin_again(db, project):
    write(db, project)
    project.run("--limit", 5).expect(STOPPED)
    db.execute("DROP TABLE work")
    project.run().expect(INVALID, 'relation "work" does not exist')
    assert db.scalar("SELECT count(*) FROM seen WHERE id = 0") == 1


def test_without_on_start_a_table_must_be_there(db, project):
    write(db, project)
    project.script(project.read("scripts/x.lua").replace("on_start", "on_stop"))
    project.run().expect(INVALID, 'relation "work" does not exist',
                         "Is this the right database")
    assert not db.has_journal()


def test_a_column_that_on_start_adds_is_read_through_a_view(db, project):
    db.execute("CREATE TABLE work (id bigint PRIMARY KEY)")
    db.execute("INSERT INTO work SELECT generate_series(1, 25)")
    write(db, project, "ALTER TABLE work ADD n int NOT NULL DEFAULT 0; "
          "CREATE VIEW seen_work AS SELECT id, n FROM work")
    project.run().expect(INVALID, 'column "n" does not exist',
                         "may make a table or a view that the base query reads")
    project.script(project.read("scripts/x.lua").replace(
        'n FROM work",\n', 'n FROM seen_work",\n'))
    assert project.run().expect(DONE).rows == 25


def test_check_says_that_it_cannot_look(db, project):
    write(db, project)
    result = project.luamig("check", "x", "--json").expect(DONE)
    query = [f for f in json.loads(result.out)["findings"]
             if f["subject"] == "query"]
    assert [f["level"] for f in query] == ["warning"]
    assert "on_start may make it" in query[0]["message"]
    assert not db.has_journal() and db.column("SELECT * FROM seen") == []


def test_a_dry_run_looks_at_what_on_start_makes(db, project, untouched):
    write(db, project)
    untouched()
    report = dry(project)
    assert (report["rows"], report["batches"]) == (25, 3)
    assert counts(report)["public.work"] == (25, 25, 0)
    assert counts(report)["public.seen"] == (26, 0, 0)


def test_a_dry_run_refuses_what_a_run_refuses(db, project, untouched):
    write(db, project, NO_KEY)
    untouched()
    project.run("--dry-run").expect(INVALID, "may be NULL")


def test_a_dry_run_joins_a_file_with_what_on_start_makes(db, project):
    db.execute("CREATE TABLE seen (id bigint, plan text)")
    project.write("f.csv", "id\n1\n2\n9\n")
    project.script("""return {
      config = { key = "line", allow_ddl = true },
      input = { format = "csv", columns = { id = "bigint" } },
      base_query = function(_, input)
        return "SELECT f.line, f.id, w.plan FROM " .. input
          .. " AS f JOIN work AS w ON w.id = f.id"
      end,
      on_start = function(repo)
        repo:execute "CREATE TABLE work (id bigint PRIMARY KEY, plan text)"
        repo:execute "INSERT INTO work VALUES (1, 'a'), (2, 'b'), (3, 'c')"
      end,
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:insert("seen", { id = row.id, plan = row.plan })
        end
      end }""")
    report = dry(project, "--input", "f.csv")
    assert report["rows"] == 2
    assert counts(report) == {"public.seen": (2, 0, 0),
                              "public.work": (3, 0, 0)}
