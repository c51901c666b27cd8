"""The first signal lets the batch end, the second ends it."""

import os
import signal
import time

import pytest

from harness.project import BUSY, DONE, STOPPED
from harness.refusals import RENAME, assert_unchanged, table, whole
from harness.wait import wait_until


def test_one_signal_finishes_the_batch_and_the_same_command_goes_on(
        table, project):
    project.script(whole().replace("throttle_ms = 0", "throttle_ms = 60000"))
    runner = project.start_run()
    wait_until(lambda: table.progress() == 5, "the first batch")

    runner.signal(signal.SIGINT)

    runner.wait().expect(STOPPED)
    assert (table.state(), table.progress()) == ("stopped", 5)
    project.run("--throttle-ms", 0).expect(DONE)
    assert table.scalar("SELECT count(*) FROM t WHERE name = 'new'") == 20


def test_a_stop_is_recorded_although_a_lock_and_a_late_cancel_came_between(
        table, project):
    project.script(whole().replace("throttle_ms = 0", "throttle_ms = 60000"))
    runner = project.start_run("-v", env={"LUAMIG_FAULT_GRACE_MS": "700"})
    wait_until(lambda: table.progress() == 5, "the first batch")
    holder = table.connect(user="postgres")
    holder.cursor().execute("BEGIN; LOCK TABLE luamig.run")

    runner.signal(signal.SIGINT)
    wait_until(lambda: "lock timeout" in runner.stderr(), "the lock to cost time")
    wait_until(lambda: table.scalar(
        "SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE"
        " datname = %s AND wait_event_type = 'Lock'", table.name,
        user="postgres"), "it to wait again")
    wait_until(lambda: "user request" in runner.stderr(), "the cancel to arrive")
    holder.close()

    runner.wait().expect(STOPPED).refuse("could not record")
    assert table.state() == "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_batch_lets_it_commit(table, project, number):
    project.script(whole())
    runner = project.start_run(fault="after_page:2=stop")
    runner.wait_frozen()

    runner.signal(number)
    runner.thaw()

    runner.wait().expect(STOPPED)
    assert (table.state(), table.progress()) == ("stopped", 10)


def test_a_second_signal_ends_a_runaway_loop(table, project):
    project.script(whole(migrate=RENAME + """
    local f = io.open("looping", "w") f:close()
    while true do end"""))
    runner = project.start_run()
    wait_until(lambda: project.exists("looping"), "the loop")

    runner.signal(signal.SIGINT)
    time.sleep(0.3)
    assert runner.alive, runner.result()
    runner.signal(signal.SIGINT)

    runner.wait(30).expect(STOPPED)
    assert_unchanged(table)
    assert table.state() == "stopped"


def test_a_second_signal_ends_a_loop_that_catches_errors(table, project):
    project.script(whole(migrate=RENAME + """
    local f = io.open("looping", "w") f:close()
    while true do pcall(function() while true do end end) end"""))
    runner = project.start_run()
    wait_until(lambda: project.exists("looping"), "the loop")

    runner.signal(signal.SIGINT)
    runner.signal(signal.SIGTERM)

    runner.wait(30).expect(STOPPED)
    assert_unchanged(table)


def test_a_second_signal_cancels_a_statement(table, project):
    project.script(whole(migrate=RENAME + '\n    repo:query('
                         '"SELECT pg_sleep(25)")'))
    runner = project.start_run()
    wait_until(lambda: table.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s "
        "AND wait_event = 'PgSleep'", table.name, user="postgres"), "the nap")

    runner.signal(signal.SIGINT)
    time.sleep(0.2)
    runner.signal(signal.SIGINT)

    runner.wait(20).expect(STOPPED)
    assert_unchanged(table)
    assert table.runners() == []


def test_a_second_runner_sees_which_process_has_the_run(table, project):
    project.script(whole().replace("throttle_ms = 0", "throttle_ms = 60000"))
    runner = project.start_run()
    wait_until(lambda: table.progress() == 5, "the first batch")

    project.run().expect(BUSY, "already running", str(runner.pid),
                         os.uname().nodename)

    runner.signal(signal.SIGTERM)
    runner.wait().expect(STOPPED)
