#!/usr/bin/python3
"""What the C sources may do only in places that the tables below name: end the
process, read answers of the server that nobody has checked, write to stdout.
And each exported symbol of the static libraries in BUILD_DIR begins with lm_ or
lmL_.

usage: sources.py BUILD_DIR

Prints each violation as "file:line: message" and a last line that counts;
exits 1 when there are any.
"""

import pathlib
import re
import subprocess
import sys

LAYERS = ["base", "pg", "core", "script", "testing", "cli"]

# Who may end the process, and how.
EXITS = {
    "cli/main.c": {"exit", "_exit", "_Exit", "quick_exit", "abort"},
    "base/mem.c": {"exit", "_exit", "_Exit", "quick_exit", "abort"},
    "pg/server/process.c": {"_exit"},  # between fork and exec
    "pg/server/home.c": {"_exit"},     # likewise
}

# Rows of any shape are those of pages and of scripts' own statements. What
# luamig asks by itself comes with a shape (pg/conn/answer.h), so these are the only
# files that may have an answer of which nothing is known.
UNSHAPED = {
    "pg/conn/conn.c": "where it comes from",
    "pg/conn/result.c": "where it is read",
    "core/page/page.c": "pages",
    "core/lane/failed_rows.c": "the rows of a page that are set aside",
    "core/repo/repo.c": "statements of scripts",
    "core/repo/writes.c": "how many rows their writes touched",
    "core/journal/ask.c": "statements whose answer nobody reads",
    "script/bind/bind.c": "statements of scripts",
    "script/bind/read.c": "rows of tables for scripts",
    "script/bind/rows.c": "pages and results as tables",
    "testing/world.c": "the key of a page's row, and what a test does to it",
}

# What is written to stdout passes through base/show.h, which makes foreign text
# harmless. Others:
PRINTERS = {
    "base/show.c": "writes it",
    "cli/cli.c": "looks whether all of it was written",
    "cli/commands/cmd_db.c": "likewise",
    "cli/commands/detach.c": "copies what another luamig has written",
    "cli/report/dry_report.c": "sends it on before what goes to stderr",
    "script/vm/interpreter.c": "prompts",
    "script/vm/child.c": "sends it on before what a child writes",
}

SYMBOL = re.compile(r"lm_|lmL_")
# What sanitizers add to an object.
SANITIZER_SYMBOL = re.compile(r"__odr_asan|__asan|__ubsan|__sancov")

# -- reading -----------------------------------------------------------------

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"
CALL = re.compile(r"\b(exit|_exit|_Exit|quick_exit|abort)\s*\(")
PRINTED = re.compile(r"\b(printf|puts|putchar|vprintf)\s*\(|\bstdout\b")
UNSHAPED_CALL = re.compile(r"\b(lm_result_\w+|lm_conn_execute|lm_conn_post)"
                           r"\s*\(")
COMMENT_OR_LITERAL = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def own_files():
    return sorted(path for path in SRC.rglob("*") if path.suffix in (".c", ".h"))


def blanked(text):
    """The code without comments and literals, on the lines where it was."""
    return COMMENT_OR_LITERAL.sub(
        lambda match: re.sub(r"[^\n]", " ", match.group()), text)


# -- rules -------------------------------------------------------------------

def check_exits(name, text):
    """Yields (line, complaint) for each end of the process out of place."""
    for number, line in enumerate(blanked(text).split("\n"), 1):
        for match in CALL.finditer(line):
            if match.group(1) not in EXITS.get(name, ()):
                yield number, f"{match.group(1)} must not be called here"


def check_shapes(name, text):
    """Yields (line, complaint) for each answer without a shape."""
    if name in UNSHAPED or name.endswith(".h"):
        return
    for number, line in enumerate(blanked(text).split("\n"), 1):
        for match in UNSHAPED_CALL.finditer(line):
            yield number, f"{match.group(1)}: ask with a shape (pg/conn/answer.h)"


def check_printing(name, text):
    """Yields (line, complaint) for what could write foreign text as it is."""
    if name in PRINTERS:
        return
    for number, line in enumerate(blanked(text).split("\n"), 1):
        for match in PRINTED.finditer(line):
            yield number, f"{match.group()}: write with base/show.h"


def exported_symbols(archive):
    """Yields (symbol, "file:line") for what an archive defines."""
    listing = subprocess.run(
        ["nm", "--extern-only", "--defined-only", "--line-numbers", archive],
        check=True, capture_output=True, text=True).stdout
    member = "?"
    for line in listing.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        match = re.match(r"[0-9a-f]* +([A-Za-z]) ([^\t]+)(?:\t(.*))?$", line)
        if match:
            place = match.group(3) or f"{archive.name}({member}):0"
            yield match.group(2), place.replace(f"{SRC.parent}/", "")


# -- the whole ---------------------------------------------------------------

def check_sources(violations):
    count = 0
    for path in own_files():
        name = str(path.relative_to(SRC))
        text = path.read_text(encoding="utf-8")
        count += 1
        for rule in (check_exits, check_shapes, check_printing):
            for number, complaint in rule(name, text):
                violations.append(f"src/{name}:{number}: {complaint}")
    return count


def check_symbols(build_dir, violations):
    count = 0
    for layer in LAYERS:
        archive = build_dir / f"liblm_{layer}.a"
        if not archive.is_file():
            violations.append(f"{archive}:0: not built")
            continue
        for symbol, place in exported_symbols(archive):
            count += 1
            if not SYMBOL.match(symbol) and not SANITIZER_SYMBOL.match(symbol):
                violations.append(f"{place}: exported symbol {symbol} does "
                                  "not begin with lm_ or lmL_")
    return count


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: sources.py BUILD_DIR")
    violations = []
    files = check_sources(violations)
    symbols = check_symbols(pathlib.Path(sys.argv[1]), violations)
    for violation in violations:
        print(violation)
    print(f"sources: {files} files, {symbols} symbols, "
          f"{len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
