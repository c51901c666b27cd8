"""Part 6: several workers of one run. Each figure of it stands beside one worker
of the same round, or beside what one would write by hand."""

import contextlib
import re
import statistics
import subprocess
from dataclasses import dataclass

from auto import Auto
from rig import Failed, output, say

SLOW_ROWS = 400_000  # with 1 ms each way, in batches of 100
OLD_BATCHES = 20_000  # under an old snapshot
OLD_BATCH = 10

LAPS = """
DROP TABLE IF EXISTS laps;
CREATE TABLE laps (worker int NOT NULL, at timestamptz NOT NULL
    DEFAULT clock_timestamp(), n bigint GENERATED ALWAYS AS IDENTITY);
"""

# From the end of the first worker that finds no keys to the end of the last.
TAIL = """
SELECT extract(epoch FROM max(last) - min(last)),
       extract(epoch FROM max(last) - min(first)), max(batch)
FROM (SELECT max(at) AS last, min(at) AS first,
             extract(epoch FROM max(at) - min(at)) / greatest(count(*) - 1, 1)
             AS batch FROM laps GROUP BY worker) AS w
"""

QUARTERS = """
SELECT extract(epoch FROM max(at) FILTER (WHERE n >= 3 * total / 4)
                        - min(at) FILTER (WHERE n >= 3 * total / 4))
     / extract(epoch FROM max(at) FILTER (WHERE n <= total / 4)
                        - min(at) FILTER (WHERE n <= total / 4))
FROM (SELECT at, row_number() OVER (ORDER BY at) AS n,
             count(*) OVER () AS total FROM laps) AS lap
"""

JOURNAL_SIZE = """
SELECT sum(pg_total_relation_size(oid)) / 1024 FROM pg_class
WHERE relnamespace = 'luamig'::regnamespace AND relkind = 'r'
"""

# What a hand-out sends: cuts by a sample or a walk, and their record.
HAND_OUT = re.compile(r'TABLESAMPLE|"luamig count"|next_range|"luamig"\.fold')


@dataclass(frozen=True)
class Team:
    """A script of luamig with so many workers."""
    workers: int
    script: str = "update"

    def command(self, rig, conninfo, batch):
        return [rig.luamig, "run", rig.scripts / f"{self.script}.lua",
                "--db", conninfo, "--batch-size", str(batch),
                "--throttle-ms", "0", "--workers", str(self.workers),
                "--quiet"]


def median(values):
    return statistics.median(values)


class Workers:
    def __init__(self, bench, update_once, c_unnest):
        self.bench = bench
        self.rig = bench.rig
        self.options = bench.options
        self.once = update_once
        self.c_unnest = c_unnest
        self.verdicts = []

    def require(self, what, wanted, measured, met):
        say(f"{what}: {measured}")
        self.verdicts.append((what, wanted, measured,
                              "met" if met else "missed"))

    def run(self, team, batch, rows, conninfo=None):
        """One run on fresh tables, which are checked."""
        self.rig.fresh(rows)
        self.rig.sql(LAPS)
        usage = self.rig.measure(
            team.command(self.rig, conninfo or self.rig.conninfo, batch))
        if team.script == "sparse":
            self.check_sparse(rows)
        else:
            self.rig.check(rows)
        return usage

    def check_sparse(self, rows):
        done = self.rig.sql("SELECT count(*) FROM users"
                            " WHERE onboarding_step IS NOT NULL")
        if int(done) != (rows + 993) // 1000:
            raise Failed(f"{done} rows of a sparse filter are done")

    # -- beside others --

    def beside(self, batch, rows, counts):
        """Seconds of each way, a list of rounds by its name."""
        ways = {f"{n} worker{'s' * (n > 1)}": Team(n) for n in counts}
        seconds = {name: [] for name in [*ways, "UPDATE", "C unnest"]}
        for turn in range(self.options.rounds):
            for name, team in ways.items():
                seconds[name].append(self.run(team, batch, rows).seconds)
            for name, other in (("UPDATE", self.once),
                                ("C unnest", self.c_unnest)):
                seconds[name].append(
                    self.bench.run_once(other, batch, rows).seconds)
            say(f"workers, batches of {batch}, round {turn + 1}")
        return seconds

    @staticmethod
    def times(seconds, fast, slow):
        """By what fast is faster than slow: the median of the rounds."""
        return median(b / a for a, b in zip(seconds[fast], seconds[slow]))

    def show_beside(self):
        rows = self.options.rows
        print(f"\n== 6. workers: {rows:,} rows on a local socket; rows/s as a"
              f" multiple\n\n{'':24} {'batch':>6} {'rows/s':>9}"
              f" {'of 1 worker':>12} {'of UPDATE':>10} {'of C unnest':>12}")
        for batch in (100, 1000):
            seconds = self.beside(batch, rows, (1, 2, 4))
            for name, taken in seconds.items():
                print(f"{name:24} {batch:>6,} {rows / median(taken):9,.0f}"
                      f" {self.times(seconds, name, '1 worker'):12.2f}"
                      f" {self.times(seconds, name, 'UPDATE'):10.2f}"
                      f" {self.times(seconds, name, 'C unnest'):12.2f}",
                      flush=True)
            wanted = ((100, "C unnest", 1.6), (1000, "1 worker", 1.5),
                      (1000, "UPDATE", 0.85))
            for of_batch, other, least in wanted:
                if of_batch == batch:
                    ratio = self.times(seconds, "2 workers", other)
                    self.require(f"2 workers : {other}, batches of {batch:,}",
                                 f">= {least:g} x", f"{ratio:.2f} x",
                                 ratio >= least)

    def show_slow(self, delay_us):
        rows = min(SLOW_ROWS, self.options.rows)
        seconds, used = {1: [], 8: []}, {}
        with self.rig.proxy(delay_us) as proxy:
            for turn in range(self.options.rounds):
                for count, taken in seconds.items():
                    before = proxy.ticks()
                    taken.append(self.run(Team(count), 100, rows,
                                          proxy.conninfo).seconds)
                    used[count] = [now - then for now, then
                                   in zip(proxy.ticks(), before)]
                say(f"workers, 1 ms each way, round {turn + 1}")
        for count, (own, busy, cores) in used.items():
            print(f"\n1 ms each way, {count} workers, last round: the cores are"
                  f" {busy / cores:.0%} busy, {own / cores:.0%} with the proxy",
                  end="" if count == 1 else "\n")
        ratio = self.times(seconds, 8, 1)
        self.require(f"1 ms each way: 8 workers : 1, {rows:,} rows in batches"
                     " of 100", ">= 5 x", f"{ratio:.2f} x", ratio >= 5)

    # -- what sharing costs --

    @contextlib.contextmanager
    def statements_counted(self):
        self.restart("SET shared_preload_libraries = pg_stat_statements")
        self.rig.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        try:
            yield
        finally:
            self.rig.sql("DROP EXTENSION pg_stat_statements")
            self.restart("RESET shared_preload_libraries")

    def restart(self, change):
        self.rig.sql(f"ALTER SYSTEM {change}")
        for verb in ("stop", "start"):
            output(self.rig.luamig, "db", verb, cwd=self.rig.dir)

    def show_hand_out(self):
        rows, workers = self.options.rows, 2
        with self.statements_counted():
            for batch in (100, 1000):
                self.rig.fresh(rows)
                self.rig.sql("SELECT pg_stat_statements_reset()")
                usage = self.rig.measure(Team(workers).command(
                    self.rig, self.rig.conninfo, batch))
                spent = 0
                for line in self.rig.sql(
                        "SELECT total_exec_time, regexp_replace(query,"
                        " '\\s+', ' ', 'g') FROM pg_stat_statements"
                        ).splitlines():
                    ms, _, query = line.partition("|")
                    if HAND_OUT.search(query):
                        spent += float(ms) / 1000
                share = 100 * spent / (workers * usage.seconds)
                self.require(f"handing out, {workers} workers, batches of"
                             f" {batch:,}", "<= 3 % of the run",
                             f"{share:.2f} %", share <= 3)

    def show_tail(self):
        rows = self.options.rows
        for title, skew in (("even", None), ("all in the last tenth", 0.9)):
            self.rig.fresh(rows)
            self.rig.sql(LAPS)
            if skew:
                self.rig.sql(self.once.mode + f" AND id <= {int(skew * rows)}",
                             "VACUUM (FREEZE, ANALYZE) users")
            self.rig.measure(Team(4, "laps").command(
                self.rig, self.rig.conninfo, 100))
            self.rig.check(rows)
            tail, run, batch = map(float, self.rig.sql(TAIL).split("|"))
            most = max(2 * batch, 0.05 * run)
            self.require(f"tail, 4 workers, keys {title}",
                         "<= 2 batches or 5 %",
                         f"{tail / batch:.1f} or {100 * tail / run:.1f} %",
                         tail <= most)

    def show_memory(self):
        few, many = self.options.rows // 10, self.options.rows
        for count in (1, 2, 4, 8):
            peaks = [self.run(Team(count), 1000, rows).peak_mib
                     for rows in (few, many)]
            self.require(f"peak memory, {count} workers, {few:,} and"
                         f" {many:,} rows", f"<= {12 + 6 * count} MiB",
                         ", ".join(f"{peak:.1f}" for peak in peaks),
                         max(peaks) <= 12 + 6 * count)

    # -- what a long run leaves --

    def show_journal(self):
        sizes = []
        for batches in (OLD_BATCHES // 10, OLD_BATCHES):
            self.run(Team(2), OLD_BATCH, batches * OLD_BATCH)
            sizes.append(float(self.rig.sql(JOURNAL_SIZE)))
        self.require(f"the journal after {OLD_BATCHES // 10:,} and"
                     f" {OLD_BATCHES:,} batches", "<= 1.2 x",
                     f"{sizes[0]:.0f}, {sizes[1]:.0f} KiB",
                     sizes[1] <= 1.2 * sizes[0])

    @contextlib.contextmanager
    def old_snapshot(self):
        with subprocess.Popen(
                ["psql", "-X", "-q", "-A", "-t", self.rig.conninfo],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True) as session:
            session.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ;\n"
                                "SELECT count(*) FROM pg_class;\n")
            session.stdin.flush()
            session.stdout.readline()
            try:
                yield
            finally:
                session.stdin.close()

    def show_old_snapshot(self):
        rows = OLD_BATCHES * OLD_BATCH
        ratios = []
        for _ in range(self.options.rounds):
            self.rig.fresh(rows)
            self.rig.sql(LAPS)
            with self.old_snapshot():
                self.rig.measure(Team(1, "laps").command(
                    self.rig, self.rig.conninfo, OLD_BATCH))
            self.rig.check(rows)
            ratios.append(float(self.rig.sql(QUARTERS)))
            say(f"old snapshot: {ratios[-1]:.2f}")
        self.require(f"under an old snapshot: last quarter of {OLD_BATCHES:,}"
                     " batches : first", "<= 1.2 x",
                     f"{median(ratios):.2f} x", median(ratios) <= 1.2)

    def show_growth(self, rows):
        print(f"\nworkers, table of {rows:,} rows, batches of 1,000;"
              " rows/s of the table as a multiple of one worker\n")
        print(f"{'':24} {'1':>9} {'2':>6} {'4':>6} {'8':>6}")
        self.rig.make_users(rows)
        for script, title in (("update", "every row"),
                              ("sparse", "one row in 1,000")):
            taken = [self.run(Team(count, script), 1000, rows).seconds
                     for count in (1, 2, 4, 8)]
            print(f"{title:24} {rows / taken[0]:9,.0f}",
                  *(f"{taken[0] / t:6.2f}" for t in taken[1:]), flush=True)

    def show(self, delay_us):
        self.rig.make_users(max(self.options.rows, OLD_BATCHES * OLD_BATCH))
        self.show_beside()
        self.show_slow(delay_us)
        self.show_hand_out()
        self.show_tail()
        self.show_memory()
        self.show_journal()
        self.show_old_snapshot()
        self.show_growth(10**7 if self.options.full else self.options.rows)
        self.show_verdicts()

    def show_auto(self):
        Auto(self).show()
        self.show_verdicts()

    def show_verdicts(self):
        print("\n== figures to reach, workers\n")
        for what, wanted, measured, verdict in self.verdicts:
            print(f"{what:60} {wanted:>19} {measured:>19}  {verdict}")
        self.verdicts = []
