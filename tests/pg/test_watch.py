"""Following a run from another terminal."""

import re

import pytest

from harness.project import (BUSY, CANCELLED, DONE, FAILED, FAILURES, STOPPED)
from harness.terminal import at_a_terminal
from harness.wait import wait_until

SLOW = """return {
  config = { batch_size = 10, throttle_ms = 100, on_error = "quarantine" },
  base_query = "SELECT id FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = 1 })
    end
  end }"""


@pytest.fixture
def table(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < id));"
               "INSERT INTO t SELECT i, 0 FROM generate_series(2, 201) i;"
               "ANALYZE t")
    project.script(SLOW)
    return db


def start(table, project, *options):
    runner = project.start_run(*options)
    wait_until(lambda: table.progress() > 0, "the first batch")
    return runner


def test_a_run_is_watched_to_its_end(table, project):
    runner = start(table, project)
    code, shown = at_a_terminal(project, "watch", "1", "--db", project.url)
    runner.wait().expect(DONE)
    assert code == DONE, shown
    assert re.search(r"rows/s", shown) and "of about 200" in shown, shown
    assert "run 1 done: 200 rows, 20 batches" in shown


def test_wait_is_quiet_and_has_the_runs_exit_code(table, project):
    table.execute("INSERT INTO t VALUES (1, 0)")
    runner = start(table, project)
    result = project.luamig("wait", "scripts/x.lua").expect(
        FAILURES, "run 1 done_with_failures: 200 rows")
    assert result.err == ""
    runner.wait().expect(FAILURES)


@pytest.mark.parametrize("end, code", [("cancel", CANCELLED), ("stop", STOPPED),
                                       ("fail", FAILED)])
def test_a_run_that_does_not_reach_its_end(table, project, end, code):
    runner = start(table, project)
    watcher = project.start("watch", 1)
    wait_until(lambda: table.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
        " 'luamig: watch'"), "the watcher")
    if end == "cancel":
        project.luamig("cancel", 1).expect(DONE)
    elif end == "stop":
        runner.signal(15)
    else:
        table.execute("ALTER TABLE t RENAME n TO m")
    watcher.wait().expect(code, "run 1 ")
    runner.wait().expect(code)


def test_watch_shows_what_a_run_waits_for(table, project):
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    watcher = project.start("watch", 1, "--log", "json")
    wait_until(lambda: '"waiting":"paused"' in watcher.stderr()
               .replace(" ", ""), "the watcher to say so")
    project.luamig("cancel", 1).expect(DONE)
    watcher.wait().expect(CANCELLED)
    runner.wait()


def test_a_runner_that_is_gone(table, project):
    runner = start(table, project, "--throttle-ms", 100)
    watcher = project.start("wait", 1)
    assert runner.kill()
    table.execute("UPDATE luamig.worker SET lease_until = now()")
    watcher.wait().expect(STOPPED, "has no runner", "luamig run")


def test_a_statement_that_outlasts_the_lease_is_work(table, project):
    """Nobody renews it meanwhile."""
    project.script("return { config = { statement_timeout_ms = 0 },"
                   " run = function(repo) repo:query("
                   "'SELECT pg_sleep(3)') end }")
    runner = project.start_run(env={"LUAMIG_LEASE_MS": "200"})
    wait_until(lambda: table.has_journal() and table.progress("started"),
               "the run to begin")
    table.execute("SELECT pg_sleep(0.5)")
    assert project.status()[0]["live"]
    project.luamig("failures", 1, "--retry").expect(BUSY)
    project.luamig("wait", 1).expect(DONE, "run 1 done")
    runner.wait().expect(DONE)


def test_a_run_that_has_ended_before(table, project):
    project.run("--throttle-ms", 0).expect(DONE)
    project.luamig("watch", 1).expect(DONE, "run 1 done: 200 rows")
    # An older luamig has written no exit code.
    table.execute("UPDATE luamig.run SET exit_code = NULL")
    project.luamig("wait", 1).expect(DONE)
    project.luamig("wait", 2).expect(FAILED, 'there is no run "2"')


def test_the_watchers_connection_is_cut(table, project, proxy):
    runner = start(table, project)
    url = table.cluster.url(table.name, host=proxy.host)
    watcher = project.start("watch", 1, url=url)
    wait_until(lambda: table.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
        " 'luamig: watch' AND query_start > backend_start + interval '0.4 s'"),
        "the watcher's second look")
    proxy.cut()
    wait_until(lambda: len(proxy.live()) > 0, "the watcher to come back")
    runner.wait().expect(DONE)
    watcher.wait().expect(DONE, "run 1 done")
