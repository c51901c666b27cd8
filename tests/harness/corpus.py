"""Statements and what the guard says of them: tests/corpus."""

import contextlib
import os
import re

import psycopg2

from harness.project import TOP

FOLDER = os.path.join(TOP, "tests", "corpus")


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def statements(name="statements.txt"):
    """Yields (line, verdict, statement) for each one."""
    parts = re.split(r"^(?=[\[#])", read(name), flags=re.M)
    line = 1
    for part in parts:
        match = re.match(r"\[([^]]+)\].*\n((?s:.*))", part)
        if match:
            yield line, match.group(1), match.group(2).rstrip("\n")
        line += part.count("\n")


def newer():
    """Yields (line, first version, last version, verdict of a grammar that
    knows it or None, statement) for what not every version knows."""
    for line, text, sql in statements("newer.txt"):
        versions, *verdicts = text.split(" | ")
        first, last = re.fullmatch(r"(\d+)[+-](\d*)", versions).groups()
        yield (line, int(first), int(last or 99),
               verdicts[0] if len(verdicts) == 2 else None, sql)


def database(cluster):
    """A new database with the tables that the statements are about."""
    made = cluster.make_database()
    made.execute(read("schema.sql"))
    return made


@contextlib.contextmanager
def trial(db):
    """Gives a function that runs a statement in a transaction, which is undone
    in the end, and returns the SQLSTATE of its error, or None."""
    connection = psycopg2.connect(db.url)
    cursor = connection.cursor()
    cursor.execute("DECLARE c CURSOR FOR SELECT * FROM t; FETCH c")

    def run(sql):
        if "$1" in re.sub(r"\$\$.*?\$\$", "", sql, flags=re.S):
            sql = "PREPARE parameters AS " + sql
        try:
            cursor.execute(sql)
        except psycopg2.Error as error:
            return error.pgcode
        return None
    yield run
    connection.close()
