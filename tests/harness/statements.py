"""The statements that luamig made the server execute, as the server logs
them, and which of them are combined ones."""

import os
import re

_ENTRY = re.compile(
    r"^([^|\n]*)\|luamig:[^|\n]*\|\d+\|LOG:  execute [^:\n]*: "
    r"(.*(?:\n\t.*)*)$", re.M)
_starts = {}  # where in the log the statements of a database begin
_COMBINED = re.compile(r'WITH written AS \((INSERT|UPDATE|DELETE)(?: INTO| FROM)? '
                       r'((?:"(?:[^"]|"")*"\.?)+)')


def record(db):
    """From the next session on, every statement in this database is logged."""
    db.set("log_statement", "all")
    db.set("log_parameter_max_length", "0")
    db.set("log_parameter_max_length_on_error", "0")
    _starts[db.name] = os.path.getsize(db.cluster.log_path)


def of(db):
    """Every statement, in order."""
    with open(db.cluster.log_path, encoding="utf-8",
              errors="replace") as log:
        log.seek(_starts[db.name])
        return [sql.replace("\n\t", "\n")
                for name, sql in _ENTRY.findall(log.read()) if name == db.name]


def combined(db):
    """The combined statements, in order: ["UPDATE t", "INSERT s.t"]."""
    found = (_COMBINED.match(sql) for sql in of(db))
    return [f"{match[1]} {match[2]}".replace('"', "")
            for match in found if match]
