"""What must be true when luamig has ended, whatever happened meanwhile.

The table of the oracle is harness/readings.py: a model of the end that is a
function of the beginning, and a trigger that counts the writes of each row.
Besides, nothing of luamig may be left on the server.
"""

from harness import readings
from harness.wait import wait_until

LEFT = """
SELECT 'session ' || a.pid || ': ' || a.state || ' ' || a.query
    FROM pg_stat_activity a WHERE a.datname = current_database()
    AND a.application_name LIKE 'luamig%%'
    AND (a.state <> 'idle' OR NOT %s)
UNION ALL
SELECT 'lock of ' || l.pid || ' on ' || coalesce(l.relation::regclass::text,
        l.locktype)
    FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.pid <> pg_backend_pid()
    AND (l.locktype = 'advisory'
         OR l.relation::regclass::text IN ('luamig.run', 'luamig.progress',
                                           'luamig.range', 'luamig.worker',
                                           'readings', 'marks'))
UNION ALL
SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
    WHERE database = current_database()
UNION ALL
SELECT 'temporary ' || c.oid::regclass::text FROM pg_class c
    WHERE c.relpersistence = 't'
"""


def assert_nothing_left(db, pooled=False):
    """No session of luamig, lock or temporary object. Behind a pooler the
    sessions are its own, and stay, but idle. A server process whose client is
    gone may need a moment to see that."""
    left = []

    def gone():
        left[:] = db.cluster.query(LEFT, pooled, dbname=db.name)
        return not left
    try:
        wait_until(gone, "nothing of luamig to be left", timeout=30)
    except AssertionError:
        raise AssertionError(f"left on the server: {left}") from None


def assert_once(db, pooled=False, callbacks=True, failed=()):
    """The run is done, each row was written once, except those whose ids
    failed, nothing is left."""
    readings.assert_each_once(db, callbacks, failed)
    readings.assert_journal_agrees(db, failed)
    assert_nothing_left(db, pooled)
