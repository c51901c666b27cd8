"""Each row is migrated once, whatever happens to the runner, the coordinator
and the nodes."""

import os
import random
import signal
import time
from contextlib import closing

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import BUSY, DONE, UNREACHABLE
from harness.wait import wait_until

pytestmark = pytest.mark.xdist_group("citus")

DISTRIBUTED = "SELECT create_distributed_table('readings', 'id')"
REFERENCE = "SELECT create_reference_table('readings')"
LOCAL = "SELECT 1"
RUNS = int(os.environ.get("LUAMIG_TORTURE_RUNS") or 2)
SEED = os.environ.get("LUAMIG_TEST_SEED") or str(
    random.SystemRandom().randrange(2**32))
WAITS = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.mark.parametrize("combine", ["false", '"always"'])
@pytest.mark.parametrize("kind", [DISTRIBUTED, REFERENCE, LOCAL],
                         ids=["distributed", "reference", "local"])
def test_each_row_is_written_once(db, project, kind, combine):
    readings.create(db, 500)
    db.rows(kind)
    project.script(readings.script(
        batch=100, config=f"workers = 2, combine = {combine}"))
    with readings.Neighbour(db, 500, 1) as neighbour:
        project.run().expect(DONE)
    neighbour.assert_nothing_lost()
    assert_once(db)


def test_a_commit_that_one_node_takes_and_the_coordinator_does_not(
        citus, db, project):
    """The node has committed and waits for a standby, when its session ends."""
    readings.create(db, 1)
    db.rows(DISTRIBUTED)
    project.script(readings.script(batch=1))
    run = project.start_run(fault="before_commit=stop")
    run.wait_frozen()
    node = citus.node_of("readings", 1)
    node.set_standbys("gone")
    try:
        run.thaw()
        wait_until(lambda: node.query("SELECT " + WAITS), "the node to commit", 10)
        node.execute(f"SELECT pg_terminate_backend(pid) {WAITS}")
    finally:
        node.set_standbys("")
    run.wait().expect(DONE)
    citus.wait_settled()
    assert_once(db)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_a_run_stops_when_its_table_is_distributed_meanwhile(
        db, project, isolation):
    """A batch waits for that, and its snapshot is older."""
    readings.create(db, 20)
    project.script(readings.script(batch=10, config=f'isolation = "{isolation}"'))
    run = project.start_run(fault="after_commit:1=stop")
    run.wait_frozen()
    with closing(db.connect()) as link, link.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(DISTRIBUTED)
        run.thaw()
        wait_until(lambda: db.rows("SELECT pid FROM pg_locks WHERE NOT granted "
                                   "AND relation = 'readings'::regclass"),
                   "the batch to wait")
        cursor.execute("COMMIT")
    run.wait().expect(UNREACHABLE, "a table was distributed on Citus",
                      "Run the same command again")
    assert db.progress() == 10
    project.run().expect(DONE)
    assert_once(db)


def test_a_run_goes_on_when_another_table_is_distributed(db, project):
    readings.create(db, 20)
    project.script(readings.script(batch=10))
    run = project.start_run(fault="after_commit:1=stop")
    run.wait_frozen()
    db.execute("CREATE TABLE other (id int)")
    db.rows("SELECT create_distributed_table('other', 'id')")
    run.thaw()
    run.wait().expect(DONE)
    assert_once(db)


def test_the_coordinator_crashes_and_forgets_what_is_not_on_disk(
        citus, db, project):
    readings.create(db, 300)
    db.rows(DISTRIBUTED)
    project.script(readings.script(batch=10))
    citus.coordinator.keep_wal_in_memory()
    run = project.start_run(fault="after_commit:10=stop")
    run.wait_frozen()
    citus.coordinator.crash_without_wal()
    citus.coordinator.start()
    run.thaw()
    run.wait().expect(DONE)
    citus.wait_settled()
    assert_once(db)


def test_a_run_waits_for_a_node_that_is_away(citus, db, project):
    readings.create(db, 60)
    db.rows(DISTRIBUTED)
    project.script(readings.script(batch=20))
    run = project.start_run(fault="after_page:2=stop")
    run.wait_frozen()
    citus.nodes[0].stop()
    run.thaw()
    wait_until(lambda: "does not answer" in run.stderr(), "the warning")
    citus.nodes[0].start()
    run.wait().expect(DONE, "waiting")
    assert_once(db)


def test_two_processes_share_a_run(db, project):
    readings.create(db, 400)
    db.rows(DISTRIBUTED)
    project.script(readings.script(batch=10, throttle=20))
    first = project.start_run("--workers", 2)
    wait_until(db.progress, "a batch")
    second = project.start_run("--workers", 2, "--join")
    first.wait().expect(DONE)
    second.wait().expect(DONE)
    assert_once(db)


class Kills:
    """What happens to the servers and the runner of a run, by dice."""

    def __init__(self, citus, project, dice):
        self.citus, self.project, self.dice = citus, project, dice

    def runner(self, run):
        run.kill()

    def node(self, _):
        node = self.dice.choice(self.citus.nodes)
        node.crash()
        time.sleep(self.dice.random() / 5)
        node.start()

    def coordinator(self, _):
        self.citus.coordinator.crash()
        self.citus.coordinator.start()

    def session_of_a_node(self, _):
        self.dice.choice(self.citus.nodes).execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'citus_internal%'")

    def until_done(self):
        left = self.dice.randint(1, 5)
        while True:
            run = self.project.start_run(env={"LUAMIG_LEASE_MS": "700"})
            while run.alive and left > 0:
                time.sleep(self.dice.random() / 2)
                left -= 1
                self.dice.choice([self.runner, self.node, self.coordinator,
                                  self.session_of_a_node])(run)
            result = run.wait()
            if result.code == DONE:
                return
            assert result.code in (UNREACHABLE, BUSY, -signal.SIGKILL), repr(
                result)


@pytest.mark.parametrize("number", range(RUNS))
def test_kills_of_runner_and_servers(citus, db, project, number):
    dice = random.Random(f"{SEED}.{number}")
    readings.create(db, 400)
    db.rows(dice.choice([DISTRIBUTED, DISTRIBUTED, REFERENCE]))
    project.script(readings.script(
        batch=dice.choice([1, 10, 40]), throttle=5, config=dice.choice(
            ["combine = false", 'combine = "always"', "workers = 2"])))
    try:
        Kills(citus, project, dice).until_done()
        citus.wait_settled()
        assert_once(db)
    except AssertionError as error:
        raise AssertionError(f"LUAMIG_TEST_SEED={SEED}: {error}") from None
