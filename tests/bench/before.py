"""Part 4: this binary beside another one of luamig, in pairs on fresh tables.
Which of a pair goes first changes from round to round. What else the machine
does only ever adds time, so the least time of each is compared as well, and the
CPU seconds of client and server together."""

import statistics

from rig import output, say


class Pairs:
    def __init__(self, bench, before, variants):
        self.bench = bench
        self.rig = bench.rig
        self.binaries = {"now": self.rig.luamig, "before": before}
        self.journals = {
            name: output(binary, "journal", "--sql")
            for name, binary in self.binaries.items()}
        self.variants = variants

    def measure(self, name, variant, batch, rows):
        """One run by the binary of that name, which installs its journal."""
        kept = self.rig.luamig, self.rig.journal
        self.rig.luamig = self.binaries[name]
        self.rig.journal = self.journals[name]
        try:
            return self.bench.run_once(variant, batch, rows)
        finally:
            self.rig.luamig, self.rig.journal = kept

    def line(self, variant, batch, rows, rounds):
        ratios = {"time": [], "CPU": [], "client CPU": [], "peak": []}
        seconds = {"now": [], "before": []}
        for turn in range(rounds):
            names = ["now", "before"] if turn % 2 == 0 else ["before", "now"]
            usage = {name: self.measure(name, variant, batch, rows)
                     for name in names}
            now, before = usage["now"], usage["before"]
            seconds["now"].append(now.seconds)
            seconds["before"].append(before.seconds)
            ratios["time"].append(now.seconds / before.seconds)
            ratios["CPU"].append(now.all_cpu / before.all_cpu)
            ratios["client CPU"].append(now.cpu / before.cpu)
            ratios["peak"].append(now.peak_mib / before.peak_mib)
            say(f"{variant.title}, {batch}, pair {turn + 1}:"
                f" {ratios['time'][-1]:.3f} of the time before")
        columns = "".join(
            f" {statistics.median(values):7.3f}"
            f" ({min(values):.2f} to {max(values):.2f})"
            for values in ratios.values())
        least = min(seconds["now"]) / min(seconds["before"])
        title = f"{variant.title}{', ' + variant.audit if variant.audit else ''}"
        print(f"{title:44} {batch:>6,} {least:7.3f}{columns}", flush=True)

    def show(self, batches, rows, rounds):
        self.rig.make_users(rows)
        print(f"\n== 4. as a multiple of {self.binaries['before']}:"
              f" median of {rounds} pairs (least to most), {rows:,} rows\n")
        print(f"{'':44} {'batch':>6} {'least':>7} {'time':>7} {'':14}"
              f"{'CPU':>8} {'':14}{'client CPU':>11} {'':11}{'peak memory':>12}")
        for variant in self.variants:
            for batch in batches:
                self.line(variant, batch, rows, rounds)
