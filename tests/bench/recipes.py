"""Part 9: the recipes of docs/recipes.md beside loops in PL/pgSQL that commit
after each batch."""

import os
import pathlib
import statistics
import sys

from rig import Failed, say

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from harness.loops import LOOPS, loop
from harness.recipes import NEW, OLD, PAGE, RECIPES

MOST_ROWS = 100_000
BATCH = 1000
FRESH = """
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS public CASCADE;
DROP SCHEMA IF EXISTS luamig CASCADE;
CREATE SCHEMA public;
"""


class Recipes:
    def __init__(self, bench):
        self.rig = bench.rig
        self.rounds = bench.options.rounds
        self.rows = min(bench.options.rows, MOST_ROWS)
        for name, text in PAGE.files.items():
            path = self.rig.dir / "recipes" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def seconds(self, name, argv):
        """Of one way on fresh tables; and what the tables show then."""
        recipe = RECIPES[name]
        self.rig.sql(FRESH + recipe.tables(self.rows))
        self.rig.sql("VACUUM (FREEZE, ANALYZE)", "CHECKPOINT")
        env = {**os.environ, "OLD_KEY": OLD, "NEW_KEY": NEW}
        taken = self.rig.measure(argv, env=env).seconds
        return taken, [self.rig.sql(query) for query in recipe.shows]

    def luamig(self, name, workers):
        path = self.rig.dir / "recipes" / "scripts" / f"{name}.lua"
        return [self.rig.luamig, "run", path, "--db", self.rig.conninfo,
                "--throttle-ms", "0", "--batch-size", str(BATCH), "--quiet",
                "--workers", str(workers), *RECIPES[name].args]

    def show(self):
        print(f"\n== 9. recipes: {self.rows:,} rows, batches of {BATCH:,}; speed"
              " as a multiple of a loop in PL/pgSQL\n\n"
              f"{'':24} {'rows/s':>9} {'1 worker':>9} {'2 workers':>10}")
        for name in sorted(LOOPS):
            ways = {"loop": ["psql", "-X", "-q", self.rig.conninfo, "-c",
                             loop(name, BATCH)],
                    1: self.luamig(name, 1), 2: self.luamig(name, 2)}
            taken = {way: [] for way in ways}
            for _ in range(self.rounds):
                found = {}
                for way, argv in ways.items():
                    seconds, found[way] = self.seconds(name, argv)
                    taken[way].append(seconds)
                if not found["loop"] == found[1] == found[2]:
                    raise Failed(f"{name}: the tables differ")
            ratios = [statistics.median(b / a for a, b in zip(
                taken[way], taken["loop"])) for way in (1, 2)]
            rate = self.rows / statistics.median(taken[1])
            print(f"{name:24} {rate:9,.0f} {ratios[0]:9.2f} {ratios[1]:10.2f}",
                  flush=True)
            say(f"recipes: {name}")
