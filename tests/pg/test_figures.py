"""Figures that are told in two places are the same figure, and advice can be
followed."""

import json

import pytest

from harness.project import BUSY, DONE, FAILED, FAILURES, STOPPED
from harness.wait import wait_until

ADD = """
return {{
  config = {{ {config} }},
  base_query = "SELECT id, n FROM t{where}",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      {before}
      repo:update("t", {{ id = row.id }}, {{ n = row.id }})
    end
  end,
}}
"""


def add(project, config="", where="", before=""):
    project.script(ADD.format(config=config, where=where, before=before))


@pytest.fixture
def table(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t SELECT i FROM generate_series(1, 400) i")
    return db


# -- the total -------------------------------------------------------------


def test_a_run_that_is_done_has_no_total_beside_its_rows(table, project):
    """An estimate that proved too low is none that is too high."""
    add(project)
    project.run("--limit", 10).expect(STOPPED)
    for total in (5, 100000):
        table.execute("UPDATE luamig.progress SET total = %s", total)
        shown = project.luamig("status", 1).expect(DONE).out
        assert ("of about 100,000 rows" in shown) == (total > 10), shown
        assert project.status(1)[0]["total"] == (total if total > 10 else None)
    project.run().expect(DONE)
    table.execute("UPDATE luamig.progress SET total = 100000")
    project.luamig("status", 1).expect(DONE, "400 rows in").refuse("of about")
    assert project.status(1)[0]["total"] is None


def test_watch_shows_no_total_that_status_does_not(table, project):
    add(project, "batch_size = 10, throttle_ms = 100")
    runner = project.start_run()
    wait_until(lambda: table.progress() > 20, "batches")
    project.luamig("pause", 1).expect(DONE)
    table.execute("UPDATE luamig.progress SET total = 5")
    shown = project.luamig("status", 1).expect(DONE).out
    assert "of about" not in shown
    runner.kill()


# -- retries -----------------------------------------------------------------


def test_retries_at_the_end_of_a_run_are_those_of_status(table, project):
    """Those of the last transaction, too."""
    table.execute("CREATE SEQUENCE s")
    project.script("""
      return {
        config = { batch_size = 100 },
        base_query = "SELECT id FROM t",
        migrate = function() end,
        on_complete = function(repo)
          if repo:scalar("SELECT nextval('s')") < 4 then
            repo:execute [[DO $$ BEGIN RAISE EXCEPTION USING
              ERRCODE = '40001'; END $$]]
          end
        end }""")
    result = project.run().expect(DONE, "3 retries")
    assert project.status(1)[0]["retries"] == result.retries == 3
    project.luamig("status", 1).expect(DONE, "3 retries")


def test_retries_of_a_run_that_failed_are_those_of_status(table, project):
    project.script("""
      return {
        config = { retries = 2 },
        base_query = "SELECT id FROM t",
        migrate = function(rows, repo)
          repo:execute [[DO $$ BEGIN RAISE EXCEPTION USING
            ERRCODE = '40001'; END $$]]
        end }""")
    result = project.run(env={"LUAMIG_FAULT_PATIENCE_MS": "2000"}).expect(
        FAILED)
    assert project.status(1)[0]["retries"] == result.retries > 0


# -- guesses -------------------------------------------------------------------


def test_a_dry_run_of_a_few_rows_pauses_as_often_as_the_run(db, project):
    """The run has batches of 1,000, whatever the limit was: 100 pauses of
    100 ms, as check says."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t SELECT i FROM generate_series(1, 100000) i;"
               "ANALYZE t")
    add(project, "batch_size = 1000, throttle_ms = 100")
    project.luamig("check", "x").expect(DONE, "rows in 100 batches")
    dry = json.loads(project.run("--dry-run", "--limit", 100).out)
    sum_ms, guess_ms = dry["batch_ms"]["sum"], dry["estimate"]["ms"]
    assert dry["estimate"]["rows"] == 100000
    assert 10000 + 100 * sum_ms <= guess_ms <= 10000 + 400 * sum_ms, dry


def test_a_dry_run_of_full_batches_carries_them_over(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t SELECT i FROM generate_series(1, 10000) i;"
               "ANALYZE t")
    add(project, "batch_size = 100, throttle_ms = 10")
    dry = json.loads(project.run("--dry-run", "--limit", 500).out)
    sum_ms, guess_ms = dry["batch_ms"]["sum"], dry["estimate"]["ms"]
    assert abs(guess_ms - (1000 + 20 * sum_ms)) <= 25, dry


# -- who is at work ------------------------------------------------------------


def test_a_runner_that_is_refused_does_not_call_the_run_failed(table, project):
    add(project, "batch_size = 10, throttle_ms = 200")
    runner = project.start_run()
    wait_until(lambda: table.progress() > 0, "a batch")
    end = project.run("--log", "json").expect(BUSY).log[-1]
    assert end["event"] == "end" and end["state"] == "running", end
    assert "already running" in json.dumps(end)
    assert project.status(1)[0]["state"] == "running"
    runner.kill()


# -- runs that found nothing ----------------------------------------------------


def test_failures_of_a_script_are_found_behind_a_run_that_found_nothing(
        table, project):
    add(project, "on_error = 'quarantine', batch_size = 50",
        where=" WHERE n IS NULL", before="if row.id == 7 then error 'no' end")
    project.run().expect(FAILURES)
    table.execute("UPDATE t SET n = 0 WHERE n IS NULL")
    project.run("--again").expect(DONE)
    project.luamig("failures", "x").expect(FAILURES, "7")
    project.luamig("failures", 2).expect(DONE)
    table.execute("UPDATE t SET n = NULL WHERE id = 7")
    add(project, "on_error = 'quarantine', batch_size = 50",
        where=" WHERE n IS NULL")
    project.luamig("failures", "x", "--retry").expect(DONE, "1 row migrated")


# -- still matching ---------------------------------------------------------------


def test_a_query_of_all_rows_says_nothing_of_those_that_match(table, project):
    add(project)
    project.run().expect(DONE).refuse("still matching")


def test_new_rows_are_also_reported_for_a_query_of_all_rows(
        table, project):
    add(project)
    project.run("--limit", 100).expect(STOPPED)
    table.execute("INSERT INTO t (id) SELECT generate_series(1001, 1012)")
    project.run().expect(DONE, "still matching: 412 rows, 12 of them beyond the"
                         " last key of this run\n")


@pytest.mark.parametrize("source", ["t WHERE id > 0", "v"])
def test_a_query_that_returns_migrated_rows_again_is_reported(table, project, source):
    table.execute("CREATE VIEW v AS SELECT * FROM t WHERE id > 0")
    add(project)
    project.script(project.read("scripts/x.lua").replace("FROM t", f"FROM {source}"))
    project.run().expect(DONE, "still matching: 400 rows; the base query also "
                         "returns rows that are already migrated")


@pytest.mark.parametrize("before, left", [
    ("", 0), ("if row.id % 2 == 0 then goto next end", 200)])
def test_rows_left_of_a_query_that_shrinks_are_counted(
        table, project, before, left):
    project.script("""
      return { base_query = "SELECT id, n FROM t WHERE n IS NULL",
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            %s
            repo:update("t", { id = row.id }, { n = row.id })
            ::next::
          end
        end }""" % before)
    project.run().expect(DONE, f"still matching: {left} rows\n")


# -- hints that are followed ------------------------------------------------------


def test_on_conflict_with_a_partial_index_names_it(table, project):
    table.execute("""
        CREATE TABLE u (a int, n int, active bool NOT NULL DEFAULT true);
        CREATE UNIQUE INDEX u_active ON u (a) INCLUDE (n) WHERE active;
        CREATE UNIQUE INDEX u_other ON u (n) WHERE active""")
    text = """return { run = function(repo) %s end }"""
    project.script(text % """
      repo:insert("u", { a = 1, n = 2 }, { on_conflict = {
        columns = { "a" }, update = { "n" } } })""")
    project.run().expect(FAILED, "42P10", "CREATE UNIQUE INDEX u_active ON public.u",
                  "WHERE active", "raw SQL: repo:execute").refuse(
                      "u_other")
    project.script(text % """
      for _ = 1, 2 do
        repo:execute([[INSERT INTO u (a) VALUES ($1)
          ON CONFLICT (a) WHERE active DO NOTHING]], 1)
      end""")
    project.run().expect(DONE)
    assert table.rows("SELECT a FROM u") == [(1,)]


def test_on_conflict_without_an_index_says_so(table, project):
    table.execute("CREATE TABLE u (a int, n int)")
    project.script("""return { run = function(repo)
      repo:insert("u", { a = 1, n = 2 }, { on_conflict = {
        columns = { "a" }, update = { "n" } } }) end }""")
    table.execute("CREATE UNIQUE INDEX ON u (n) WHERE n > 0")
    project.run().expect(FAILED, "42P10", "create a unique index on these")
    table.execute("CREATE UNIQUE INDEX ON u (a)")
    project.run().expect(DONE)


def test_raw_sql_gets_no_hint_about_the_option_on_conflict(table, project):
    table.execute("CREATE TABLE u (a int, n int); "
                  "CREATE UNIQUE INDEX u_some ON u (a) WHERE n > 0")
    project.script("""return { run = function(repo)
      repo:execute("INSERT INTO u (a) VALUES (1) ON CONFLICT (a) DO NOTHING")
    end }""")
    project.run().expect(FAILED, "42P10").refuse("on_conflict", "u_some")


def test_a_window_function_is_no_reason_for_another_index_or_analyze(
        db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, g int, n int);"
               "INSERT INTO t SELECT i, i % 100 FROM"
               " generate_series(1, 200000) i")
    project.script("""return { config = { batch_size = 100 },
      base_query = [[SELECT id FROM (SELECT id, max(id) OVER (PARTITION BY g)
        AS last FROM t) s WHERE id < last]],
      migrate = function() end }""")
    result = project.luamig("check", "x")
    assert "Read that data in migrate" in result.out, result
    result.refuse("CREATE INDEX", "ANALYZE public.t")


def test_an_anti_join_is_no_reason_for_the_index_that_is_there(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "CREATE TABLE done (id int);"
               "INSERT INTO t SELECT i FROM generate_series(1, 200000) i;"
               "INSERT INTO done SELECT i FROM generate_series(1, 190000) i")
    project.script("""return { config = { batch_size = 100 },
      base_query = [[SELECT id FROM t WHERE NOT EXISTS
        (SELECT FROM done WHERE done.id = t.id)]],
      migrate = function() end }""")
    result = project.luamig("check", "x")
    result.refuse('CREATE INDEX CONCURRENTLY ON public.t (id);',
                  'CREATE INDEX CONCURRENTLY ON public.t ("id");')
