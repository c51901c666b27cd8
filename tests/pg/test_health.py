"""What a run waits for, on a server with a standby: each cause holds the run
or is reported, and when it is gone the run goes on by itself."""

import re
import threading
from signal import SIGTERM

import psycopg2
import pytest

from harness.cluster import Cluster
from harness.project import DONE, STOPPED, Project
from harness.wait import wait_until

SCRIPT = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0, health = {{ {health} }} }},
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo)
    {before}
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = row.n + 10 }})
    end
  end,
  {more}
}}
"""

COUNT = 600
# So that the run is not over before the monitor has looked.
PAUSE = 'if rows[1].id <= 200 then repo:execute "SELECT pg_sleep(0.3)" end'
LONG_PAUSE = 'repo:execute "SELECT pg_sleep(0.3)"'


def archive_with(primary, command):
    primary.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
    primary.execute("SELECT pg_reload_conf()")


def wait_streaming(primary):
    wait_until(lambda: primary.query(
        "SELECT count(replay_lsn) FROM pg_stat_replication")[0][0],
        "the standby to stream")


@pytest.fixture(scope="module")
def primary():
    server = Cluster(archive_mode="on", autovacuum="on",
                     autovacuum_naptime="1h").start()
    archive_with(server, "true")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def standby(primary):
    server = primary.standby(
        archive_mode="off", cluster_name="s1",
        wal_retrieve_retry_interval="100ms").start()
    wait_streaming(primary)
    yield server
    server.remove()


@pytest.fixture
def db(primary):
    database = primary.make_database()
    database.execute(f"""CREATE TABLE t (id int PRIMARY KEY, n int, theirs int);
        INSERT INTO t SELECT i, i FROM generate_series(1, {COUNT}) i""")
    primary.execute("GRANT pg_read_all_stats TO app")
    yield database
    database.drop()


@pytest.fixture
def project(db, tmp_path):
    folder = Project(tmp_path, db.url)
    yield folder
    folder.close()


def script(project, health, batch=100, before=PAUSE, more=""):
    project.script(SCRIPT.format(health=health, batch=batch, before=before,
                                 more=more))


def wait_held(db, runner, text):
    """Waits until the journal says what the run is held by."""
    def held():
        assert runner.alive, f"ended without {text!r}:\n{runner.result()}"
        waits_for = db.progress("waits_for")
        return waits_for and text in waits_for and waits_for
    try:
        return wait_until(held, f"the run to be held by {text!r}", 20)
    except AssertionError as error:
        raise AssertionError(f"{error}\nit waits for "
                             f"{db.progress('waits_for')!r}") from None


def assert_idle(db):
    """While it is held, the run has no transaction open."""
    assert db.rows(
        "SELECT state FROM pg_stat_activity WHERE datname = %s"
        " AND application_name LIKE 'luamig:%%'", db.name) == [("idle",)]


def held_by(label):
    return re.compile(rf", held \S+: {label} \S+?([,;]|$)", re.M)


def finish(db, runner, *texts):
    """The run goes on by itself, to its end."""
    result = runner.wait().expect(DONE, *texts)
    assert db.rows("SELECT count(*), count(*) FILTER (WHERE n = id + 10)"
                   " FROM t") == [(COUNT, COUNT)]
    return result


class aside:
    """Runs a statement in a thread of its own, and cancels it at the end."""

    def __init__(self, cursor, sql):
        self.cursor = cursor
        self.thread = threading.Thread(target=self.run, args=[sql])

    def run(self, sql):
        try:
            self.cursor.execute(sql)
        except psycopg2.Error:
            pass

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.cursor.connection.cancel()
        self.thread.join()


# -- replicas ---------------------------------------------------------------


@pytest.mark.versions
def test_a_standby_whose_replay_is_paused_is_waited_for(
        primary, standby, db, project):
    script(project, "replica_lag_bytes = 1000")
    standby.execute("SELECT pg_wal_replay_pause()")
    try:
        runner = project.start_run()
        wait_held(db, runner, "on s1 (resumes at 500 bytes)")
        assert_idle(db)
        assert db.progress("waits_since IS NOT NULL")
    finally:
        standby.execute("SELECT pg_wal_replay_resume()")
    result = finish(db, runner, held_by("replica lag"))
    assert "holding: replica lag" in result.err
    assert "resumed after" in result.err
    assert db.progress("waits_for") == 0
    assert db.progress("(held ->> 'replica_lag')::int") > 0


def test_a_standby_that_disconnects_is_not_taken_for_one_without_lag(
        primary, standby, db, project):
    script(project, "", batch=50, before=LONG_PAUSE)
    runner = project.start_run("-v")
    wait_until(lambda: "replica lag available (1 standby)" in runner.stderr(),
               "the standby to be seen")
    standby.stop()
    try:
        wait_held(db, runner, 'standby "s1" has disconnected')
        assert_idle(db)
    finally:
        standby.start()
    finish(db, runner, held_by("replica lag"))


@pytest.mark.versions
def test_a_replica_that_is_named_is_asked_itself(
        primary, standby, db, project):
    script(project, "replica_lag_bytes = false, replay_lag_bytes = 1000")
    standby.execute("SELECT pg_wal_replay_pause()")
    try:
        runner = project.start_run("--replica", standby.url("postgres"))
        wait_held(db, runner, "replay lag ")
    finally:
        standby.execute("SELECT pg_wal_replay_resume()")
    finish(db, runner, held_by("replay lag"))


def test_a_named_replica_that_is_out_of_reach_holds(
        primary, standby, db, project):
    standby.stop()
    try:
        script(project, "replica_lag_bytes = false")
        runner = project.start_run("--replica", standby.url("postgres"))
        wait_held(db, runner, "replay lag unknown: could not connect to")
    finally:
        standby.start()
    finish(db, runner, held_by("replay lag"))


def test_a_named_replica_must_be_one_of_this_server(db, project):
    other = Cluster.fresh().start()
    try:
        script(project, "")
        runner = project.start_run("--replica", other.url("postgres"))
        wait_held(db, runner, "is not a copy of the database's server")
        runner.signal(SIGTERM)
        runner.wait().expect(STOPPED)
    finally:
        other.remove()


# -- WAL ---------------------------------------------------------------------


@pytest.mark.versions
def test_a_slot_that_retains_wal_is_waited_for(primary, db, project):
    script(project, "slot_wal_bytes = 1000")
    primary.query("SELECT pg_create_physical_replication_slot('lazy', true)")
    try:
        runner = project.start_run()
        wait_held(db, runner, 'slot "lazy" retains ')
    finally:
        primary.query("SELECT pg_drop_replication_slot('lazy')")
    finish(db, runner, held_by("slots"))


@pytest.mark.versions
def test_an_archive_command_that_fails_is_waited_for(primary, db, project):
    def failed():  # the archiver may have had the old command for a segment
        primary.execute("SELECT pg_logical_emit_message(false, 'x', 'x');"
                        " SELECT pg_switch_wal()")
        return primary.query("SELECT failed_count FROM pg_stat_archiver")[0][0]
    archive_with(primary, "false")
    try:
        wait_until(failed, "archiving to fail", pause=0.2)
        script(project, "archive_backlog_bytes = 0")
        runner = project.start_run()
        wait_held(db, runner, "of WAL wait to be archived; archiving 0")
    finally:
        archive_with(primary, "true")
    finish(db, runner, held_by("archiver"))


# -- tables -------------------------------------------------------------------


@pytest.mark.versions
def test_a_vacuum_of_the_table_is_waited_for(db, project):
    db.execute("UPDATE t SET n = n")
    script(project, "")
    link = db.connect()
    cursor = link.cursor()
    cursor.execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1")
    with aside(cursor, "VACUUM t"):
        runner = project.start_run()
        wait_held(db, runner, "vacuum of public.t (pid ")
    finish(db, runner, held_by("autovacuum"))
    link.close()


@pytest.mark.versions
def test_dead_tuples_that_autovacuum_does_not_get_to_are_waited_for(
        db, project):
    db.execute("""
        INSERT INTO t SELECT i, 0 FROM generate_series(1000, 111000) i;
        DELETE FROM t WHERE id >= 1000""")
    db.close()  # a session counts what it has done at its end at the latest
    script(project, "")
    runner = project.start_run()
    wait_held(db, runner, "dead tuples in public.t, ")
    db.execute("VACUUM t")  # if it lasts, the run waits for it as well
    finish(db, runner, re.compile(r", held \S+: .*dead tuples"))


def test_dead_tuples_are_not_waited_for_where_autovacuum_is_off(db, project):
    db.execute("""ALTER TABLE t SET (autovacuum_enabled = off);
        INSERT INTO t SELECT i, 0 FROM generate_series(1000, 111000) i;
        DELETE FROM t WHERE id >= 1000""")
    script(project, "")
    result = finish(db, project.start_run(), "run 1 done")
    assert result.err.count("autovacuum is off for public.t") == 1
    assert "held" not in result.out


# -- sessions -----------------------------------------------------------------


@pytest.mark.versions
def test_an_old_snapshot_is_waited_for(db, project):
    script(project, "snapshot_age_s = 0")
    link = db.connect(application_name="report")
    link.autocommit = False
    link.set_session(isolation_level="REPEATABLE READ")
    link.cursor().execute("SELECT count(*) FROM t")
    runner = project.start_run()
    held = wait_held(db, runner, 'has held a snapshot for ')
    assert '(app "report", user app)' in held
    assert_idle(db)
    link.rollback()
    link.close()
    finish(db, runner, held_by("old snapshots"))


def test_a_session_that_the_batch_blocks_is_let_by(db, project):
    """It wants a row that the batch has written; the batch takes seconds."""
    script(project, "", batch=300, before="""
        if rows[1].id == 1 then
          repo:execute("UPDATE t SET n = n WHERE id = 1")
          repo:execute "SELECT pg_sleep(1.5)"
        end""")
    runner = project.start_run()
    wait_until(lambda: db.rows(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        " AND wait_event = 'PgSleep'"), "the batch to have written")
    db.execute("UPDATE t SET theirs = 1 WHERE id = 1")
    finish(db, runner, held_by("blocked sessions"), "3 batches")


@pytest.mark.versions
def test_more_sessions_than_usual_are_waited_for(db, project):
    script(project, "active_sessions_ratio = 0.05")
    runner = project.start_run()
    link = db.connect()
    with aside(link.cursor(), "SELECT pg_sleep(3)"):
        wait_held(db, runner, ", usually ")
    finish(db, runner, held_by("active sessions"))


def test_a_run_of_another_database_with_the_same_number_is_a_session_of_others(
        primary, db, project):
    script(project, "active_sessions_ratio = 0.05")
    runner = project.start_run()
    link = primary.connect("postgres")
    link.cursor().execute("SET application_name = 'luamig: run 1 of x.lua'")
    with aside(link.cursor(), "SELECT pg_sleep(3)"):
        wait_held(db, runner, ", usually ")
    link.close()
    finish(db, runner, held_by("active sessions"))


@pytest.mark.parametrize("grant", ["GRANT {} TO", "REVOKE {} FROM"])
def test_workers_of_another_process_are_no_sessions_of_others(
        primary, db, project, grant):
    """Four are active most of the time, and three would hold the run."""
    primary.execute(grant.format("pg_read_all_stats") + " app")
    script(project, "active_sessions_ratio = 0.25", batch=25, before=LONG_PAUSE)
    first = project.start_run()
    wait_until(lambda: db.has_journal() and db.progress("started"), "the start")
    second = project.start_run("--join", "--workers", 4)
    finish(db, second)
    finish(db, first).refuse("held", "active sessions,")


# -- fewer workers before that ------------------------------------------------


def retain_wal(primary, db):
    primary.execute("CHECKPOINT")
    primary.query("SELECT pg_create_physical_replication_slot('lazy', true)")
    primary.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x',"
                    " 1000000)) FROM generate_series(1, 6)")
    return lambda: primary.query("SELECT pg_drop_replication_slot('lazy')")


def leave_dead_tuples(primary, db):
    db.execute("""
        INSERT INTO t SELECT i, 0 FROM generate_series(1000, 111000) i;
        DELETE FROM t WHERE id >= 1000""")
    db.close()
    return lambda: db.execute("VACUUM t")


def note(db):
    return db.has_journal() and db.scalar(
        "SELECT note FROM luamig.worker WHERE number = 1", user="postgres") or ""


@pytest.mark.parametrize("signal, most, then, raise_it, why", [
    ("slot_wal_bytes", 10000000, 1000, retain_wal, 'slot "lazy" retains '),
    ("dead_tuple_debt", 3000, 1, leave_dead_tuples, "dead tuples in public.t"),
], ids=["slots", "dead tuples"])
def test_above_half_of_its_limit_a_signal_takes_workers_away(
        primary, db, project, signal, most, then, raise_it, why):
    """Down to one; above the limit all of them hold."""
    end = raise_it(primary, db)
    try:
        script(project, f"{signal} = {most}", batch=2, before=LONG_PAUSE,
               more="")
        runner = project.start_run("--workers", 3)
        wait_until(lambda: why in note(db), "fewer workers", 20)
        project.luamig("set", 1, f"health.{signal}={then}").expect(DONE)
        wait_held(db, runner, why)
        assert_idle(db)
    finally:
        end()
    runner.signal(SIGTERM)
    runner.wait().expect(STOPPED, "fewer workers than 3 from now on: ", why)


def test_without_any_signal_all_workers_are_back_at_once(primary, db, project):
    """Until then status says of how many they are fewer, by the last setting."""
    others = ["blocked_sessions", "replica_lag_bytes", "replay_lag_bytes",
              "archive_backlog_bytes", "vacuums", "dead_tuple_debt",
              "snapshot_age_s", "active_sessions_ratio"]
    end = retain_wal(primary, db)
    try:
        script(project, ", ".join(f"{name} = false" for name in others)
               + ", slot_wal_bytes = 10000000", batch=2, before=LONG_PAUSE)
        runner = project.start_run("--workers", 2)
        wait_until(lambda: "fewer than 2: slot" in note(db), "fewer workers")
        project.luamig("set", 1, "workers=4").expect(DONE)
        wait_until(lambda: "fewer than 4: slot" in note(db), "the number", 8)
        project.luamig("set", 1, "health.slot_wal_bytes=false").expect(DONE)
        wait_until(lambda: note(db) == "" and db.scalar(
            "SELECT count(*) FROM luamig.worker", user="postgres") == 4,
            "all workers", 8)
    finally:
        end()
    runner.signal(SIGTERM)
    runner.wait().expect(STOPPED)


# -- what cannot be seen --------------------------------------------------------


@pytest.mark.versions
def test_a_role_without_rights_sees_which_signals_are_hidden(
        primary, standby, db, project):
    primary.execute("REVOKE pg_read_all_stats FROM app")
    script(project, "replica_lag_bytes = 0")
    result = finish(db, project.start_run())
    assert ("replica lag unavailable (the position of 1 standby is hidden)"
            in result.err)
    assert "autovacuum degraded (found by its lock" in result.err
    assert "old snapshots degraded (of the same role only)" in result.err
    assert "grant pg_read_all_stats to the role" in result.err
    assert "holding" not in result.err


def test_a_role_without_rights_still_sees_a_vacuum(primary, db, project):
    primary.execute("REVOKE pg_read_all_stats FROM app")
    db.execute("UPDATE t SET n = n")
    script(project, "")
    link = db.connect("postgres")
    cursor = link.cursor()
    cursor.execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1")
    with aside(cursor, "VACUUM t"):
        runner = project.start_run()
        wait_held(db, runner, "vacuum or analyze of public.t (pid ")
    finish(db, runner, held_by("autovacuum"))


def test_a_run_needs_no_monitor(primary, db, project):
    """There is no connection to be had but the run's own."""
    script(project, "")
    primary.execute(f'ALTER DATABASE "{db.name}" CONNECTION LIMIT 1')
    db.close()
    result = project.run().expect(DONE)
    assert result.err.count("health signals are unavailable: could not "
                            "connect to") == 1


def test_signals_that_are_off_are_not_looked_at(db, project):
    script(project, "snapshot_age_s = false")
    assert "old snapshots off" in finish(db, project.start_run("-v")).err


# -- the sum -------------------------------------------------------------------


def test_held_time_is_added_up_over_all_calls_of_a_run(db, project):
    script(project, "", batch=20, before="", more="""
        throttle = function(repo) return 20 end""")
    project.run("--limit", "100").expect(STOPPED, held_by("script"))
    first = db.progress("(held ->> 'script')::int")
    project.run().expect(DONE, held_by("script"))
    assert db.progress("(held ->> 'script')::int") > first >= 100


def test_the_held_time_of_an_abandoned_run_is_not_counted_again(db, project):
    throttle = "throttle = function(repo) return 20 end"
    script(project, "", batch=20, before="", more=throttle)
    project.run("--limit", "100").expect(STOPPED, held_by("script"))
    script(project, "", batch=300, before="")
    project.run("--restart", "--limit", "300").expect(
        STOPPED, "run 1 is abandoned").refuse(", held ")


def test_a_held_run_stops_at_once(db, project):
    script(project, "", more="""
        throttle = function(repo) return true end""")
    runner = project.start_run()
    wait_held(db, runner, "the script's throttle")
    assert_idle(db)
    runner.signal(SIGTERM)
    runner.wait().expect(STOPPED, held_by("script"), "holding: the script")
    assert db.progress("(held ->> 'script')::int") > 0
