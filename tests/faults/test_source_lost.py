"""A run with a source has two servers. Whichever is lost, restarted or
promoted, each row of the source is copied once."""

import os
import random
import threading
import time

import pytest

from harness.cluster import Cluster
from harness.oracle import assert_nothing_left
from harness.project import BUSY, DONE, STOPPED, UNREACHABLE, Project
from harness.proxy import TO_CLIENT, Proxy
from harness.wait import wait_until

SCRIPT = """
return {
  config = { source = "legacy", batch_size = 10, throttle_ms = 0 },
  base_query = "SELECT id, s FROM items",
  on_start = function(repo) repo:insert("marks", { mark = "started" }) end,
  migrate = function(rows, repo, run)
    local total = run.source:scalar "SELECT count(*) FROM items"
    for _, row in ipairs(rows) do
      repo:insert("copies", { id = row.id, s = row.s })
    end
    assert(total > 0)
  end,
  on_complete = function(repo) repo:insert("marks", { mark = "completed" }) end,
}
"""
# Only the first worker tries batches of ten; the other one's cuts are finer.
SMALL_BATCHES = """
    if #rows > 2 and rows[1].id > 1 then
      repo:execute "DO $$ BEGIN RAISE query_canceled; END $$"
    end
    """
POINTS = ["after_page:2", "after_migrate:2", "before_commit:2",
          "after_commit_sent:2", "after_commit:2", "on_start_before_commit:1",
          "on_start_after_commit_sent:1", "done_before_commit:1"]
QUICK = {"LUAMIG_FAULT_PATIENCE_MS": "1500"}


def fill(db, first, last):
    db.execute("INSERT INTO items SELECT n, 's' || n"
               " FROM generate_series(%s, %s) n", first, last)


def assert_copied(db, count):
    """Each row once, and both callbacks."""
    assert db.rows("SELECT count(*), count(DISTINCT id), max(id) FROM copies"
                   ) == [(count, count, count)]
    assert db.column("SELECT mark FROM marks ORDER BY 1") == [
        "completed", "started"]
    assert (db.state(), db.progress()) == ("done", count)
    assert_nothing_left(db)


@pytest.fixture(scope="module")
def old():
    """The server of the source."""
    server = Cluster.fresh(wal_level="replica", max_wal_senders="8").start()
    yield server
    server.remove()


@pytest.fixture
def legacy(old):
    database = old.make_database()
    database.execute("CREATE TABLE items (id bigint PRIMARY KEY, s text)")
    fill(database, 1, 50)
    yield database
    database.drop()


@pytest.fixture
def two(legacy, db, tmp_path):
    """A project, and a proxy before the server of the source."""
    project = Project(tmp_path, db.url)
    project.between = Proxy(legacy.cluster)
    project.write("luamig.lua", 'return { repos = { legacy = "%s" } }' %
                  legacy.cluster.url(legacy.name, host=project.between.host))
    project.script(SCRIPT)
    db.execute("CREATE TABLE copies (id bigint, s text)")
    db.execute("CREATE TABLE marks (mark text)")
    yield project
    project.close()
    project.between.close()


@pytest.fixture
def standby(old):
    """A standby of the source's server that remains to be started."""
    server = old.standby()
    yield server
    server.remove()


def frozen(project, point="after_page:2", arguments=(), **options):
    runner = project.start_run(*arguments, fault=f"{point}=stop", **options)
    runner.wait_frozen()
    return runner


# -- lost ------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
def test_a_runner_that_is_killed_leaves_each_row_once(two, db, point):
    runner = two.start_run(fault=f"{point}=kill")
    runner.process.wait(60)
    two.run().expect(DONE)
    assert_copied(db, 50)


@pytest.mark.parametrize("point", POINTS)
def test_the_source_may_be_lost_at_any_time(two, db, legacy, point):
    runner = frozen(two, point)
    two.between.cut()
    runner.thaw()
    runner.wait().expect(DONE).refuse("the interrupted commit")
    assert_copied(db, 50)
    assert_nothing_left(legacy)


@pytest.mark.parametrize("point", POINTS)
def test_the_runs_own_server_may_be_lost_at_any_time(two, db, point):
    runner = frozen(two, point)
    for pid in db.runners():
        db.end_session(pid)
    runner.thaw()
    runner.wait().expect(DONE, "reconnecting")
    assert_copied(db, 50)


def test_both_may_be_lost_at_once(two, db):
    runner = frozen(two)
    two.between.cut()
    for pid in db.runners():
        db.end_session(pid)
    runner.thaw()
    runner.wait().expect(DONE, "reconnecting")
    assert_copied(db, 50)


def test_workers_lose_the_source(two, db, legacy):
    fill(legacy, 51, 400)
    runner = frozen(two, "after_page:5", arguments=["--workers", 3])
    two.between.cut()
    runner.thaw()
    runner.wait().expect(DONE)
    assert_copied(db, 400)


def test_a_worker_that_waited_for_the_source_reads_its_range_again(
        two, db, legacy):
    """Others have cut the range meanwhile, and done the rest of it."""
    fill(legacy, 51, 80)
    db.execute("ALTER TABLE copies ADD PRIMARY KEY (id)")
    two.script(SCRIPT.replace("local total", SMALL_BATCHES + "local total"))
    held, go_on = [], threading.Event()

    def hold_the_first_page(link, direction, data):
        if b"\x00\x02s1" in data and direction == TO_CLIENT and not held:
            held.append(link)
            go_on.wait(60)

    two.between.watch = hold_the_first_page
    runner = two.start_run("--workers", 2, "-v")
    wait_until(lambda: db.scalar("SELECT count(*) FROM copies") > 72,
               "the other worker")
    held[0].cut(keep_server=False)
    go_on.set()
    runner.wait().expect(DONE, "reconnected to", "57014").refuse("23505")
    assert_copied(db, 80)


def test_a_source_that_is_away_ends_the_run_which_goes_on_later(two, db):
    runner = frozen(two, env=QUICK)
    two.between.refuse()
    runner.thaw()
    runner.wait().expect(UNREACHABLE, "gave up reconnecting", 'source "legacy"')
    assert db.state() == "failed"
    two.run().expect(UNREACHABLE, 'source "legacy"')
    two.between.accept()
    two.run().expect(DONE)
    assert_copied(db, 50)


def test_the_sources_server_is_restarted_after_a_crash(two, db, old):
    runner = frozen(two)
    old.crash()
    runner.thaw()
    wait_until(lambda: "reconnecting" in runner.stderr(), "the loss")
    old.start()
    runner.wait().expect(DONE, "reconnected to")
    assert_copied(db, 50)


def test_a_source_that_is_frozen_is_given_up(two, db, old):
    two.script(SCRIPT.replace("batch_size",
                              "statement_timeout_ms = 500, batch_size"))
    runner = frozen(two, env={"LUAMIG_SILENCE_MS": "500"})
    old.freeze()
    begun = time.monotonic()
    runner.thaw()
    try:
        wait_until(lambda: "has not answered" in runner.stderr(), "the loss")
    finally:
        old.thaw()
    assert time.monotonic() - begun < 5
    runner.wait().expect(DONE, "reconnected to")
    assert_copied(db, 50)


def test_a_second_runner_is_refused_while_the_first_waits_for_the_source(
        two, db):
    runner = frozen(two)
    two.between.refuse()
    runner.thaw()
    wait_until(lambda: "reconnecting" in runner.stderr(), "the loss")
    two.between.accept()
    result = two.run()
    assert result.code in (BUSY, DONE), result
    runner.wait().expect(DONE)
    assert_copied(db, 50)


@pytest.mark.parametrize("seed", range(int(os.environ.get(
    "LUAMIG_TEST_CUTS", 2))))
def test_connections_to_both_break_at_random(two, db, legacy, proxy, seed):
    """LUAMIG_TEST_CUTS is how often it is tried."""
    chance = random.Random(seed)
    fill(legacy, 51, 1000)
    runner = two.start_run("--workers", chance.choice([1, 3]),
                           "--db", db.cluster.url(db.name, host=proxy.host))
    while runner.alive:
        between = chance.choice([two.between, two.between, proxy])
        between.cut(keep_server=chance.random() < 0.3)
        time.sleep(chance.random() * 0.2)
    result = runner.wait()
    assert result.code in (DONE, UNREACHABLE), f"seed {seed}: {result}"
    two.between.release()
    proxy.release()
    two.run().expect(DONE)
    assert_copied(db, 1000)


# -- standbys --------------------------------------------------------------------


def test_a_standby_is_read_and_promoted_in_the_middle(two, db, old, standby):
    standby.start()
    old.wait_caught_up(standby)
    two.between.lead_to(standby)
    runner = frozen(two)
    assert "a standby" in runner.stderr()
    standby.promote()
    runner.thaw()
    runner.wait().expect(DONE).refuse("has lost changes")
    assert_copied(db, 50)


def test_a_standby_may_end_the_sessions_that_keep_it_from_replaying(
        two, db, old, legacy, standby):
    standby.settings["max_standby_streaming_delay"] = "0"
    standby.start()
    old.wait_caught_up(standby)
    two.between.lead_to(standby)
    runner = frozen(two)
    legacy.execute("ALTER TABLE items ADD COLUMN more int")
    old.wait_caught_up(standby)  # it has ended the session
    runner.thaw()
    runner.wait().expect(DONE, "reconnected to")
    assert_copied(db, 50)


@pytest.mark.parametrize("isolation", ["serializable", "read committed"])
def test_a_standby_is_read_in_every_isolation(two, db, old, standby, isolation):
    standby.start()
    old.wait_caught_up(standby)
    two.between.lead_to(standby)
    two.script(SCRIPT.replace("batch_size",
                              f'isolation = "{isolation}", batch_size'))
    two.run().expect(DONE)
    assert_copied(db, 50)


def test_a_staler_standby_is_waited_for(two, db, old, legacy, standby):
    standby.start()
    old.wait_caught_up(standby)
    standby.execute("SELECT pg_wal_replay_pause()")
    fill(legacy, 51, 60)
    runner = frozen(two)
    two.between.lead_to(standby)
    two.between.cut()
    runner.thaw()
    wait_until(lambda: "waiting for the source" in runner.stderr(), "the wait")
    assert two.status("1")[0]["state"] == "running"
    standby.execute("SELECT pg_wal_replay_resume()")
    runner.wait().expect(DONE)
    assert_copied(db, 60)


def test_a_standby_that_stays_behind_ends_the_run(two, db, old, legacy, standby):
    standby.start()
    old.wait_caught_up(standby)
    standby.execute("SELECT pg_wal_replay_pause()")
    fill(legacy, 51, 60)
    two.run("--limit", 10).expect(STOPPED)
    two.between.lead_to(standby)
    two.run(env=QUICK).expect(UNREACHABLE, "does not show what the run has seen",
                              "is a standby that has replayed")
    two.between.lead_to(old)
    two.run().expect(DONE)
    assert_copied(db, 60)


def test_a_standby_of_an_idle_server_is_not_waited_for(
        two, db, old, legacy, standby):
    standby.start()
    old.execute("SELECT pg_switch_wal()")
    two.run("--limit", 10).expect(STOPPED)
    old.wait_caught_up(standby)
    two.between.lead_to(standby)
    two.run(env=QUICK).expect(DONE).refuse("waiting for the source")
    assert_copied(db, 50)


def test_a_promoted_standby_may_have_lost_changes(two, db, old, legacy, standby):
    standby.start()
    old.wait_caught_up(standby)
    standby.stop()
    fill(legacy, 51, 60)
    runner = frozen(two)
    standby.settings["primary_conninfo"] = ""
    standby.start()
    standby.promote()
    two.between.lead_to(standby)
    two.between.cut()
    runner.thaw()
    runner.wait().expect(DONE, "has lost changes")
    assert_copied(db, 50)


def test_a_failed_row_is_not_called_gone_by_a_staler_standby(
        two, db, old, legacy, standby):
    db.execute("ALTER TABLE copies ADD CHECK (id <> 5)")
    two.script(SCRIPT.replace("batch_size",
                              'on_error = "quarantine", batch_size'))
    legacy.execute("DELETE FROM items WHERE id = 5")
    standby.start()
    runner = frozen(two, "after_page:1")
    old.wait_caught_up(standby)
    standby.execute("SELECT pg_wal_replay_pause()")
    fill(legacy, 5, 5)
    two.between.cut()
    runner.thaw()
    runner.wait()
    two.between.lead_to(standby)
    two.luamig("failures", "1", "--retry", env=QUICK).expect(
        UNREACHABLE, "does not show what the run has seen")
    assert db.scalar("SELECT resolution FROM luamig.failure") is None
