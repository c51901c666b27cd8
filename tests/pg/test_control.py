"""Asking a run from another terminal: it obeys between batches, and while it
sleeps or waits."""

import re
import signal

import pytest

from harness.cluster import GUARDED, PASSWORD
from harness.project import (BUSY, CANCELLED, DONE, FAILED, STOPPED, USAGE)
from harness.wait import wait_until

COUNT = 400

ADD = """
return {{
  config = {{ batch_size = 10, throttle_ms = {throttle} }},
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


@pytest.fixture
def table(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               f"INSERT INTO t SELECT i, i FROM generate_series(1, {COUNT}) i")
    return db


def add(project, throttle=0, before="", more=""):
    project.script(ADD.format(throttle=throttle, before=before, more=more))


def slow(project):
    add(project, before='repo:query("SELECT pg_sleep(0.05)")')


def start(table, project, *arguments):
    """A runner that has committed something."""
    runner = project.start_run(*arguments)
    wait_until(lambda: not runner.alive or table.progress() > 0,
               "the first batch")
    assert runner.alive, runner.result()
    return runner


def rows_stand_still(table):
    before = table.progress()
    table.execute("SELECT pg_sleep(0.5)")
    return table.progress() == before


def assert_each_once(db):
    assert db.rows("SELECT count(*), count(*) FILTER (WHERE n = id + 10)"
                   " FROM t") == [(COUNT, COUNT)]


# -- pause and resume --------------------------------------------------------


@pytest.mark.parametrize("which", ["1", "scripts/x.lua"])
def test_a_run_pauses_and_goes_on(table, project, which):
    slow(project)
    runner = start(table, project)
    project.luamig("pause", which).expect(DONE, "run 1 is paused")
    assert table.state() == "paused"
    assert rows_stand_still(table)
    assert table.scalar("SELECT count(*) FROM pg_stat_activity WHERE"
                        " application_name LIKE 'luamig%%' AND"
                        " state LIKE 'idle in%%'") == 0
    project.luamig("resume", which).expect(DONE, "run 1 continues")
    assert table.state() == "running"
    result = runner.wait().expect(DONE)
    assert "paused by app" in result.err and "resumed by app" in result.err
    assert_each_once(table)
    assert table.rows("SELECT verb, requested_by, host IS NOT NULL, answer"
                      " FROM luamig.request ORDER BY id") == [
        ("pause", "app", True, "done"), ("resume", "app", True, "done")]


def test_a_run_that_sleeps_pauses_at_once(table, project):
    """Its next batch would come in an hour."""
    add(project, throttle=3600000)
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE, "is paused")
    assert table.progress() == 10
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    runner.wait().expect(CANCELLED)


def test_a_run_that_the_script_holds_pauses_and_is_cancelled(table, project):
    add(project, more="throttle = function() return true end")
    runner = project.start_run()
    wait_until(lambda: not runner.alive or table.has_journal()
               and table.state() == "running", "the run")
    project.luamig("pause", 1).expect(DONE, "is paused")
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    runner.wait().expect(CANCELLED)


def test_the_script_hears_of_a_pause(table, project):
    add(project, throttle=50, more="""
      on_stop = function(run, reason) run.log("told of " .. reason) end""")
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    project.luamig("cancel", 1).expect(DONE)
    runner.wait().expect(CANCELLED, "told of pause", "told of cancel")


def test_a_signal_ends_a_paused_runner_and_the_same_command_resumes(
        table, project):
    slow(project)
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    runner.signal(signal.SIGTERM)
    runner.wait().expect(STOPPED)
    assert table.state() == "paused"
    project.luamig("resume", 1).expect(
        FAILED, "is gone", "luamig run scripts/x.lua")
    add(project)
    project.run().expect(DONE)
    assert_each_once(table)


def test_a_killed_runner_that_was_paused_is_resumed_by_the_same_command(
        table, project):
    slow(project)
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    assert runner.kill()
    assert table.state() == "paused"
    add(project)
    project.run().expect(DONE)
    assert_each_once(table)


def test_the_same_command_lets_a_living_paused_run_go_on(table, project):
    add(project, throttle=100)
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    project.run().expect(BUSY, "is paused; asking it to continue")
    runner.wait().expect(DONE, "resumed by app")
    assert_each_once(table)


def test_a_runner_that_was_taken_over_answers_nothing(table, project):
    """Else its answer to "pause" would be that it is paused already. Its
    session is another role's, which could not be ended."""
    project.env["LUAMIG_LEASE_MS"] = "500"
    slow(project)
    old = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    old.freeze()
    table.execute("SELECT pg_sleep(0.6)")
    paused_at = table.progress()
    add(project, before='repo:query("SELECT pg_sleep(2)")')
    table.execute(f"GRANT ALL ON t TO {GUARDED}")
    table.execute(project.luamig("journal", "--sql", "--grant", GUARDED,
                                 url=False).expect(DONE).out)
    runner = project.start_run(url=table.cluster.url(
        table.name, user=GUARDED, password=PASSWORD))
    wait_until(lambda: not runner.alive or table.progress() > paused_at,
               "the run to go on")
    old.thaw()
    project.luamig("pause", 1).expect(DONE, "is paused")
    assert table.state() == "paused" and rows_stand_still(table)
    old.wait().expect(BUSY, "taken over")
    project.luamig("cancel", 1).expect(DONE)
    runner.wait().expect(CANCELLED)


def test_a_request_whose_commit_took_longer_than_that_of_a_later_one(
        table, project):
    slow(project)
    runner = start(table, project)
    asking = table.connect()
    asking.autocommit = False
    asking.cursor().execute(
        "INSERT INTO luamig.request (run_id, verb) VALUES (1, 'cancel')")
    project.luamig("set", 1, "batch_size=9").expect(DONE)
    asking.commit()
    runner.wait().expect(CANCELLED)
    assert table.rows("SELECT verb, answer FROM luamig.request ORDER BY id"
                      ) == [("cancel", "done"), ("set", "done")]


# -- cancel ------------------------------------------------------------------


def test_a_cancelled_run_is_final(table, project):
    slow(project)
    runner = start(table, project)
    project.luamig("cancel", "scripts/x.lua").expect(DONE, "is cancelled")
    result = runner.wait().expect(CANCELLED, "run 1 cancelled by app")
    assert table.state() == "cancelled"
    assert table.scalar("SELECT exit_code FROM luamig.run") == CANCELLED
    done = table.scalar("SELECT count(*) FROM t WHERE n = id + 10")
    assert done == result.rows == table.progress() < COUNT
    project.run().expect(CANCELLED, "--restart")
    project.luamig("pause", 1).expect(FAILED, "has ended: it is cancelled")


def test_a_run_without_a_runner_is_cancelled_in_the_journal(table, project):
    add(project)
    project.run("--limit", 20).expect(STOPPED)
    project.luamig("pause", 1).expect(
        FAILED, "has no runner: there is nothing to pause")
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    assert table.state() == "cancelled"
    project.run().expect(CANCELLED)


def test_a_frozen_runner_whose_run_is_cancelled_cannot_commit(table, project):
    add(project)
    runner = project.start_run(
        fault="before_commit:3=stop", env={"LUAMIG_LEASE_MS": "100"})
    runner.wait_frozen()
    table.execute("SELECT pg_sleep(0.2)")
    table.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'luamig%%'")
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    runner.thaw()
    runner.wait().expect(CANCELLED)
    assert table.state() == "cancelled"
    assert table.scalar("SELECT count(*) FROM t WHERE n = id + 10") == 20


@pytest.mark.parametrize("stop", [False, True])
def test_a_paused_runner_that_was_frozen_hears_that_its_run_was_cancelled(
        table, project, stop):
    add(project, throttle=3600000)
    project.env["LUAMIG_LEASE_MS"] = "500"
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    runner.freeze()
    wait_until(lambda: table.scalar("SELECT max(lease_until) < clock_timestamp()"
                                    " FROM luamig.worker"), "the lease's end")
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    if stop:
        runner.signal(signal.SIGTERM)
    runner.thaw()
    runner.wait(30).expect(CANCELLED, "cancelled").refuse("resumes it")


def test_a_stopped_runner_whose_run_was_taken_over_promises_nothing(
        table, project):
    """Whoever took it over might not end this one's session."""
    add(project)
    runner = project.start_run(fault="after_commit:3=stop")
    runner.wait_frozen()
    table.execute("UPDATE luamig.progress SET owner = gen_random_uuid()")
    runner.signal(signal.SIGTERM)
    runner.thaw()
    runner.wait().expect(BUSY, "taken over").refuse("resumes it")


def test_a_pause_names_the_role_that_asked_for_it(table, project):
    add(project, before='repo:query("SELECT pg_sleep(0.3)")')
    runner = start(table, project)
    table.execute("INSERT INTO luamig.request (run_id, verb, settings, "
                  "requested_by) VALUES (1, 'pause', '{}', 'ann'), "
                  "(1, 'set', '{\"batch_size\": 5}', 'bob')")
    wait_until(lambda: "paused by " in runner.stderr(), "the pause")
    assert "paused by ann" in runner.stderr()
    project.luamig("cancel", 1).expect(DONE)
    runner.wait().expect(CANCELLED, "batch_size = 5, set by bob")


# -- set ---------------------------------------------------------------------


def test_settings_change_while_a_run_is_at_work(table, project):
    add(project, throttle=3600000)
    runner = start(table, project)
    project.luamig("set", 1, "throttle_ms=0", "batch_size=1").expect(
        DONE, "has its new settings")
    result = runner.wait().expect(DONE)
    assert table.progress("batches") == 1 + COUNT - 10
    assert "throttle_ms = 0, set by app" in result.err
    assert_each_once(table)


def test_settings_stay_with_the_run(table, project):
    add(project)
    project.run("--limit", 20).expect(STOPPED)
    project.luamig("set", 1, "batch_size=100").expect(
        DONE, "its next runner will use these settings")
    project.run("--limit", 100).expect(STOPPED, "batch_size = 100")
    assert table.progress("batches") == 3
    project.run("--batch-size", 70).expect(DONE)
    assert table.progress("batches") == 3 + 4


@pytest.mark.parametrize("health", ["{ snapshot_age_s = 0.2 }", "false",
                                    "{ snapshot_age_s = false }"])
def test_the_limit_of_a_health_signal_is_changed(table, project, health):
    """Somebody's transaction is older than the script allows, or the command
    that switches the signal on."""
    table.admin("GRANT pg_read_all_stats TO app")
    old = table.connect(user="postgres")
    old.autocommit = False
    old.cursor().execute("SELECT txid_current(), pg_sleep(0.5)")
    add(project, throttle=50)
    text = project.read("scripts/x.lua").replace(
        "config = {", f"config = {{ health = {health},")
    project.script(text)
    runner = project.start_run()
    if "false" in health:
        wait_until(lambda: table.progress() > 0, "the first batch")
        project.luamig("set", 1, "health.snapshot_age_s=0.2").expect(DONE)
    wait_until(lambda: "holding: " in runner.stderr(), "the hold")
    project.luamig("set", 1, "health.snapshot_age_s=3600").expect(DONE)
    runner.wait().expect(DONE, "health.snapshot_age_s = 3600, set by app")
    assert_each_once(table)
    old.rollback()


def test_cancel_now_interrupts_the_statement_in_hand(table, project):
    add(project, before='repo:query("SELECT pg_sleep(3600)")')
    text = project.read("scripts/x.lua").replace(
        "config = {", "config = { statement_timeout_ms = 0,")
    project.script(text)
    runner = project.start_run()
    wait_until(lambda: table.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE"
        " '%%pg_sleep(3600)%%' AND state = 'active' AND application_name LIKE"
        " 'luamig:%%'"), "the statement")
    project.luamig("cancel", 1, "--now").expect(DONE, "is cancelled")
    runner.wait().expect(CANCELLED)
    assert table.scalar("SELECT count(*) FROM t WHERE n <> id") == 0


def test_cancel_now_interrupts_a_loop_of_the_script(table, project):
    add(project, before="while true do end")
    runner = project.start_run()
    wait_until(lambda: table.has_journal() and table.state() == "running",
               "the run")
    project.luamig("cancel", 1, "--now").expect(DONE, "is cancelled")
    runner.wait().expect(CANCELLED)


@pytest.mark.parametrize("given, said", [
    ("health.x=1", 'there is no setting "health.x"'),
    ("health.replica_lag_bites=1", 'Did you mean "health.replica_lag_bytes"?'),
    ("health.snapshot_age_s=soon", "a number or false"),
    ("batch_size=0", "from 1 to 1000000"),
    ("batch_size=x", 'not "x"'),
    ("batch_size=\n5", "from 1 to 1000000"),
    ("health.snapshot_age_s= 1", "a number or false"),
    ("bach_size=7", 'Did you mean "batch_size"?'),
    ("batch_size", "NAME=VALUE")])
def test_settings_that_make_no_sense(project, given, said):
    project.luamig("set", 1, given).expect(USAGE, said)


# -- which run -----------------------------------------------------------------


def test_two_runs_of_one_script_are_named_by_their_numbers(table, project):
    project.script("""return {
      args = { part = { type = "integer", required = true } },
      config = { throttle_ms = 3600000, batch_size = 10 },
      base_query = function(args)
        return "SELECT id FROM t WHERE id % 2 = $1", args.part end,
      migrate = function() end }""")
    runners = [project.start_run("--arg", f"part={part}") for part in (0, 1)]
    wait_until(lambda: table.has_journal() and table.scalar(
        "SELECT count(*) FROM luamig.range WHERE rows > 0") == 2,
        "both to begin")
    project.luamig("cancel", "scripts/x.lua").expect(
        FAILED, "more than one unfinished run", '{"part": 0}')
    for number in (1, 2):
        project.luamig("cancel", number).expect(DONE)
    for runner in runners:
        runner.wait().expect(CANCELLED)


def test_who_asked_for_what_is_shown(table, project):
    add(project, throttle=100)
    runner = start(table, project)
    project.luamig("pause", 1).expect(DONE)
    project.luamig("cancel", 1).expect(DONE)
    runner.wait()
    shown = project.luamig("status", 1).expect(DONE).out
    assert re.search(r"asked: +pause by app on \S+ at .*: done", shown), shown
    assert re.search(r"cancel by app on \S+ at .*: done", shown), shown
    [run] = project.status(1)
    assert [request["verb"] for request in run["requests"]] == [
        "pause", "cancel"]


# -- in every phase ------------------------------------------------------------


def running(table, statement):
    """Is a statement of the runner's at work on the server?"""
    return table.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND"
        " state = 'active' AND application_name LIKE 'luamig:%%'", statement)


def test_cancel_now_while_the_page_is_fetched(table, project):
    add(project)
    text = project.read("scripts/x.lua").replace(
        "FROM t", "FROM t WHERE id < 20 OR pg_sleep(3600) IS NOT NULL")
    project.script(text.replace("config = {",
                                "config = { follow_new = true,"))
    runner = project.start_run()
    wait_until(lambda: table.progress("run_id") and running(
        table, "%pg_sleep(3600)%LIMIT%"), "the page, of a run")
    project.luamig("cancel", 1, "--now").expect(DONE, "is cancelled")
    runner.wait().expect(CANCELLED)


def test_a_request_made_during_a_batch_is_heard_after_it(table, project):
    add(project, before='repo:query("SELECT pg_sleep(2)")')
    runner = project.start_run()
    wait_until(lambda: running(table, "SELECT pg_sleep(2)"), "the batch")
    project.luamig("pause", 1).expect(DONE, "is paused")
    assert table.progress() == 10
    project.luamig("cancel", 1).expect(DONE)
    runner.wait().expect(CANCELLED)


def test_a_run_that_is_held_for_the_servers_health_is_paused(table, project):
    table.admin("GRANT pg_read_all_stats TO app")
    old = table.connect(user="postgres")
    old.autocommit = False
    old.cursor().execute("SELECT txid_current()")
    add(project, throttle=50)
    text = project.read("scripts/x.lua").replace(
        "config = {", "config = { health = { snapshot_age_s = 0.2 },")
    project.script(text)
    runner = project.start_run()
    wait_until(lambda: "holding: " in runner.stderr(), "the hold")
    project.luamig("pause", 1).expect(DONE, "is paused")
    project.luamig("resume", 1).expect(DONE, "continues")
    wait_until(lambda: runner.stderr().count("holding: ") == 2, "the hold")
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    runner.wait().expect(CANCELLED)
    old.rollback()


@pytest.mark.parametrize("ask", ["pause", "cancel"])
def test_a_request_made_while_the_runner_reconnects(
        table, project, proxy, ask):
    """It is obeyed before another row is migrated."""
    slow(project)
    url = table.cluster.url(table.name, host=proxy.host)
    runner = project.start_run(url=url)
    wait_until(lambda: table.progress() > 20, "some batches")
    proxy.refuse()
    wait_until(lambda: "reconnecting" in runner.stderr(), "the loss")
    rows = table.progress()
    asker = project.start(ask, 1)
    wait_until(lambda: table.scalar("SELECT count(*) FROM luamig.request"),
               "the request")
    proxy.accept()
    asker.wait().expect(DONE, "is paused" if ask == "pause"
                        else "is cancelled")
    if ask == "pause":
        project.luamig("cancel", 1).expect(DONE)
    runner.wait().expect(CANCELLED)
    assert table.progress() == rows


@pytest.mark.long
def test_a_runner_that_cannot_come_back_in_time_finds_its_run_cancelled(
        table, project, proxy):
    slow(project)
    url = table.cluster.url(table.name, host=proxy.host)
    runner = project.start_run(url=url)
    wait_until(lambda: table.progress() > 20, "some batches")
    proxy.refuse()
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    proxy.accept()
    runner.wait().expect(CANCELLED, "run 1 cancelled by another command")
    assert table.state() == "cancelled"


def test_control_through_a_pooler_needs_no_notification(table, project):
    """The second connection asks once a second, whoever announces."""
    add(project, throttle=3600000)
    runner = start(table, project)
    table.execute("INSERT INTO luamig.request (run_id, verb) VALUES"
                  " (1, 'cancel')")
    runner.wait().expect(CANCELLED)
