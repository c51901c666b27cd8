"""The next page is asked for behind the COMMIT of a batch, in a transaction
that begins then. Nobody can tell, but by the round trips."""

import signal

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import DONE, STOPPED
from harness.wait import wait_until

# Fails at COMMIT, after the deferred triggers have had their turn: the first
# one defers another. Once, since a sequence does not go back.
FAILS_AT_COMMIT = """
CREATE SEQUENCE commits;
CREATE TABLE again (n int);
CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('commits') = 3 THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = '40001';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO again VALUES (1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON again
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_once();
CREATE TABLE batches (n bigint);
CREATE CONSTRAINT TRIGGER defers AFTER INSERT ON batches
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION defer();
"""


def test_a_commit_that_fails_takes_the_next_page_with_it(db, project):
    readings.create(db, 60)
    db.execute(FAILS_AT_COMMIT)
    project.script(readings.script(
        batch=10, migrate=readings.ROW_BY_ROW
        + '\nrepo:insert("batches", { n = rows[1].id })'))
    result = project.run().expect(DONE, "6 batches")
    assert result.retries == 1
    assert db.column("SELECT n FROM batches ORDER BY n") == [1, 11, 21, 31, 41,
                                                             51]
    assert_once(db)


def test_the_next_page_has_what_the_batch_before_it_wrote(db, project):
    """One row goes, one is new, and one has another value."""
    readings.create(db, 30)
    project.script(readings.script(batch=10, migrate="""
      if rows[1].id == 11 then
        repo:execute("DELETE FROM readings WHERE id = 21")
        repo:execute("INSERT INTO readings VALUES (-5, 0), (35, 0)")
        repo:execute("UPDATE readings SET value = 1000 WHERE id = 22")
      end""" + readings.ROW_BY_ROW))
    project.script(project.read("scripts/x.lua").replace(
        "throttle_ms = 0", "throttle_ms = 0, follow_new = true"))
    project.run().expect(DONE)
    assert db.rows("SELECT id, value FROM readings WHERE id IN (-5, 21, 22, 35)"
                   " ORDER BY id") == [(-5, 0), (22, 1010), (35, 10)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_paused_run_leaves_no_transaction_open(db, project, workers):
    readings.create(db, 20000)
    project.script(readings.script(batch=10, config=f"workers = {workers}"))
    runner = project.start_run()
    wait_until(lambda: db.has_journal() and db.progress() > 0, "a batch")
    project.luamig("pause", 1).expect(DONE, "is paused")
    wait_until(lambda: db.column(
        "SELECT DISTINCT state FROM pg_stat_activity WHERE datname = %s"
        " AND application_name LIKE 'luamig%%'", db.name,
        user="postgres") == ["idle"], "all sessions to idle")
    runner.kill()


def test_a_run_that_stops_waits_for_a_worker_in_no_transaction(db, project):
    """A batch of the second worker lasts longer than a session may idle."""
    readings.create(db, 4000)
    db.execute("""
        CREATE TABLE lead AS SELECT 0 AS pid;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN UPDATE lead SET pid = pg_backend_pid(); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE INSERT ON marks FOR EACH ROW
            EXECUTE FUNCTION note()""")
    project.script(readings.script(
        batch=10, config="workers = 2", migrate="""
        repo:query("SELECT pg_sleep(CASE pid WHEN pg_backend_pid() THEN 0.05 "
          .. "ELSE 2 END) FROM lead")""" + readings.ROW_BY_ROW))
    runner = project.start_run(env={"LUAMIG_FAULT_IDLE_MS": "700"})
    wait_until(lambda: db.has_journal() and db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query"
        " LIKE 'SELECT pg_sleep%%' AND state = 'active'"
        " AND clock_timestamp() - query_start > '0.3 s'", db.name,
        user="postgres") > 0, "a long batch")
    runner.signal(signal.SIGINT)
    runner.wait().expect(STOPPED)
    assert db.state() == "stopped"


def test_a_slow_page_is_asked_for_once(db, project):
    """A lease that is renewed between batches would give it up."""
    readings.create(db, 40)
    db.execute("""
        CREATE SEQUENCE calls;
        CREATE FUNCTION slow(bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
        BEGIN
            PERFORM pg_sleep(0.03), nextval('calls');
            RETURN $1;
        END $$;
        CREATE VIEW slow_readings AS
            SELECT id, value, slow(id) AS s FROM readings""")
    project.script(readings.script(
        batch=10, config='key = "id", assume_unique = true').replace(
            "SELECT id, value FROM readings",
            "SELECT id, value, s FROM slow_readings"))
    project.run(env={"LUAMIG_LEASE_MS": "300"}).expect(DONE)
    assert db.scalar("SELECT last_value FROM calls") < 60
    assert_once(db)
