"""A journal as luamig 0.1 left it: its released steps, and its rows."""

import hashlib
import json


def install(project, db):
    """The tables of version 3, which 0.1 made."""
    ddl = project.luamig("journal", "--sql", url=False).out
    last = 'INSERT INTO "luamig".version (version) VALUES (3);\n'
    assert last in ddl
    db.execute(ddl[:ddl.index(last) + len(last)] + "COMMIT;")


def add_run(db, script, source, state="stopped", args=None, key=("id",),
            cursor=None, bound=None, rows=0, batches=0, started=True):
    """A run of a paged script, whose runner is gone. Its number."""
    run = db.scalar("""
        INSERT INTO luamig.run (script, args, sha256, config, state, version,
                                exit_code)
        VALUES (%s, %s, %s, '{}', %s, '0.1.0', %s) RETURNING id""",
        script, json.dumps(args or {}),
        hashlib.sha256(source.encode()).hexdigest(), state,
        {"done": 0, "done_with_failures": 7}.get(state, 5))
    db.execute("""
        INSERT INTO luamig.progress (run_id, key_columns, cursor, bound,
            lease_until, host, pid, backend_pid, started, rows, batches)
        VALUES (%s, %s, %s, %s, 'epoch', 'old', 1, 1, %s, %s, %s)""",
        run, list(key), cursor, bound, started, rows, batches)
    return run
