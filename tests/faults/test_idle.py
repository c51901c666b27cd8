"""Code that works for long without talking to the server: the server ends a
session that idles in its transaction. It is named, and the batch becomes
smaller."""

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import DONE, FAILED
from harness.wait import wait_until

IDLE = {"LUAMIG_FAULT_IDLE_MS": "1000"}
NAMED = "without talking to the server, within an open transaction"

# So many seconds for each row, before the first write.
SLOW = """
    os.execute("sleep " .. %s * #rows)""" + readings.ROW_BY_ROW


def slow(seconds, batch, config=""):
    return readings.script(batch=batch, migrate=SLOW % seconds, config=config)


def test_a_batch_that_works_too_long_in_lua_gets_fewer_rows(db, project):
    readings.create(db, 8)
    project.script(slow(0.4, 8))
    result = project.run(env=IDLE).expect(DONE, NAMED)
    result.refuse("server closed the connection unexpectedly")
    assert result.err.count(NAMED) == 2
    assert_once(db)


def test_a_short_page_of_a_large_batch_is_halved_at_once(db, project):
    readings.create(db, 4)
    project.script(slow(0.4, 10_000))
    result = project.run(env=IDLE).expect(DONE, NAMED)
    assert result.err.count(NAMED) == 1
    assert_once(db)


def test_a_row_that_takes_too_long_in_lua_is_given_up_and_named(db, project):
    readings.create(db, 2)
    project.script(slow(1.6, 2))
    project.run(env=IDLE).expect(
        FAILED, "gave up after 2 attempts", NAMED, "25P03",
        "statement_timeout_ms")
    assert db.state() == "failed"
    assert db.progress() == 0


def test_the_hint_for_a_row_that_takes_too_long_can_be_followed(db, project):
    """The time is twice the statement timeout, above a minute."""
    readings.create(db, 1)
    project.script(slow(1.6, 1))
    project.run(env=IDLE).expect(FAILED, NAMED)
    project.script(slow(1.6, 1, config="statement_timeout_ms = 60000"))
    project.run().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("where", ["on_start", "on_complete"])
def test_a_callback_that_idles_is_named(db, project, where):
    readings.create(db, 10)
    project.script("""return {
      config = { batch_size = 10, throttle_ms = 0 },
      base_query = "SELECT id, value FROM readings",
      migrate = function(rows, repo) end,
      %s = function(repo)
        repo:query("SELECT 1")
        os.execute("sleep 1.5")
        repo:insert("marks", { mark = "x" })
      end }""" % where)
    project.run(env=IDLE).expect(FAILED, "gave up after 2 attempts", NAMED)
    assert db.scalar("SELECT count(*) FROM marks") == 0


def test_a_loop_in_lua_counts_as_idling(db, project):
    readings.create(db, 4)
    project.script(readings.script(batch=4, migrate="""
      local till = os.time() + #rows
      while os.time() < till do end""" + readings.ROW_BY_ROW))
    project.run(env={"LUAMIG_FAULT_IDLE_MS": "2500"}).expect(DONE, NAMED)
    assert_once(db)


def test_a_process_that_stops_between_two_batches_is_not_called_slow(
        db, project):
    """The transaction of the next batch has begun, without the script."""
    readings.create(db, 60)
    project.script(readings.script(batch=10))
    runner = project.start_run(fault="next_asked:3=stop", env=IDLE)
    runner.wait_frozen()
    wait_until(lambda: not db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        " AND state LIKE 'idle in transaction%%'", db.name, user="postgres"),
        "the session to end")
    runner.thaw()
    runner.wait().expect(DONE, "6 batches").refuse(NAMED)
    assert_once(db)
