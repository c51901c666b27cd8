#!/usr/bin/python3
"""How fast luamig is beside what one would write by hand; docs/benchmarks.md
says what is measured and how to read it."""

import argparse
import os
import platform
import shlex
import signal
import statistics
import sys
from dataclasses import dataclass

from before import Pairs
from files import Files
from instructions import Instructions
from recipes import Recipes
from rig import HERE, STEP, Failed, Rig, output, say
from workers import Workers

MAIN_BATCH = 1000  # of what is measured at one size of batches only
DELAY_US = 1000  # of the proxy, each way

ONE_UPDATE = f"UPDATE users SET onboarding_step = {STEP} WHERE" \
             " onboarding_step IS NULL"
SERVER_LOOP = f"""
DO $$
DECLARE
    last bigint := 0;
    top bigint;
BEGIN
    LOOP
        SELECT max(id) INTO top FROM (SELECT id FROM users WHERE
            onboarding_step IS NULL AND id > last
            ORDER BY id LIMIT $batch) page;
        EXIT WHEN top IS NULL;
        UPDATE users SET onboarding_step = {STEP}
            WHERE onboarding_step IS NULL AND id > last AND id <= top;
        last := top;
        COMMIT;
    END LOOP;
END $$
"""

# -- what is compared --------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    key: str
    title: str
    tool: str  # sql, c, python or luamig
    mode: str
    slow: bool = False  # on fewer rows
    audit: str = None  # linked or unlinked: with an insert after each update
    once: bool = False  # at one size of batches only
    options: tuple = ()

    def command(self, rig, conninfo, batch):
        if self.tool == "sql":
            return ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", conninfo,
                    "-c", "SET synchronous_commit = off",
                    "-c", self.mode.replace("$batch", str(batch))]
        if self.tool == "c":
            audit = ["audit"] if self.audit else []
            return [rig.dir / "peers", self.mode, conninfo, str(batch), *audit,
                    *self.options]
        if self.tool == "python":
            return ["/usr/bin/python3", HERE / "peers.py", self.mode, conninfo,
                    str(batch)]
        return [rig.luamig, "run", rig.scripts / f"{self.mode}.lua",
                "--db", conninfo, "--batch-size", str(batch),
                "--throttle-ms", "0", "--quiet", *self.options]


UPDATE_ONCE = Variant("one_update", "single UPDATE", "sql", ONE_UPDATE,
                      once=True)
PLPGSQL = Variant("plpgsql", "PL/pgSQL, a commit a batch", "sql", SERVER_LOOP)
C_ROW = Variant("c_row", "C, row by row, prepared", "c", "row", slow=True)
C_PIPE = Variant("c_pipe", "C, pipelined", "c", "pipeline")
C_UNNEST = Variant("c_unnest", "C, unnest", "c", "unnest")
C_FREE = Variant("c_free", "C, unnest, no checkpoint", "c", "unnest",
                 options=("free",))
PY_ROW = Variant("py_row", "psycopg2, row by row", "python", "row", slow=True,
                 once=True)
PY_VALUES = Variant("py_values", "psycopg2, execute_values", "python",
                    "values")
LOOP = Variant("loop", "luamig, repo:update loop", "luamig", "update")
EXECUTE = Variant("execute", "luamig, repo:execute loop", "luamig", "execute")
ALL_AT_ONCE = Variant("all", "luamig, repo:update_all", "luamig",
                      "update_all")
RANGES = Variant("ranges", "luamig, migrate_range", "luamig", "range")
LINKED_PIPE = Variant("linked_pipe", "C, pipelined", "c", "pipeline",
                      audit="linked")
LINKED = Variant("linked", "luamig, repo:update, repo:insert", "luamig",
                 "audit", audit="linked")
FREE_PIPE = Variant("free_pipe", "C, pipelined", "c", "pipeline",
                    audit="unlinked")
FREE_UNNEST = Variant("free_unnest", "C, two unnest", "c", "unnest",
                      audit="unlinked")
UNLINKED = Variant("unlinked", "luamig, repo:update, repo:insert", "luamig",
                   "audit", audit="unlinked")

# Each group with the variants that its ratios refer to.
PLAIN = ("an update a row",
         [UPDATE_ONCE, PLPGSQL, C_ROW, C_PIPE, C_UNNEST, C_FREE, PY_ROW,
          PY_VALUES, LOOP, EXECUTE, ALL_AT_ONCE, RANGES], (C_UNNEST, C_PIPE, C_ROW))
LINKED_GROUP = ("update and insert in turn, tables linked by a foreign key",
                [LINKED_PIPE, LINKED], (None, LINKED_PIPE, None))
UNLINKED_GROUP = ("update and insert in turn, tables not linked",
                  [FREE_PIPE, FREE_UNNEST, UNLINKED],
                  (FREE_UNNEST, FREE_PIPE, None))
PINNED = ("client and server process on one core",
          [C_ROW, C_PIPE, C_UNNEST, LOOP, EXECUTE], (C_UNNEST, C_PIPE, C_ROW))
GROUPS = [PLAIN, LINKED_GROUP, UNLINKED_GROUP]
OURS = [LOOP, EXECUTE, ALL_AT_ONCE, RANGES, LINKED, UNLINKED]
FAR = [("an update a row", [C_ROW, C_PIPE, C_UNNEST, PY_ROW, PY_VALUES, LOOP,
                            EXECUTE, ALL_AT_ONCE, RANGES],
        (C_UNNEST, C_PIPE, C_ROW)),
       LINKED_GROUP, UNLINKED_GROUP]

# -- results -----------------------------------------------------------------


class Results:
    """Samples by place ("", "pinned", "far"), variant and batch size: one a
    round, in the order of the rounds."""

    def __init__(self):
        self.samples = {}
        self.trips = {}

    def add(self, place, variant, batch, rows, usage):
        self.samples.setdefault((place, variant.key, batch), []).append(
            (rows, usage))

    def has(self, place, variant, batch):
        return (place, variant.key, batch) in self.samples

    def _median(self, place, variant, batch, figure):
        return statistics.median(
            figure(rows, usage) for rows, usage
            in self.samples[place, variant.key, batch])

    def rate(self, *of):
        return self._median(*of, lambda rows, u: rows / u.seconds)

    def cpu(self, *of):
        return self._median(*of, lambda rows, u: u.cpu)

    def cpu_us(self, *of):
        return self._median(*of, lambda rows, u: 1e6 * u.cpu / rows)

    def peak(self, *of):
        return max(u.peak_mib for _, u in
                   self.samples[of[0], of[1].key, of[2]])

    def ratio(self, place, variant, reference, batch):
        """The median of the rounds' ratios: what slows a whole round down
        does not count. None where one of the two was not measured."""
        if (reference is None or not self.has(place, variant, batch)
                or not self.has(place, reference, batch)):
            return None
        return statistics.median(
            (rows / u.seconds) / (other_rows / other.seconds)
            for (rows, u), (other_rows, other) in zip(
                self.samples[place, variant.key, batch],
                self.samples[place, reference.key, batch]))


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def print_group(results, place, group, batches):
    title, variants, references = group
    print(f"\n{title}\n")
    print(f"{'':34} {'':>6} {'':>9} {'rows/s as a multiple of C':^26}"
          f" {'client CPU':^14} {'peak':>6} {'trips/':>8}")
    print(f"{'':34} {'batch':>6} {'rows/s':>9} {'unnest':>8} {'pipelined':>9}"
          f" {'row':>7} {'s':>7} {'us/row':>6} {'MiB':>6} {'batch':>8}")
    for batch in batches:
        for variant in variants:
            of = (place, variant, batch)
            if not results.has(*of):
                continue
            ratios = [results.ratio(place, variant, reference, batch)
                      for reference in references]
            trips = results.trips.get((variant.key, batch))
            print(f"{variant.title:34}"
                  f" {'-' if variant is UPDATE_ONCE else f'{batch:,}':>6}"
                  f" {number(results.rate(*of)):>9}"
                  f" {number(ratios[0], 2):>8} {number(ratios[1], 2):>9}"
                  f" {number(ratios[2], 2):>7}"
                  f" {number(results.cpu(*of), 2):>7}"
                  f" {number(results.cpu_us(*of), 2):>6}"
                  f" {number(results.peak(*of), 1):>6}"
                  f" {number(trips, 1):>8}", flush=True)

# -- the parts ---------------------------------------------------------------


class Bench:
    def __init__(self, rig, options):
        self.rig = rig
        self.options = options
        self.results = Results()
        self.checkpoint_share = {}
        self.growth_peaks = {}

    def run_once(self, variant, batch, rows, conninfo=None, core=None,
                 env=None):
        """One variant on fresh tables; what it left behind is checked."""
        self.rig.fresh(rows, variant.audit)
        usage = self.rig.measure(
            variant.command(self.rig, conninfo or self.rig.conninfo, batch),
            core, env)
        self.rig.check(rows, variant.audit, variant is ALL_AT_ONCE)
        return usage

    def rows_for(self, variant, batch, place):
        rows = self.options.rows
        if place == "far":
            if variant.slow:
                return min(rows, 2 * batch, 2 * MAIN_BATCH)
            return min(rows, 200 * batch, 200_000)
        return max(rows // 10, 1) if variant.slow else rows

    def wanted(self, groups):
        only = self.options.only
        return [v for _, group, _ in groups for v in group
                if not only or v.key in only]

    def compare(self, place, groups, batches, **how):
        """All variants of all groups, one after the other, round by round."""
        for turn in range(self.options.rounds):
            for batch in batches:
                for variant in self.wanted(groups):
                    if variant.once and batch != self.main_batch(batches):
                        continue
                    rows = self.rows_for(variant, batch, place)
                    usage = self.run_once(variant, batch, rows, **how)
                    self.results.add(place, variant, batch, rows, usage)
                    say(f"{place or 'near'}, round {turn + 1},"
                        f" {variant.audit or ''} {variant.title}, {batch}:"
                        f" {rows / usage.seconds:,.0f} rows/s")

    @staticmethod
    def main_batch(batches):
        return MAIN_BATCH if MAIN_BATCH in batches else batches[0]

    def count_trips(self, groups, batches):
        """What six batches cost more than two, a batch: the beginning and the
        end of a run do not count. The proxy's delay is what tells a client
        that waits from one that does not."""
        for variant in {v.key: v for v in self.wanted(groups)}.values():
            for batch in batches:
                if (variant.tool == "sql" or variant.once
                        and batch != self.main_batch(batches)
                        or variant.slow and batch > MAIN_BATCH
                        or 6 * batch > self.options.rows):
                    continue
                counted = []
                for count in (2, 6):
                    with self.rig.proxy(DELAY_US) as proxy:
                        self.run_once(variant, batch, count * batch,
                                      proxy.conninfo)
                    counted.append(proxy.round_trips)
                trips = (counted[1] - counted[0]) / 4
                self.results.trips[variant.key, batch] = trips
                say(f"round trips, {variant.title}, {batch}: {trips:g}")

    def time_checkpoint(self, batches):
        """The server's own clock says how long luamig.checkpoint takes."""
        for batch in batches:
            rows = min(self.options.rows, 200 * batch)
            usage = self.run_once(LOOP, batch, rows,
                                  env={"PGOPTIONS": "-c track_functions=pl"})
            ms = self.rig.sql("SELECT total_time FROM pg_stat_user_functions"
                              " WHERE schemaname = 'luamig'"
                              " AND funcname = 'checkpoint'")
            self.checkpoint_share[batch] = float(ms) / 1000 / usage.seconds

    def near(self):
        batches = self.options.batches
        self.rig.make_users(self.options.rows)
        self.compare("", GROUPS, batches)
        self.compare("pinned", [PINNED], [self.main_batch(batches)],
                     core=max(os.sched_getaffinity(0)))
        self.count_trips(GROUPS, batches)
        if not self.options.only:
            self.time_checkpoint(batches)
        print(f"\n== 1. on a local socket, {self.options.rows:,} rows"
              f" ({self.options.rows // 10:,} row by row)")
        for group in GROUPS:
            print_group(self.results, "", group, batches)
        print_group(self.results, "pinned", PINNED,
                    [self.main_batch(batches)])
        self.rig.fresh(0)
        empty = self.rig.measure(
            LOOP.command(self.rig, self.rig.conninfo, MAIN_BATCH))
        print("\nincluded above: luamig begins and ends a run without rows in"
              f" {1000 * empty.seconds:.0f} ms")

    def far(self):
        batches = self.options.batches
        self.rig.make_users(self.options.rows)
        with self.rig.proxy(DELAY_US) as proxy:
            self.compare("far", FAR, batches, conninfo=proxy.conninfo)
        print(f"\n== 2. with 1 ms each way, up to"
              f" {min(self.options.rows, 200_000):,} rows"
              f" ({2 * MAIN_BATCH:,} row by row)")
        for group in FAR:
            print_group(self.results, "far", group, batches)

    def growth(self):
        most = 10**7 if self.options.full else self.options.rows
        rows = [count for count in (100_000, 300_000, 1_000_000, 3_000_000,
                                    10_000_000) if count <= most] or [most]
        print("\n== 3. growth: repo:update loop")
        self.grow_head(f"rows, batches of {MAIN_BATCH:,}")
        for count in rows:
            self.rig.make_users(count)
            usage = self.grow(count, MAIN_BATCH, f"{count:,}")
            self.growth_peaks[count] = usage.peak_mib
        self.grow_head("batch size")
        most = min(most, 500_000)
        self.rig.make_users(most)
        for batch in (10, 100, 1000, 10_000, 50_000):
            count = min(most, 5_000 * batch)
            self.grow(count, batch, f"{batch:,}")
        wide_rows = min(most, 50_000)
        self.grow_head(f"columns, {wide_rows:,} rows,"
                       f" batches of {MAIN_BATCH:,}")
        self.rig.make_wide(wide_rows, 50)
        for columns in (1, 2, 5, 10, 20, 50):
            self.rig.fresh(wide_rows, table="wide")
            variant = Variant("columns", "", "luamig", "columns",
                              options=("--arg", f"columns={columns}"))
            usage = self.rig.measure(
                variant.command(self.rig, self.rig.conninfo, MAIN_BATCH))
            self.rig.check_wide(columns)
            self.grow_line(str(columns), wide_rows, usage, None)

    def grow(self, rows, batch, label):
        usage = self.run_once(LOOP, batch, rows)
        other = self.run_once(C_UNNEST, batch, rows)
        self.grow_line(label, rows, usage, other)
        return usage

    @staticmethod
    def grow_head(title):
        print(f"\n{title:44} {'rows/s':>9} {'of C unnest':>11} {'s':>8}"
              f" {'CPU us/row':>10} {'peak MiB':>8}")

    @staticmethod
    def grow_line(label, rows, usage, other):
        ratio = other.seconds / usage.seconds if other else None
        print(f"{label:>44} {rows / usage.seconds:9,.0f}"
              f" {number(ratio, 2):>11} {usage.seconds:8.2f}"
              f" {1e6 * usage.cpu / rows:10.2f} {usage.peak_mib:8.1f}",
              flush=True)

# -- what it must show -------------------------------------------------------


class Verdicts:
    """Figures to reach, with what was measured. Nothing fails by them."""

    def __init__(self, bench):
        self.bench = bench
        self.results = bench.results
        self.lines = []

    def add(self, what, wanted, measured, met):
        verdict = "not measured"
        if measured is not None:
            verdict = "met" if met else "missed"
        self.lines.append((what, wanted, measured or "-", verdict))

    def at_least(self, what, least, place, variant, reference, batch):
        ratio = self.results.ratio(place, variant, reference, batch)
        self.add(f"{what}, batches of {batch:,}", f">= {least:g} x",
                 None if ratio is None else f"{ratio:.2f} x",
                 ratio is not None and ratio >= least)

    def at_most(self, what, most, value, unit):
        self.add(what, f"<= {most:g} {unit}",
                 None if value is None else f"{value:.2f} {unit}",
                 value is not None and value <= most)

    def near(self, batches):
        for batch in batches:
            self.at_least("update loop : C unnest", 0.9, "", LOOP, C_UNNEST,
                          batch)
        for batch in batches:
            self.at_least("update loop : C row by row", 10, "", LOOP, C_ROW,
                          batch)
        self.at_least("the same on one core", 2.5, "pinned", LOOP, C_ROW,
                      self.bench.main_batch(batches))
        for batch in batches:
            self.at_least("execute loop : C pipelined", 0.85, "", EXECUTE,
                          C_PIPE, batch)
        for batch in batches:
            self.at_least("migrate_range : PL/pgSQL", 0.9, "", RANGES, PLPGSQL,
                          batch)
        for batch in batches:
            self.at_least("linked tables : C pipelined", 0.85, "", LINKED,
                          LINKED_PIPE, batch)
        for batch in batches:
            self.at_least("unlinked tables : C two unnest", 0.8, "", UNLINKED,
                          FREE_UNNEST, batch)

    def trips(self, batches):
        for batch in batches:
            trips = self.results.trips.get((LOOP.key, batch))
            self.add(f"update loop, round trips a batch of {batch:,}", "1",
                     None if trips is None else f"{trips:g}", trips == 1)

    def costs(self, batches):
        for batch in batches:
            share = self.bench.checkpoint_share.get(batch)
            self.at_most(f"luamig.checkpoint, batches of {batch:,}", 5,
                         None if share is None else 100 * share,
                         "% of the run")
        for batch in batches:
            of = ("", LOOP, batch)
            known = self.results.has(*of)
            self.at_most(f"update loop, client CPU, batches of {batch:,}", 2,
                         self.results.cpu_us(*of) if known else None,
                         "us a row")
        of = ("", LOOP, MAIN_BATCH)
        self.at_most(f"update loop, peak memory, batches of {MAIN_BATCH:,}",
                     24, self.results.peak(*of)
                     if self.results.has(*of) else None, "MiB")

    def growth(self):
        peaks = self.bench.growth_peaks
        known = len(peaks) > 1
        few, many = (min(peaks), max(peaks)) if known else (10**5, 10**7)
        self.add(f"peak memory, {few:,} and {many:,} rows",
                 "the same, +-1 MiB",
                 f"{peaks[few]:.1f}, {peaks[many]:.1f} MiB" if known else None,
                 known and abs(peaks[few] - peaks[many]) <= 1)

    def show(self):
        batches = self.bench.options.batches
        self.near(batches)
        self.at_least("1 ms each way: update loop : C row by row", 100, "far",
                      LOOP, C_ROW, self.bench.main_batch(batches))
        self.trips(batches)
        self.costs(batches)
        self.growth()
        print("\n== figures to reach\n")
        for what, wanted, measured, verdict in self.lines:
            print(f"{what:60} {wanted:>19} {measured:>19}  {verdict}")

# -- the command -------------------------------------------------------------


def sizes(text):
    values = sorted({int(part) for part in text.split(",")})
    if not values or values[0] < 1:
        raise ValueError(text)
    return values


def read_options():
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Measures luamig beside the server"
        " alone, plain C and psycopg2. See docs/benchmarks.md.")
    parser.add_argument("--rows", type=int, default=1_000_000,
                        help="rows of the table (1000000); row by row a tenth")
    parser.add_argument("--batches", type=sizes, default=[100, 1000, 10_000],
                        help="sizes of batches (100,1000,10000)")
    parser.add_argument("--rounds", type=int, default=3,
                        help="how often each is measured (3); medians count")
    parser.add_argument("--only", metavar="KEY,KEY",
                        type=lambda text: text.split(","),
                        help="of parts 1 and 2 only these variants, by their"
                        " keys in bench.py, such as plpgsql,ranges")
    parser.add_argument("--latency", action="store_true",
                        help="part 2 as well: 1 ms each way")
    parser.add_argument("--growth", action="store_true",
                        help="part 3 as well: rows, batch sizes, columns")
    parser.add_argument("--full", action="store_true",
                        help="parts 3 and 6, to 10,000,000 rows")
    parser.add_argument("--workers", action="store_true",
                        help="part 6 as well: several workers of one run")
    parser.add_argument("--auto", action="store_true",
                        help="part 7 as well: what --workers auto finds")
    parser.add_argument("--files", action="store_true",
                        help="part 8 as well: runs that read a file")
    parser.add_argument("--recipes", action="store_true",
                        help="part 9 as well: recipes beside loops in PL/pgSQL")
    parser.add_argument("--no-main", action="store_true",
                        help="without part 1: the local socket")
    parser.add_argument("--before", metavar="PATH",
                        help="part 4 as well: in pairs with another binary")
    parser.add_argument("--instructions", action="store_true",
                        help="part 5, with --before: count them")
    parser.add_argument("--luamig", default="build/luamig",
                        help="the binary (build/luamig)")
    options = parser.parse_args()
    if options.rows < 1 or options.rounds < 1:
        parser.error("--rows and --rounds are at least 1")
    if options.instructions and not options.before:
        parser.error("--instructions compares: add --before PATH")
    options.growth = options.growth or options.full and not options.workers
    return options


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def print_head(rig):
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    psycopg2 = output("/usr/bin/python3", "-c",
                      "import psycopg2; print(psycopg2.__version__)")
    print(f"command: ./dev bench {shlex.join(sys.argv[1:])}")
    print(f"machine: {len(os.sched_getaffinity(0))} cores, {cpu_model()},"
          f" Linux {platform.release()}; load before: {load}")
    print(f"versions: {output(rig.luamig, 'version').splitlines()[0]},"
          f" PostgreSQL {rig.sql('SHOW server_version')},"
          f" {output('pg_config', '--version')} (libpq),"
          f" {output('gcc', '--version').splitlines()[0]},"
          f" psycopg2 {psycopg2.split()[0]}, Python"
          f" {platform.python_version()}")
    print("server: shared_buffers"
          f" {rig.sql('SHOW shared_buffers')}, max_wal_size"
          f" {rig.sql('SHOW max_wal_size')}, fsync {rig.sql('SHOW fsync')}",
          flush=True)


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, interrupted)
    try:
        with Rig(options.luamig) as rig:
            bench = Bench(rig, options)
            print_head(rig)
            if not options.no_main:
                bench.near()
            if options.latency:
                bench.far()
            if options.growth:
                bench.growth()
            if options.workers:
                Workers(bench, UPDATE_ONCE, C_UNNEST).show(DELAY_US)
            if options.auto:
                Workers(bench, UPDATE_ONCE, C_UNNEST).show_auto()
            if options.files:
                Files(bench).show()
            if options.recipes:
                Recipes(bench).show()
            if options.instructions:
                Instructions(rig, options.before, OURS).show(options.batches)
            elif options.before:
                Pairs(bench, options.before, OURS).show(
                    options.batches, options.rows, options.rounds)
            if not options.no_main or options.latency or options.growth:
                Verdicts(bench).show()
    except Failed as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")


if __name__ == "__main__":
    main()
