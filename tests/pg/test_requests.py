"""Requests to a run as anybody who may write to the journal can make them:
each is judged alone, whatever the ones beside it are."""

import json

import psycopg2
import pytest

from harness.project import CANCELLED, DONE, FAILED, STOPPED
from harness.wait import wait_until

SCRIPT = """
return {
  config = { batch_size = 10, throttle_ms = 20 },
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = row.n + 10 })
    end
  end,
}
"""

# Settings of a "set", and what the answer says of them. Whoever asks by SQL
# may write any JSON.
MALFORMED = {
    "an array": ('[]', "settings must be a JSON object"),
    "a number": ('7', "settings must be a JSON object"),
    "a text": ('"batch_size"', "settings must be a JSON object"),
    "null": ('null', "settings must be a JSON object"),
    "nothing": ('{}', "names no setting"),
    "an unknown name": ('{"batch_sze": 7}', "batch_size"),
    "an empty name": ('{"": 7}', 'there is no setting ""'),
    "no value": ('{"batch_size": null}', 'not "null"'),
    "a nested value": ('{"batch_size": {"a": 1}}', "takes a number"),
    "a list as value": ('{"batch_size": [1]}', "takes a number"),
    "a fraction": ('{"batch_size": 1.5}', 'not "1.5"'),
    "out of range": ('{"batch_size": 1000001}', "from 1 to 1000000"),
    "zero": ('{"batch_size": 0}', "from 1 to 1000000"),
    "negative": ('{"throttle_ms": -1}', 'not "-1"'),
    "huge": ('{"throttle_ms": 1e300}', "too long"),
    "beyond int8": ('{"throttle_ms": 99999999999999999999}', "from 0 to"),
    "a word": ('{"health.blocked_sessions": "often"}', "takes a number or false"),
    "true": ('{"health.blocked_sessions": true}', "takes a number or false"),
    "an unknown signal": ('{"health.blocked_sesions": 1}', "health.blocked_sessions"),
    "one of two": ('{"batch_size": 7, "throttle_ms": "x"}', "throttle_ms"),
    "long": (json.dumps({f"a{i}": i for i in range(1000)}), "too long"),
    "a long name": (json.dumps({"batch_size" * 20: 1}), "no setting"),
}


@pytest.fixture
def table(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i")
    return db


@pytest.fixture
def runner(table, project):
    """A run at work; its journal lets everything in."""
    project.script(SCRIPT)
    runner = project.start_run()
    wait_until(lambda: not runner.alive or table.progress() > 0, "a batch")
    table.execute("""
        DO $$ DECLARE name text; BEGIN
          FOR name IN SELECT conname FROM pg_constraint WHERE contype = 'c'
              AND conrelid = 'luamig.request'::regclass LOOP
            EXECUTE 'ALTER TABLE luamig.request DROP CONSTRAINT ' || name;
          END LOOP;
        END $$""")
    return runner


def ask(db, verb, settings="{}", at_once=False, run=1, host=None):
    return db.scalar(
        "INSERT INTO luamig.request (run_id, verb, settings, at_once, host)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING id",
        run, verb, settings, at_once, host)


def answer(db, request):
    wait_until(lambda: db.scalar(
        "SELECT answer IS NOT NULL FROM luamig.request WHERE id = %s",
        request), f"the answer to request {request}")
    return db.scalar("SELECT answer FROM luamig.request WHERE id = %s",
                     request)


def end(project, runner):
    project.luamig("cancel", 1, "--now").expect(DONE, "is cancelled")
    return runner.wait().expect(CANCELLED)


def test_a_run_hears_after_a_malformed_request(table, project, runner):
    bad = ask(table, "set", "[]")
    project.luamig("pause", 1).expect(DONE, "is paused")
    assert answer(table, bad).startswith("refused: ")
    project.luamig("set", 1, "batch_size=7").expect(DONE)
    project.luamig("resume", 1).expect(DONE, "continues")
    end(project, runner).expect(CANCELLED, "refused")


def test_every_malformed_setting_is_refused_by_itself(table, project, runner):
    numbers = {what: ask(table, "set", settings)
               for what, (settings, _) in MALFORMED.items()}
    good = ask(table, "set", '{"batch_size": "9"}')
    paused = ask(table, "pause")
    for what, (_, text) in MALFORMED.items():
        said = answer(table, numbers[what])
        assert said.startswith("refused: ") and text in said, (what, said)
    assert answer(table, good) == "done"
    assert answer(table, paused) == "done"
    end(project, runner).expect(CANCELLED, "batch_size = 9").refuse(
        "batch_size = 7")


def ask_at_once(db, *asked):
    """Requests (verb, settings, who) that a runner finds together."""
    rows = ", ".join(["(1, %s, %s, %s, 'desk')"] * len(asked))
    ids = db.column("INSERT INTO luamig.request (run_id, verb, settings,"
                    f" requested_by, host) VALUES {rows} RETURNING id",
                    *(value for request in asked for value in request))
    return [answer(db, number) for number in ids]


def test_a_pause_that_is_outweighed_before_it_begins_is_answered_so(
        table, project, runner):
    answers = ask_at_once(table, ("pause", "{}", "ann"),
                          ("resume", "{}", "bob"))
    assert answers == ["the run was resumed by bob on desk", "done"]
    assert table.state() == "running"
    ended = end(project, runner)
    assert "paused by" not in ended.err


def test_a_pause_before_a_cancel_is_answered_with_the_cancel(
        table, project, runner):
    answers = ask_at_once(table, ("pause", "{}", "ann"),
                          ("cancel", "{}", "bob"))
    assert answers == ["the run was cancelled by bob on desk", "done"]
    runner.wait().expect(CANCELLED, "bob on desk")


def test_requests_that_come_together_are_answered_each_for_itself(
        table, project, runner):
    refused, set_, paused = ask_at_once(
        table, ("set", '{"batch_size": "x"}', "ann"),
        ("set", '{"batch_size": 7}', "bob"), ("pause", "{}", "cleo"))
    assert refused.startswith("refused: ") and "batch_size" in refused
    assert (set_, paused) == ("done", "done")
    wait_until(lambda: table.state() == "paused", "the pause")
    ended = end(project, runner)
    assert "batch_size = 7, set by bob on desk" in ended.err
    assert "paused by cleo on desk" in ended.err


def test_two_who_ask_for_a_pause_are_both_answered(table, project, runner):
    assert ask_at_once(table, ("pause", "{}", "ann"),
                       ("pause", "{}", "bob")) == ["done", "done"]
    wait_until(lambda: table.state() == "paused", "the pause")
    assert "paused by ann on desk" in end(project, runner).err


def test_one_bad_setting_of_two_leaves_the_other_as_it_was(
        table, project, runner):
    """Also for the next runner, which reads what was answered "done"."""
    bad = ask(table, "set", '{"batch_size": 7, "throttle_ms": "x"}')
    assert answer(table, bad).startswith("refused: ")
    runner.kill()
    project.run("--limit", 20).refuse("batch_size = 7")


@pytest.mark.parametrize("verb", ["stop", "PAUSE", "", "pausenow", "resumed"])
def test_an_unknown_verb_is_refused(table, project, runner, verb):
    project.luamig("pause", 1).expect(DONE)
    said = answer(table, ask(table, verb))
    assert said.startswith("refused: there is no request"), said
    assert table.state() == "paused"
    end(project, runner)


def test_a_pause_with_odd_settings_pauses(table, project, runner):
    assert answer(table, ask(table, "pause", '[1, {"a": null}]')) == "done"
    assert table.state() == "paused"
    end(project, runner)


def test_only_a_cancel_interrupts(table, project, runner):
    """What else is asked "at once" is answered after the batch."""
    bad = ask(table, "set", '{"batch_sze": 1}', at_once=True)
    good = ask(table, "set", '{"batch_size": 11}', at_once=True)
    pause = ask(table, "pause", at_once=True, host="h" * 5000)
    assert answer(table, bad).startswith("refused: ")
    assert answer(table, good) == answer(table, pause) == "done"
    assert table.state() == "paused"
    end(project, runner)


def test_thousands_of_requests_do_not_hide_a_cancel(table, project, runner):
    table.execute(
        "INSERT INTO luamig.request (run_id, verb, settings)"
        " SELECT 1, 'set', CASE i % 4 WHEN 0 THEN '[]' WHEN 1 THEN"
        " '{\"batch_sze\": 1}' WHEN 2 THEN '{\"batch_size\": 12}' ELSE"
        " '{\"throttle_ms\": [1]}' END::jsonb FROM generate_series(1, 8000) i")
    end(project, runner)
    assert table.rows("SELECT count(*) FROM luamig.request"
                      " WHERE answer IS NULL") == [(0,)]


def test_a_bad_request_that_waits_for_the_next_runner_does_not_stop_it(
        table, project, runner):
    runner.kill()
    requests = [ask(table, "set", settings)
                for settings, _ in MALFORMED.values()]
    good = ask(table, "set", '{"batch_size": 250, "throttle_ms": 0}')
    project.run().expect(DONE, "batch_size = 250")
    assert all(answer(table, request).startswith("refused: ")
               for request in requests)
    assert answer(table, good) == "done"


def test_a_setting_that_was_noted_wrongly_is_warned_of(table, project, runner):
    runner.kill()
    table.execute(
        "INSERT INTO luamig.request (run_id, verb, settings, answer,"
        " answered_at) VALUES (1, 'set', '[]', 'done', now()),"
        " (1, 'set', '{\"batch_size\": 300}', 'done', now()),"
        " (1, 'set', '{\"throttle_ms\": 0}', 'done', now()),"
        " (1, 'set', '{\"target_ms\": \"x\"}', 'done', now())")
    project.run().expect(DONE, "batch_size = 300", "throttle_ms = 0",
                         "target_ms takes a number")


def test_a_request_to_a_run_that_has_ended_is_seen_as_too_late(
        table, project, runner):
    end(project, runner)
    ask(table, "pause")
    project.luamig("status", 1).expect(
        DONE, "pause by app", "too late: the run is cancelled").refuse(
            "not answered yet")
    project.luamig("pause", 1).expect(FAILED, "has ended: it is cancelled")


def test_status_shows_what_was_refused(table, project, runner):
    answer(table, ask(table, "set", "[]"))
    project.luamig("status", 1).expect(DONE, "refused: ")
    shown, = project.status(1)
    assert shown["requests"][0]["settings"] == []
    end(project, runner)


# -- the journal ------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    '[]', '7', 'null', '"x"', '{"a": {"b": 1}}', '{"a": []}', '{"a": null}',
    json.dumps({f"a{i}": i for i in range(1000)})])
def test_the_journal_takes_no_malformed_settings(table, project, settings):
    project.script(SCRIPT)
    project.run("--limit", 10)
    with pytest.raises(psycopg2.errors.CheckViolation, match="settings"):
        ask(table, "set", settings)


def test_a_journal_of_0_1_with_malformed_requests_is_upgraded(table, project):
    project.script(SCRIPT)
    sql = project.luamig("journal", "--sql", url=False).expect(DONE).out
    released = sql[:sql.index("VALUES (3);") + len("VALUES (3);")]
    table.execute(released + "COMMIT;")
    table.execute(
        "INSERT INTO luamig.run (script, args, sha256, config, state, version)"
        " VALUES ('scripts/old.lua', '{}', '', '{}', 'stopped', '0.1');"
        "INSERT INTO luamig.progress (run_id, key_columns, lease_until, host,"
        " pid, backend_pid) VALUES (1, '{id}', now(), 'h', 1, 1)")
    for settings, _ in MALFORMED.values():
        ask(table, "set", settings)
    ask(table, "set", '{"batch_size": 5}')
    project.run("--limit", 10).expect(STOPPED)
    assert table.rows(
        "SELECT settings, answer FROM luamig.request WHERE answer NOT LIKE"
        " 'refused: %%'") == []
    assert table.scalar("SELECT convalidated FROM pg_constraint"
                        " WHERE conname = 'request_settings'")
    assert table.scalar("SELECT answer FROM luamig.request"
                        " WHERE settings = '{\"batch_size\": 5}'") is None
