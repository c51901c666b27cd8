"""What becomes of a batch that failed, by its SQLSTATE. The oracle of all of
them: at the end every row was written once."""

import itertools
import re
import struct
import threading
import time

import pytest

from harness.cluster import Cluster
from harness.proxy import TO_CLIENT
from harness.project import DONE, FAILED, UNREACHABLE
from harness.wait import wait_until

ADD = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0, {config} }},
  base_query = [[SELECT id, n FROM t {where}]],
  migrate = function(rows, repo)
    {before}
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = row.n + 10 }})
    end
  end,
}}
"""


@pytest.fixture
def table(db):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT i, i FROM generate_series(1, 200) i""")
    return db


def add(project, batch=64, config="", where="", before=""):
    project.script(ADD.format(batch=batch, config=config, where=where,
                              before=before))


def assert_each_once(db, count=200):
    assert db.rows("SELECT count(*), count(*) FILTER (WHERE n = id + 10)"
                   " FROM t") == [(count, count)]


# -- timeouts --------------------------------------------------------------


def test_a_run_waits_for_the_lock_of_another_session(table, project):
    add(project, config="lock_timeout_ms = 100")
    holder = table.cluster.connect(table.name)
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM t WHERE id = 70 FOR UPDATE")
    runner = project.start_run("-v")
    wait_until(lambda: not runner.alive or table.progress() == 64,
               "the batch before the lock")
    time.sleep(0.5)
    assert runner.alive
    holder.rollback()
    result = runner.wait().expect(DONE)
    assert result.retries > 0
    assert_each_once(table)


def test_a_lock_that_never_goes_ends_the_run_at_its_row(table, project):
    add(project, config="lock_timeout_ms = 20, retries = 2")
    holder = table.cluster.connect(table.name)
    holder.autocommit = False
    holder.cursor().execute("SELECT FROM t WHERE id = 70 FOR UPDATE")
    project.run().expect(FAILED, "gave up after 3 attempts", "55P03",
                         "keys (id) from (70) to (70)")
    assert table.column("SELECT id FROM t WHERE n <> id ORDER BY id") == (
        list(range(1, 70)))
    holder.rollback()
    project.run().expect(DONE)
    assert_each_once(table)


def test_a_page_that_takes_too_long_is_read_in_smaller_ones(table, project):
    """Each row costs 5 ms; a page of 64 would take longer than it may."""
    add(project, config="statement_timeout_ms = 200",
        where="WHERE pg_sleep(0.005) IS NOT NULL")
    result = project.run().expect(DONE)
    assert result.retries >= 1
    assert_each_once(table)
    assert table.progress("batches") > 200 // 64 + 1


def test_a_statement_cancelled_by_others_again_and_again(table, project):
    add(project, batch=20, config="throttle_ms = 20",
        before='repo:query("SELECT pg_sleep(0.02)")')
    runner = project.start_run()
    wait_until(lambda: table.progress() > 0, "the run to be at work")
    stop = threading.Event()

    def cancel():
        link = table.cluster.connect("postgres")
        while not stop.wait(0.1):
            link.cursor().execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE"
                " datname = %s AND state = 'active'", [table.name])

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        runner.wait().expect(DONE)
    finally:
        stop.set()
        thread.join()
    assert_each_once(table)


def test_a_one_shot_that_times_out_is_not_tried_for_ever(table, project):
    project.script("""return {
      config = { statement_timeout_ms = 50, retries = 2 },
      run = function(repo) repo:query("SELECT pg_sleep(1)") end }""")
    project.run().expect(FAILED, "gave up after 3 attempts", "57014")


def late_error():
    """What a server says that notices a cancel request when its answers are
    given."""
    fields = b"".join(code + text + b"\0" for code, text in (
        (b"S", b"ERROR"), (b"V", b"ERROR"), (b"C", b"57014"),
        (b"M", b"canceling statement due to user request"))) + b"\0"
    return b"E" + struct.pack(">I", 4 + len(fields)) + fields


# Settings that the transaction had pinned are told anew after COMMIT.
SETTINGS_TOLD = rb"(?:S\0\0..[^\0]*\0[^\0]*\0)*"


@pytest.mark.parametrize("after", [
    rb"SELECT 65\0(?=Z\0\0\0\x05T)",
    rb"COMMIT\0(?=S\0\0|Z\0\0\0\x05I)",
    rb"COMMIT\0" + SETTINGS_TOLD + rb"(?=Z\0\0\0\x05I)"],
    ids=["page", "COMMIT", "COMMIT, settings"])
def test_a_cancel_that_strikes_when_everything_is_answered(
        table, project, proxy, after):
    """After a page, and after COMMIT, which it cannot undo."""
    add(project, batch=64)
    count = itertools.count(1)

    def rewrite(direction, data):
        found = (re.search(after, data, re.DOTALL)
                 if direction == TO_CLIENT else None)
        if found is None or next(count) != 2:
            return data
        return data[:found.end()] + late_error() + data[found.end():]

    proxy.rewrite = rewrite
    url = table.cluster.url(table.name, host=proxy.host)
    project.start_run(url=url).wait().expect(DONE)
    assert next(count) > 2
    assert_each_once(table)


# -- what the server lacks -------------------------------------------------


@pytest.mark.parametrize("state", ["53100", "53200", "53400"])
def test_a_shortage_is_waited_for(table, project, state):
    table.execute(f"""CREATE SEQUENCE s;
        CREATE FUNCTION lack() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('s') IN (2, 3) THEN
                RAISE 'no space left' USING ERRCODE = '{state}';
            END IF;
            RETURN 0; END $$""")
    add(project, before='repo:query("SELECT lack()")')
    result = project.run().expect(DONE)
    assert "no space left" in result.err and "waiting" in result.err
    assert result.retries == 2
    assert_each_once(table)


# -- another server ----------------------------------------------------------


def test_another_server_behind_the_same_address_is_refused(
        table, project, proxy):
    """It holds a copy of the tables and of the journal, as a restored backup
    might."""
    url = table.cluster.url(table.name, host=proxy.host)
    add(project, batch=50)
    runner = project.start_run(url=url, fault="after_commit:2=stop")
    runner.wait_frozen()
    other = Cluster.fresh().start()
    try:
        copy = other.make_database(table.name)
        copy.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
                     "INSERT INTO t SELECT i, i FROM generate_series(1, 200) i")
        proxy.lead_to(other)
        proxy.cut()
        runner.thaw()
        runner.wait().expect(UNREACHABLE, "is not the server of this run", "system identifier")
        assert copy.scalar("SELECT count(*) FROM t WHERE n <> id") == 0
    finally:
        other.remove()
    proxy.lead_to(table.cluster)
    project.start_run(url=url).wait().expect(DONE)
    assert_each_once(table)


# -- before the run has begun -------------------------------------------------


def test_statements_that_are_cancelled_while_the_run_is_acquired(
        table, project):
    """Its journal is made, the query looked at: all that is done again."""
    add(project)
    stop = threading.Event()
    cancelled = []

    def cancel():
        link = table.cluster.connect("postgres")
        cursor = link.cursor()
        while not stop.wait(0.005) and len(cancelled) < 5:
            cursor.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE"
                " datname = %s AND state = 'active'", [table.name])
            cancelled.extend(cursor.fetchall())

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        project.run().expect(DONE)
    finally:
        stop.set()
        thread.join()
    assert_each_once(table)


def test_another_runner_takes_long_to_create_the_journal(table, project):
    add(project)
    holder = table.cluster.connect(table.name)
    holder.autocommit = False
    holder.cursor().execute("SELECT pg_advisory_xact_lock("
                            "hashtextextended('luamig journal luamig', 0))")
    runner = project.start_run("-v")
    wait_until(lambda: "trying again" in runner.stderr(), "the first refusal")
    holder.rollback()
    runner.wait().expect(DONE)
    assert_each_once(table)
