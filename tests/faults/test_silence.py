"""Servers that say nothing: connections, statements and COMMITs that are not
answered. Every wait ends, by a signal or by itself."""

import os
import signal
import socket
import time

import pytest

from harness import readings
from harness.cases import cases
from harness.cluster import PORT, Cluster
from harness.oracle import assert_once
from harness.pooler import Pooler
from harness.project import DONE, FAILED, STOPPED, UNREACHABLE, Project
from harness.wait import wait_until

QUICK = {"LUAMIG_SILENCE_MS": "600"}
SLEEPS = ("SELECT FROM pg_stat_activity WHERE datname = %s"
          " AND wait_event = 'PgSleep'")


@pytest.fixture(scope="module")
def own():
    """A server that may be frozen."""
    server = Cluster().start()
    yield server
    server.remove()


@pytest.fixture
def frozen(own, tmp_path):
    """A database on it, a project, and a way to have a run meet silence."""
    db = own.make_database()
    project = Project(tmp_path, db.url)
    yield db, project
    own.thaw()
    project.close()
    db.drop()


def run_into_silence(db, project, point, **options):
    """A runner that goes on after the server was frozen at the point."""
    runner = project.start_run(fault=f"{point}=stop", env=QUICK, **options)
    runner.wait_frozen()
    db.cluster.freeze()
    runner.thaw()
    return runner


@pytest.mark.parametrize("point, timeout", [
    ("after_page:2", 400), ("before_commit:2", 400), ("before_commit:2", 0),
    ("after_commit_sent:2", 400), ("after_commit:2", 400)])
def test_a_server_that_freezes_is_given_up_and_found_again(
        frozen, point, timeout):
    db, project = frozen
    readings.create(db, 300)
    project.script(readings.script(
        batch=50, config=f"statement_timeout_ms = {timeout}"))
    runner = run_into_silence(db, project, point,
                              url=f"{db.url} connect_timeout=2")
    wait_until(lambda: "has not answered" in runner.stderr()
               or not runner.alive, "the silence to be noticed")
    db.cluster.thaw()
    runner.wait().expect(DONE, "has not answered for", "reconnected")
    assert_once(db)


def test_a_runner_can_be_stopped_while_it_reconnects(frozen):
    db, project = frozen
    readings.create(db, 300)
    project.script(readings.script(
        batch=50, config="statement_timeout_ms = 400"))
    runner = run_into_silence(db, project, "after_page:2",
                              url=f"{db.url} connect_timeout=600")
    wait_until(lambda: "reconnecting" in runner.stderr(), "the loss")
    runner.signal(signal.SIGTERM)
    runner.wait().expect(STOPPED)
    db.cluster.thaw()
    project.run().expect(DONE)
    assert_once(db)


def test_a_second_signal_is_heard_while_the_server_is_silent(frozen):
    """Neither the statement nor its cancellation is answered."""
    db, project = frozen
    readings.create(db, 300)
    project.script(readings.script(batch=50))
    runner = run_into_silence(db, project, "after_page:2")
    runner.signal(signal.SIGINT)
    runner.signal(signal.SIGTERM)
    runner.wait().expect(STOPPED)
    db.cluster.thaw()
    project.run().expect(DONE)
    assert_once(db)


@pytest.fixture
def deaf(tmp_path):
    """A socket that takes connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(tmp_path, f".s.PGSQL.{PORT}"))
        listener.listen(5)
        yield str(tmp_path), listener


def test_a_signal_ends_the_wait_for_a_connection(project, deaf):
    host, listener = deaf
    project.script(readings.script(batch=50))
    runner = project.start_run(
        url=f"host={host} port={PORT} dbname=x connect_timeout=600")
    held, _ = listener.accept()
    runner.signal(signal.SIGINT)
    runner.wait().expect(STOPPED, "interrupted while connecting")
    held.close()


def test_a_server_that_does_not_take_connections_is_given_up(project, deaf):
    project.script(readings.script(batch=50))
    project.run(url=f"host={deaf[0]} port={PORT} dbname=x connect_timeout=2"
                ).expect(UNREACHABLE, "could not connect")


LONG = """return { config = { statement_timeout_ms = 0 },
  run = function(repo)
    repo:query("SELECT pg_sleep(4)")
    repo:insert("marks", { mark = "once" })
  end }"""


@pytest.mark.parametrize("pooled", [False, True])
def test_a_statement_without_a_timeout_may_take_long(
        db, project, cluster, pooled):
    """The server is silent for longer than the patience of this test, but
    says on another connection that it is at work."""
    readings.create(db, 10)
    project.script(LONG)
    between = Pooler(cluster, "transaction") if pooled else None
    try:
        url = between.url(db.name) if pooled else db.url
        project.start_run(url=url, env=QUICK).wait().expect(DONE).refuse(
            "reconnecting")
    finally:
        if pooled:
            between.close()
    assert db.column("SELECT mark FROM marks") == ["once"]


@pytest.mark.parametrize("role_setting", cases(
    ["track_activities = off", "track_activities = on"],
    versions=["track_activities = off"]))
@pytest.mark.parametrize("statement", [
    "SELECT pg_sleep(3)",
    "UPDATE readings SET theirs = theirs WHERE id = 1 AND pg_sleep(3) IS"
    " NOT NULL",
    "DO $$ BEGIN FOR i IN 1..3 LOOP PERFORM pg_sleep(1); END LOOP; END $$"])
def test_a_long_statement_of_a_server_that_tracks_no_activities(
        db, project, role_setting, statement):
    readings.create(db, 1)  # one sleep
    name, value = role_setting.split(" = ")
    db.set(name, value)
    project.script(LONG.replace('repo:query("SELECT pg_sleep(4)")',
                                f'repo:execute([[{statement}]])'))
    project.run(env=QUICK).expect(DONE).refuse("reconnecting")
    assert db.column("SELECT mark FROM marks") == ["once"]


@pytest.mark.versions
def test_a_long_wait_for_a_lock_where_activities_are_not_tracked(db, project):
    readings.create(db, 10)
    db.set("track_activities", "off")
    project.script("""return { config = { statement_timeout_ms = 0,
      lock_timeout_ms = 0 },
      run = function(repo)
        repo:update("readings", { id = 1 }, { value = 7 })
      end }""")
    other = db.connect()
    other.autocommit = False
    other.cursor().execute("SELECT FROM readings WHERE id = 1 FOR UPDATE")
    runner = project.start_run(env=QUICK)
    wait_until(lambda: db.cluster.query(
        "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = %s", db.name), "the wait")
    time.sleep(2.5)
    other.rollback()
    other.close()
    runner.wait().expect(DONE).refuse("reconnecting")
    assert db.scalar("SELECT value FROM readings WHERE id = 1") == 7


SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({seconds});
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON readings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.id = 150) EXECUTE FUNCTION slow();
"""


def test_a_deferred_trigger_that_outlasts_the_statement_timeout(db, project):
    readings.create(db, 300)
    db.execute(SLOW_COMMIT.format(seconds=60))
    project.script(readings.script(
        batch=64, config="statement_timeout_ms = 200, retries = 1"))
    project.run().expect(FAILED, "57014", "keys (id) from (150) to (150)")
    assert db.progress() == 149
    db.execute("DROP TRIGGER slow ON readings")
    project.run().expect(DONE)
    assert_once(db)


def test_a_server_that_freezes_in_the_middle_of_a_commit(frozen):
    db, project = frozen
    readings.create(db, 300)
    db.execute(SLOW_COMMIT.format(seconds=1))
    project.script(readings.script(
        batch=100, config="statement_timeout_ms = 2000"))
    runner = project.start_run(env=QUICK)
    wait_until(lambda: db.cluster.query(SLEEPS, db.name), "the commit")
    db.cluster.freeze()
    wait_until(lambda: "has not answered" in runner.stderr(), "the loss")
    db.cluster.thaw()
    runner.wait().expect(DONE, "reconnected")
    assert_once(db)
