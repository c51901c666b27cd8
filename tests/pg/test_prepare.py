"""Work outside of the transaction: while prepare is at work no transaction is
open, the run is heard and kept, and no work is done in vain."""

import os
import random
import re
import signal
import time

import pytest

from harness.project import (BUSY, CANCELLED, DONE, FAILED, FAILURES, STOPPED,
                             USAGE)
from harness.wait import wait_until

# 70 ms of work for each row, or what MS says; each row that is prepared is a
# line of the file "prepared".
SLOW = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0{config} }},
  base_query = "SELECT id, n FROM t",
  prepare = function(rows, run)
    local log, results = assert(io.open("prepared", "a")), {{}}
    for _, row in ipairs(rows) do
      log:write(row.id, "\\n")
      results[row.id] = row.n + 10
    end
    log:close()
    {before}
    os.execute("sleep " .. #rows * (os.getenv "MS" or 70) / 1000)
    return results
  end,
  migrate = function(rows, repo, run)
    {migrate}
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = run.prepared[row.id] }})
    end
  end,
}}
"""


def script(project, batch=1000, config="", before="", migrate=""):
    project.script(SLOW.format(batch=batch, config=config and ", " + config,
                               before=before, migrate=migrate))


def table(db, count):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL);"
               f"INSERT INTO t SELECT i, i FROM generate_series(1, {count}) i")


def prepared(project):
    """The rows that were prepared, in this order."""
    if not project.exists("prepared"):
        return []
    return [int(line) for line in project.read("prepared").split()]


def assert_each_once(db, count):
    assert db.rows("SELECT count(*), count(*) FILTER (WHERE n = id + 10)"
                   " FROM t") == [(count, count)]


def start(project, *arguments, rows=1, **options):
    """A runner that has prepared some rows, and is at work on more."""
    runner = project.start_run(*arguments, **options)
    wait_until(lambda: not runner.alive or len(prepared(project)) >= rows,
               "rows to be prepared")
    assert runner.alive, runner.result()
    return runner


def has_transaction(db):
    """One that is open while the script prepares: its session waits for half
    a second, and a call of prepare lasts longer."""
    return db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname ="
        " current_database() AND application_name LIKE 'luamig%%'"
        " AND state_change < clock_timestamp() - interval '500 ms'"
        " AND state LIKE 'idle in transaction%%'", user="postgres") > 0


# -- as long as it takes -----------------------------------------------------


def test_slow_rows_finish_without_a_transaction_and_keep_the_run(db, project):
    """LUAMIG_TEST_PREPARE_ROWS=1000 takes 70 seconds. The lease ends many
    times, and the server ends transactions that idle."""
    count = int(os.environ.get("LUAMIG_TEST_PREPARE_ROWS", 60))
    table(db, count)
    script(project)
    lease = {"LUAMIG_LEASE_MS": "500"}
    begun = time.monotonic()
    runner = start(project, env=lease, rows=8)
    project.run(env=lease).expect(BUSY, "already running")
    open_ones = 0
    while runner.alive:
        done = len(prepared(project)) == count
        open_ones += not done and has_transaction(db)
        time.sleep(0.1)
    assert open_ones == 0
    runner.wait().expect(DONE).refuse("held", "holding")
    assert db.progress("batches") >= count * 0.07 // 4
    assert time.monotonic() - begun > count * 0.07
    assert prepared(project) == list(range(1, count + 1))
    assert_each_once(db, count)


def test_its_time_is_not_the_time_of_a_batch(db, project):
    """Neither target_ms nor the signal batch_ms see it."""
    table(db, 60)
    script(project, batch=20, config="target_ms = 2000, health = { batch_ms ="
           " 200 }", before="")
    result = project.run("-v", env={"MS": "20"}).expect(DONE)
    result.refuse("holding", "held")
    assert db.progress("batches") == 3


# -- control ------------------------------------------------------------------


def test_a_pause_is_heard_within_a_second(db, project):
    """What is prepared is migrated; the rest is prepared after the pause."""
    table(db, 400)
    script(project)
    runner = start(project)
    begun = time.monotonic()
    project.luamig("pause", "1").expect(DONE, "run 1 is paused")
    assert time.monotonic() - begun < 5
    done = db.progress()
    assert 0 < done == len(prepared(project)) < 400
    project.luamig("resume", "1").expect(DONE)
    wait_until(lambda: len(prepared(project)) > done, "more rows")
    begun = time.monotonic()
    project.luamig("cancel", "1", "--now").expect(DONE, "run 1 is cancelled")
    assert time.monotonic() - begun < 5
    runner.wait().expect(CANCELLED)
    assert len(set(prepared(project))) == len(prepared(project))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_signal_stops_it_and_nothing_is_prepared_twice(db, project, workers):
    table(db, 90)
    script(project, batch=30, config=f"workers = {workers}")
    runner = start(project, rows=20)
    runner.signal(signal.SIGTERM)
    runner.wait().expect(STOPPED)
    rows = db.progress()
    assert 0 < rows == len(prepared(project)) < 90
    project.run(env={"MS": "1"}).expect(DONE)
    assert sorted(prepared(project)) == list(range(1, 91))
    assert_each_once(db, 90)


def test_who_asks_in_vain_is_told_that_the_run_is_in_prepare(db, project):
    table(db, 4)
    script(project)
    runner = start(project, env={"MS": "3500"})
    wait_until(lambda: db.progress("waits_for") == "prepare", "the status")
    project.luamig("status", "1").expect(DONE, "waits for: prepare")
    project.luamig("pause", "1").expect(
        DONE, re.compile(r"not answered yet \(in prepare since 1\d\.\d+s\)"))
    project.luamig("resume", "1").expect(DONE, "run 1 continues")
    runner.wait().expect(DONE)
    assert not db.progress("waits_for")


def test_the_same_of_another_worker_of_the_run(db, project):
    table(db, 400)
    script(project, batch=10, config="workers = 2",
           before="if run.worker == 1 then return results end")
    runner = project.start_run(env={"MS": "400"})
    wait_until(lambda: len(prepared(project)) > 200, "the first worker's rows")
    asking = project.start("pause", "1")
    wait_until(lambda: db.progress("waits_for") == "prepare", "the status")
    asking.wait().expect(DONE, "run 1 is paused")
    project.luamig("cancel", "1").expect(DONE)
    runner.wait().expect(CANCELLED)


def test_a_call_that_lasts_too_long_is_ended_and_the_lease_with_it(db, project):
    table(db, 3)
    script(project, config="prepare_timeout_ms = 800, on_error = 'stop'",
           before="while os.getenv 'LOOP' do end")
    runner = start(project, env={"LOOP": "1"})
    runner.wait().expect(
        FAILED, "prepare has taken longer than config.prepare_timeout_ms = 800",
        "batch 1, keys (id) from (1) to (3)", "Give each call of a service")
    project.run(env={"MS": "1"}).expect(DONE)
    assert_each_once(db, 3)


def test_a_call_that_returns_too_late_is_warned_of(db, project):
    table(db, 3)
    script(project, config="prepare_timeout_ms = 100")
    project.run(env={"MS": "60"}).expect(
        DONE, "warning: a call of prepare has returned after "
        "config.prepare_timeout_ms = 100; another runner may have taken")
    assert prepared(project) == [1, 2, 3]
    assert_each_once(db, 3)


def test_another_runner_takes_over_from_one_that_hangs(db, project):
    table(db, 3)
    script(project, config="prepare_timeout_ms = 500")
    lease = {"LUAMIG_LEASE_MS": "500"}
    first = start(project, env={**lease, "MS": "2000"})
    wait_until(lambda: db.scalar(
        "SELECT greatest(max(lease_until), max(kept_until)) < clock_timestamp()"
        " FROM luamig.worker", user="postgres"), "the lease to end")
    assert first.alive
    project.run(env={**lease, "MS": "1"}).expect(DONE)
    assert_each_once(db, 3)
    first.wait().expect(BUSY, "taken over")
    assert_each_once(db, 3)


# -- what is lost, and what is not ---------------------------------------------


@pytest.mark.parametrize("point", ["before_prepare", "in_prepare",
                                   "after_prepare", "before_commit",
                                   "after_commit_sent"])
def test_killed_at_any_point_the_rows_are_migrated_once(db, project, point):
    table(db, 30)
    script(project, batch=15)
    runner = project.start_run(fault=f"{point}:2=kill", env={"MS": "0"})
    assert runner.process.wait(60) < 0, runner.result()
    project.run(env={"MS": "0"}).expect(DONE)
    assert set(prepared(project)) == set(range(1, 31))
    assert_each_once(db, 30)


def test_killed_workers_are_followed(db, project):
    table(db, 60)
    script(project, batch=10, config="workers = 3")
    runner = start(project, rows=20, env={"MS": "20"})
    assert runner.kill()
    project.run(env={"MS": "0"}).expect(DONE)
    assert set(prepared(project)) == set(range(1, 61))
    assert_each_once(db, 60)


def test_a_lost_connection_costs_no_work(db, project):
    table(db, 20)
    script(project)
    runner = start(project, rows=8)
    db.end_session(db.progress("backend_pid"))
    runner.wait().expect(DONE, "reconnecting")
    assert prepared(project) == list(range(1, 21))
    assert_each_once(db, 20)


def test_rows_that_others_change_between_are_prepared_again(db, project):
    """And nobody's change is lost."""
    table(db, 10)
    script(project)
    runner = start(project, rows=8)
    db.execute("UPDATE t SET n = n + 100 WHERE id = 3; DELETE FROM t"
               " WHERE id = 4; INSERT INTO t VALUES (0, 0)")
    runner.wait().expect(DONE)
    assert prepared(project) == [*range(1, 11), 0, 3]
    assert db.column("SELECT n FROM t ORDER BY id") == [
        10, 11, 12, 113, 15, 16, 17, 18, 19, 20]


def test_no_result_belongs_to_other_values_however_much_changes(db, project):
    """Rows are changed, deleted and inserted all the time."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL,"
               " seen int, result int);"
               "INSERT INTO t SELECT i * 2, i FROM generate_series(1, 150) i")
    script(project, batch=30, config="workers = 2", migrate="""
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { seen = row.n, result = run.prepared[row.id] })
    end
    if true then return end""")
    runner = start(project, env={"MS": "10"})
    dice = random.Random(7)
    while runner.alive:
        row = dice.randint(1, 300)
        db.execute(dice.choice([
            "UPDATE t SET n = n + 1 WHERE id = %s",
            "UPDATE t SET n = n + 1 WHERE id = %s",
            "DELETE FROM t WHERE id = %s AND id %% 3 = 0",
            "INSERT INTO t VALUES (%s, 0) ON CONFLICT DO NOTHING"]), row)
        time.sleep(0.01)
    runner.wait().expect(DONE)
    assert db.scalar("SELECT count(*) FROM t WHERE result <> seen + 10") == 0
    assert db.scalar("SELECT count(*) FROM t WHERE result IS NULL"
                     " AND id % 2 = 0 AND id % 3 <> 0") == 0


def test_a_page_that_others_change_all_the_time_ends(db, project):
    """Another session changes a row whenever it is prepared."""
    table(db, 6)
    script(project, config="on_error = 'quarantine', retries = 1", before="""
    for _, row in ipairs(rows) do
      if row.id == 3 then
        os.execute(("psql -qc 'UPDATE t SET n = n + 1 WHERE id = 3' '%s'")
          :format(os.getenv "DB"))
      end
    end""")
    result = project.run("-v", env={"MS": "0", "DB": db.url}).expect(
        FAILURES, "others have changed rows of the page 4 times",
        "the row was changed 2 times while it was prepared")
    assert result.rows == 5
    assert [row for row in prepared(project) if row != 3] == [1, 2, 4, 5, 6]


def test_a_column_that_depends_on_the_time_is_named(db, project):
    table(db, 1)
    script(project, config="retries = 1")
    project.script(project.read("scripts/x.lua").replace(
        "SELECT id, n", "SELECT id, n, now() AS at"))
    project.run(env={"MS": "0"}).expect(
        FAILED, "the row was changed 2 times while it was prepared",
        'The last time, column "at" had another value.', "such as now()")


def test_a_service_that_is_away_makes_no_failed_row(db, project):
    table(db, 3)
    script(project, config="on_error = 'quarantine'", before="""
    if run.attempt < 3 then run.retry "the service is away" end""")
    result = project.run(env={"MS": "0"}).expect(
        DONE, "luamig: warning: the service is away; waiting")
    assert result.retries == 2
    assert prepared(project) == [1, 2, 3] * 3
    result.refuse("SQLSTATE")


def test_a_service_that_stays_away_ends_the_run_which_resumes(db, project):
    table(db, 3)
    script(project, config="on_error = 'quarantine'",
           before="if os.getenv 'AWAY' then run.retry 'away' end")
    project.run(env={"MS": "0", "AWAY": "1", "LUAMIG_FAULT_PATIENCE_MS": "1"}
                ).expect(FAILED, "gave up after ten minutes: away")
    project.run(env={"MS": "0"}).expect(DONE)
    assert_each_once(db, 3)


def test_failed_rows_are_prepared_when_they_are_tried_again(db, project):
    table(db, 20)
    script(project, config="on_error = 'quarantine'", migrate="""
    for _, row in ipairs(rows) do
      if row.id % 10 == 0 and not os.getenv "OK" then error("ten") end
    end""")
    project.run(env={"MS": "0"}).expect(FAILURES, "failed rows: 2")
    assert prepared(project) == list(range(1, 21))
    project.luamig("failures", "1", "--retry", env={"MS": "0"}).expect(
        FAILURES, "has failed again: scripts/x.lua")
    project.luamig("failures", "1", "--retry", env={"MS": "0", "OK": "1"}
                   ).expect(DONE)
    assert prepared(project)[20:] == [10, 20, 10, 20]
    assert_each_once(db, 20)


def test_several_workers_prepare_at_the_same_time(db, project):
    table(db, 60)
    script(project, batch=10, config="workers = 4",
           before="run.log('worker ' .. run.worker)")
    result = project.run(env={"MS": "30"}).expect(DONE)
    assert sorted(prepared(project)) == list(range(1, 61))
    assert len(set(re.findall(r"worker \d", result.err))) > 1
    assert_each_once(db, 60)


# -- pages that are not read like others ----------------------------------------


def test_rows_that_are_searched_in_windows_are_prepared_once(db, project):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT i, i FROM generate_series(1, 1200) i; ANALYZE t;
        CREATE FUNCTION looked_at(r boolean) RETURNS boolean
        LANGUAGE plpgsql STABLE COST 1000 AS $$ BEGIN
            IF NOT r THEN PERFORM pg_sleep(0.0003); END IF; RETURN r; END $$""")
    script(project, batch=10, config="statement_timeout_ms = 150, retries = 2")
    project.script(project.read("scripts/x.lua").replace(
        "FROM t", "FROM t WHERE looked_at(id % 400 = 0)"))
    result = project.run("-v", env={"MS": "0"}).expect(
        DONE, "reading the key in windows")
    assert result.rows == 3 and prepared(project) == [400, 800, 1200]
    assert db.column("SELECT id FROM t WHERE n = id + 10 ORDER BY 1") == [
        400, 800, 1200]


def test_rows_at_which_the_base_query_fails_are_failed_rows(db, project):
    """Also if they begin to fail while others are prepared."""
    table(db, 20)
    db.execute("ALTER TABLE t ADD bad int DEFAULT 1;"
               " UPDATE t SET bad = 0 WHERE id = 5")
    script(project, config="on_error = 'quarantine'")
    project.script(project.read("scripts/x.lua").replace(
        "SELECT id, n", "SELECT id, n, 1 / bad AS bad"))
    runner = start(project, env={"MS": "30"}, rows=8)
    db.execute("UPDATE t SET bad = 0 WHERE id = 12")
    runner.wait().expect(FAILURES, "failed rows: 2", "division by zero")
    assert db.column("SELECT id FROM t WHERE n <> id + 10 ORDER BY id") == [5, 12]
    assert len(prepared(project)) == len(set(prepared(project)))


# -- the rest -------------------------------------------------------------------


def test_a_dry_run_skips_it_unless_it_is_asked_for(db, project):
    table(db, 3)
    script(project)
    project.run("--dry-run", env={"MS": "0"}).expect(
        FAILED, "A dry run does not call prepare", "--prepare")
    assert prepared(project) == []
    project.run("--dry-run", "--prepare", env={"MS": "0"}).expect(DONE)
    assert prepared(project) == [1, 2, 3]
    assert db.scalar("SELECT sum(n)::int FROM t") == 6
    project.run("--prepare").expect(
        USAGE, "--prepare is for a dry run: a run always calls prepare")


KEYS = """
return {
  config = { batch_size = 2, throttle_ms = 0, on_error = "quarantine" },
  base_query = "SELECT id FROM t",
  prepare = function(rows, run)
    for _, row in ipairs(rows) do
      run.log("<" .. run.key_of(row) .. ">")
    end
    return {}
  end,
  migrate = function() if os.getenv "FAIL" then error "no" end end,
}
"""


def prefixes(result):
    """What the keys begin with that prepare has seen."""
    assert result.code in (DONE, STOPPED, FAILURES), result
    return {key.rpartition("-")[0] for key in re.findall("<(.*?)>", str(result))}


def test_no_two_runs_have_one_key_of_a_row(db, project, cluster):
    table(db, 6)
    other = cluster.make_database()
    table(other, 6)
    project.script(KEYS)
    of_one = prefixes(project.run("--limit", 2))
    of_one |= prefixes(project.run("--workers", 2, env={"FAIL": "1"}))
    of_one |= prefixes(project.luamig("failures", "1", "--retry"))
    assert len(of_one) == 1
    db.execute("DROP SCHEMA luamig CASCADE")
    others = [*prefixes(project.run()), *prefixes(project.run("--again")),
              *prefixes(project.run(url=other.url))]
    for _ in range(2):
        others += prefixes(project.run("--dry-run", "--prepare"))
    assert len({*of_one, *others}) == 6 == 1 + len(others)


@pytest.mark.parametrize("kind, value", [
    ("jsonb", "jsonb_build_object('a', i)"),
    ("bytea", "decode(lpad(i::text, 4, '0'), 'hex')"),
    ("int4[]", "ARRAY[i, i]")])
def test_keys_that_are_no_plain_values_have_their_results(
        db, project, kind, value):
    db.execute(f"CREATE TABLE t (k {kind} PRIMARY KEY, n int);"
               f"INSERT INTO t SELECT {value} FROM generate_series(1, 20) i")
    project.script("""return {
      config = { key = "k", batch_size = 7 },
      base_query = "SELECT k FROM t",
      prepare = function(rows)
        local results = {}
        for i, row in ipairs(rows) do results[row] = i end
        return results
      end,
      migrate = function(rows, repo, run)
        for _, row in ipairs(rows) do
          repo:update("t", { k = row.k }, { n = run.prepared[row] })
        end
      end }""")
    project.run().expect(DONE)
    assert db.scalar("SELECT count(n) FROM t") == 20
