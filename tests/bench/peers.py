#!/usr/bin/python3
"""What one would write with psycopg2, to compare luamig with.

usage: peers.py row|values CONNINFO BATCH

The same work, transactions and checkpoint as peers.c: an UPDATE a row, or one
UPDATE a batch by execute_values.
"""

import sys

import psycopg2
from psycopg2.extras import execute_values

STEPS = ("welcome", "profile", "invite", "done")
PAGE = """SELECT id, email FROM users WHERE onboarding_step IS NULL
          AND id > %s AND id <= %s ORDER BY id LIMIT %s"""
CHECKPOINT = """UPDATE bench_checkpoint SET cursor = %s, rows = rows + %s,
                batches = batches + 1, at = clock_timestamp() WHERE id = 1"""
UPDATE = "UPDATE users SET onboarding_step = %s WHERE id = %s"
UPDATE_VALUES = """UPDATE users SET onboarding_step = v.step
                   FROM (VALUES %s) AS v (id, step) WHERE users.id = v.id"""


def step_for(key, email):
    return STEPS[(key + len(email)) % 4]


def write_rows(cursor, rows):
    for key, email in rows:
        cursor.execute(UPDATE, (step_for(key, email), key))
        assert cursor.rowcount == 1


def write_values(cursor, rows):
    if rows:
        values = [(key, step_for(key, email)) for key, email in rows]
        execute_values(cursor, UPDATE_VALUES, values, page_size=len(values))
        assert cursor.rowcount == len(rows)


def main(mode, conninfo, batch):
    write = {"row": write_rows, "values": write_values}[mode]
    batch = int(batch)
    connection = psycopg2.connect(conninfo)
    connection.set_session(isolation_level="REPEATABLE READ")
    cursor = connection.cursor()
    cursor.execute(
        "SELECT max(id) FROM users WHERE onboarding_step IS NULL"
    )
    bound = cursor.fetchone()[0] or 0
    connection.commit()
    last, more = 0, True
    while more:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(PAGE, (last, bound, batch + 1))
        rows = cursor.fetchall()
        more = len(rows) > batch
        rows = rows[:batch]
        write(cursor, rows)
        last = rows[-1][0] if rows else last
        cursor.execute(CHECKPOINT, (last, len(rows)))
        connection.commit()
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
