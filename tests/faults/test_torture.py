"""Random faults one after another, until the run is done; then the oracle.

"./dev torture" does 500 such runs, the suite a handful. Each run has its own
dice, made of the seed and its number: LUAMIG_TEST_SEED and -k "[17]" repeat
one.
"""

import os
import random
import signal
import time

import pytest

from harness import readings
from harness.cluster import Cluster
from harness.oracle import assert_once
from harness.pooler import Pooler
from harness.project import BUSY, DONE, STOPPED, UNREACHABLE, Project
from harness.proxy import Proxy
from harness.wait import wait_until

RUNS = int(os.environ.get("LUAMIG_TORTURE_RUNS") or 8)
SEED = os.environ.get("LUAMIG_TEST_SEED") or str(
    random.SystemRandom().randrange(2**32))
ENV = {"LUAMIG_LEASE_MS": "700"}
POINTS = [
    "journal_before_commit", "journal_after_commit_sent",
    "on_start_before_commit", "on_start_after_commit_sent",
    "on_start_after_commit", "after_page", "after_migrate", "after_flush",
    "before_commit", "after_commit_sent", "after_commit",
    "done_before_commit", "done_after_commit_sent", "done_after_commit",
    "range_before_commit", "range_after_commit_sent", "before_cut",
    "cut_before_commit", "cut_after_commit_sent",
    "end_before_commit", "end_after_commit_sent"]
# What a run may end with when it was disturbed; FAILED is not among them. A
# signal that comes before luamig listens ends it.
DISTURBED = (DONE, STOPPED, BUSY, UNREACHABLE, -signal.SIGKILL,
             -signal.SIGINT, -signal.SIGTERM)


@pytest.fixture(scope="module")
def servers():
    """A server that forgets the last commits when it crashes, and what may
    stand before it."""
    server = Cluster(wal_writer_delay="10s", full_page_writes="off").start()
    between = {"proxy": Proxy(server),
               "pooler": Pooler(server, "transaction")}
    yield server, between
    for one in between.values():
        one.close()
    server.remove()


class Torture:
    """One run, and what may happen to it."""

    def __init__(self, servers, folder, dice):
        self.server, self.between = servers
        self.dice = dice
        self.db = self.server.make_database()
        self.project = Project(folder, self.db.url)
        self.story = []
        self.rows = dice.randint(1, 1500)
        readings.create(self.db, self.rows)
        self.script = readings.script(
            batch=dice.choice([1, 7, 50, 200]) if self.rows < 300
            else dice.choice([20, 100, 500]),
            throttle=dice.choice([0, 0, 3]),
            migrate=dice.choice([readings.ROW_BY_ROW, readings.SET_BASED]),
            config=dice.choice(["", "combine = false", "durable_batches = true",
                                "workers = 2", "workers = 4"]))
        self.project.script(self.script)

    def start(self, **options):
        way = self.dice.choice(["direct", "direct", "proxy", "pooler"])
        self.story.append(way)
        url = self.db.url
        if way == "proxy":
            url = self.server.url(self.db.name, host=self.between[way].host)
        elif way == "pooler":
            url = self.between[way].url(self.db.name)
        return self.project.start_run(url=url, env=ENV, **options)

    def end(self, runner):
        """Its result, which a disturbed run may have."""
        if runner.process.wait(60) == -signal.SIGKILL:
            return
        result = runner.wait()
        assert result.code in DISTURBED, f"{self.story}\n{result}"

    def linger(self, most=0.4):
        time.sleep(self.dice.uniform(0, most))

    # -- what may happen -----------------------------------------------

    def is_killed(self):
        runner = self.start()
        self.linger()
        runner.process.kill()
        self.end(runner)

    def is_killed_at_a_point(self):
        point = f"{self.dice.choice(POINTS)}:{self.dice.randint(1, 4)}"
        self.story.append(point)
        self.end(self.start(fault=f"{point}=kill"))

    def is_stopped(self):
        runner = self.start()
        self.linger()
        runner.signal(signal.SIGINT)
        if self.dice.random() < 0.5:
            runner.signal(signal.SIGTERM)
        self.end(runner)

    def loses_its_server_process(self):
        runner = self.start()
        for _ in range(self.dice.randint(1, 3)):
            self.linger(0.2)
            for pid in self.db.runners():
                self.db.admin("SELECT pg_terminate_backend(%s)", pid)
        self.end(runner)

    def loses_bytes(self):
        proxy = self.between["proxy"]
        cuts = [self.dice.randint(1, 6000)
                for _ in range(self.dice.randint(1, 4))]
        self.story.append(cuts)

        def cut(_, data, passed):
            if not cuts or passed + len(data) <= cuts[-1]:
                return None
            return max(0, cuts.pop() - passed)
        proxy.rule = cut
        proxy.keep_server = self.dice.random() < 0.5
        runner = self.project.start_run(
            url=self.server.url(self.db.name, host=proxy.host), env=ENV)
        try:
            self.end(runner)
        finally:
            proxy.rule = None
            proxy.release()

    def sees_the_server_crash(self):
        runner = self.start()
        self.linger()
        self.server.stop(self.dice.choice([signal.SIGQUIT, signal.SIGINT]))
        if self.dice.random() < 0.3:
            runner.process.kill()
        self.server.start()
        self.end(runner)

    def is_overtaken(self):
        point = f"{self.dice.choice(POINTS)}:{self.dice.randint(1, 4)}"
        self.story.append(point)
        first = self.start(fault=f"{point}=stop")
        wait_until(lambda: not first.alive or self._is_frozen(first),
                   "the first to stop")
        second = self.start()
        self.linger(1.5)
        first.thaw()
        self.end(first)
        self.end(second)

    @staticmethod
    def _is_frozen(runner):
        with open(f"/proc/{runner.pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "TZ"

    # -- the run -------------------------------------------------------

    def go(self):
        usual = [self.is_killed, self.is_killed_at_a_point, self.is_stopped,
                 self.loses_its_server_process, self.loses_bytes,
                 self.is_overtaken]
        for _ in range(self.dice.randint(1, 4)):
            fault = self.dice.choice(usual)
            if self.dice.random() < 0.1:
                fault = self.sees_the_server_crash
            self.story.append(fault.__name__)
            fault()
        wait_until(self._is_done, "the run to be done")
        assert_once(self.db, pooled=True)

    def _is_done(self):
        result = self.project.run(env=ENV)
        assert result.code in (DONE, BUSY), f"{self.story}\n{result}"
        return result.code == DONE

    def close(self):
        self.project.close()
        self.db.drop()


@pytest.mark.parametrize("number", range(RUNS))
def test_a_run_that_meets_one_fault_after_another(servers, tmp_path, number):
    print(f"LUAMIG_TEST_SEED={SEED} number={number}")
    torture = Torture(servers, tmp_path, random.Random(f"{SEED}:{number}"))
    try:
        torture.go()
    finally:
        print(torture.story)
        torture.close()
