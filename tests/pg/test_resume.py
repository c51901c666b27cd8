"""What a resumed run takes over from the one before, and what it must not."""

import pytest

from harness.project import BUSY, CANCELLED, DONE, FAILED, INVALID, STOPPED
from harness.wait import wait_until

SCRIPT = """
local luamig = require "luamig"
return {{ config = {{ batch_size = 10, throttle_ms = 0, {config} }}, {fields}
  base_query = "SELECT id, owner FROM items",
  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      {body}
    end
  end,
}}
"""
ADD = 'repo:execute("UPDATE items SET n = n + 10 WHERE id = $1", row.id)'


@pytest.fixture
def items(db):
    db.execute("""
        CREATE TABLE items (id int PRIMARY KEY, owner text,
                            n int NOT NULL DEFAULT 0);
        INSERT INTO items SELECT g, 'o' || g FROM generate_series(1, 50) g""")
    return db


def script(body=ADD, config="", fields=""):
    return SCRIPT.format(body=body, config=config, fields=fields)


def sums(db):
    return db.column("SELECT DISTINCT n FROM items ORDER BY n")


def test_a_run_whose_on_start_failed_begins_without_it(items, project):
    project.script(script(fields='on_start = function() error "no" end,'))
    project.run().expect(FAILED, "no")

    project.script(script())
    project.run().expect(DONE, "50 rows")
    assert sums(items) == [10]


def test_an_empty_table_is_done_and_stays_done(items, project):
    items.execute("DELETE FROM items")
    project.script(script())
    project.run().expect(DONE, "0 rows")
    items.execute("INSERT INTO items VALUES (1)")
    project.run().expect(DONE, "done already")
    assert sums(items) == [0]


def test_a_script_that_has_changed_since_it_was_done_says_so(items, project):
    project.script(script())
    project.run().expect(DONE)
    project.run().refuse("has changed")
    project.script(script() + "-- and more\n")
    project.run().expect(
        DONE, "run 1 is done already",
        "warning: the script has changed since run 1, which is done; "
        "--again runs the new version")
    project.run("--again").expect(DONE, "run 2 done").refuse("has changed")
    project.run().expect(DONE, "run 2 is done already").refuse("has changed")


ARGUMENTS = 'args = { n = { type = "integer", default = 1 } },'


@pytest.mark.parametrize("earlier", [[], ["--arg", "n=1"]])
def test_a_script_that_another_process_runs_to_its_end_meanwhile(
        items, project, earlier):
    project.script(script(fields=ARGUMENTS))
    late = project.start_run(fault="before_begin=stop")
    late.wait_frozen()
    project.run(*earlier).expect(DONE, "run 1 done")
    late.thaw()
    late.wait().expect(DONE, "run 1 is done already")
    assert sums(items) == [10]


def test_two_runs_that_are_asked_for_at_the_same_time_both_run(items, project):
    project.script(script())
    project.run().expect(DONE)
    late = project.start_run("--again", fault="before_begin=stop")
    late.wait_frozen()
    project.run("--again").expect(DONE, "run 2 done")
    late.thaw()
    late.wait().expect(DONE, "run 3 done")
    assert sums(items) == [30]


def test_a_run_that_is_cancelled_meanwhile_is_not_begun_again(items, project):
    project.script(script())
    late = project.start_run(fault="before_begin=stop")
    late.wait_frozen()
    project.run("--limit", 20).expect(STOPPED)
    project.luamig("cancel", "1").expect(DONE)
    late.thaw()
    late.wait().expect(CANCELLED, "run 1")
    assert sums(items) == [0, 10]


def frozen_in_its_checks(db, project):
    """A runner that has looked for its run, and waits for the table."""
    link = db.connect()
    link.cursor().execute("BEGIN; LOCK TABLE items")
    late = project.start_run()
    wait_until(lambda: db.column("SELECT pid FROM pg_locks WHERE NOT granted",
                                 user="postgres"), "the lock to be waited for")
    late.freeze()
    link.close()
    return late


def test_a_run_that_is_adopted_meanwhile_is_found(items, project):
    project.script(script(fields=ARGUMENTS) + "-- y", "scripts/y.lua")
    project.script(script(fields=ARGUMENTS))
    project.run(script="scripts/y.lua").expect(DONE, "run 1 done")
    project.run("--arg", "n=2").expect(DONE, "run 2 done")
    late = frozen_in_its_checks(items, project)
    project.run("--adopt", 1).expect(DONE)
    late.thaw()
    late.wait().expect(DONE, "run 1 is done already")
    assert sums(items) == [20]


def test_a_paused_run_that_ends_meanwhile_is_not_asked_to_continue(
        items, project):
    project.script(script())
    paused = project.start_run("--throttle-ms", 300)
    wait_until(lambda: items.progress("batches") > 0, "a batch")
    project.luamig("pause", 1).expect(DONE)
    paused.kill()
    late = frozen_in_its_checks(items, project)
    project.run().expect(DONE, "run 1 done")
    late.thaw()
    late.wait().expect(DONE, "run 1 is done already").refuse("asking it")
    assert sums(items) == [10]


def test_a_repeatable_script_adopts_a_run_that_is_done(items, project):
    project.script(script(config="repeatable = true,") + "-- y",
                   "scripts/y.lua")
    project.script(script(config="repeatable = true,"))
    project.run(script="scripts/y.lua").expect(DONE, "run 1 done")
    project.run("--limit", 20).expect(STOPPED)
    project.run("--adopt", 1).expect(DONE, "run 1 is done already")
    assert items.scalar("SELECT count(*) FROM luamig.run",
                        user="postgres") == 2


@pytest.mark.parametrize("before, after", [("true", "false"),
                                           ("false", "true")])
def test_follow_new_is_settled_when_a_run_begins(
        items, project, before, after):
    project.script(script(config=f"follow_new = {before}"))
    project.run("--limit", 20).expect(STOPPED)

    project.script(script(config=f"follow_new = {after}"))
    project.run().expect(INVALID, f"config.follow_new was {before}",
                         "--restart")
    project.script(script(config=f"follow_new = {before}"))
    project.run().expect(DONE, "50 rows")
    assert sums(items) == [10]


def test_on_start_may_make_the_rows(items, project):
    items.execute("DELETE FROM items")
    project.script(script(fields="""
        on_start = function(repo)
          repo:execute("INSERT INTO items SELECT generate_series(1, 30)")
        end,"""))
    project.run().expect(DONE, "30 rows")
    assert sums(items) == [10]


# -- a nil that drops a column -------------------------------------------------


@pytest.mark.parametrize("call, what", [
    ('repo:delete_all("other", { owner = row.owner, kind = "tmp" })',
     "the condition"),
    ('repo:update_all("other", { n = 1 }, '
     '{ owner = row.owner, kind = "tmp" })', "the condition"),
    ('repo:update("items", { id = row.id, owner = row.owner }, { n = 1 })',
     "the key")])
def test_a_condition_that_loses_a_column_is_refused(
        items, project, call, what):
    items.execute("""
        CREATE TABLE other (owner text, kind text, n int);
        INSERT INTO other SELECT 'o' || g, 'tmp', 0
            FROM generate_series(1, 50) g;
        UPDATE items SET owner = NULL WHERE id = 7""")
    project.script(script(body=call))
    project.run().expect(FAILED, f'missing from {what}', '"owner"',
                         "scripts/x.lua:7", "luamig.or_null")
    assert items.scalar("SELECT count(*) FROM other") == 50
    assert items.scalar("SELECT count(*) FROM other WHERE n = 1") == 0


def test_changes_that_lose_a_column_are_warned_of_once(items, project):
    items.execute("UPDATE items SET owner = NULL WHERE id IN (7, 8)")
    project.script(script(
        body='repo:update("items", { id = row.id }, '
             '{ n = 1, owner = row.owner })'))
    result = project.run().expect(DONE, "missing from the changes")
    assert result.err.count("missing from the changes") == 1


# -- whoever holds the run -----------------------------------------------------


@pytest.mark.long
def test_a_runner_at_work_for_longer_than_its_lease_is_left_alone(
        items, project):
    project.script(script(body='if row.id == 11 then '
                               'repo:query("SELECT pg_sleep(5)") end ' + ADD))
    lease = {"LUAMIG_LEASE_MS": "1000"}
    first = project.start_run(env=lease)
    wait_until(lambda: items.scalar(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event = 'PgSleep'") == 1, "the sleep")
    wait_until(lambda: items.scalar(
        "SELECT max(lease_until) < clock_timestamp() FROM luamig.worker"),
        "the lease to end")

    project.run(env=lease).expect(BUSY, "already running")
    first.wait().expect(DONE)
    assert sums(items) == [10]


def test_a_stranger_with_the_pid_of_a_gone_backend_is_left_alone(
        items, project):
    project.script(script())
    project.run("--limit", 20).expect(STOPPED)
    with items.connect() as stranger:
        pid = stranger.info.backend_pid
        items.execute(
            "INSERT INTO luamig.worker (id, run_id, process, number, host, pid,"
            " backend_pid, lease_until) VALUES (gen_random_uuid(), 1,"
            f" gen_random_uuid(), 1, 'h', 1, {pid}, 'epoch')")
        project.run().expect(DONE)
        with stranger.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert sums(items) == [10]


def test_savepoints_nest_only_so_deep(items, project):
    project.script("""
        return { run = function(repo)
          local function nest(depth)
            local ok, err = repo:savepoint(function() nest(depth + 1) end)
            if not ok then error(err, 0) end
          end
          nest(1)
        end }""")
    project.run().expect(FAILED, "savepoints are nested more than")


def test_a_run_that_gets_another_name_meanwhile_is_not_taken_over(
        items, project):
    """Its rows would be migrated by two runs."""
    project.script(script(), "scripts/a.lua")
    project.script(script() + "-- b", "scripts/b.lua")
    project.run("--limit", 20, script="scripts/a.lua").expect(STOPPED)
    late = project.start_run(script="scripts/a.lua", fault="before_take=stop")
    late.wait_frozen()
    project.run("--adopt", 1, "--limit", 10, script="scripts/b.lua").expect(
        STOPPED)
    late.thaw()
    late.wait().expect(DONE, "run 2 done: 50 rows")
    project.run(script="scripts/b.lua").expect(DONE, "run 1 done: 50 rows")
    assert sums(items) == [20]


def test_who_waits_for_a_frozen_begin_is_told_so(items, project):
    project.script(script(), "scripts/a.lua")
    project.script(script() + "-- b", "scripts/b.lua")
    project.run("--limit", 20, script="scripts/a.lua").expect(STOPPED)
    frozen = project.start_run(script="scripts/b.lua",
                               fault="journal_before_commit=stop")
    frozen.wait_frozen()
    for arguments in ([], ["--adopt", 1]):
        project.run(*arguments, script="scripts/b.lua").expect(
            BUSY, "another runner is just beginning a run of this script",
            "Try again in a moment")
    frozen.thaw()
    frozen.wait().expect(DONE)
    project.run(script="scripts/b.lua").expect(DONE, "run 2 is done already")
    assert sums(items) == [10, 20]
