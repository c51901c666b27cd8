"""Random faults one after another, until the run is done; then the oracle.

"./dev torture" does 500 such runs of one process, and as many of several
processes that share a run; the suite does a handful. Each run has its own dice,
made of the seed and its number: LUAMIG_TEST_SEED and -k "[17]" repeat one.
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
from harness.project import (
    BUSY, DONE, FAILURES, STOPPED, UNREACHABLE, Project)
from harness.proxy import TO_CLIENT, Proxy
from harness.wait import wait_until

RUNS = int(os.environ.get("LUAMIG_TORTURE_RUNS") or 8)
SEED = os.environ.get("LUAMIG_TEST_SEED") or str(
    random.SystemRandom().randrange(2**32))
ENV = {"LUAMIG_LEASE_MS": "700"}
POINTS = [
    "journal_before_commit", "journal_after_commit_sent",
    "on_start_before_commit", "on_start_after_commit_sent",
    "on_start_after_commit", "before_prepare", "in_prepare", "after_page", "after_migrate", "after_flush",
    "before_commit", "after_commit_sent", "next_asked", "after_commit",
    "done_before_commit", "done_after_commit_sent", "done_after_commit",
    "range_before_commit", "range_after_commit_sent", "before_cut",
    "cut_before_commit", "cut_after_commit_sent",
    "end_before_commit", "end_after_commit_sent"]
# What a run may end with when it was disturbed; FAILED is not among them. A
# signal that comes before luamig listens ends it.
DISTURBED = (DONE, FAILURES, STOPPED, BUSY, UNREACHABLE, -signal.SIGKILL,
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

    most_rows = 1500

    def __init__(self, servers, folder, dice):
        self.server, self.between = servers
        self.dice = dice
        self.db = self.server.make_database()
        self.project = Project(folder, self.db.url)
        self.env = ENV
        self.story = []
        self.rows = dice.randint(1, self.most_rows)
        readings.create(self.db, self.rows)
        self.script = readings.script(
            batch=dice.choice([1, 7, 50, 200]) if self.rows < 300
            else dice.choice([20, 100, 500]),
            throttle=dice.choice([0, 0, 3]),
            migrate=dice.choice([readings.ROW_BY_ROW, readings.SET_BASED]),
            config=dice.choice(["", "combine = false", "durable_batches = true",
                                "workers = 2", "workers = 4"]))
        if readings.ROW_BY_ROW in self.script and dice.random() < 0.4:
            self.script = readings.prepared(self.script)
        self.project.script(self.script)

    def start(self, *arguments, **options):
        way = self.dice.choice(["direct", "direct", "proxy", "pooler"])
        self.story.append(way)
        url = self.db.url
        if way == "proxy":
            url = self.server.url(self.db.name, host=self.between[way].host)
        elif way == "pooler":
            url = self.between[way].url(self.db.name)
        return self.project.start_run(*arguments, url=url, env=self.env,
                                      **options)

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


def play(torture):
    try:
        torture.go()
    finally:
        print(torture.story)
        torture.close()


@pytest.mark.parametrize("number", range(RUNS))
def test_a_run_that_meets_one_fault_after_another(servers, tmp_path, number):
    print(f"LUAMIG_TEST_SEED={SEED} number={number}")
    play(Torture(servers, tmp_path, random.Random(f"{SEED}:{number}")))


# -- several processes ---------------------------------------------------------

CREW_RUNS = int(os.environ.get("LUAMIG_TORTURE_RUNS") or 3)
# An id of this remainder is a row that the script refuses.
EVERY, REFUSED = 211, 97
PICKY = f"""
    for _, row in ipairs(rows) do
      if row.id %% {EVERY} == {REFUSED} then error("refused") end
    end""".replace("%%", "%")


class Crew(Torture):
    """One run, and processes that join it, leave it, freeze and die. Some rows
    fail, and are recorded."""

    most_rows = 8000

    def __init__(self, servers, folder, dice):
        super().__init__(servers, folder, dice)
        self.env = {"LUAMIG_LEASE_MS": "1000"}
        self.crew, self.asking = [], []
        self.script = readings.script(
            batch=dice.choice([7, 20, 50]), throttle=dice.choice([5, 20, 50]),
            migrate=PICKY + dice.choice([readings.ROW_BY_ROW,
                                         readings.SET_BASED]),
            config=f"workers = {dice.randint(1, 4)}, "
            'on_error = "quarantine", max_failures = 1000'
            + dice.choice(["", ", combine = false", ", health = false",
                           ', isolation = "serializable"']))
        self.project.script(self.script)

    def joins(self, **options):
        self.crew.append(self.start("--join", *self.some_workers(), **options))

    def some_workers(self):
        return self.dice.choice([(), ("--workers", self.dice.randint(1, 4))])

    def joins_and_meets_a_point(self):
        point = f"{self.dice.choice(POINTS + CREW_POINTS)}"
        point += f":{self.dice.randint(1, 4)}"
        point += self.dice.choice(["=kill", "=stop"])
        self.story.append(point)
        self.joins(fault=point)

    def one_of(self, kind):
        """One of the processes that are still there."""
        alive = [one for one in self.crew if one.alive]
        if alive:
            getattr(self.dice.choice(alive), kind)()

    def is_killed(self):
        self.one_of("abandon")

    def leaves(self):
        alive = [one for one in self.crew if one.alive]
        if alive:
            self.dice.choice(alive).signal(
                self.dice.choice([signal.SIGTERM, signal.SIGINT]))

    def is_frozen(self):
        alive = [one for one in self.crew if one.alive]
        if alive:
            self.dice.choice(alive).signal(signal.SIGSTOP)

    def wakes_up(self):
        for one in self.crew:
            if one.alive and self._is_frozen(one):
                one.thaw()

    def loses_sessions(self):
        for pid in self.db.runners():
            if self.dice.random() < 0.5:
                self.db.admin("SELECT pg_terminate_backend(%s)", pid)

    def loses_replies(self):
        """Answers to COMMIT, of those that go through the proxy."""
        proxy, dice = self.between["proxy"], random.Random(self.dice.random())

        def drop(direction, data, _):
            place = data.find(b"COMMIT\0") if direction == TO_CLIENT else -1
            return place - 5 if place >= 5 and dice.random() < 0.1 else None
        proxy.keep_server = self.dice.random() < 0.5
        proxy.rule = drop

    def sees_the_server_end(self):
        self.server.stop(self.dice.choice([signal.SIGQUIT, signal.SIGINT]))
        self.server.start()

    def is_asked(self):
        """What nobody may answer at this moment is not waited for."""
        verb = self.dice.choice([["set", 1, "workers=%d" % self.dice.randint(
            1, 5)], ["pause", 1], ["resume", 1]])
        self.story.append(verb)
        self.asking.append(self.project.start(*verb))

    def go(self):
        happenings = [self.joins, self.joins, self.joins_and_meets_a_point,
                      self.is_killed, self.leaves, self.is_frozen,
                      self.is_frozen, self.wakes_up, self.loses_sessions,
                      self.loses_replies, self.is_asked, self.is_asked]
        self.joins()
        for _ in range(self.dice.randint(4, 10)):
            happening = self.dice.choice(happenings)
            if self.dice.random() < 0.06:
                happening = self.sees_the_server_end
            self.story.append(happening.__name__)
            happening()
            self.linger(0.6)
        self.come_to_an_end()

    def come_to_an_end(self):
        proxy = self.between["proxy"]
        proxy.rule = None
        proxy.release()
        for one in self.asking:
            one.abandon()
        wait_until(self._is_done, "the run to be done")
        for one in self.crew:
            end = time.monotonic() + 60
            while one.alive and time.monotonic() < end:
                self.look_after()
            assert not one.alive, f"{self.story}, hangs:\n{one.result()}"
            self.end(one)
        self.assert_once()

    def _is_done(self):
        last = self.project.start_run("--join", env=self.env)
        while last.alive:
            self.look_after()
        result = last.wait()
        assert result.code in (DONE, FAILURES, BUSY), f"{self.story}\n{result}"
        return result.code != BUSY

    def look_after(self):
        """Nobody is frozen for good, and no run paused."""
        self.wakes_up()
        if self.db.has_journal() and self.db.state() == "paused":
            self.project.luamig("resume", 1)
        time.sleep(0.1)

    def assert_once(self):
        refused = [[str(number)] for number in range(1, self.rows + 1)
                   if number % EVERY == REFUSED]
        failed = self.db.column("SELECT key FROM luamig.failure ORDER BY"
                                " key[1]::bigint", user="postgres")
        assert failed == refused, self.story
        assert_once(self.db, pooled=True, failed=[int(k) for k, in refused])


CREW_POINTS = [
    "quarantine_before_commit",
    "quarantine_after_commit_sent", "abandon_range_before_commit",
    "abandon_range_after_commit_sent", "obey_before_commit",
    "obey_after_commit_sent", "rest_before_commit", "rest_after_commit_sent"]


@pytest.mark.parametrize("number", range(CREW_RUNS))
def test_a_crew_that_meets_one_fault_after_another(servers, tmp_path, number):
    print(f"LUAMIG_TEST_SEED={SEED} number={number}")
    play(Crew(servers, tmp_path, random.Random(f"{SEED}:{number}:crew")))
