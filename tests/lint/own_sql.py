#!/usr/bin/python3
"""luamig's own SQL means pg_catalog whatever the search_path is (pg/conn/own.h).

Looks at every string of the C sources that is SQL. A text that begins with
LM_OWN, or goes through what puts that before it (the journal's), may name
things plainly. All others run under the path of the user, so there each
function, operator and type is qualified."""

import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

# Texts that get LM_OWN elsewhere, or are no SQL for a server of the user's.
ELSEWHERE = {
    "core/journal/journal.c": "lm_journal_ask puts LM_OWN before them",
    **{f"core/journal/{name}.c": "likewise"
       for name in ("claim", "request", "find", "ask", "install", "fit",
                    "damage", "owner")},
    "core/journal/ddl.c": "runs in a transaction of lm_txn.own; the bodies of"
                          " functions have a path or qualify, see below",
    "core/journal/journal.h": "a part of texts with LM_OWN",
    "core/page/position.c": "LM_OWN stands where they are put together",
    "core/check/relation.c": "likewise, but for those that are said to need the"
                       " user's path",
    "pg/conn/own.h": "is about it", "pg/conn/order.h": "parts of texts with LM_OWN",
    "pg/query/key_rows.c": "hints, no SQL of its own",
    "pg/query/key_judge.c": "likewise",
    "core/page/preflight_order.c": "hints, no SQL of its own",
    "testing/tester.c": "a throw-away server", "pg/server/server.c": "likewise",
    "pg/server/scratch.c": "likewise", "pg/server/home.c": "likewise",
}
# Macros that are parts of texts with LM_OWN.
PARTS = ["ALIVE", "DOING", "WORKERS", "LM_JOURNAL_ALIVE", "EQUALS", "ENFORCED", "LM_JOURNAL_AT_WORK", "LM_JOURNAL_HELD", "HELD",
         "LEASED", "TOTAL", "LIVE", "RUNS_SQL", "FAILURES_SQL", "AS_JSON", "FITS"]

# What puts LM_OWN before its text, and what runs it in the batch's transaction.
ASKED = re.compile(r"\blm_journal_(ask|command|write)\(\s*self,\s*$")
POSTED = re.compile(r"\blm_journal_post\(\s*self,\s*$")

STRING = r'"(?:[^"\\\n]|\\.)*"'
# A run of strings and macros, as one expression of C.
IS_SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|SET LOCAL|CASE"
                    r" WHEN|JOIN|WHERE|FROM)\b")
KEYWORDS = set("""execute read part relation n k any array as all and or not in is on by values coalesce nullif
    greatest least exists from select where when then else case over filter
    interval row rows of using with ordinality operator lateral extract within
    group conflict join limit offset key exception into""".split())
TYPES = r"(?:text|oid|name|regclass|int[248]|bool|json|jsonb|xid8?|uuid|bytea)"
# What is looked up by name, in SQL without its literals and quoted names.
FAULTS = [
    ("a type", re.compile(r"::\s*" + TYPES + r"\b")),
    ("an operator", re.compile(
        r"\s(?:=|<>|<=?|>=?|\|\||~|!~|\+|/|%%?|&&?)\s")),
    ("IN, LIKE or BETWEEN", re.compile(r"\b(IN|LIKE|BETWEEN|ILIKE)\s")),
    ("NULLIF or DISTINCT FROM", re.compile(r"\bnullif|DISTINCT FROM", re.I)),
    ("CASE of a value", re.compile(r"\bCASE\s+(?!\s*WHEN)")),
]
CALL = re.compile(r"(?<![.\w\"%])([a-z_][a-z0-9_]*)\s*\(")


def strip(sql):
    sql = re.sub(r"'(?:[^']|'')*'", "''", sql)
    sql = re.sub(r'\\"(?:[^"\\])*\\"', "q", sql)
    sql = re.sub(r"OPERATOR\(pg_catalog\.[^)]*\)", "@", sql)
    sql = re.sub(r"(ERRCODE|SET (?:LOCAL )?\w+) = ", "", sql)
    sql = re.sub(r"AS \w+ \([^()]*\)", "AS a", sql)
    return sql


def faults(sql):
    text = strip(sql)
    for what, pattern in FAULTS:
        found = pattern.search(text)
        if found:
            yield f"{what}: {text[max(0, found.start() - 30):found.end() + 20]}"
    for name in CALL.findall(text):
        if name not in KEYWORDS:
            yield f"function {name}"


def gap_joins(gap, depth):
    """Are the strings around it one text? depth: of a macro's arguments."""
    for char in gap:
        depth += (char == "(") - (char == ")")
        if depth < 0 or (char in ",=;" and depth == 0):
            return None
    return depth if re.fullmatch(r"[\sA-Z_0-9(),a-z.]*", gap) else None


def texts(source):
    """Where each text of C begins, what its strings say, and the macros in it."""
    source = re.sub(r"^#include.*$", "", source, flags=re.M)
    source = source.replace("\\\n", " \n")
    source = re.sub(r"/\*(?:[^*]|\*(?!/))*\*/",
                    lambda found: re.sub(r"[^\n]", " ", found.group(0)), source)
    start, end, words, macros, depth = 0, 0, [], [], 0
    for token in re.finditer(STRING + r"|\b[A-Z][A-Z_]+\b", source):
        joined = gap_joins(source[end:token.start()], depth) if end else None
        if joined is None:
            yield source, start, "".join(words), macros
            start, words, macros, joined = token.start(), [], [], 0
        depth, end = joined, token.end()
        text = token.group(0)
        if text.startswith('"'):
            words.append(text[1:-1])
        else:
            macros.append(text)
    yield source, start, "".join(words), macros


def check(path, text):
    own = ["LM_OWN", "LM_OWN_ABOUT_TABLE"] + re.findall(r"#define (\w+)\s+(?:\\\s+)?LM_OWN", text)
    for source, start, sql, macros in texts(text):
        if macros and source[start:].startswith(macros[0]) and (
                macros[0] in own or source[:start].endswith("#define ") and
                macros[0] in PARTS):
            continue
        before = source[max(0, start - 80):start]
        if ASKED.search(before) or (path in ELSEWHERE
                                    and not POSTED.search(before)):
            continue
        line = source.count("\n", 0, start) + 1
        for part in set(macros) & set(PARTS):
            yield f"{path}:{line}: {part} in a text without LM_OWN"
        if sql.startswith("DO $luamig$ BEGIN SET LOCAL search_path = "):
            continue
        if not IS_SQL.search(sql) or not re.search(
                r"\$\d|pg_catalog|[(=*]", sql):
            continue
        for fault in faults(sql):
            yield f"{path}:{line}: under the user's search_path, {fault}"


def bodies_without_path(source):
    """Functions of the journal that have no search_path of their own."""
    text = "".join(piece[1:-1] for piece in re.findall(STRING, source))
    for body in re.findall(r"FUNCTION \{schema\}\.(\w+)(.*?)END \{quote\}",
                           text, re.S):
        if "SET search_path = pg_catalog, pg_temp" not in body[1]:
            code = body[1].split("{quote}", 1)[1]
            code = re.sub(r"SET cursor = |\b(\w+) = (?=\w+ @|p_\w+,|pg_)", "",
                          strip(code.replace("\\n", " ")))
            for fault in faults(code):
                yield f"core/journal/ddl.c: {body[0]}, without a path: {fault}"


def main():
    found = []
    for folder in ("core", "pg", "cli", "script"):
        for name in sorted(os.listdir(os.path.join(TOP, "src", folder))):
            path = f"{folder}/{name}"
            if not name.endswith((".c", ".h")):
                continue
            with open(os.path.join(TOP, "src", path), encoding="utf-8") as file:
                source = file.read()
            found += check(path, source)
            if path == "core/journal/ddl.c":
                found += bodies_without_path(source)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
