#!/usr/bin/python3
"""Holds src/ against the table of rooms below, and all code against its size.

A room is a folder of src/. The table says which rooms its files may include;
includes run in that direction only. Beside that:

- private.h belongs to its room, x_private.h to the files of that room whose
  names begin with x;
- no two files know each other, a file and its header being one (what the files
  of a room share in a private header is theirs together);
- a library's headers are included in one layer;
- no file of src, lua and tests has more than 700 lines. (The length of a
  function is clang-tidy's to judge.)

Prints each violation as "file:line: message" and a last line that counts;
exits 1 when there are any.
"""

import pathlib
import re
import sys

# -- the table ---------------------------------------------------------------

PG = ["pg/sql", "pg/conn", "pg/query"]

# What is not named here may not be included. Each room may use its own files,
# and "base".
ROOMS = {
    "base": [],
    "pg/sql": [],
    "pg/conn": ["pg/sql"],
    "pg/query": ["pg/sql"],
    "pg/server": ["pg/sql", "pg/conn"],
    "core": [],  # migration.h: what the engine knows of a script
    "core/page": ["core", *PG],
    "core/journal": ["core", "core/page", *PG],
    "core/health": ["core", *PG],
    "core/repo": ["core", "core/page", *PG],
    "core/input": ["core", *PG],
    "core/check": ["core", "core/page", "core/journal", "core/health",
                   "core/input", *PG],
    "core/lane": ["core", "core/page", "core/journal", "core/health",
                  "core/repo", *PG],
    "core/run": ["core", "core/page", "core/journal", "core/health",
                 "core/repo", "core/check", "core/input", "core/lane", *PG],
    "core/dry": ["core", "core/page", "core/repo", "core/lane", "core/run",
                 *PG],
    "script/value": PG,
    "script/vm": ["core", "script/value"],
    "script/bind": ["core/page", "core/repo", "script/value", "script/vm",
                    *PG],
    "script": ["core", "core/page", "core/health", "script/value",
               "script/vm", "script/bind", *PG],
}
CORE = [room for room in ROOMS if room.startswith("core")]
SCRIPT = [room for room in ROOMS if room.startswith("script")]
ROOMS["testing"] = [*PG, "pg/server", *CORE, *SCRIPT]
ROOMS["cli"] = []  # main, the table of commands, what all of them use
ROOMS["cli/files"] = ["script/vm"]
ROOMS["cli/target"] = ["cli", "core/journal", "script", "pg/conn", "pg/server"]
ROOMS["cli/report"] = ["cli", "cli/target", "core/journal", "core/check",
                       "core/run", "core/dry", "script", "pg/conn"]
ROOMS["cli/commands"] = ["cli", "cli/files", "cli/target", "cli/report",
                         "testing", "script", "script/vm", "core/journal",
                         "core/check", "core/input", "core/run", "pg/sql",
                         "pg/conn", "pg/server"]

# Single includes beside the table, each with its reason.
EDGES = {
    ("pg/server/scratch.c", "pg/conn/private.h"):
        "posts requests that nobody waits for",
}

# Headers that only one layer may see.
PRIVATE = {
    "pg/conn/stmt.h": "pg/",
    "pg/sql/parse.h": "pg/",
    "pg/sql/tree.h": "pg/",
}

# Files that know each other, since what they do is recursive.
CIRCLES = [{"script/value/array", "script/value/value"}]

# Libraries: which layers may include their headers.
LIBRARIES = [
    (re.compile(r"libpq-fe\.h|libpq/.*|postgres\w*(/.*|\.h)|pg_config.*"),
     ("pg",)),
    (re.compile(r"csv\.h|iconv\.h|sha256\.h"), ("core",)),
    (re.compile(r"pg_query(\.h|/.*)|protobuf-c/.*"), ("pg",)),
    (re.compile(r"(.*/)?(lua|lauxlib|lualib|luaconf)\.(h|hpp)"),
     ("script", "testing")),
]

# Made by CMake.
GENERATED = {"sqlstates.inc"}

MOST_LINES = 700

# -- reading -----------------------------------------------------------------

TOP = pathlib.Path(__file__).resolve().parents[2]
SRC = TOP / "src"
INCLUDE = re.compile(r"\s*#\s*include\s*([<\"])([^>\"]+)[>\"]")


def own_files():
    return sorted(path for path in SRC.rglob("*") if path.suffix in (".c", ".h"))


def room_of(name):
    """ "core/page" of "core/page/key.h". """
    return name.rpartition("/")[0]


def includes_of(path):
    """Yields (line, bracket, header)."""
    for number, line in enumerate(
            path.read_text(encoding="utf-8").split("\n"), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, *match.groups()


# -- rules -------------------------------------------------------------------

def check_library(name, header):
    """A header that is not ours; returns a complaint or None."""
    for pattern, layers in LIBRARIES:
        if pattern.fullmatch(header) and name.partition("/")[0] not in layers:
            return f"<{header}> belongs into src/{' or src/'.join(layers)}"
    return None


def is_private(header):
    return header.endswith(("/private.h", "_private.h"))


def check_private(name, header):
    place = PRIVATE.get(header)
    if place is None and header.endswith("/private.h"):
        place = room_of(header) + "/"
    elif place is None and header.endswith("_private.h"):
        place = header.removesuffix("_private.h")
    if place is None or name.startswith(place):
        return None
    return f"\"{header}\" is private to src/{place}"


def check_own(name, header):
    """A header of ours; returns a complaint or None."""
    room, own = room_of(header), room_of(name)
    if not (SRC / header).is_file():
        return f"there is no src/{header}"
    if (name, header) in EDGES:
        return None
    if room not in (own, "base") and room not in ROOMS[own]:
        return f"src/{own} must not know src/{room}"
    return check_private(name, header)


def check_include(name, bracket, header):
    if header in GENERATED:
        return None
    if bracket == '"':
        return check_library(name, header) or check_own(name, header)
    if (SRC / header).is_file():
        return f"<{header}> is our own and goes into quotes"
    return check_library(name, header)


def circles(edges):
    """The sets of files that reach each other, as sets of names."""
    reach = {name: set() for name in edges}
    for start, seen in reach.items():
        waiting = list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += edges.get(name, ())
    found = {frozenset(b for b in reach if b in reach[a] and a in reach[b])
             for a in reach}
    return sorted((sorted(circle) for circle in found if len(circle) > 1))


def check_circles(edges):
    for circle in circles(edges):
        if set(circle) not in CIRCLES:
            yield f"src/{circle[0]}.c:1: a circle: {', '.join(circle)}"


def check_includes(violations):
    count = 0
    edges = {}
    for path in own_files():
        name = str(path.relative_to(SRC))
        if room_of(name) not in ROOMS:
            violations.append(f"src/{name}:1: the table has no such room")
            continue
        module = name.rpartition(".")[0]
        known = edges.setdefault(module, set())
        for number, bracket, header in includes_of(path):
            count += 1
            complaint = check_include(name, bracket, header)
            if complaint:
                violations.append(f"src/{name}:{number}: {complaint}")
            if bracket == '"' and not is_private(header) \
                    and header not in GENERATED:
                known.add(header.rpartition(".")[0])
        known.discard(module)
    violations.extend(check_circles(edges))
    return count


def check_sizes(violations):
    for folder in ("src", "lua", "tests"):
        for path in sorted((TOP / folder).rglob("*")):
            if path.suffix not in (".c", ".h", ".lua", ".py"):
                continue
            lines = path.read_bytes().count(b"\n")
            name = str(path.relative_to(TOP))
            if lines > MOST_LINES:
                violations.append(f"{name}:{lines}: more than"
                                  f" {MOST_LINES} lines")


def main():
    violations = []
    includes = check_includes(violations)
    check_sizes(violations)
    for violation in violations:
        print(violation)
    print(f"rooms: {includes} includes, {len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
