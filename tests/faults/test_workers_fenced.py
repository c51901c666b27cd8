"""Workers whose keys are others' by now, or were never theirs: what they still
do does not count."""

import os
import signal

import pytest

from harness import readings
from harness.cluster import Cluster
from harness.oracle import assert_once
from harness.project import (CANCELLED, DONE, FAILED, STOPPED, UNREACHABLE,
                             Project)
from harness.wait import wait_until

LEASE = {"LUAMIG_LEASE_MS": "1000", "LUAMIG_FAULT_GRACE_MS": "1200"}
GRACE = {"LUAMIG_FAULT_GRACE_MS": "1200"}


def held_by(db, runner):
    """How many ranges the process holds."""
    return db.scalar("SELECT count(*) FROM luamig.range g JOIN luamig.worker w"
                     " ON w.id = g.worker WHERE w.pid = %s", runner.pid,
                     user="postgres")


def monitors(db):
    """How many processes watch for requests."""
    return db.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
                     " AND application_name LIKE 'luamig monitor:%%'", db.name,
                     user="postgres")


def start_two(db, project, fault):
    """Two processes at work; the second freezes at the point."""
    first = project.start_run("--workers", 2, env=LEASE)
    wait_until(lambda: db.progress() > 0, "rows")
    second = project.start_run("--join", "--workers", 2, env=LEASE, fault=fault)
    second.wait_frozen()
    return first, second


# -- commands ---------------------------------------------------------------


def test_a_pause_is_answered_when_a_frozen_process_can_commit_no_more(
        db, project):
    readings.create(db, 6000)
    project.script(readings.script(batch=20, throttle=20))
    first, second = start_two(db, project, "before_commit:2=stop")
    project.luamig("pause", 1).expect(DONE, "is paused")
    assert held_by(db, second) == 0
    rows = db.scalar("SELECT sum(writes) FROM readings")
    second.thaw()
    wait_until(lambda: db.scalar(
        "SELECT count(*) FROM luamig.worker WHERE pid = %s AND lease_until >"
        " clock_timestamp()", second.pid, user="postgres") == 2,
        "the second to come back")
    assert db.scalar("SELECT sum(writes) FROM readings") == rows
    project.luamig("set", 1, "throttle_ms=0").expect(DONE)
    project.luamig("resume", 1).expect(DONE)
    first.wait().expect(DONE)
    second.wait().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("ends", ["kill", "stop"])
def test_a_paused_run_whose_leader_ends_stays_paused_until_it_is_resumed(
        db, project, ends):
    """A helper leads it, and answers."""
    readings.create(db, 6000)
    project.script(readings.script(batch=20, throttle=20))
    first = project.start_run("--workers", 2, env=LEASE)
    wait_until(lambda: db.progress() > 0, "rows")
    second = project.start_run("--join", "--workers", 2, env=LEASE)
    wait_until(lambda: held_by(db, second) > 0, "keys for the second")
    project.luamig("pause", 1).expect(DONE, "is paused")
    rows = db.progress()
    if ends == "kill":
        first.kill()
    else:
        first.signal(signal.SIGTERM)
        first.wait().expect(STOPPED, "other processes go on")
    wait_until(lambda: "this process leads it now" in second.stderr(),
               "the second to lead")
    assert (db.state(), db.progress()) == ("paused", rows)
    project.luamig("set", 1, "throttle_ms=0").expect(DONE, "new settings")
    project.luamig("resume", 1).expect(DONE)
    second.wait().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("how", [(), ("--now",)])
def test_a_batch_in_flight_does_not_commit_after_a_cancel(db, project, how):
    readings.create(db, 20000)
    project.script(readings.script(batch=20, throttle=5))
    first, second = start_two(db, project, "before_commit:2=stop")
    project.luamig("cancel", 1, *how).expect(DONE, "is cancelled")
    first.wait().expect(CANCELLED)
    rows = db.scalar("SELECT sum(writes) FROM readings")
    second.thaw()
    second.wait().expect(CANCELLED)
    assert db.scalar("SELECT sum(writes) FROM readings") == rows
    assert db.rows("SELECT * FROM luamig.range", user="postgres") == []


def test_a_cancel_that_is_not_recorded_is_said_to_have_failed(db, project):
    readings.create(db, 20000)
    project.script(readings.script(batch=20, throttle=5))
    runner = project.start_run(fault="end_before_commit=stop")
    wait_until(lambda: db.progress() > 0, "rows")
    cancel = project.start("cancel", 1)
    runner.wait_frozen()
    for pid in db.runners():
        db.end_session(pid)
    runner.thaw()
    runner.wait().expect(
        UNREACHABLE, "could not record in the journal that run 1 is cancelled",
        "luamig cancel 1").refuse("run 1 cancelled")
    cancel.wait()
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    assert db.state() == "cancelled"


def test_a_failed_run_takes_the_keys_of_a_frozen_process_back(db, project):
    readings.create(db, 20000)
    project.script(readings.script(
        batch=20, throttle=5, migrate="""
    local bad = io.open("bad")
    if bad then error("bad") end""" + readings.ROW_BY_ROW))
    first, second = start_two(db, project, "before_commit:2=stop")
    project.write("bad", "")
    first.wait().expect(FAILED, "bad").refuse("could not record")
    assert db.state() == "failed"
    os.remove(os.path.join(project.path, "bad"))
    rows = db.scalar("SELECT sum(writes) FROM readings")
    second.thaw()
    second.wait().expect(FAILED, "has failed in another process")
    assert db.scalar("SELECT sum(writes) FROM readings") == rows


def test_a_cancel_whose_leader_is_killed_is_carried_out_by_a_helper(
        db, project):
    readings.create(db, 20000)
    project.script(readings.script(batch=20, throttle=5))
    first = project.start_run(env=LEASE)
    wait_until(lambda: db.progress() > 0, "rows")
    second = project.start_run("--join", "--workers", 2)
    wait_until(lambda: held_by(db, second) > 0, "keys for the second")
    first.kill()
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    second.wait().expect(CANCELLED)
    assert db.state() == "cancelled"
    assert db.rows("SELECT * FROM luamig.range", user="postgres") == []


def test_a_cancel_whose_leader_is_frozen_is_carried_out_by_a_helper(
        db, project):
    """In the middle of a COMMIT, which rolls back."""
    readings.create(db, 20000)
    project.script(readings.script(batch=20, throttle=5))
    first = project.start_run(fault="before_commit:50=stop")
    wait_until(lambda: db.progress() > 0, "rows")
    second = project.start_run("--join", "--workers", 2, env=GRACE)
    wait_until(lambda: held_by(db, second) > 0, "keys for the second")
    first.wait_frozen()
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    second.wait().expect(CANCELLED, "cancelled by")
    assert db.state() == "cancelled"
    rows = db.scalar("SELECT sum(writes) FROM readings")
    first.thaw()
    first.wait().expect(CANCELLED)
    assert db.scalar("SELECT sum(writes) FROM readings") == rows
    assert db.rows("SELECT * FROM luamig.range", user="postgres") == []


def test_a_helper_says_that_the_run_is_done_where_a_cancel_came_too_late(
        db, project):
    """The leader hears nothing of it in on_complete."""
    readings.create(db, 200)
    project.script(readings.script(
        batch=20, throttle=20, config="lock_timeout_ms = 60000").replace(
        'on_complete = mark "completed"', """on_complete = function(repo)
        repo:scalar("SELECT pg_advisory_xact_lock(1)::text")
        repo:insert("marks", { mark = "completed" })
        end"""))
    other = db.connect()
    other.cursor().execute("SELECT pg_advisory_lock(1)")
    first = project.start_run()
    wait_until(lambda: db.progress() > 0, "rows")
    second = project.start_run("--join")
    wait_until(lambda: monitors(db) == 2 and db.progress() == 200,
               "both, and all rows")
    db.admin("INSERT INTO luamig.request (run_id, verb) VALUES (1, 'cancel')")
    wait_until(lambda: monitors(db) == 1, "the second to hear of it")
    other.close()
    first.wait().expect(DONE)
    second.wait().expect(DONE, "run 1 done: 200 rows")
    assert_once(db)


def test_rows_of_a_slow_batch_that_another_worker_has_done_are_no_error(
        db, project):
    """Its cuts are finer than the slow batch is large."""
    readings.create(db, 80)
    db.execute("CREATE TABLE copies (id bigint PRIMARY KEY)")
    project.script("""return {
        base_query = "SELECT id FROM readings",
        config = { workers = 2, batch_size = 10, throttle_ms = 0,
                   lock_timeout_ms = 60000 },
        migrate = function(rows, repo)
          if rows[1].id == 1 then
            repo:scalar("SELECT pg_advisory_xact_lock(1)::text")
          elseif #rows > 2 then
            repo:execute "DO $$ BEGIN RAISE query_canceled; END $$"
          end
          for _, row in ipairs(rows) do repo:insert("copies", row) end
        end }""")
    other = db.connect()
    other.cursor().execute("SELECT pg_advisory_lock(1)")
    runner = project.start_run()
    wait_until(lambda: db.scalar("SELECT count(*) FROM copies") > 72,
               "the other worker")
    other.close()
    runner.wait().expect(DONE)
    assert db.scalar("SELECT count(*) FROM copies") == 80
    assert (db.state(), db.progress()) == ("done", 80)


# -- crashes of the server ----------------------------------------------------


@pytest.fixture
def forgetful():
    """A server that loses in a crash what nobody has waited for."""
    server = Cluster(wal_writer_delay="10s", wal_writer_flush_after="1GB",
                     full_page_writes="off", bgwriter_lru_maxpages="0").start()
    yield server
    server.remove()


def test_a_range_with_the_number_of_one_that_a_crash_took_back_is_not_taken_for_it(
        db, project):
    """By the same process: its other worker has it. What a worker believes to
    hold it asks for by the token of its hand-out."""
    readings.create(db, 600)
    project.script(readings.script(batch=1))
    runner = project.start_run(env=LEASE,
                               fault="range_after_commit_sent:1=stop")
    runner.wait_frozen()
    wait_until(lambda: db.rows("SELECT cursor FROM luamig.range",
                               user="postgres") == [(["200"],)], "the hand-out")
    db.admin("""INSERT INTO luamig.range (run_id, place, cursor, upper)
            SELECT run_id, -1, cursor, '{400}' FROM luamig.range;
        UPDATE luamig.range SET owner = w.process, worker = gen_random_uuid(),
            cursor = '{400}' FROM luamig.worker w WHERE range.worker = w.id;
        UPDATE luamig.progress SET ranges = 2""")
    runner.thaw()
    runner.wait().expect(DONE)
    assert_once(db)


def test_a_worker_whose_keys_are_anothers_may_lose_its_connection_then(
        db, project):
    """Before it has read which keys it has now."""
    readings.create(db, 600)
    project.script(readings.script(batch=5, throttle=5, config="""
    isolation = "read committed" """))
    runner = project.start_run("--workers", 2, env=LEASE, fault="fenced=stop")
    wait_until(lambda: db.progress() > 0, "rows")
    db.admin("UPDATE luamig.range SET owner = gen_random_uuid()"
             " WHERE owner IS NOT NULL")
    runner.wait_frozen()
    for pid in db.runners():
        db.end_session(pid)
    runner.thaw()
    runner.wait().expect(DONE, "reconnected to")
    assert_once(db)


def test_hand_outs_that_a_crash_takes_back_give_no_keys_twice(
        forgetful, tmp_path):
    """Their numbers come back, and are those of other ranges then."""
    server, db = forgetful, forgetful.make_database()
    project = Project(tmp_path, db.url)
    readings.create(db, 3000)
    project.script(readings.script(batch=5, throttle=5, config="workers = 4"))
    project.run("--limit", 100, "--workers", 1).expect(STOPPED)
    runner = project.start_run()
    server.keep_wal_in_memory()
    before = given(db)
    wait_until(lambda: len(given(db) - before) == 4, "hand-outs", pause=0)
    runner.freeze()
    lost = given(db)
    server.crash_without_wal()
    server.start()
    assert lost - given(db), "the crash has lost nothing"
    runner.thaw()
    runner.wait().expect(DONE, "lost")
    assert_once(db)
    project.close()


def given(db):
    return set(db.rows("SELECT id, owner FROM luamig.range"
                       " WHERE owner IS NOT NULL", user="postgres"))


def test_each_hand_out_has_a_token_of_its_own(db, project):
    readings.create(db, 1500)
    project.script(readings.script(batch=5))
    project.run("--limit", 5).expect(STOPPED)
    db.admin("""CREATE TABLE luamig.given (range bigint, owner uuid);
        GRANT INSERT ON luamig.given TO app;
        CREATE FUNCTION luamig.note_given() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO luamig.given VALUES (NEW.id, NEW.owner);
            RETURN NULL; END';
        CREATE TRIGGER note AFTER UPDATE OF owner ON luamig.range FOR EACH ROW
            WHEN (NEW.owner IS DISTINCT FROM OLD.owner AND NEW.owner IS NOT NULL)
            EXECUTE FUNCTION luamig.note_given()""")
    project.run("--workers", 4).expect(DONE)
    given, tokens = db.rows("SELECT count(*), count(DISTINCT owner)"
                            " FROM luamig.given", user="postgres")[0]
    assert given == tokens >= 4
    assert_once(db)
