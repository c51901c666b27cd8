"""A synchronous standby that is away: COMMIT waits for it without an end. It is
said, with exit code 4, and no such wait is ended."""

import signal
import time

import pytest

from harness import readings
from harness.cluster import Cluster
from harness.oracle import assert_once
from harness.project import DONE, STOPPED, UNREACHABLE, Project
from harness.wait import wait_until

QUICK = {"LUAMIG_SILENCE_MS": "1500"}
WAITS = ("SELECT pid FROM pg_stat_activity WHERE datname = %s"
         " AND wait_event = 'SyncRep'")


@pytest.fixture(scope="module")
def own():
    server = Cluster().start()
    yield server
    server.remove()


@pytest.fixture
def alone(own, tmp_path):
    """A database whose server may lose its standby, and a project."""
    db = own.make_database()
    project = Project(tmp_path, db.url)
    project.env.update(QUICK)
    yield db, project
    bring_back(db)
    project.close()
    db.drop()


def take_away(db):
    db.cluster.set_standbys("gone")


def bring_back(db):
    db.cluster.set_standbys("")


def waiting(db):
    return [row[0] for row in db.cluster.query(WAITS, db.name)]


def expect_standby(result):
    result.expect(UNREACHABLE, "synchronous standby", "SyncRep",
                  "synchronous_standby_names").refuse("reconnecting",
                                                      "another runner")


def test_the_first_run_without_a_standby_says_so(alone):
    db, project = alone
    readings.create(db, 100)
    project.script(readings.script(batch=50))
    take_away(db)
    expect_standby(project.run())
    left = waiting(db)
    assert left, "the COMMIT was not left alone"
    expect_standby(project.run())
    assert waiting(db) == left
    bring_back(db)
    wait_until(lambda: not waiting(db), "the commit")
    project.run().expect(DONE)
    assert_once(db)


def test_a_run_whose_standby_goes_away_says_so(alone):
    db, project = alone
    readings.create(db, 1000)
    project.script(readings.script(batch=50, throttle=50))
    runner = project.start_run()
    wait_until(lambda: db.progress("batches") > 2, "batches")
    take_away(db)
    expect_standby(runner.wait())
    expect_standby(project.run())
    assert waiting(db), "the COMMIT was not left alone"
    bring_back(db)
    wait_until(lambda: not waiting(db), "the commit")
    project.run().expect(DONE)
    assert_once(db)


def test_a_standby_that_comes_back_soon_is_waited_for(alone):
    db, project = alone
    readings.create(db, 1000)
    project.script(readings.script(batch=50, throttle=20))
    runner = project.start_run(env={"LUAMIG_SILENCE_MS": "15000"})
    wait_until(lambda: db.progress("batches") > 2, "batches")
    take_away(db)
    wait_until(lambda: "SyncRep" in runner.stderr(), "the look")
    bring_back(db)
    runner.wait().expect(DONE)
    assert_once(db)


def test_a_second_signal_does_not_cancel_the_wait_for_a_standby(alone):
    db, project = alone
    readings.create(db, 1000)
    project.script(readings.script(batch=50, throttle=50))
    runner = project.start_run(env={"LUAMIG_SILENCE_MS": "30000"})
    wait_until(lambda: db.progress("batches") > 2, "batches")
    take_away(db)
    wait_until(lambda: waiting(db), "a commit that waits")
    runner.signal(signal.SIGINT)
    time.sleep(0.5)
    runner.signal(signal.SIGINT)
    runner.wait().expect(STOPPED, "run 1")
    assert waiting(db), "the COMMIT was not left alone"
    bring_back(db)
    wait_until(lambda: not waiting(db), "the commit")
    project.run().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("words", [
    ["cancel", "1"], ["set", "1", "batch_size=7"]])
def test_a_command_without_a_standby_says_so(alone, words):
    db, project = alone
    readings.create(db, 100)
    project.script(readings.script(batch=50))
    project.run("--limit", 50).expect(STOPPED)
    take_away(db)
    expect_standby(project.luamig(*words))
    assert waiting(db)
