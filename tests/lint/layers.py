#!/usr/bin/python3
"""Holds src/ against the table of allowed edges below.

usage: layers.py BUILD_DIR

Reads every .c and .h below src/, also for answers of the server that are used
without having been checked, and the symbols that the static libraries in
BUILD_DIR export. Prints each violation as "file:line: message" and a last line
that counts; exits 1 when there are any.
"""

import pathlib
import re
import subprocess
import sys

# -- the table ---------------------------------------------------------------

# A file may include what lies in its own folder or to the left of it.
LAYERS = ["base", "pg", "core", "script", "cli"]

# In these folders, files of one folder do not know each other either. What a
# file may include there all the same:
SIBLINGS_APART = {"core"}
# - the header of its own module: journal_ddl.c belongs to journal.h;
# - the seams, which hold nothing but types;
SEAMS = {"core/migration.h", "core/base_query.h"}
# - everything, for the files of the modules where all others meet: during a
#   run, and before it;
MEETING_PLACES = {"core/runner", "core/check"}
# - single edges, each with its reason.
EDGES = {
    ("core/status.c", "core/journal.h"): "reads the journal's tables by name",
    ("core/status_name.c", "core/journal.h"): "likewise",
    ("core/repo.h", "core/shape.h"): "a repo combines writes of one shape",
    ("core/shape.h", "core/write.h"): "a shape is of the names of a write",
    ("core/sample.h", "core/tally.h"): "samples are of what was written",
}

# Headers that only one module or one folder may see.
PRIVATE = {
    "core/check_private.h": "core/check",
    "core/journal_private.h": "core/journal",
    "core/runner_private.h": "core/runner",
    "core/pager_private.h": "core/pager",
    "core/preflight_private.h": "core/preflight",
    "core/repo_private.h": "core/repo",
    "core/shape_private.h": "core/shape",
    "script/bind_private.h": "script/bind",
    "pg/conn_private.h": "pg/",
    "pg/server_parts.h": "pg/server",
    "pg/guard_private.h": "pg/guard",
    "pg/parse.h": "pg/",
    "pg/query_key_private.h": "pg/query_key",
    "pg/query_private.h": "pg/query",
    "pg/stmt.h": "pg/",
    "pg/tree.h": "pg/",
}

# Libraries: which folder may include their headers.
LIBRARIES = [
    (re.compile(r"libpq-fe\.h|libpq/.*|postgres\w*(/.*|\.h)|pg_config.*"),
     "pg"),
    (re.compile(r"pg_query(\.h|/.*)|protobuf-c/.*"), "pg"),
    (re.compile(r"(.*/)?(lua|lauxlib|lualib|luaconf)\.(h|hpp)"), "script"),
]

# Who may end the process, and how.
EXITS = {
    "cli/main.c": {"exit", "_exit", "_Exit", "quick_exit", "abort"},
    "base/mem.c": {"exit", "_exit", "_Exit", "quick_exit", "abort"},
    "pg/server_process.c": {"_exit"},  # between fork and exec
    "pg/server_home.c": {"_exit"},     # likewise
}

# Rows of any shape are those of pages and of scripts' own statements. What
# luamig asks by itself comes with a shape (pg/answer.h), so these are the only
# files that may have an answer of which nothing is known.
UNSHAPED = {
    "pg/conn.c": "where it comes from",
    "pg/result.c": "where it is read",
    "core/pager.c": "pages",
    "core/runner_quarantine.c": "the rows of a page that are set aside",
    "core/repo.c": "statements of scripts",
    "core/repo_writes.c": "how many rows their writes touched",
    "core/journal_ask.c": "statements whose answer nobody reads",
    "script/bind.c": "statements of scripts",
    "script/bind_rows.c": "pages and results as tables",
    "script/world.c": "the key of a page's row, and what a test does to it",
}

# What is written to stdout passes through base/show.h, which makes foreign text
# harmless. Others:
PRINTERS = {
    "base/show.c": "writes it",
    "cli/cli.c": "looks whether all of it was written",
    "cli/cmd_db.c": "likewise",
    "cli/detach.c": "copies what another luamig has written",
    "cli/dry_report.c": "sends it on before what goes to stderr",
    "script/interpreter.c": "prompts",
}

SYMBOL = re.compile(r"lm_|lmL_")
# What sanitizers add to an object.
SANITIZER_SYMBOL = re.compile(r"__odr_asan|__asan|__ubsan|__sancov")

# -- reading -----------------------------------------------------------------

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"
INCLUDE = re.compile(r"\s*#\s*include\s*([<\"])([^>\"]+)[>\"]")
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


def belongs(name, module):
    """Is "core/journal_ddl.c" a file of the module "core/journal"?"""
    stem = name.rsplit(".", 1)[0]
    return stem == module or stem.startswith(module + "_")


# -- rules -------------------------------------------------------------------

def check_library(name, header):
    """A header that is not ours; returns a complaint or None."""
    for pattern, folder in LIBRARIES:
        if pattern.fullmatch(header) and not name.startswith(folder + "/"):
            return f"<{header}> belongs into src/{folder}"
    return None


def check_sibling(name, header):
    module = header.rsplit(".", 1)[0]
    allowed = (header in SEAMS or belongs(name, module)
               or (name, header) in EDGES or header in PRIVATE
               or any(belongs(name, place) for place in MEETING_PLACES))
    return None if allowed else f"{name} must not know its sibling {header}"


def check_private(name, header):
    place = PRIVATE.get(header)
    if place is None or belongs(name, place) or (
            place.endswith("/") and name.startswith(place)):
        return None
    return f"\"{header}\" is private to src/{place}"


def check_own(name, header):
    """A header of ours; returns a complaint or None."""
    folder, _, rest = header.partition("/")
    if not rest:
        return f"\"{header}\" lacks its folder"
    if folder not in LAYERS or not (SRC / header).is_file():
        return f"there is no src/{header}"
    own_folder = name.partition("/")[0]
    if LAYERS.index(folder) > LAYERS.index(own_folder):
        return f"\"{header}\" lies above src/{own_folder}"
    complaint = check_private(name, header)
    if complaint is None and folder == own_folder and folder in SIBLINGS_APART:
        complaint = check_sibling(name, header)
    return complaint


def check_includes(name, text):
    """Yields (line, complaint or None) for each include."""
    for number, line in enumerate(text.split("\n"), 1):
        match = INCLUDE.match(line)
        if match is None:
            continue
        bracket, header = match.groups()
        if bracket == '"':
            complaint = check_library(name, header) or check_own(name, header)
        elif (SRC / header).is_file():
            complaint = f"<{header}> is our own and goes into quotes"
        else:
            complaint = check_library(name, header)
        yield number, complaint


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
            yield number, f"{match.group(1)}: ask with a shape (pg/answer.h)"


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
        if name.partition("/")[0] not in LAYERS:
            violations.append(f"src/{name}:1: no layer has this folder")
            continue
        for number, complaint in check_includes(name, text):
            count += 1
            if complaint:
                violations.append(f"src/{name}:{number}: {complaint}")
        for number, complaint in check_exits(name, text):
            violations.append(f"src/{name}:{number}: {complaint}")
        for number, complaint in check_shapes(name, text):
            violations.append(f"src/{name}:{number}: {complaint}")
        for number, complaint in check_printing(name, text):
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
        sys.exit("usage: layers.py BUILD_DIR")
    violations = []
    includes = check_sources(violations)
    symbols = check_symbols(pathlib.Path(sys.argv[1]), violations)
    for violation in violations:
        print(violation)
    print(f"layers: {includes} includes, {symbols} symbols, "
          f"{len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
