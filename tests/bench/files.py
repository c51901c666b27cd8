"""Part 8: a run that reads a file, beside \\copy into a table and the same run
over that table."""

import statistics

from rig import Usage, say

BATCH = 1000

STAGING = """
DROP TABLE IF EXISTS staging;
CREATE TABLE staging (line bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint, email text)
"""
BODIES = {
    "nothing": "",
    "an update a row": """
    for _, row in ipairs(rows) do
      repo:update("users", { id = row.id },
        { onboarding_step = steps[(row.id + #row.email) % 4 + 1] })
    end""",
}
SCRIPT = """local steps = {{ "welcome", "profile", "invite", "done" }}
return {{
  name = "{name}", config = {{ key = "line" }}, {source},
  migrate = function(rows, repo){body} return steps and repo
  end,
}}
"""
SOURCES = {
    "csv": 'input = { format = "csv", columns = { id = "bigint", email = "text" } }',
    "jsonl": 'input = { format = "jsonl", columns = { id = "bigint",'
             ' email = "text" } }',
    "table": 'base_query = "SELECT line, id, email FROM staging"',
}
LEAST = 0.7


class Files:
    def __init__(self, bench):
        self.rig = bench.rig
        self.options = bench.options

    def write_files(self, rows):
        self.paths = {kind: self.rig.dir / f"users.{kind}"
                      for kind in ("csv", "jsonl")}
        with open(self.paths["csv"], "w", encoding="ascii") as file:
            file.write("id,email\n")
            file.writelines(f"{n},user{n}@example.org\n"
                            for n in range(1, rows + 1))
        with open(self.paths["jsonl"], "w", encoding="ascii") as file:
            file.writelines(f'{{"id": {n}, "email": "user{n}@example.org"}}\n'
                            for n in range(1, rows + 1))

    def luamig(self, kind, body, *options):
        path = self.rig.dir / f"{kind}.lua"
        path.write_text(SCRIPT.format(name=kind, source=SOURCES[kind],
                                      body=BODIES[body]))
        return self.rig.measure([
            self.rig.luamig, "run", path, "--db", self.rig.conninfo,
            "--batch-size", str(BATCH), "--throttle-ms", "0", "--quiet",
            *options])

    def by_copy(self, body):
        """What one would do by hand, in three commands."""
        self.rig.sql(STAGING)
        psql = ["psql", "-X", "-q", self.rig.conninfo, "-c"]
        steps = [self.rig.measure([*psql, text]) for text in (
            f"\\copy staging (id, email) FROM '{self.paths['csv']}' CSV HEADER",
            "ANALYZE staging")]
        steps.append(self.luamig("table", body))
        return Usage(sum(step.seconds for step in steps),
                     sum(step.cpu for step in steps),
                     max(step.peak_mib for step in steps),
                     sum(step.server_cpu for step in steps))

    def run(self, way, body, rows):
        self.rig.fresh(rows)
        usage = self.by_copy(body) if way == "copy" else self.luamig(
            way, body, "--input", str(self.paths[way]))
        if body != "nothing":
            self.rig.check(rows)
        return usage

    def show(self):
        rows = self.options.rows
        self.rig.make_users(rows)
        self.write_files(rows)
        print(f"\n== part 8: a file of {rows:,} records, batches of {BATCH:,}\n")
        print(f"{'each record gets':18} {'way':28} {'seconds':>8} {'rows/s':>9}"
              f" {'peak MiB':>9}  : \\copy")
        for body in BODIES:
            found = {way: [] for way in ("copy", "csv", "jsonl")}
            for turn in range(self.options.rounds):
                for way, usages in found.items():
                    usages.append(self.run(way, body, rows))
                    say(f"files, round {turn + 1}, {body}, {way}:"
                        f" {usages[-1].seconds:.2f} s")
            self.print_ways(body, found, rows)

    @staticmethod
    def print_ways(body, found, rows):
        titles = {"copy": "\\copy, then the run", "csv": "--input, CSV",
                  "jsonl": "--input, lines of JSON"}
        for way, usages in found.items():
            seconds = statistics.median(usage.seconds for usage in usages)
            # Round by round: the machine may change meanwhile.
            ratio = statistics.median(
                other.seconds / usage.seconds
                for other, usage in zip(found["copy"], usages))
            verdict = "" if way != "csv" else (
                f"  wanted {LEAST}: {'met' if ratio >= LEAST else 'missed'}")
            print(f"{body:18} {titles[way]:28} {seconds:8.2f}"
                  f" {rows / seconds:9,.0f}"
                  f" {max(usage.peak_mib for usage in usages):9.1f}"
                  f"  {ratio:.2f}{verdict}", flush=True)
