"""Promise one again: of two runners that both believe to own a run, one
writes. The other's batch rolls back, and it says so."""

import random
import signal

import pytest

from harness import readings
from harness.cases import cases
from harness.cluster import GUARDED, PASSWORD
from harness.oracle import assert_once
from harness.project import BUSY, DONE, STOPPED, UNREACHABLE
from harness.proxy import TO_CLIENT, TO_SERVER
from harness.wait import wait_until

LEASE_MS = 1500
LEASE = {"LUAMIG_LEASE_MS": str(LEASE_MS)}


def wait_for_the_lease(db):
    """Waits until whoever owns the run has been silent for too long."""
    wait_until(lambda: db.scalar(
        "SELECT max(lease_until) < clock_timestamp() FROM luamig.worker",
        user="postgres"), "the lease to end")


def through(proxy, db):
    return db.cluster.url(db.name, host=proxy.host)


# -- takeover --------------------------------------------------------------


@pytest.mark.parametrize("point", [
    "after_page", "after_migrate", "after_flush", "before_commit",
    "after_commit_sent", "next_asked", "after_commit"])
def test_a_frozen_runner_wakes_up_after_another_has_finished(
        db, project, point):
    readings.create(db, 600)
    project.script(readings.script(batch=100))
    first = project.start_run(fault=f"{point}:3=stop", env=LEASE)
    first.wait_frozen()

    wait_for_the_lease(db)
    project.run(env=LEASE).expect(DONE)
    first.thaw()

    first.wait().expect(BUSY, "taken over")
    assert_once(db)


@pytest.mark.parametrize("point", ["after_page", "before_commit",
                                   "after_commit"])
def test_a_frozen_runner_wakes_up_while_another_is_at_work(
        db, project, point):
    readings.create(db, 1000)
    project.script(readings.script(batch=100))
    first = project.start_run(fault=f"{point}:3=stop", env=LEASE)
    first.wait_frozen()

    wait_for_the_lease(db)
    second = project.start_run(fault="after_flush:3=stop", env=LEASE)
    second.wait_frozen()
    first.thaw()
    first.wait().expect(BUSY, "taken over")
    second.thaw()

    second.wait().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("point", ["after_page", "after_commit_sent",
                                   "after_commit"])
def test_a_frozen_runner_whose_connection_nobody_may_end(
        db, project, point):
    """The second runner has another role, so that the first one's session
    lives on: only the fence in the journal stands between them."""
    readings.create(db, 600)
    for grant in ([], ["--grant", "app"], ["--grant", GUARDED]):
        db.admin(project.luamig("journal", "--sql", *grant,
                                url=False).expect(DONE).out)
    db.execute(f"GRANT ALL ON readings, marks TO {GUARDED}")
    project.script(readings.script(batch=100))
    first = project.start_run(fault=f"{point}:3=stop", env=LEASE)
    first.wait_frozen()

    wait_for_the_lease(db)
    other = db.cluster.url(db.name, user=GUARDED, password=PASSWORD)
    project.run(url=other, env=LEASE).expect(DONE)
    assert db.runners(), "the first runner's session was ended"
    first.thaw()

    first.wait().expect(BUSY, "taken over").refuse("reconnect")
    assert_once(db)


@pytest.mark.parametrize("finished", [False, True])
def test_a_runner_that_reconnects_finds_another_owner(db, project, finished):
    readings.create(db, 1000)
    project.script(readings.script(batch=100))
    first = project.start_run(fault="after_commit:2=stop")
    first.wait_frozen()
    for pid in db.runners():
        db.end_session(pid)

    if finished:
        project.run().expect(DONE)
        first.thaw()
        first.wait().expect(BUSY, "taken over")
    else:
        second = project.start_run(fault="after_migrate:2=stop")
        second.wait_frozen()
        first.thaw()
        first.wait().expect(BUSY, "taken over")
        second.thaw()
        second.wait().expect(DONE)

    assert_once(db)


def test_status_says_of_a_silent_transaction_what_run_says(db, project):
    """Its lease is over and nobody keeps it, but it was at work just now."""
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    runner = project.start_run(fault="after_migrate:2=stop", env=LEASE)
    runner.wait_frozen()
    wait_for_the_lease(db)
    project.run().expect(BUSY, "already running")
    assert project.status()[0]["live"]
    runner.thaw()
    runner.wait().expect(DONE)
    assert_once(db)


def test_a_live_run_is_not_taken_over(db, project):
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    first = project.start_run(fault="after_migrate:2=stop")
    first.wait_frozen()

    project.run().expect(BUSY, "already running", str(first.pid))
    first.thaw()

    first.wait().expect(DONE)
    readings.assert_each_once(db)


def test_a_runner_that_sleeps_longer_than_its_lease_keeps_it(db, project):
    readings.create(db, 200)
    project.script(readings.script(batch=100, throttle=60_000))
    first = project.start_run(env={"LUAMIG_LEASE_MS": "1000"})
    wait_until(lambda: db.progress() == 100, "the first batch")
    owner = db.progress("owner")

    for _ in range(3):
        lease = db.progress("lease_until")
        wait_until(lambda: db.progress("lease_until") > lease,
                   "the lease to be renewed")
        project.run(env=LEASE).expect(BUSY, "already running")

    assert db.progress("owner") == owner
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)
    project.run("--throttle-ms", 0).expect(DONE)
    readings.assert_each_once(db)


@pytest.mark.parametrize("tracked", cases(["on", "off"], versions=["off"]))
def test_a_statement_longer_than_the_lease_keeps_the_run(
        db, project, tracked):
    """The server knows that its process works, whether or not it tracks the
    activities of sessions; the runner itself is silent."""
    readings.create(db, 10)
    db.set("track_activities", tracked)
    project.script(readings.script(
        batch=10, migrate='repo:query'
        '("SELECT pg_advisory_xact_lock(7), pg_sleep(8)")'
        + readings.ROW_BY_ROW, config="statement_timeout_ms = 60000"))
    runner = project.start_run(env=LEASE)
    wait_until(lambda: db.cluster.query(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"),
        "the statement")
    runner.freeze()
    wait_for_the_lease(db)

    assert project.status()[0]["live"]
    project.run(env=LEASE, timeout=60).expect(BUSY, "is already running")

    runner.thaw()
    runner.wait().expect(DONE).refuse("taken over")
    assert_once(db)


@pytest.mark.parametrize("tracked", cases(["on", "off"], versions=["off"]))
def test_a_runner_that_idles_longer_than_its_lease_loses_the_run(
        db, project, tracked):
    readings.create(db, 100)
    db.set("track_activities", tracked)
    project.script(readings.script(batch=10))
    runner = project.start_run(fault="after_commit:3=stop", env=LEASE)
    runner.wait_frozen()
    wait_for_the_lease(db)

    assert not project.status()[0]["live"]
    project.run(env=LEASE).expect(DONE)

    runner.thaw()
    runner.wait().expect(BUSY, "taken over")
    assert_once(db)


@pytest.mark.long
def test_twenty_pairs_started_together_have_twenty_winners(
        cluster, project):
    """Each winner waits in its first batch until the other has given up, so
    that none can finish before the other has begun."""
    for _ in range(20):
        db = cluster.make_database()
        readings.create(db, 60)
        project.script(readings.script(batch=10))
        pair = [project.start_run(url=db.url, fault="after_migrate:1=stop")
                for _ in range(2)]

        wait_until(lambda: not all(runner.alive for runner in pair),
                   "one to give up")
        loser, winner = sorted(pair, key=lambda runner: runner.alive)
        loser.wait().expect(BUSY, "already running")
        winner.wait_frozen()
        winner.thaw()

        winner.wait().expect(DONE)
        readings.assert_each_once(db)
        db.drop()


# -- connections that break ------------------------------------------------


SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(2);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON readings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.id = 150) EXECUTE FUNCTION slow();
"""


@pytest.mark.parametrize("keep_server", [True, False])
def test_a_connection_cut_while_the_server_still_commits(
        db, project, proxy, keep_server):
    readings.create(db, 500)
    db.execute(SLOW_COMMIT)
    project.script(readings.script(batch=100))
    runner = project.start_run(url=through(proxy, db))

    wait_until(lambda: db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND "
        "wait_event = 'PgSleep'", db.name, user="postgres"), "the commit")
    proxy.cut(keep_server)

    runner.wait().expect(DONE)
    proxy.release()
    assert_once(db)


@pytest.mark.parametrize("point", ["after_page", "after_flush",
                                   "before_commit", "after_commit_sent"])
def test_a_half_open_connection_blocks_no_other_session(db, project, proxy, point):
    """The client's side is gone, the old backend sits in its transaction."""
    readings.create(db, 500)
    project.script(readings.script(batch=100))
    runner = project.start_run(url=through(proxy, db), fault=f"{point}:2=stop",
                               env=LEASE)
    runner.wait_frozen()
    proxy.cut(keep_server=True)
    runner.thaw()

    runner.wait().expect(DONE)
    proxy.release()
    assert_once(db)


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_connection_cut_at_any_byte(db, project, proxy, direction):
    readings.create(db, 1000)
    project.script(readings.script(batch=10))
    seed = 20
    cuts = random.Random(seed).sample(range(1, 9000), 10)

    def cut_at_the_next_place(way, data, passed):
        """Ends a connection after as many bytes as the list says next."""
        if way != direction or not cuts or passed + len(data) <= cuts[-1]:
            return None
        return max(0, cuts.pop() - passed)

    proxy.rule = cut_at_the_next_place
    code = None
    while code != DONE:  # what is cut before the run has begun may be refused
        result = project.run(url=through(proxy, db))
        code = result.code
        assert code in (DONE, UNREACHABLE), f"seed {seed}\n{result}"

    assert proxy.cuts == 10, f"{len(cuts)} cuts left, seed {seed}"
    assert_once(db)


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_connection_cut_again_while_it_is_made_again(
        db, project, proxy, direction):
    """The COMMIT with which a reconnecting runner claims its run is lost, or
    its answer is."""
    readings.create(db, 500)
    project.script(readings.script(batch=100, config="health = false"))
    runner = project.start_run(url=through(proxy, db),
                               fault="after_commit:2=stop")
    runner.wait_frozen()
    claims = []

    def cut_the_claim(way, data, _):
        if way == TO_SERVER and b"COMMIT" in data and not claims:
            claims.append("sent")
            return 0 if direction == TO_SERVER else None
        if way == TO_CLIENT and claims == ["sent"]:
            claims.append("answered")
            return 0 if direction == TO_CLIENT else None
        return None

    proxy.cut()
    before = proxy.cuts  # the run's and, if there was one yet, the monitor's
    proxy.rule = cut_the_claim
    runner.thaw()

    runner.wait().expect(DONE)
    assert proxy.cuts == before + 1
    assert_once(db)


def test_a_takeover_does_not_block_itself_after_its_answer_was_lost(
        db, project, proxy):
    """The session of the attempt before is still there, and its lease runs."""
    readings.create(db, 300)
    project.script(readings.script(batch=100, config="health = false"))
    project.run("--limit", 100).expect(STOPPED)
    claims = []

    def lose_the_answer(way, data, _):
        if way == TO_SERVER and b"COMMIT" in data and not claims:
            claims.append("sent")
        elif way == TO_CLIENT and claims == ["sent"]:
            claims.append("lost")
            return 0
        return None

    proxy.keep_server = True
    proxy.rule = lose_the_answer
    project.run(url=through(proxy, db)).expect(DONE, "resuming run 1")
    proxy.release()
    assert claims == ["sent", "lost"]
    assert_once(db)


def test_a_backend_terminated_again_and_again(db, project):
    readings.create(db, 2000)
    project.script(readings.script(batch=50, throttle=20))
    runner = project.start_run()

    for _ in range(8):
        before = db.progress()
        wait_until(lambda: not runner.alive or db.progress() > before,
                   "a batch")
        for pid in db.runners():
            db.admin("SELECT pg_terminate_backend(%s)", pid)

    runner.wait().expect(DONE)
    assert_once(db)
