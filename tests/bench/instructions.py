"""Part 5: how many instructions a row costs, on the client and on the server,
by this binary and by another one, as valgrind counts them. Unlike time, that
does not depend on what else the machine does."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from rig import HERE, Failed, say

sys.path.insert(0, str(HERE.parent))
from harness.cluster import Cluster  # pylint: disable=wrong-import-position
from harness.wait import wait_until  # pylint: disable=wrong-import-position

TABLES = """
CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL,
    onboarding_step text, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO users (id, email)
SELECT n, format('user%s@example.org', n) FROM generate_series(1, {rows}) n;
CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL {references}, step text NOT NULL,
    at timestamptz NOT NULL DEFAULT now());
ANALYZE;
"""

TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.M)


class Instructions:
    def __init__(self, rig, before, variants):
        self.rig = rig
        self.binaries = {"now": rig.luamig,
                         "before": str(pathlib.Path(before).resolve())}
        self.variants = variants
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="luamig-count-"))
        self.dir.chmod(0o777)
        rig.scripts = self._scripts()

    def _scripts(self):
        """Those of the other parts, without health signals: under valgrind,
        each batch is so slow that the next one is held back."""
        folder = self.dir / "scripts"
        folder.mkdir()
        for path in (HERE / "scripts").iterdir():
            text = path.read_text(encoding="utf-8").replace(
                "\nreturn {\n", "\nreturn {\n  config = { health = false },\n")
            (folder / path.name).write_text(text, encoding="utf-8")
        return folder

    def _callgrind(self, name):
        return ["valgrind", "--tool=callgrind", "--quiet",
                f"--callgrind-out-file={self.dir}/{name}.%p"]

    def _counts(self, name):
        """Of the processes whose files are there."""
        return [int(TOTAL.search(path.read_text()).group(1))
                for path in self.dir.glob(f"{name}.*")
                if TOTAL.search(path.read_text())]

    def _ended(self, server):
        """Has each session written its file? The server's other processes
        write theirs when it stops."""
        return self._processes(server) == self.idle

    @staticmethod
    def _processes(server):
        with open(f"/proc/{server.process.pid}/task/{server.process.pid}"
                  "/children", encoding="ascii") as children:
            return len(children.read().split())

    def _processes_at_rest(self, server):
        """The server's own, when all of them have begun."""
        seen = []
        while seen[-5:] != [self._processes(server)] * 5:
            seen.append(self._processes(server))
            time.sleep(1)
        return seen[-1]

    def measure(self, server, variant, batch, rows, binary):
        """Instructions of the client and of its busiest session."""
        database = server.make_database()
        references = "REFERENCES users" if variant.audit == "linked" else ""
        database.execute(TABLES.format(rows=rows, references=references))
        database.close()
        wait_until(lambda: self._ended(server), "idle", timeout=60)
        for path in self.dir.glob("*.*"):
            path.unlink()
        kept, self.rig.luamig = self.rig.luamig, binary
        command = variant.command(self.rig, server.url(database.name), batch)
        self.rig.luamig = kept
        done = subprocess.run([*self._callgrind("client"), *command],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(done.stdout + done.stderr)
        wait_until(lambda: self._ended(server), "idle", timeout=60)
        counts = sum(self._counts("client")), max(self._counts("server"))
        database.drop()
        return counts

    def a_row(self, server, variant, batch, binary):
        """The difference between few and more rows: not the start, the end."""
        few, more = 6 * batch, 6 * batch + max(10_000, 5 * batch)
        first = self.measure(server, variant, batch, few, binary)
        second = self.measure(server, variant, batch, more, binary)
        return [(b - a) / (more - few) for a, b in zip(first, second)]

    def line(self, server, variant, batch):
        now, before = (self.a_row(server, variant, batch, self.binaries[name])
                       for name in ("now", "before"))
        title = f"{variant.title}{', ' + variant.audit if variant.audit else ''}"
        print(f"{title:44} {batch:>6,}"
              f" {sum(now) / sum(before):9.3f}"
              f" {now[0] / before[0]:9.3f} {now[1] / before[1]:9.3f}"
              f" {now[0]:12,.0f} {now[1]:12,.0f}", flush=True)

    def show(self, batches):
        print(f"\n== 5. instructions a row, as a multiple of"
              f" {self.binaries['before']}\n")
        print(f"{'':44} {'batch':>6} {'both':>9} {'client':>9} {'server':>9}"
              f" {'client now':>12} {'server now':>12}", flush=True)
        server = Cluster(under=[*self._callgrind("server"),
                                "--trace-children=yes"])
        try:
            server.start()
            server.query("SELECT 1")  # that session stays
            self.idle = self._processes_at_rest(server)
            for variant in self.variants:
                for batch in batches:
                    say(f"counting {variant.title}, {batch}")
                    self.line(server, variant, batch)
        finally:
            server.remove()
            shutil.rmtree(self.dir, ignore_errors=True)
