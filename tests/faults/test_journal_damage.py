"""Journals that were copied, or damaged by hand: nothing is guessed, nothing of
others is ended, and what is wrong is said with the way on."""

import os
import subprocess

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import DONE, FAILED, STOPPED, Project
from harness.wait import wait_until


@pytest.fixture
def stopped(db, project):
    """A run that was stopped after 100 of 300 rows."""
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    project.run("--limit", 100).expect(STOPPED)
    return db, project


def test_a_run_that_lost_its_progress_is_named_and_begins_nothing(stopped):
    db, project = stopped
    db.admin("DELETE FROM luamig.progress")
    project.run(timeout=20).expect(
        FAILED, 'run 1 has no row in "luamig".progress', "start_after",
        "--restart")
    assert db.scalar("SELECT last_value FROM luamig.run_id_seq",
                     user="postgres") == 1


def test_the_ways_on_after_lost_progress_can_be_followed(stopped):
    db, project = stopped
    db.admin("CREATE TABLE kept AS TABLE luamig.progress")
    db.admin("DELETE FROM luamig.progress")
    project.run().expect(FAILED)
    db.admin("INSERT INTO luamig.progress SELECT * FROM kept")
    project.run("--limit", 100).expect(STOPPED)
    db.admin("DELETE FROM luamig.progress")
    project.script(readings.script(batch=100, config="start_after = { 200 }"))
    project.run("--restart").expect(DONE, "is given up")
    readings.assert_each_once(db, callbacks=False)


@pytest.mark.parametrize("state", ["done", "failed", "running", "paused"])
def test_lost_progress_in_any_state(stopped, state):
    """Also of a run that was done: beginning it again would migrate twice."""
    db, project = stopped
    db.admin("UPDATE luamig.run SET state = %s", state)
    db.admin("DELETE FROM luamig.progress")
    project.run(timeout=20).expect(FAILED, "has no row",
                                   f"Its state is {state}")
    assert db.scalar("SELECT count(*) FROM readings WHERE writes > 0") == 100


def test_a_state_that_there_is_not_is_named(stopped):
    db, project = stopped
    db.admin("ALTER TABLE luamig.run DROP CONSTRAINT run_state_check")
    db.admin("UPDATE luamig.run SET state = 'nonsense'")
    project.run(timeout=20).expect(FAILED, "nonsense", "--restart")
    project.run("--restart").expect(DONE)


def test_progress_that_goes_while_the_run_is_at_work(db, project):
    readings.create(db, 1000)
    project.script(readings.script(batch=100, throttle=200))
    runner = project.start_run()
    wait_until(lambda: db.progress() >= 200, "batches")
    db.admin("DELETE FROM luamig.progress")
    done = runner.wait().expect(FAILED, 'in "luamig".progress is gone',
                                "start_after = {").refuse("resumes it")
    key = int(done.err.split("start_after = { ")[1].split(" ")[0])
    assert db.scalar("SELECT count(*) FROM readings WHERE writes = 1") == key
    project.script(readings.script(batch=100,
                                   config=f"start_after = {{ {key} }}"))
    project.run("--restart").expect(DONE)
    readings.assert_each_once(db, callbacks=False)


def copy_of(db):
    """What a dump restores: the same rows, in another database."""
    dump = os.path.join(db.cluster.bin, "pg_dump")
    if not os.path.exists(dump):
        pytest.skip("no pg_dump")
    copy = db.cluster.make_database()
    way = ["-h", db.cluster.dir, "-p", str(db.cluster.port), "-U", "postgres"]
    text = subprocess.run([dump, *way, db.name], check=True,
                          capture_output=True).stdout
    subprocess.run(["psql", "-q", *way, copy.name], input=text, check=True,
                   capture_output=True)
    return copy


def test_a_copy_beside_the_original_leaves_its_sessions_alone(
        db, project, tmp_path):
    readings.create(db, 1000)
    project.script(readings.script(batch=100))
    original = project.start_run(fault="after_flush:3=stop",
                                 env={"LUAMIG_LEASE_MS": "1500"})
    original.wait_frozen()
    copy = copy_of(db)
    other = Project(tmp_path, copy.url)
    try:
        other.run().expect(DONE)
        assert_once(copy)
        assert db.runners(), "the original's session was ended"
        original.thaw()
        original.wait().expect(DONE).refuse("reconnecting")
        assert_once(db)
    finally:
        other.close()
        copy.drop()
