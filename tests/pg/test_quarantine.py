"""Rows at fault are set aside and the others migrated once, each of them."""

import json
import math
import re

import pytest

from harness.project import DONE, FAILED, FAILURES, STOPPED, USAGE
from harness.wait import wait_until

COUNT = 1000
BATCH = 100

TAKE = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0, on_error = "quarantine",
             {config} }},
  base_query = "SELECT id, n, note FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      {before}
      repo:update("t", {{ id = row.id }}, {{ n = row.n + 10 }})
    end
  end,
}}
"""


def add(project, batch=BATCH, config="", before=""):
    project.script(TAKE.format(batch=batch, config=config, before=before))


def fill(db, bad, count=COUNT):
    """Rows that must not reach 10 more; the bad ones will."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int, note text,"
               " most int, CHECK (n <= most))")
    db.execute("INSERT INTO t SELECT i, i, 'note ' || i,"
               " CASE WHEN i = ANY (%s) THEN i ELSE i + 10 END"
               " FROM generate_series(1, %s) i", list(bad), count)


def assert_all_but(db, bad, count=COUNT):
    """Every row was written once, but for the bad ones, which were not."""
    assert db.column("SELECT id FROM t WHERE n = id ORDER BY id") == list(bad)
    assert db.scalar("SELECT count(*) FROM t WHERE n = id + 10") == (
        count - len(bad))
    assert db.column("SELECT key[1]::int FROM luamig.failure WHERE"
                     " resolved_at IS NULL ORDER BY 1") == list(bad)
    assert db.progress("failures") == len(bad)
    assert db.progress() == count - len(bad)


def attempts(db):
    """Transactions that worked on a page: batches, and those that failed."""
    return db.progress("batches") + db.progress("retries") + db.progress(
        "failures")


@pytest.mark.parametrize("bad", [
    [1], [COUNT], [500], [1, COUNT], list(range(101, 201)), [100, 101],
    list(range(7, COUNT, 97))], ids=lambda bad: f"{len(bad)} from {bad[0]}")
def test_failed_rows_are_recorded_and_all_others_migrated(
        db, project, bad):
    fill(db, bad)
    add(project, config="max_failures = 1000")
    result = project.run().expect(FAILURES, f"failed rows: {len(bad)};")
    assert result.rows == COUNT - len(bad)
    assert_all_but(db, bad)
    assert db.state() == "done_with_failures"
    bound = COUNT / BATCH + 3 * len(bad) * (math.log2(BATCH) + 1)
    assert attempts(db) <= bound


@pytest.mark.long
def test_one_in_a_thousand_of_100000_rows(db, project):
    bad = range(500, 100000, 1000)
    fill(db, bad, 100000)
    add(project, batch=1000)
    project.run().expect(FAILURES)
    assert_all_but(db, bad, 100000)
    assert attempts(db) <= 100 + 100 * 3 * (math.log2(1000) + 1)


def test_what_the_journal_keeps_of_a_failed_row(db, project):
    fill(db, [3])
    add(project)
    project.run().expect(FAILURES, "row (id) = (3) failed and is recorded", "t_check")
    [row] = db.rows("SELECT run_id, key, sqlstate, message, detail, line,"
                    " row_data, resolved_at FROM luamig.failure")
    assert row[:3] == (1, ["3"], "23514")
    assert "t_check" in row[3] and "Failing row" in row[4]
    assert re.search(r"scripts/x\.lua:\d+", row[5])
    assert row[6:] == (None, None)


def test_the_row_itself_is_kept_when_that_is_wanted(db, project):
    fill(db, [3])
    add(project, config="quarantine_rows = true")
    project.run().expect(FAILURES)
    assert db.scalar("SELECT row_data FROM luamig.failure") == {
        "id": "3", "n": "3", "note": "note 3"}


def test_an_error_of_the_script_records_its_row_as_failed(db, project):
    fill(db, [])
    add(project, before='if row.id % 400 == 0 then error("odd row") end')
    project.run().expect(FAILURES, "odd row")
    assert_all_but(db, [400, 800])
    assert db.column("SELECT DISTINCT sqlstate FROM luamig.failure") == [None]


@pytest.mark.parametrize("config, code, state", [
    ("", FAILURES, "done_with_failures"),
    ('on_error = "stop"', FAILED, "failed")], ids=["quarantine", "stop"])
def test_a_message_of_the_script_that_is_no_text(
        db, project, config, code, state):
    """The server would not store it."""
    fill(db, [])
    add(project, config=config,
        before=r'if row.id == 400 then error("odd \xff\xe2\x82 row") end')
    project.run().expect(code, "odd ??? row")
    assert db.state() == state


def test_a_constraint_that_is_checked_at_commit(db, project):
    db.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    db.execute("INSERT INTO parent SELECT generate_series(11, 1010)")
    db.execute("DELETE FROM parent WHERE id = 277")
    fill(db, [])
    db.execute("ALTER TABLE t ADD CONSTRAINT at_commit FOREIGN KEY (n)"
               " REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED NOT VALID")
    add(project)
    project.run().expect(FAILURES, "at_commit")
    assert_all_but(db, [267])


def test_too_many_rows_at_fault_stop_the_run(db, project):
    fill(db, range(11, 31))
    add(project, config="max_failures = 5")
    project.run().expect(FAILED, "config.max_failures = 5",
                         "keys (id) from (16) to (16)", "luamig failures 1")
    assert db.state() == "failed"
    add(project, config="max_failures = 50")
    project.run().expect(FAILURES)
    assert_all_but(db, range(11, 31))


def test_without_quarantine_the_first_row_at_fault_ends_the_run(db, project):
    fill(db, [3])
    add(project)
    text = project.read("scripts/x.lua").replace('"quarantine"', '"stop"')
    project.script(text)
    project.run().expect(FAILED, "23514")
    assert db.scalar("SELECT count(*) FROM luamig.failure") == 0


def test_timeouts_and_conflicts_record_no_failed_row(db, project):
    fill(db, [])
    holder = db.cluster.connect(db.name)
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM t WHERE id = 70 FOR UPDATE")
    add(project, config="lock_timeout_ms = 20, retries = 1")
    project.run().expect(FAILED, "55P03")
    holder.rollback()
    assert db.scalar("SELECT count(*) FROM luamig.failure") == 0
    project.run().expect(DONE)
    assert_all_but(db, [])


def test_a_kill_around_the_record_of_a_row(db, project):
    for point in ("quarantine_before_commit", "quarantine_after_commit_sent"):
        db.execute("DROP TABLE IF EXISTS t")
        fill(db, [3, 500])
        add(project)
        runner = project.start_run("--again", fault=f"{point}:1=kill")
        runner.process.wait(60)
        project.run().expect(FAILURES)
        assert db.column(
            "SELECT key[1]::int FROM luamig.failure WHERE run_id ="
            " (SELECT max(id) FROM luamig.run) ORDER BY 1") == [3, 500]
        assert db.column("SELECT id FROM t WHERE n = id ORDER BY 1") == [3, 500]


def test_a_run_that_is_done_but_for_some_rows_says_so_again(db, project):
    fill(db, [3])
    add(project)
    project.run().expect(FAILURES)
    project.run().expect(FAILURES, "is done already", "luamig failures 1")
    assert_all_but(db, [3])


# -- luamig failures ---------------------------------------------------------


def test_failures_are_listed_with_what_is_known_of_them(db, project):
    fill(db, [3, 500])
    add(project, config="quarantine_rows = true")
    project.run().expect(FAILURES)
    for which in ("1", "scripts/x.lua"):
        shown = project.luamig("failures", which).expect(
            FAILURES, "(id) = (3)", "(id) = (500)", "SQLSTATE 23514",
            "at: scripts/x.lua:", '"note": "note 500"', "attempts: 1")
        assert shown.out.count("failed:") == 2
    listed = json.loads(project.luamig(
        "failures", 1, "--json").expect(FAILURES).out)
    assert [(row["key"], row["sqlstate"]) for row in listed] == [
        ("3", "23514"), ("500", "23514")]


def test_retried_rows_are_migrated_once_and_resolved(db, project):
    bad = [1, 3, 500, COUNT]
    fill(db, bad)
    add(project)
    project.run().expect(FAILURES)
    db.execute("UPDATE t SET most = most + 10 WHERE id IN (1, 500)")
    db.execute("DELETE FROM t WHERE id = 3")
    result = project.luamig("failures", 1, "--retry")
    result.expect(FAILURES, "2 rows migrated, 1 failed row left",
                  "row (id) = (3) does not match any more",
                  f"row (id) = ({COUNT}) has failed again")
    assert db.rows("SELECT key[1]::int, resolution, attempts FROM"
                   " luamig.failure ORDER BY id") == [
        (1, "migrated", 1), (3, "gone", 1), (500, "migrated", 1),
        (COUNT, None, 2)]
    assert db.state() == "done_with_failures"
    db.execute(f"UPDATE t SET most = most + 10 WHERE id = {COUNT}")
    project.luamig("failures", 1, "--retry").expect(
        DONE, "1 row migrated, 0 failed rows left")
    assert db.state() == "done" and db.progress("failures") == 0
    assert db.scalar("SELECT count(*) FROM t WHERE n <> id + 10") == 0
    project.luamig("failures", 1).expect(DONE, "has no failed rows")
    project.run().expect(DONE, "is done already")


def test_rows_are_retried_while_another_runner_goes_on_with_the_run(
        db, project):
    """A retry that began before it; then none is left at the end."""
    fill(db, [3, 5])
    add(project)
    project.run("--limit", COUNT - 3).expect(STOPPED)
    db.execute("UPDATE t SET most = most + 10")
    holder = db.connect()
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM t WHERE id = 3 FOR UPDATE")
    retry = project.start("failures", 1, "--retry")
    wait_until(lambda: not retry.alive or db.scalar(
        "SELECT count(*) FROM pg_locks WHERE NOT granted"), "the retry to wait")
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    holder.commit()
    retry.wait().expect(DONE, "2 rows migrated")
    runner.thaw()
    runner.wait().expect(DONE)
    assert db.state() == "done"
    assert db.scalar("SELECT count(*) FROM t WHERE n <> id + 10") == 0


def test_a_kill_around_a_retried_row(db, project):
    fill(db, [3, 500])
    add(project)
    project.run().expect(FAILURES)
    db.execute("UPDATE t SET most = most + 10")
    for point in ("resolve_before_commit", "resolve_after_commit_sent"):
        runner = project.start("failures", 1, "--retry",
                               fault=f"{point}:1=kill")
        runner.process.wait(60)
    project.luamig("failures", 1, "--retry").expect(DONE)
    assert db.scalar("SELECT count(*) FROM t WHERE n <> id + 10") == 0


BY = """return {
  args = { %s },
  config = { on_error = "quarantine" },
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = row.n + %s })
    end
  end }"""
BY_INTEGER = 'by = { type = "integer", required = true }'


@pytest.fixture
def by_five(db, project):
    """A run that was given by=5 has set a row aside, whose reason is gone."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < 9));"
               "INSERT INTO t SELECT i, i FROM generate_series(1, 5) i")
    project.script(BY % (BY_INTEGER, "run.args.by"))
    project.run("--arg", "by=5").expect(FAILURES)
    db.execute("ALTER TABLE t DROP CONSTRAINT t_n_check")
    return db


def test_a_retry_has_the_arguments_of_its_run(by_five, project):
    project.luamig("failures", 1, "--retry").expect(DONE)
    assert by_five.column("SELECT n FROM t ORDER BY id") == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("declared, by, refused, options, value", [
    pytest.param(BY_INTEGER, "run.args.by", None, ["--arg", "by=7"], 7,
                 id="given anew"),
    pytest.param('more = { type = "integer", required = true }, ' + BY_INTEGER,
                 "run.args.by + run.args.more",
                 "Give it with --arg more=INTEGER.", ["--arg", "more=1"], 6,
                 id="a new one"),
    pytest.param('by = { type = "boolean" }', "(run.args.by and 1 or 2)",
                 "Give it with --arg by=BOOLEAN.", ["--arg", "by=true"], 1,
                 id="another type"),
    pytest.param('by = { type = "string", secret = true }',
                 "tonumber(run.args.by)", "Give it with --arg-env by=VARIABLE",
                 ["--arg-env", "by=BY"], 3, id="secret"),
    pytest.param('step = { type = "integer", default = 4 }', "run.args.step",
                 None, [], 4, id="gone")])
def test_a_retry_after_the_arguments_have_changed(
        by_five, project, declared, by, refused, options, value):
    project.script(BY % (declared, by))
    if refused:
        project.luamig("failures", 1, "--retry").expect(USAGE, refused)
    result = project.luamig("failures", 1, "--retry", *options,
                            env={"BY": "3"}).expect(DONE)
    assert ("run 1 was given by = 5, which the script does not declare any "
            "more" in result.err) == ("by =" not in declared)
    assert by_five.scalar("SELECT n FROM t WHERE id = 5") == 5 + value


def test_failures_of_a_run_that_is_not_there(db, project):
    project.luamig("failures", 7).expect(FAILED, "has not run")
    fill(db, [])
    add(project)
    project.run().expect(DONE)
    project.luamig("failures", 7).expect(FAILED, 'there is no run "7"')
    project.luamig("failures").expect(
        USAGE, "no run is given; failures takes one")
    project.luamig("failures", 1).expect(DONE, "has no failed rows")
