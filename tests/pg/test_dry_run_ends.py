"""How a dry run ends: errors, retries, signals; and what is said then."""

import json
import re
import signal

import pytest

from harness.cluster import SUPERUSER
from harness.dry import (EACH, RENAME, counts, dry, readings, report_of,
                         residue, script, untouched, users)
from harness.oracle import assert_nothing_left
from harness.project import (DONE, FAILED, INVALID, STOPPED, UNREACHABLE,
                             USAGE)
from harness.terminal import at_a_terminal
from harness.wait import wait_until


# -- errors, retries, stops ----------------------------------------------------

def test_a_script_that_fails_reports_what_was_done(db, project, untouched):
    users(db, 30)
    project.script(script(
        RENAME + ' if run.batch == 3 then error("not this one") end',
        "throttle_ms = 0, batch_size = 10"))
    untouched()
    result = project.run("--dry-run").expect(FAILED, "not this one",
                                             "scripts/x.lua:5", "batch 3")
    report = json.loads(result.out)
    assert report["state"] == "failed" and "not this one" in report["error"]
    assert (report["rows"], report["batches"]) == (20, 2)
    assert counts(report) == {"public.users": (0, 20, 0)}
    assert not report["would_quarantine"]


def test_a_dry_run_shows_rows_that_a_run_would_record(db, project, untouched):
    users(db, 30, ", CHECK (name <> 'x20')")
    project.script(script(
        RENAME, 'throttle_ms = 0, batch_size = 10, on_error = "quarantine"'))
    untouched()
    report = dry(project, code=FAILED)
    assert report["would_quarantine"]
    assert report["rows"] == 10


def test_a_dry_run_finds_errors_of_commit(db, project, untouched):
    users(db, 30)
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL "
               "REFERENCES users DEFERRABLE INITIALLY DEFERRED)")
    project.script(script(EACH.format(
        'repo:insert("orders", { id = row.id, user_id = row.id % 25 + 1 })')
        + ' if rows[1].id > 20 then repo:insert("orders", '
        '{ id = 99, user_id = 99 }) end', "throttle_ms = 0, batch_size = 10"))
    untouched()
    result = project.run("--dry-run").expect(
        FAILED, 'violates foreign key constraint "orders_user_id_fkey"')
    assert json.loads(result.out)["rows"] == 20


def test_a_dry_run_refuses_and_warns_as_a_run_does(db, project):
    db.execute("CREATE TABLE users (id int NOT NULL, name text);"
               "INSERT INTO users SELECT n, 'x' FROM "
               "generate_series(1, 150000) n; ANALYZE users")
    project.script(script("", config="batch_size = 100",
                          base="SELECT id FROM users WHERE random() < 2"))

    project.run("--dry-run").expect(INVALID, "plan: each page reads about",
                                    "--force").refuse("batch")
    project.run("--dry-run", "--force", "--limit", 100).expect(
        DONE, "warning: overridden by --force: plan: each page reads",
        "calls volatile functions (random)")


def test_a_base_query_that_cannot_be_paged_is_refused(db, project):
    users(db)
    project.script(script(RENAME, base="SELECT name FROM users"))
    result = project.run("--dry-run").expect(INVALID, "scripts/x.lua")
    assert result.out == ""


def test_a_run_waits_for_the_lock_of_another_session(db, readings):
    with db.connect() as blocker, blocker.cursor() as cursor:
        blocker.autocommit = False
        cursor.execute("UPDATE readings SET temperature = 0 WHERE id = 100")
        runner = readings.start_run("--dry-run", "-v")
        wait_until(lambda: "55P03" in runner.stderr(), "a lock timeout")
        blocker.rollback()
    report = report_of(runner.wait())
    assert report["rows"] == 139 and report["retries"] >= 1
    assert counts(report) == {"public.readings": (0, 139, 0)}


WAITS = script(RENAME + ' run.log("batch " .. run.batch .. " has written")',
               "throttle_ms = 60000, batch_size = 10")


def begin_waiting(project):
    """A dry run that rests for a minute after its first batch."""
    runner = project.start_run("--dry-run")
    wait_until(lambda: "batch 1 has written" in runner.stderr(),
               "the first batch")
    return runner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_done(db, project, untouched, number):
    users(db, 30)
    project.script(WAITS)
    untouched()
    runner = begin_waiting(project)
    runner.signal(number)
    report = report_of(runner.wait(), STOPPED)
    assert (report["state"], report["rows"]) == ("stopped", 10)
    assert counts(report) == {"public.users": (0, 10, 0)}


def test_a_second_signal_interrupts_the_batch(db, project, untouched):
    users(db, 30)
    project.script(script(RENAME + ' run.log("sleeping") '
                          'repo:query("SELECT pg_sleep(120)")',
                          "statement_timeout_ms = 300000"))
    untouched()
    runner = project.start_run("--dry-run")
    wait_until(lambda: "sleeping" in runner.stderr(), "the batch")
    wait_until(lambda: db.scalar(
        "SELECT true FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'SELECT pg_sleep%%' AND state = 'active'",
        user=SUPERUSER), "the statement")
    runner.signal(signal.SIGINT)
    runner.signal(signal.SIGTERM)
    report = report_of(runner.wait(), STOPPED)
    assert (report["rows"], report["tables"]) == (0, [])


def test_a_connection_that_is_lost_ends_it(db, project, untouched):
    users(db, 30)
    project.script(WAITS.replace("60000", "2000"))
    untouched()
    runner = begin_waiting(project)
    wait_until(lambda: db.scalar(
        "SELECT true FROM pg_stat_activity WHERE pid = %s AND state = 'idle'",
        db.runners()[0], user=SUPERUSER), "the rest after the batch")
    for pid in db.runners():
        db.admin("SELECT pg_terminate_backend(%s)", pid)
    report = report_of(runner.wait(), UNREACHABLE)
    assert (report["state"], report["rows"]) == ("failed", 10)


@pytest.mark.parametrize("point", ["after_page:1", "after_migrate:2",
                                   "dry_before_rollback:3"])
def test_a_kill_leaves_nothing(db, project, untouched, point):
    users(db, 30)
    project.script(script(RENAME, "throttle_ms = 0, batch_size = 10"))
    untouched()
    runner = project.start_run("--dry-run", fault=point + "=kill")
    assert runner.wait().code == -signal.SIGKILL
    assert not db.has_journal()


@pytest.mark.parametrize("option", ["--again", "--restart", "--detach"])
def test_options_that_make_no_sense_with_it(readings, option):
    readings.run("--dry-run", option).expect(USAGE, option)


# -- what a rollback does not undo ------------------------------------------------

def test_sequences_that_moved_are_named(db, project):
    users(db, 12)
    db.execute('CREATE TABLE audit (id serial PRIMARY KEY, who int);'
               'CREATE SEQUENCE "Unused"; CREATE SEQUENCE "Own" START 5')
    project.script(script(EACH.format(
        """repo:execute("INSERT INTO audit (who) SELECT $1 "
           .. "FROM (SELECT nextval('\\"Own\\"')) AS n", row.id)""")))
    report = dry(project)
    assert residue(report) == [
        ("sequence", 'public."Own"', None, "16"),
        ("sequence", "public.audit_id_seq", None, "12")]
    assert report["dead_row_versions"] == 12


def test_a_sequence_that_is_set_back_is_named(db, project):
    users(db, 5)
    db.execute("CREATE SEQUENCE numbers; SELECT setval('numbers', 50)")
    project.script(script("repo:scalar(\"SELECT setval('numbers', 7, false)\")"))

    assert residue(dry(project)) == [
        ("sequence", "public.numbers", "50", None)]

    db.execute("SELECT setval('numbers', 50)")
    _, shown = at_a_terminal(project, "run", "scripts/x.lua", "--dry-run",
                             "--db", project.url)
    assert "public.numbers, from 50 to unused;" in shown


def test_advisory_locks_of_the_session_are_reported(db, project):
    users(db, 3)
    db.execute("CREATE FUNCTION hold() RETURNS void LANGUAGE sql AS "
               "'SELECT pg_advisory_lock(7)'")
    project.script(script('repo:query("SELECT hold()")'))
    assert residue(dry(project)) == [("advisory locks", None, None, None)]
    assert_nothing_left(db)


def test_writes_to_other_servers_are_reported(db, project, untouched):
    users(db, 3)
    db.admin(f"""
        CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw;
        CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '{db.cluster.dir}', dbname '{db.name}');
        CREATE USER MAPPING FOR app SERVER other
            OPTIONS (user 'app', password_required 'false');
        GRANT USAGE ON FOREIGN SERVER other TO app;
        CREATE TABLE there (id int); GRANT ALL ON there TO app;
        CREATE FOREIGN TABLE there_too (id int) SERVER other
            OPTIONS (table_name 'there');
        GRANT ALL ON there_too TO app""")
    project.script(script(EACH.format(
        'repo:execute("INSERT INTO there_too VALUES ($1)", row.id)')))
    untouched()
    report = dry(project)
    assert residue(report) == [
        ("foreign table", "public.there_too", None, None),
        ("dblink", None, None, None)]


# -- what people see ---------------------------------------------------------------

RED, GREEN = "\x1b[31m", "\x1b[32m"


def test_a_coloured_diff_at_a_terminal(readings):
    code, shown = at_a_terminal(readings, "run", "scripts/x.lua", "--dry-run",
                                "--db", readings.url)
    assert code == DONE, shown
    assert "dry run of scripts/x.lua: 139 rows, 1 batch" in shown
    assert re.search(r"public\.readings +0 +139 +0\r\n", shown), shown
    assert "@@ public.readings id=61 @@" in shown
    assert f"{RED}-temperature: 61\x1b[0m" in shown
    assert f"{GREEN}+temperature: 71\x1b[0m" in shown
    assert "taken_at" not in shown  # it did not change
    assert "139 dead row versions" in shown


def test_no_colours_where_they_are_not_wanted(readings):
    code, shown = at_a_terminal(readings, "run", "scripts/x.lua", "--dry-run",
                                "--db", readings.url, env={"NO_COLOR": "1"})
    assert code == DONE, shown
    assert not re.search(r"\x1b\[[\d;]*m", shown), shown
    assert "-temperature: 61\r\n+temperature: 71" in shown


def test_no_control_character_reaches_the_terminal(db, project):
    users(db, 1)
    project.script(script(EACH.format(
        'repo:update("users", { id = row.id }, '
        '{ name = "\\27]0;title\\7\\127\\u{9b}31m" })')))
    code, shown = at_a_terminal(project, "run", "scripts/x.lua", "--dry-run",
                                "--db", project.url, env={"NO_COLOR": "1"})
    assert code == DONE, shown
    assert not re.search("[\x07\x7f\x9b]|\x1b\\]", shown), repr(shown)


def test_many_rows_are_warned_of(db, project):
    users(db, 150000)
    project.script(script("", "batch_size = 100000, throttle_ms = 0"))
    assert "dry run of about 150,000 rows" in project.run("--dry-run").err
    project.run("--dry-run", "--limit", 10).expect(DONE).refuse("warning")


def test_the_json_log_has_the_ending(readings):
    result = readings.run("--dry-run", "--log", "json").expect(DONE)
    assert result.log[-1]["event"] == "end"
    assert result.log[-1]["dry_run"] is True
    assert result.log[-1]["rows"] == 139
