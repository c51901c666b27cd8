"""Part 7: the number of workers that `auto` finds, beside the best one."""

import contextlib
import re
import subprocess
import threading
import time

from rig import Failed, say

SECONDS = 180  # in which auto looks for its number
FIXED = (1, 2, 3, 4, 6, 8)
ROWS = 6_000_000
FIXED_ROWS = 150_000
BATCH = 10
KEPT = re.compile(r"auto: (\d+) workers?, [\d.]+ times")

# Who takes the lock has it for half of the time.
LOCKED = ("BEGIN; LOCK TABLE users IN SHARE MODE; SELECT pg_sleep(0.05);"
          " COMMIT", "SELECT pg_sleep(0.05)")


class Auto:
    def __init__(self, workers):
        self.workers = workers
        self.rig = workers.rig

    def command(self, script, count, *more):
        return [self.rig.luamig, "run", self.rig.scripts / f"{script}.lua",
                "--db", self.rig.conninfo, "--batch-size", str(BATCH),
                "--throttle-ms", "0", "--workers", str(count), *more]

    @contextlib.contextmanager
    def locked(self):
        """Another session takes and gives back a lock on the table."""
        stop = threading.Event()

        def take():
            while not stop.is_set():
                with contextlib.suppress(Failed):  # while the table is made
                    self.rig.sql(*LOCKED)

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def rate(self, script, count):
        """Rows a second with so many workers."""
        begun = time.monotonic()
        done = subprocess.run(
            self.command(script, count, "--limit", str(FIXED_ROWS)),
            capture_output=True, text=True, check=False, cwd=self.rig.dir)
        if done.returncode != 5:
            raise Failed(done.stdout + done.stderr)
        return FIXED_ROWS / (time.monotonic() - begun)

    def found(self, script):
        """The number that auto keeps after a while."""
        with subprocess.Popen(
                self.command(script, "auto"), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd=self.rig.dir) as process:
            timer = threading.Timer(SECONDS, process.terminate)
            timer.start()
            shown = process.communicate()[0]
            timer.cancel()
        if process.returncode not in (0, 5):
            raise Failed(shown)
        kept = KEPT.findall(shown)
        say("".join(line + "\n" for line in shown.splitlines()
                    if "auto:" in line))
        return int(kept[-1]) if kept else 1

    def show_one(self, title, script):
        self.rig.fresh(ROWS)
        kept = self.found(script)
        self.rig.fresh(ROWS)
        rates = {}
        for count in sorted({*FIXED, kept}):
            rates[count] = self.rate(script, count)
            say(f"{title}, {count} workers: {rates[count]:,.0f} rows/s")
        best = max(rates, key=rates.get)
        part = rates[kept] / rates[best]
        self.workers.require(
            f"auto, {title}", ">= 0.8 of the best",
            f"{kept} (best {best}): {part:.2f}", part >= 0.8)

    def show(self):
        self.rig.make_users(ROWS)
        self.show_one("a table in memory", "update")
        self.show_one("bound by WAL", "durable")
        with self.locked():
            self.show_one("behind a lock of others", "update")
