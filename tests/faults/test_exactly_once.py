"""Promise one: whatever dies, and whenever, every row is migrated once.

All tests end with the same oracle (harness/readings.py). Randomness is seeded;
LUAMIG_TEST_SEED repeats a run, and the seed stands in every failure.
"""

import os
import random
import re
import signal
import time

import pytest

from harness import readings, statements
from harness.cases import cases
from harness.cluster import Cluster
from harness.oracle import assert_once
from harness.project import DONE, STOPPED, Project
from harness.wait import wait_until

BATCH_POINTS = ["after_page", "after_migrate", "after_flush", "before_commit",
                "after_commit_sent", "after_commit"]
START_POINTS = ["on_start_before_commit", "on_start_after_commit_sent",
                "on_start_after_commit"]
DONE_POINTS = ["done_before_commit", "done_after_commit_sent",
               "done_after_commit"]


@pytest.fixture
def dice(record_property):
    seed = int(os.environ.get("LUAMIG_TEST_SEED") or
               random.SystemRandom().randrange(2**32))
    record_property("seed", seed)
    print(f"LUAMIG_TEST_SEED={seed}")
    return random.Random(seed)


def die_at(project, point):
    """Runs until the fault point kills it."""
    runner = project.start_run(fault=f"{point}=kill")
    code = runner.process.wait(60)
    assert code == -signal.SIGKILL, f"not killed:\n{runner.result()}"


# -- kills of luamig -------------------------------------------------------


@pytest.mark.long
def test_200000_rows_survive_dozens_of_kills_at_random_moments(
        db, project, dice):
    count, kills_at_the_start, kills_on_the_way = 200_000, 6, 42
    readings.create(db, count)
    project.script(readings.script(batch=500, throttle=5))

    for _ in range(kills_at_the_start):
        runner = project.start_run()
        time.sleep(dice.uniform(0, 0.15))
        assert runner.kill(), runner.result()
    for kill in range(kills_on_the_way):
        goal = count * (kill + 1) // (kills_on_the_way + 2)
        runner = project.start_run()
        wait_until(lambda: not runner.alive or db.progress() >= goal,
                   f"{goal} rows", pause=0.02)
        time.sleep(dice.uniform(0, 0.03))
        assert runner.kill(), runner.result()

    assert db.state() == "running"
    project.run().expect(DONE)
    assert_once(db)


def test_increments_without_a_trigger_survive_kills_at_random_moments(
        db, project, dice):
    """Read, add and write back, in combined statements: what was written twice
    would show in the sum, and nothing but the journal prevents it."""
    count = 50_000
    db.execute(f"""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT i, i % 7 FROM generate_series(1, {count}) i""")
    statements.record(db)
    project.script("""return {
      config = { batch_size = 500, throttle_ms = 2 },
      base_query = "SELECT id, n FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = row.n + 10 })
        end
      end }""")
    for kill in range(20):
        runner = project.start_run()
        wait_until(lambda: not runner.alive
                   or (db.progress() or 0) >= count * kill // 22,
                   "the next part", pause=0.02)
        time.sleep(dice.uniform(0, 0.03))
        assert runner.kill(), runner.result()
    project.run().expect(DONE)
    assert db.rows("SELECT id FROM t WHERE n <> id % 7 + 10") == []
    assert statements.combined(db).count("UPDATE t") >= count // 500
    assert not [sql for sql in statements.of(db)
                if sql.startswith('UPDATE "t"')]


@pytest.mark.parametrize("point", cases(BATCH_POINTS, versions=[
    "after_flush", "before_commit", "after_commit_sent"]))
def test_a_kill_at_every_step_of_a_batch(db, project, point):
    readings.create(db, 600)
    project.script(readings.script(batch=100))

    die_at(project, f"{point}:1")
    batches = 0
    while db.progress() < 500:
        die_at(project, f"{point}:2")
        batches += 1
        assert batches <= 6, "a killed run does not come forward"

    project.run().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("point", START_POINTS + DONE_POINTS)
def test_a_kill_around_a_callback(db, project, point):
    readings.create(db, 200)
    project.script(readings.script(batch=100))

    die_at(project, point)
    if "before_commit" in point:
        die_at(project, point)

    project.run().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("hit", [1, 2])
@pytest.mark.parametrize("point", ["journal_before_commit",
                                   "journal_after_commit_sent"])
def test_a_kill_while_the_journal_is_made_and_the_run_begun(
        db, project, point, hit):
    readings.create(db, 200)
    project.script(readings.script(batch=100))

    die_at(project, f"{point}:{hit}")

    project.run("--limit", 100).expect(STOPPED)
    die_at(project, f"{point}:1")  # while the run is taken up again
    project.run().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("point", ["journal_before_commit",
                                   "journal_after_commit_sent"])
def test_a_connection_that_breaks_while_the_run_is_begun(db, project, point):
    readings.create(db, 200)
    project.script(readings.script(batch=100))
    runner = project.start_run(fault=f"{point}:2=stop")
    runner.wait_frozen()
    for pid in db.runners():
        db.admin("SELECT pg_terminate_backend(%s)", pid)
    runner.thaw()
    runner.wait().expect(DONE, "reconnected")
    assert_once(db)


@pytest.mark.parametrize("point", DONE_POINTS)
def test_a_kill_around_a_one_shot(db, project, point):
    readings.create(db, 10)
    project.script("""
      return { run = function(repo)
        repo:update_all("readings", { value = 0 }, "id > $1", 5)
        repo:insert("marks", { mark = "once" })
      end }""")

    die_at(project, point)
    if "before_commit" in point:
        assert db.scalar("SELECT count(*) FROM marks") == 0
        die_at(project, point)

    project.run().expect(DONE)
    assert db.column("SELECT mark FROM marks") == ["once"]
    assert db.state() == "done"
    assert db.column("SELECT writes FROM readings ORDER BY id") == (
        [0] * 5 + [1] * 5)


def test_a_kill_after_done_and_before_exit_repeats_nothing(db, project):
    readings.create(db, 200)
    project.script(readings.script(batch=100))

    die_at(project, "done_after_commit")

    assert db.state() == "done"
    project.run().expect(DONE, "done already", "--again")
    readings.assert_each_once(db)


# -- other people's changes ------------------------------------------------


def test_a_neighbour_who_writes_the_same_rows_loses_nothing(
        db, project, dice):
    count = 3000
    readings.create(db, count)
    project.script(readings.script(batch=100, config="retries = 1000"))

    with readings.Neighbour(db, count, dice.random()) as neighbour:
        for _ in range(5):
            runner = project.start_run()
            before = db.progress()
            wait_until(lambda: not runner.alive or db.progress() > before,
                       "a batch")
            time.sleep(dice.uniform(0, 0.05))
            runner.kill()
        project.run().expect(DONE)

    neighbour.assert_nothing_lost()
    readings.assert_each_once(db)


def test_a_row_changed_between_read_and_write_is_read_again(db, project):
    readings.create(db, 300)
    project.script(readings.script(batch=100))

    runner = project.start_run(fault="after_page:2=stop")
    runner.wait_frozen()
    db.execute("UPDATE readings SET value = value + 7, theirs = theirs + 7 "
               "WHERE id = 150")
    runner.thaw()

    assert runner.wait().expect(DONE).retries >= 1
    assert db.scalar("SELECT value FROM readings WHERE id = 150") == 167
    readings.assert_each_once(db)


# -- crashes of the server -------------------------------------------------


@pytest.fixture
def forgetful(tmp_path):
    """A server that keeps commits in memory for ten seconds, a database on it
    and a project. Only commits that do not ask to be durable are at risk, and
    only until their page of the log is full: hence small batches, and no
    images of whole pages."""
    server = Cluster(wal_writer_delay="10s", wal_writer_flush_after="1GB",
                     full_page_writes="off", bgwriter_lru_maxpages="0").start()
    db = server.make_database()
    project = Project(tmp_path, db.url)
    yield server, db, project
    project.close()
    server.remove()


def crash_and_count_lost(server, db, runner, freeze):
    """Restarts the server; says how many batches, seen committed before, are
    gone. With freeze the client sleeps through it, so that what the server
    still has can be seen before the client makes up for it."""
    if freeze:
        runner.freeze()
    before = db.progress("batches")
    server.crash()
    server.start()
    lost = before - db.progress("batches") if freeze else 0
    if freeze:
        runner.thaw()
    return lost


@pytest.mark.long
def test_ten_crashes_of_the_server_lose_commits_but_no_row(forgetful):
    server, db, project = forgetful
    count = 12_000
    readings.create(db, count)
    project.script(readings.script(batch=10, throttle=2,
                                   migrate=readings.SET_BASED))
    runner = project.start_run()
    crashes, lost = 0, 0

    while crashes < 10 or (lost == 0 and crashes < 20):
        before = db.progress("batches")
        wait_until(lambda: not runner.alive
                   or db.progress("batches") >= before + 25, "25 batches")
        assert runner.alive, f"ended too early:\n{runner.result()}"
        lost += max(0, crash_and_count_lost(server, db, runner,
                                            freeze=crashes % 2 == 0))
        crashes += 1

    result = runner.wait().expect(DONE)
    print(f"{crashes} crashes; frozen clients saw {lost} batches lost")
    assert lost > 0, "no acknowledged batch was lost: nothing was shown"
    said = re.findall(r"warning: the server lost ([\d,]+) acknowledged "
                      "batch", result.err)
    assert said, result
    print(f"batches lost by what luamig says: {', '.join(said)}")
    assert_once(db)


def test_a_crash_of_server_and_client_together(forgetful):
    server, db, project = forgetful
    readings.create(db, 3000)
    project.script(readings.script(batch=10, throttle=2,
                                   migrate=readings.SET_BASED))
    lost = 0

    for _ in range(3):
        runner = project.start_run()
        before = db.progress("batches")
        wait_until(lambda: db.progress("batches") >= before + 8, "8 batches")
        assert runner.kill()
        seen = db.progress("batches")
        server.crash()
        server.start()
        lost += seen - db.progress("batches")

    assert lost > 0
    project.run().expect(DONE)
    assert_once(db)


def test_durable_batches_are_not_lost_in_a_crash(forgetful):
    server, db, project = forgetful
    readings.create(db, 1000)
    project.script(readings.script(batch=50, migrate=readings.SET_BASED,
                                   config="durable_batches = true"))

    runner = project.start_run(fault="after_commit:5=stop")
    runner.wait_frozen()
    lost = crash_and_count_lost(server, db, runner, freeze=True)

    assert lost == 0
    runner.wait().expect(DONE)
    readings.assert_each_once(db)


def test_done_is_durable(forgetful):
    server, db, project = forgetful
    readings.create(db, 500)
    project.script(readings.script(batch=50))

    project.run().expect(DONE)
    server.crash()
    server.start()

    project.run().expect(DONE, "done already")
    readings.assert_each_once(db)
