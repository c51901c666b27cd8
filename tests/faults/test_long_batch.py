"""A batch that takes longer than the lease, in Lua: its runner shows that it
lives. One that is frozen or dead does not."""

import signal

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.pooler import Pooler
from harness.project import BUSY, DONE, STOPPED
from harness.wait import wait_until

LEASE = {"LUAMIG_LEASE_MS": "2000"}
SLOW = {**LEASE, "SLOW": "7"}

WORKS = {
    "another program": """
    if os.getenv("SLOW") then os.execute("sleep " .. os.getenv("SLOW")) end""",
    "a loop": """
    local till = os.time() + (os.getenv("SLOW") or 0)
    while os.time() < till do end""",
}


def script(work="a loop", config=""):
    return readings.script(batch=10, migrate=WORKS[work] + readings.ROW_BY_ROW,
                           config=config)


def start(db, project, **options):
    """A runner in the middle of its only batch, whose lease has ended."""
    runner = project.start_run(env=SLOW, **options)
    wait_until(lambda: not runner.alive or (db.has_journal() and db.scalar(
        "SELECT max(lease_until) < clock_timestamp() FROM luamig.worker",
        user="postgres")), "the lease to end")
    assert runner.alive, runner.wait()
    return runner


def is_kept(db):
    return db.scalar("SELECT count(*) FROM luamig.worker"
                     " WHERE kept_until > clock_timestamp()", user="postgres") == 1


@pytest.fixture(params=["session", "transaction"])
def pooler(request, cluster):
    between = Pooler(cluster, request.param)
    yield between
    between.close()


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("isolation", ["repeatable read", "read committed"])
def test_a_batch_that_works_for_three_leases_is_not_taken_over(
        db, project, work, isolation):
    readings.create(db, 10)
    project.script(script(work, f'isolation = "{isolation}"'))
    first = start(db, project)
    owner = db.progress("owner")

    project.run(env=LEASE).expect(BUSY, "already running", str(first.pid))
    project.luamig("status").expect(DONE, "running").refuse("interrupted")

    result = first.wait().expect(DONE)
    assert result.retries == 0
    assert db.progress("owner") == owner
    assert_once(db)


def test_a_one_shot_that_works_for_three_leases_is_not_taken_over(db, project):
    readings.create(db, 10)
    project.script("""return { run = function(repo) %s
      repo:execute("UPDATE readings SET value = value + 10 WHERE id > 0")
    end }""" % WORKS["a loop"])
    first = start(db, project)
    project.run(env=LEASE).expect(BUSY, "already running", str(first.pid))
    first.wait().expect(DONE)
    readings.assert_each_once(db, callbacks=False)


def test_a_runner_frozen_in_a_long_batch_loses_it(db, project):
    readings.create(db, 10)
    project.script(script())
    first = start(db, project)
    wait_until(lambda: is_kept(db), "the batch to be kept")
    first.freeze()

    project.run(env=LEASE).expect(DONE)
    first.thaw()

    first.wait().expect(BUSY, "taken over")
    assert_once(db)


def test_a_runner_killed_in_a_long_batch_is_followed_at_once(db, project):
    readings.create(db, 10)
    project.script(script())
    first = start(db, project)
    wait_until(lambda: is_kept(db), "the batch to be kept")
    first.kill()
    project.run(env=LEASE).expect(DONE)
    assert_once(db)


def test_a_runner_whose_session_ends_in_a_long_batch_keeps_the_run(
        db, project):
    readings.create(db, 10)
    project.script(script())
    first = start(db, project)
    wait_until(lambda: is_kept(db), "the batch to be kept")
    backend = db.progress("backend_pid")
    db.end_session(backend)
    project.run(env=LEASE).expect(BUSY, "already running", str(first.pid))
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)
    project.run(env=LEASE).expect(DONE)
    assert_once(db)


@pytest.mark.long
def test_a_runner_that_stops_after_a_long_batch_gives_it_back(
        db, project, pooler):
    readings.create(db, 20)
    project.script(script())
    url = pooler.url(db.name)
    first = start(db, project, url=url)
    wait_until(lambda: is_kept(db), "the batch to be kept")
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)
    assert not is_kept(db)
    project.run(env=LEASE, url=url).expect(DONE)
    assert_once(db, pooled=True)


def test_behind_a_pooler_a_long_batch_is_kept(db, project, pooler):
    readings.create(db, 10)
    project.script(script())
    url = pooler.url(db.name)
    first = start(db, project, url=url)
    project.run(env=LEASE, url=url).expect(
        BUSY, "already running", str(first.pid), "when its lease has ended")
    first.wait().expect(DONE)
    assert_once(db, pooled=True)


def test_behind_a_pooler_a_killed_runner_is_followed_when_its_lease_ends(
        db, project, pooler):
    readings.create(db, 10)
    project.script(script())
    url = pooler.url(db.name)
    first = start(db, project, url=url)
    wait_until(lambda: is_kept(db), "the batch to be kept")
    first.kill()
    wait_until(lambda: not is_kept(db), "its lease to end")
    project.run(env=LEASE, url=url).expect(DONE)
    assert_once(db, pooled=True)
