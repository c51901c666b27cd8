"""How many workers a run has: `auto`, and fewer where they do harm."""

import re
import threading

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import DONE, STOPPED
from harness.wait import wait_until

# "auto" measures for ten seconds and more; here for half a second.
QUICK = {"LUAMIG_FAULT_SLICE_MS": "40"}
SLEEP = 'repo:query("SELECT pg_sleep(0.02)")'


def script(project, before=SLEEP, config='workers = "auto"'):
    project.script(readings.script(
        batch=5, config=config, migrate=before + readings.ROW_BY_ROW))


def end(runner):
    runner.signal(15)
    return runner.wait().expect(STOPPED)


def sizes(db):
    """How many workers each process has."""
    return db.has_journal() and db.column(
        "SELECT count(*) FROM luamig.worker GROUP BY process", user="postgres")


def test_auto_adds_workers_while_they_pay(db, project):
    readings.create(db, 20000)
    script(project)
    runner = project.start_run(env=QUICK)
    wait_until(lambda: "auto: 2 workers, " in runner.stderr(), "two workers")
    project.luamig("set", 1, "workers=3").expect(DONE)
    wait_until(lambda: sizes(db) == [3], "three workers")
    project.luamig("set", 1, "workers=auto").expect(DONE)
    wait_until(lambda: ": auto" in project.luamig("status", 1).out, "auto again")
    result = end(runner)
    assert re.search(r"auto: 2 workers, \d\.\d times the rows of 1\n", result.err)


def test_auto_gives_back_workers_that_wait_for_each_other(db, project):
    readings.create(db, 20000)
    script(project, 'repo:query("SELECT pg_advisory_xact_lock(1)")' + SLEEP)
    runner = project.start_run("-v", env=QUICK)
    wait_until(lambda: "auto: stays at 1 worker; 2 had " in runner.stderr(), "a verdict")
    end(runner).refuse("auto: 2 workers")


def test_auto_measures_how_far_windows_go_where_hardly_a_row_matches(db, project):
    """To find that a row is not wanted takes a third of a millisecond."""
    readings.create(db, 60000)
    db.execute("""
        CREATE FUNCTION is_wanted(n bigint) RETURNS boolean
        LANGUAGE plpgsql STABLE COST 1000 AS $$ BEGIN
            PERFORM pg_sleep(0.0003); RETURN n % 5000 = 0; END $$""")
    project.script(readings.script(
        batch=10, config='workers = "auto", statement_timeout_ms = 300').replace(
            "FROM readings", "FROM readings WHERE is_wanted(id)"))
    runner = project.start_run(env=QUICK)
    wait_until(lambda: "auto: 2 workers, " in runner.stderr(), "two workers")
    end(runner).expect(STOPPED, "reading the key in windows of 10000 rows of "
                       "public.readings")


@pytest.mark.versions
def test_auto_leaves_connections_free(db, project):
    """The database has five: two are kept free, the monitor has one."""
    readings.create(db, 20000)
    script(project)
    db.close()
    db.cluster.execute(f'ALTER DATABASE "{db.name}" CONNECTION LIMIT 5')
    runner = project.start_run("-v", env=QUICK)
    wait_until(lambda: "auto: 2 workers" in runner.stderr(), "two workers")
    end(runner).expect(STOPPED, "auto: at most 2 workers").refuse("auto: 3")


def test_a_process_that_joins_with_auto_has_as_many_workers(db, project):
    readings.create(db, 20000)
    script(project, config="workers = 3")
    first = project.start_run()
    wait_until(lambda: sizes(db) == [3], "three workers")
    second = project.start_run("--workers", "auto", "--join")
    wait_until(lambda: sizes(db) == [3, 3], "three workers each")
    project.luamig("set", 1, "workers=2").expect(DONE)
    wait_until(lambda: sizes(db) == [2, 2], "two workers each")
    end(first)
    end(second)


def test_workers_that_come_and_go_write_each_row_once(db, project):
    readings.create(db, 2500)
    project.script(readings.script(batch=5, throttle=10, config="workers = 2"))
    runner = project.start_run()
    wait_until(lambda: db.has_journal() and db.progress("started"), "the start")
    for number in (6, 1, 6):
        project.luamig("set", 1, f"workers={number}").expect(DONE)
    project.luamig("set", 1, "throttle_ms=0").expect(DONE)
    runner.wait().expect(DONE).refuse("is gone")
    assert_once(db)


# -- giving way ----------------------------------------------------------------


def test_each_worker_rests_after_a_slow_batch(db, project):
    """Not the first one alone, which would do a third of the batches."""
    readings.create(db, 60)
    db.execute("CREATE TABLE done (worker int)")
    project.script(readings.script(
        batch=5, config="workers = 2, health = { batch_ms = 50 }", migrate="""
          repo:insert("done", { worker = run.worker })
          repo:query("SELECT pg_sleep(0.1)")""" + readings.ROW_BY_ROW)
        .replace("(rows, repo)", "(rows, repo, run)"))
    project.run().expect(DONE, ", held ", "slow batches")
    assert db.scalar("SELECT count(*) FROM done WHERE worker = 1") >= 5


def test_the_throttle_of_a_script_holds_all_workers(db, project):
    readings.create(db, 300)
    db.execute("CREATE TABLE permit (given bool)")
    project.script(readings.script(
        batch=5, config="workers = 3", migrate="""
          assert(repo:scalar("SELECT bool_or(given) FROM permit"))"""
        + readings.ROW_BY_ROW).replace("on_start =", """
          throttle = function(repo)
            return not repo:scalar("SELECT bool_or(given) FROM permit")
          end,
          on_start ="""))
    runner = project.start_run()
    wait_until(lambda: db.progress("waits_for"), "the throttle")
    wait_until(lambda: sizes(db) == [3], "three workers")
    db.execute("INSERT INTO permit VALUES (true)")
    runner.wait().expect(DONE, ", held ", "script")
    readings.assert_each_once(db)


# -- conflicts ---------------------------------------------------------------

COUNTER = """
    CREATE TABLE counter (id int PRIMARY KEY, hits bigint NOT NULL);
    INSERT INTO counter VALUES (1, 0);"""
COUNT = """
    repo:execute("UPDATE counter SET hits = hits + $1 WHERE id = 1", #rows)
    repo:query("SELECT pg_sleep(0.003)")"""


def count_hits(db, stopping):
    """Other sessions count as well."""
    link = db.connect()
    while not stopping.wait(0.002):
        link.cursor().execute("UPDATE counter SET hits = hits + 1 WHERE id = 1")
    link.close()


def test_workers_that_write_the_same_row_become_fewer(db, project):
    readings.create(db, 800)
    db.execute(COUNTER)
    script(project, COUNT, "workers = 4")
    runner = project.start_run()
    wait_until(lambda: db.has_journal() and "fewer than 4: their batches conflict"
               in project.luamig("status", 1).out, "fewer workers")
    result = runner.wait().expect(DONE, "batches of different workers change the"
                                  " same rows")
    assert result.err.count("change the same rows") == 1
    retries = db.scalar("SELECT retries FROM luamig.progress", user="postgres")
    assert retries > 10 and f", {retries} retries" in result.out
    assert db.scalar("SELECT hits FROM counter") == 800
    readings.assert_each_once(db)


def test_conflicts_with_others_cost_no_worker(db, project):
    """One worker has as many."""
    readings.create(db, 20000)
    db.execute(COUNTER)
    script(project, COUNT, "workers = 2")
    stopping = threading.Event()
    others = threading.Thread(target=count_hits, args=(db, stopping))
    others.start()
    try:
        runner = project.start_run()
        wait_until(lambda: "one worker alone has as many" in runner.stderr(),
                   "the culprit")
        wait_until(lambda: sizes(db) == [2], "two workers")
    finally:
        stopping.set()
        others.join()
    end(runner)
