"""What goes to stderr: JSON for machines, and a stderr that takes nothing."""

import os
import re
import signal
import subprocess

import pytest

from harness.project import (DONE, FAILED, INVALID, STOPPED, UNREACHABLE,
                             USAGE, binary, clean_environment)
from harness.wait import wait_until

SCRIPT = """return {
  config = { batch_size = 10, throttle_ms = 0 },
  base_query = "SELECT id FROM users WHERE step IS NULL",
  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      %s
      repo:update("users", { id = user.id }, { step = "x" })
    end
  end,
}"""


@pytest.fixture
def users(db, project):
    db.execute("CREATE TABLE users (id int PRIMARY KEY, "
               "step text);"
               "INSERT INTO users SELECT generate_series(1, 50)")
    project.script(SCRIPT % "")
    return db


def done(db):
    return db.scalar("SELECT count(*) FROM users WHERE step = 'x'")


# -- JSON ------------------------------------------------------------------


def test_every_line_is_an_object_and_the_last_one_has_the_ending(users, project):
    result = project.run("--log", "json").expect(DONE, "run 1 done: 50 rows")

    first, last = result.log[0], result.log[-1]
    assert first["message"].startswith("run 1 of scripts/x.lua on "), first
    assert first["level"] == "info"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                        first["time"])
    assert last.pop("elapsed_ms") >= 0
    del last["time"]
    assert last == {"level": "info", "event": "end", "run": 1, "state": "done",
                    "rows": 50, "batches": 5, "retries": 0, "failures": 0,
                    "reason": None, "held": None, "exit_code": DONE}


def test_an_error_is_one_object_with_its_parts(users, project):
    users.execute("ALTER TABLE users ADD CONSTRAINT users_check "
                  "CHECK (id <> 25 OR step IS NULL)")

    result = project.run("--log", "json").expect(FAILED)

    error, end = result.log[-2:]
    assert error["level"] == "error"
    assert error["sqlstate"] == "23514"
    assert error["constraint"] == "users_check"
    assert error["where"] == "scripts/x.lua:7"
    assert error["batch"].startswith("batch 3, keys (id) from (21) to (30)")
    assert error["statement"].startswith("UPDATE")
    assert "hint" not in error
    assert (end["state"], end["exit_code"]) == ("failed", FAILED)
    assert end["reason"] == error["message"]
    assert end["rows"] == 20


def test_a_traceback_with_bytes_that_are_no_text_is_valid_json(users, project):
    project.script(SCRIPT % r'error("bad \255 \27[31m\n\"quoted\"")')
    error = project.run("--log", "json").expect(FAILED).log[-2]
    assert 'bad ? \x1b[31m\n"quoted"' in error["message"]
    assert "stack traceback" in error["traceback"]


def test_a_stop_says_why(users, project):
    end = project.run("--limit", 20, "--log", "json").expect(STOPPED).log[-1]
    assert end["state"] == "stopped"
    assert end["reason"] == "the limit of 20 rows"


def test_quiet_and_verbose_choose_levels_of_json_too(users, project):
    project.script(SCRIPT % """if user.id == 5 and run.attempt == 1 then
        repo:execute("DO $$ BEGIN RAISE 'x' USING ERRCODE = '40001'; END $$")
      end""")
    project.script(project.read("scripts/x.lua").replace("(rows, repo)",
                                                         "(rows, repo, run)"))
    quiet = project.run("-q", "--log", "json").expect(DONE)
    assert quiet.err == ""
    users.execute("UPDATE users SET step = NULL")
    told = project.run("-v", "--again", "--log", "json").expect(DONE).log
    assert "debug" in [line["level"] for line in told]


def test_a_run_that_never_began_is_not_in_the_journal(project):
    result = project.run("--log", "json", script="scripts/nope.lua")
    assert [line["level"] for line in result.expect(INVALID).log] == ["error"]
    project.script(SCRIPT % "")
    result = project.run("--log", "json", url="host=/nowhere dbname=x")
    end = result.expect(UNREACHABLE).log[-1]
    assert (end["run"], end["state"]) == (None, "failed")


def test_a_wrong_option_after_log_json_is_json_too(project):
    result = project.luamig("run", "--log", "json", "--limt", "1")
    assert "--limit" in result.expect(USAGE).log[0]["message"]


def test_an_unknown_log_format_is_refused(project):
    project.run("--log", "xml").expect(
        USAGE, '--log takes plain or json, not "xml"')


# -- a stderr, or stdout, that takes nothing ---------------------------------


def run_in_shell(project, redirection, *arguments):
    """Exit code of a run whose output goes where a shell sends it."""
    command = f'exec "$0" "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", command, binary(), "run", "scripts/x.lua", "-v", "--db",
         project.url, *arguments],
        cwd=project.path, env=clean_environment(), timeout=60,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode


SINKS = ["2>/dev/full", "2>&-", ">/dev/full", ">&-", ">&- 2>&-",
         "<&- >&- 2>&-", ">/dev/full 2>/dev/full"]


@pytest.mark.parametrize("log", ["plain", "json"])
@pytest.mark.parametrize("sink", SINKS)
def test_a_run_does_not_care_who_reads(users, project, sink, log):
    assert run_in_shell(project, sink, "--log", log) == DONE
    assert done(users) == 50
    project.script(SCRIPT % 'error("no")')
    users.execute("UPDATE users SET step = NULL")
    assert run_in_shell(project, sink, "--again", "--log", log) == FAILED
    assert users.state() == "failed"


def test_a_closed_pipe_does_not_stop_a_run(users, project):
    read, write = os.pipe()
    os.close(read)
    code = subprocess.run(
        [binary(), "run", "scripts/x.lua", "-v", "--db", project.url],
        cwd=project.path, env=clean_environment(), timeout=60,
        stdout=write, stderr=write).returncode
    os.close(write)
    assert code == DONE
    assert done(users) == 50


# -- SIGHUP ------------------------------------------------------------------


def test_hang_ups_finish_the_batch_and_stop(users, project):
    project.script((SCRIPT % "").replace("throttle_ms = 0",
                                         "throttle_ms = 50"))
    runner = project.start_run()
    wait_until(lambda: users.progress() >= 10, "a batch")
    for _ in range(3):
        runner.signal(signal.SIGHUP)
    result = runner.wait().expect(STOPPED, "stopped (SIGHUP)")
    assert done(users) == result.rows < 50
    project.run().expect(DONE)


def test_nohup_makes_hang_ups_mean_nothing(users, project):
    project.script((SCRIPT % "").replace("throttle_ms = 0",
                                         "throttle_ms = 50"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        runner = project.start_run()
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_until(lambda: users.progress() >= 10, "a batch")
    runner.signal(signal.SIGHUP)
    runner.wait().expect(DONE)
