"""Journals that were copied, or damaged by hand: nothing is guessed, nothing of
others is ended, and what is wrong is said with the way on."""

import json
import os
import re
import signal
import subprocess

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import (CANCELLED, DONE, FAILED, STOPPED, UNREACHABLE,
                             Project)
from harness.wait import wait_until


def start_after(result):
    """What a hint says of config."""
    return re.search(r"start_after = \{.*?\}", result.err).group(0)


def last_key(result):
    return int(json.loads(start_after(result).split("{")[1].split("}")[0]))


@pytest.fixture
def stopped(db, project):
    """A run that was stopped after 100 of 300 rows."""
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    project.run("--limit", 100).expect(STOPPED)
    return db, project


def test_a_run_that_lost_its_progress_is_named_and_begins_nothing(stopped):
    db, project = stopped
    db.admin("DELETE FROM luamig.progress")
    project.run(timeout=20).expect(
        FAILED, 'run 1 has no row in "luamig".progress', "start_after",
        "--restart")
    assert db.scalar("SELECT last_value FROM luamig.run_id_seq",
                     user="postgres") == 1


def test_the_ways_on_after_lost_progress_can_be_followed(stopped):
    db, project = stopped
    db.admin("CREATE TABLE kept AS TABLE luamig.progress")
    db.admin("DELETE FROM luamig.progress")
    project.run().expect(FAILED)
    db.admin("INSERT INTO luamig.progress SELECT * FROM kept")
    project.run("--limit", 100).expect(STOPPED)
    db.admin("DELETE FROM luamig.progress")
    project.script(readings.script(batch=100, config="start_after = { 200 }"))
    project.run("--restart").expect(DONE, "is abandoned")
    readings.assert_each_once(db, callbacks=False)


@pytest.mark.parametrize("state", ["done", "failed", "running", "paused"])
def test_lost_progress_in_any_state(stopped, state):
    """Also of a run that was done: beginning it again would migrate twice."""
    db, project = stopped
    db.admin("UPDATE luamig.run SET state = %s", state)
    db.admin("DELETE FROM luamig.progress")
    project.run(timeout=20).expect(FAILED, "has no row",
                                   f"Its state is {state}")
    assert db.scalar("SELECT count(*) FROM readings WHERE writes > 0") == 100


def test_a_state_that_there_is_not_is_named(stopped):
    db, project = stopped
    db.admin("ALTER TABLE luamig.run DROP CONSTRAINT run_state_check")
    db.admin("UPDATE luamig.run SET state = 'nonsense'")
    project.run(timeout=20).expect(FAILED, "nonsense", "--restart")
    project.run("--restart").expect(DONE)


def test_progress_that_goes_while_the_run_is_at_work(db, project):
    readings.create(db, 1000)
    project.script(readings.script(batch=100, throttle=200))
    runner = project.start_run()
    wait_until(lambda: db.progress() >= 200, "batches")
    db.admin("DELETE FROM luamig.progress")
    done = runner.wait().expect(FAILED, 'in "luamig".progress is gone',
                                "start_after = {").refuse("resumes it")
    assert db.scalar("SELECT count(*) FROM readings WHERE writes = 1"
                     ) == last_key(done)
    project.script(readings.script(batch=100, config=start_after(done)))
    project.run("--restart").expect(DONE)
    readings.assert_each_once(db, callbacks=False)


TEXTS = """return { config = { batch_size = 10, throttle_ms = 50, %s },
  base_query = "SELECT id FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:execute("UPDATE t SET n = n + 1 WHERE id = $1", row.id)
    end
  end }"""


def test_the_hint_of_a_text_of_digits_loses_no_row(db, project):
    """01234 as a number would be 1234, which is a text far behind it."""
    db.execute('CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, '
               "n int NOT NULL DEFAULT 0); INSERT INTO t "
               "SELECT lpad(g::text, 5, '0') FROM generate_series(1, 300) g")
    project.script(TEXTS % "")
    runner = project.start_run()
    wait_until(lambda: db.progress() >= 20, "batches")
    db.admin("DELETE FROM luamig.progress")
    done = runner.wait().expect(FAILED, "is gone", 'start_after = { "00')
    project.script(TEXTS % (start_after(done) + ", throttle_ms = 0"))
    project.run("--restart").expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def test_a_cursor_that_was_edited_is_named_before_a_retry(db, project):
    readings.create(db, 300)
    db.execute("CREATE FUNCTION conflict() RETURNS void LANGUAGE plpgsql AS "
               "$$ BEGIN RAISE 'again' USING ERRCODE = '40001'; END $$")
    project.script(readings.script(
        batch=100, migrate='if rows[1].id > 100 then '
        'repo:query("SELECT conflict()") end ' + readings.ROW_BY_ROW))
    runner = project.start_run(fault="after_page:2=stop")
    runner.wait_frozen()
    db.admin("UPDATE luamig.range SET cursor = '{}'")
    runner.thaw()
    runner.wait().expect(
        FAILED, "the journal's cursor of run 1 does not fit the key")


def test_a_damaged_run_that_is_given_up_does_not_go_on(at_work):
    """A runner that holds it all the same is fenced off."""
    db, project, runner = at_work
    db.admin("ALTER TABLE luamig.run DROP CONSTRAINT run_state_check;"
             "UPDATE luamig.run SET state = 'nonsense'")
    project.run("--restart", "--limit", 100).expect(STOPPED, "is abandoned")
    runner.wait().expect(CANCELLED)
    assert db.scalar("SELECT count(*) FROM readings WHERE writes > 1") == 100


def test_a_run_to_adopt_that_lost_its_progress_is_named(stopped):
    db, project = stopped
    db.admin("DELETE FROM luamig.progress")
    project.script(project.read("scripts/x.lua"), "scripts/y.lua")
    project.run("--adopt", 1, script="scripts/y.lua").expect(
        FAILED, 'run 1 has no row in "luamig".progress', "start_after")


# -- commands that look into a journal ----------------------------------------


@pytest.mark.parametrize("command", [
    ["pause"], ["resume"], ["cancel"], ["cancel", "--now"], ["watch"],
    ["wait"], ["failures"], ["failures", "--retry"]])
@pytest.mark.parametrize("which", ["1", "scripts/x.lua"])
def test_a_command_names_a_run_that_lost_its_progress(
        stopped, command, which):
    db, project = stopped
    db.admin("UPDATE luamig.run SET state = 'running'")
    db.admin("DELETE FROM luamig.progress")
    project.luamig(*command, which, timeout=20).expect(
        FAILED, 'run 1 has no row in "luamig".progress', "hint: ")


def test_set_names_a_run_that_lost_its_progress(stopped):
    db, project = stopped
    db.admin("DELETE FROM luamig.progress")
    project.luamig("set", "1", "batch_size=10", timeout=20).expect(
        FAILED, 'run 1 has no row in "luamig".progress')


def test_status_shows_a_run_that_lost_its_progress(stopped):
    db, project = stopped
    project.run("--restart").expect(DONE)
    db.admin("DELETE FROM luamig.progress WHERE run_id = 1")
    warning = 'run 1 has no row in "luamig".progress'
    listed = project.luamig("status").expect(DONE, "damaged", warning)
    assert len(re.findall("scripts/x.lua", listed.out)) == 2
    project.luamig("status", "1").expect(
        DONE, "state:     damaged", "rows:      unknown", warning)
    second, first = project.status()
    assert (second["run"], second["damage"]) == (2, None)
    assert (first["run"], first["rows"]) == (1, None)
    assert first["damage"] == "no row in progress"


@pytest.mark.parametrize("command", ["watch", "wait"])
def test_watch_reports_that_the_progress_row_is_gone(
        db, project, command):
    readings.create(db, 1000)
    project.script(readings.script(batch=50, throttle=300))
    runner = project.start_run()
    wait_until(lambda: db.progress() >= 100, "batches")
    follower = project.start(command, "1")
    wait_until(lambda: db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s",
        f"luamig: {command}", user="postgres"), "the follower")
    db.admin("DELETE FROM luamig.progress")
    follower.wait(30).expect(FAILED, 'has no row in "luamig".progress')
    runner.wait().expect(FAILED, "start_after")


# -- a journal that is gone, or half of it ------------------------------------



@pytest.fixture
def at_work(db, project):
    """A run that has migrated some of its 1000 rows, and goes on."""
    readings.create(db, 1000)
    project.script(readings.script(batch=100, throttle=300))
    runner = project.start_run()
    wait_until(lambda: db.progress() >= 200, "batches")
    return db, project, runner


GONE = ["DROP SCHEMA luamig CASCADE",
        "ALTER SCHEMA luamig RENAME TO elsewhere"]


@pytest.mark.parametrize("sql", GONE)
def test_a_journal_that_goes_while_a_run_is_at_work(at_work, sql):
    db, project, runner = at_work
    db.admin(sql)
    done = runner.wait(60).expect(
        FAILED, 'the journal in schema "luamig" lacks', "start_after = {")
    done.refuse("resumes it")
    assert db.scalar("SELECT count(*) FROM readings WHERE writes = 1"
                     ) == last_key(done)
    project.script(readings.script(batch=100, config=start_after(done)))
    project.run().expect(DONE)
    readings.assert_each_once(db, callbacks=False)


@pytest.mark.parametrize("sql, what", [
    ("DROP TABLE luamig.progress", "table progress"),
    ("DROP TABLE luamig.run CASCADE", "table run"),
    ("ALTER TABLE luamig.progress RENAME TO old", "table progress")])
def test_a_part_of_the_journal_that_goes_while_a_run_is_at_work(
        at_work, sql, what):
    """What is left stays as it is: the way on is another journal."""
    db, project, runner = at_work
    db.admin(sql)
    done = runner.wait(60).expect(
        FAILED, f'the journal in schema "luamig" lacks: {what}',
        "start_after = {", "--journal-schema NAME")
    done.refuse("resumes it")
    project.run(timeout=30).expect(FAILED, f"lacks: {what}")
    project.luamig("status").expect(FAILED, f"lacks: {what}")
    project.script(readings.script(batch=100, config=start_after(done)))
    project.run("--journal-schema", "another").expect(DONE)
    readings.assert_each_once(db, callbacks=False)


def test_a_function_of_the_journal_that_goes_while_a_run_is_at_work(at_work):
    """Its rows are there: with the function, the run goes on."""
    db, project, runner = at_work
    (text,), = db.rows(
        "SELECT pg_get_functiondef('luamig.checkpoint'::regproc)",
        user="postgres")
    owner = db.scalar("SELECT proowner::regrole::text FROM pg_proc"
                      " WHERE oid = 'luamig.checkpoint'::regproc")
    db.admin("DROP FUNCTION luamig.checkpoint")
    runner.wait(60).expect(
        FAILED, 'the journal in schema "luamig" lacks: function checkpoint',
        "start_after = {").refuse("resumes it")
    assert db.state() == "failed"
    project.run(timeout=30).expect(UNREACHABLE, "checkpoint")
    db.admin(f"{text}; ALTER FUNCTION luamig.checkpoint OWNER TO {owner}")
    project.run().expect(DONE)
    readings.assert_each_once(db, callbacks=False)


def test_a_stop_that_cannot_be_recorded_promises_no_resume(at_work):
    db, project, runner = at_work
    runner.freeze()
    db.admin("DROP SCHEMA luamig CASCADE")
    runner.signal(signal.SIGTERM)
    runner.thaw()
    done = runner.wait(60).expect(FAILED, "start_after = {")
    done.refuse("resumes it")
    assert db.scalar("SELECT count(*) FROM readings WHERE writes = 1"
                     ) == last_key(done)


# -- without the constraints ---------------------------------------------------


@pytest.mark.parametrize("column", ["owner", "seq", "rows", "host"])
def test_a_progress_with_null_is_named(stopped, column):
    db, project = stopped
    db.admin(f"ALTER TABLE luamig.progress ALTER {column} DROP NOT NULL;"
             f"UPDATE luamig.progress SET {column} = NULL")
    project.run(timeout=30).expect(
        FAILED, f'run 1 has NULL as {column} in "luamig".progress')


def test_two_rows_of_progress_are_named(stopped):
    db, project = stopped
    db.admin("ALTER TABLE luamig.progress DROP CONSTRAINT progress_pkey;"
             "INSERT INTO luamig.progress SELECT * FROM luamig.progress")
    project.run(timeout=30).expect(
        FAILED, 'run 1 has more than one row in "luamig".progress')


def test_two_unfinished_runs_of_the_same_arguments_are_named(stopped):
    db, project = stopped
    project.run("--restart", "--limit", 100).expect(STOPPED)
    db.admin("DROP INDEX luamig.run_unfinished, luamig.run_given;"
             "UPDATE luamig.run SET state = 'stopped'")
    project.run(timeout=30).expect(FAILED, "run 2 has a twin, run 1")
    project.luamig("status").expect(DONE)
    project.luamig("pause", "scripts/x.lua").expect(
        FAILED, "more than one unfinished run")
    project.luamig("cancel", "1").expect(DONE)
    project.run().expect(DONE, "resum")


def copy_of(db):
    """What a dump restores: the same rows, in another database."""
    dump = os.path.join(db.cluster.bin, "pg_dump")
    if not os.path.exists(dump):
        pytest.skip("no pg_dump")
    copy = db.cluster.make_database()
    way = ["-h", db.cluster.dir, "-p", str(db.cluster.port), "-U", "postgres"]
    text = subprocess.run([dump, *way, db.name], check=True,
                          capture_output=True).stdout
    subprocess.run(["psql", "-q", *way, copy.name], input=text, check=True,
                   capture_output=True)
    return copy


def test_a_copy_beside_the_original_leaves_its_sessions_alone(
        db, project, tmp_path):
    readings.create(db, 1000)
    project.script(readings.script(batch=100))
    original = project.start_run(fault="after_flush:3=stop",
                                 env={"LUAMIG_LEASE_MS": "1500"})
    original.wait_frozen()
    copy = copy_of(db)
    other = Project(tmp_path, copy.url)
    try:
        other.run().expect(DONE)
        assert_once(copy)
        assert db.runners(), "the original's session was ended"
        original.thaw()
        original.wait().expect(DONE).refuse("reconnecting")
        assert_once(db)
    finally:
        other.close()
        copy.drop()
