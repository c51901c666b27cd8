"""--dry-run does the work, tells what it did, and leaves the database as it
was."""

import json
import re

from harness.cluster import GUARDED, PASSWORD
from harness.dry import (EACH, RENAME, counts, dry, readings, samples, script,
                         untouched, users)
from harness.project import DONE, FAILED, STOPPED


# -- what is told -----------------------------------------------------------

def test_the_report_says_what_a_run_would_change(readings, untouched):
    untouched()
    report = dry(readings, "--batch-size", 50)

    assert report["state"] == "done" and report["dry_run"] is True
    assert (report["rows"], report["batches"]) == (139, 3)
    assert counts(report) == {"public.readings": (0, 139, 0)}
    assert [(key, before["temperature"], after["temperature"])
            for key, before, after in samples(report, "public.readings")] == [
        ({"id": 61}, 61, 71), ({"id": 62}, 62, 72), ({"id": 63}, 63, 73)]
    assert report["estimate"]["rows"] == 139
    assert report["estimate"]["rows_are_exact"]
    # two pauses between three batches are the least that a run takes
    assert report["estimate"]["ms"] >= 200
    assert report["wal_bytes"] > 139 * 8
    assert report["batch_wal_bytes"]["worst"] >= (
        report["batch_wal_bytes"]["median"])
    assert report["dead_row_versions"] == 139


def test_a_run_afterwards_does_what_the_dry_run_said(db, readings):
    report = dry(readings)
    said = {row["key"]["id"]: row["after"]["temperature"]
            for row in report["samples"]}

    assert readings.run().expect(DONE).rows == report["rows"]
    for key, temperature in said.items():
        assert db.scalar("SELECT temperature FROM readings WHERE id = %s",
                         key) == temperature


def test_only_so_many_rows_as_the_limit_says(readings, untouched):
    untouched()
    report = dry(readings, "--batch-size", 20, "--limit", 50)

    assert report["state"] == "limit"
    assert (report["rows"], report["batches"]) == (50, 3)
    assert counts(report) == {"public.readings": (0, 50, 0)}
    assert not report["estimate"]["rows_are_exact"]
    assert report["estimate"]["rows"] >= 50
    assert report["estimate"]["wal_bytes"] >= report["batch_wal_bytes"]["sum"]


def test_a_script_sees_whether_it_is_a_dry_run(db, project):
    users(db, 3)
    project.script(script(
        'run.log("told", { dry = run.dry_run, id = run.id })'))
    project.run("--dry-run").expect(DONE, 'told {"dry":true,"id":0}')
    project.run().expect(DONE, 'told {"dry":false,"id":1}')


def test_nothing_to_do(db, project):
    users(db, 0)
    project.script(script(RENAME))
    report = dry(project)
    assert (report["rows"], report["tables"], report["samples"]) == (0, [], [])
    assert report["estimate"] == {"rows": 0, "rows_are_exact": True, "ms": 0,
                                  "wal_bytes": 0}


def test_raw_sql_triggers_and_cascades_count(db, project, untouched):
    users(db, 30)
    db.execute("""
        CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL
            REFERENCES users ON DELETE CASCADE);
        INSERT INTO orders SELECT n, 1 + n % 30 FROM generate_series(1, 60) n;
        CREATE TABLE audit (at text, who int);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO audit VALUES ('update', NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER noted AFTER UPDATE ON users
            FOR EACH ROW EXECUTE FUNCTION note();""")
    project.script(script("""
        repo:execute("UPDATE users SET name = 'y' WHERE id = ANY "
            .. "(ARRAY(SELECT generate_series($1::int, $2::int))) "
            .. "AND id > 10", rows[1].id, rows[#rows].id)
        repo:execute("DELETE FROM users WHERE id BETWEEN $1 AND $2 "
            .. "AND id <= 10", rows[1].id, rows[#rows].id)""",
                          "throttle_ms = 0, batch_size = 15"))
    untouched()
    report = dry(project)

    assert counts(report) == {"public.users": (0, 20, 10),
                              "public.orders": (0, 0, 20),
                              "public.audit": (20, 0, 0)}
    assert samples(report, "public.users") == [
        ({"id": n}, {"id": n, "name": f"user {n}"}, None) for n in (1, 2, 3)]
    assert samples(report, "public.audit") == [
        ({}, None, {"at": "update", "who": n}) for n in (11, 12, 13)]


def test_rows_of_other_tables_are_shown_with_what_they_were(db, project,
                                                            untouched):
    users(db, 20)
    db.execute("CREATE TABLE \"Odd \"\"name\" (\"Key\" int PRIMARY KEY, "
               "doc jsonb, luamig_t int);"
               "INSERT INTO \"Odd \"\"name\" SELECT n, '{\"b\": [1, null]}' "
               "FROM generate_series(1, 20) n")
    project.script(script(EACH.format("""
        repo:update('"Odd ""name"', { Key = row.id },
                    { doc = { a = row.id, b = { 2.5 } } })
        repo:insert('"Odd ""name"', { Key = 100 + row.id })""")))
    untouched()
    report = dry(project)

    table = 'public."Odd ""name"'
    assert counts(report) == {table: (20, 20, 0)}
    for key, before, after in samples(report, table):
        number = key["Key"]
        if number > 100:
            assert before is None
            assert after == {"Key": number, "doc": None, "luamig_t": None}
        else:
            assert before["doc"] == {"b": [1, None]}
            assert after["doc"] == {"a": number, "b": [2.5]}
    assert len(samples(report, table)) == 3


def test_a_composite_key_through_a_view(db, project, untouched):
    db.execute("""
        CREATE TABLE notes ("Tenant" text COLLATE "C", at timestamptz,
                            note text, PRIMARY KEY ("Tenant", at));
        INSERT INTO notes SELECT 'a"' || n % 2, '2024-01-01'::timestamptz
            + n * interval '1 hour', NULL FROM generate_series(1, 40) n;
        CREATE VIEW open_notes AS SELECT "Tenant" AS tenant, at FROM notes
            WHERE note IS NULL""")
    project.script(script(
        EACH.format("""repo:execute('UPDATE notes SET note = $1 '
            .. 'WHERE "Tenant" = $2 AND at = $3', "n", row.tenant, row.at)"""),
        'throttle_ms = 0, key = { "tenant", "at" }',
        "SELECT tenant, at FROM open_notes"))
    untouched()
    report = dry(project)

    assert counts(report) == {"public.notes": (0, 40, 0)}
    rows = samples(report, "public.notes")
    assert [key for key, _, _ in rows] == [
        {"Tenant": 'a"0', "at": f"2024-01-01T0{n}:00:00+00:00"}
        for n in (2, 4, 6)]
    assert [(before["note"], after["note"]) for _, before, after in rows] == (
        [(None, "n")] * 3)


def test_a_dry_run_names_the_partition_of_a_row(db, project, untouched):
    db.execute("""
        CREATE TABLE events (id int PRIMARY KEY, filler int, what text)
            PARTITION BY RANGE (id);
        CREATE TABLE events_low PARTITION OF events
            FOR VALUES FROM (1) TO (11);
        CREATE TABLE events_high (what text, gone int, id int NOT NULL,
                                  filler int);
        ALTER TABLE events_high DROP COLUMN gone;
        ALTER TABLE events ATTACH PARTITION events_high
            FOR VALUES FROM (11) TO (100);
        INSERT INTO events SELECT n, n, 'x' FROM generate_series(1, 20) n""")
    project.script(script(
        EACH.format('repo:update("events", { id = row.id }, { what = "y" })'),
        "throttle_ms = 0, batch_size = 10", "SELECT id FROM events"))
    untouched()
    report = dry(project)

    assert counts(report) == {"public.events_low": (0, 10, 0),
                              "public.events_high": (0, 10, 0)}
    assert samples(report, "public.events_low") == [
        ({"id": n}, {"id": n, "filler": n, "what": "x"},
         {"id": n, "filler": n, "what": "y"}) for n in (1, 2, 3)]
    assert samples(report, "public.events_high") == [
        ({"id": n}, {"what": "x", "id": n, "filler": n},
         {"what": "y", "id": n, "filler": n}) for n in (11, 12, 13)]


def test_the_rows_that_changed_are_the_sample(db, project):
    users(db, 100)
    project.script(script(
        'repo:execute("UPDATE users SET name = $1 WHERE id = 77", "z")'))
    report = dry(project)
    assert samples(report, "public.users") == [
        ({"id": 77}, {"id": 77, "name": "user 77"}, {"id": 77, "name": "z"})]


def test_a_row_deep_in_a_page_is_found_as_well(db, project):
    users(db, 1000)
    project.script(script(
        'repo:execute("UPDATE users SET name = $1 WHERE id = 777", "z")'))
    assert samples(dry(project), "public.users") == [
        ({"id": 777}, {"id": 777, "name": "user 777"},
         {"id": 777, "name": "z"})]


def test_what_a_savepoint_wrote_is_shown(db, project, untouched):
    users(db, 10)
    db.execute("CREATE TABLE log (id int PRIMARY KEY, what text)")
    project.script(script(EACH.format("""
        repo:savepoint(function()
            repo:insert("log", { id = row.id, what = "kept" })
        end)
        repo:savepoint(function()
            repo:insert("log", { id = row.id, what = "twice" })
        end)""")))
    untouched()
    report = dry(project)
    assert samples(report, "public.log") == [
        ({"id": n}, None, {"id": n, "what": "kept"}) for n in (1, 2, 3)]


def test_what_the_script_sets_changes_no_value(db, project, untouched):
    db.execute("CREATE TABLE users (at timestamptz PRIMARY KEY, share float8, "
               "name text);"
               "INSERT INTO users SELECT '2024-01-01'::timestamptz "
               "+ n * interval '1 day', n / 3.0, 'x' "
               "FROM generate_series(1, 5) n; ANALYZE users")
    project.script(script('''
        repo:execute("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        repo:execute("SET LOCAL DateStyle = German")
        repo:execute("SET LOCAL extra_float_digits = -10")
        repo:execute("UPDATE users SET name = 'y' WHERE share > 0")
        ''', config='key = "at", throttle_ms = 0',
        base="SELECT at FROM users"))
    untouched()

    shown = samples(dry(project), "public.users")
    assert len(shown) == 3
    for _, before, after in shown:
        assert after == {**before, "name": "y"}


def test_a_long_value_is_shown_by_its_beginning(db, project):
    users(db, 1)
    project.script(script(EACH.format(
        'repo:update("users", { id = row.id }, '
        '{ name = string.rep("y", 1000000) })')))
    (_, _, after), = samples(dry(project), "public.users")
    assert re.fullmatch(r'"y{199}\.\.\. \(1000002 characters, hash -?\d+\)',
                        after["name"])


def test_whatever_the_values_are_the_report_is_json_on_one_line(db, project):
    """A json column keeps its line breaks; a flag is made of tag characters."""
    users(db, 1, more=", doc json")
    kept = '{ "a":\r\n\t[1000,\n "\x7f \U000e0067 \u202e \\n"] }'
    db.execute("UPDATE users SET doc = %s, name = %s", kept,
               "\x7f\r\U000e0067")
    text = script(RENAME, more="args = { pin = { type = 'string', secret ="
                               " true } },")
    project.script(text)
    result = project.run("--dry-run", "--arg-env", "pin=PIN",
                         env={"PIN": "1000"}).expect(DONE)
    assert result.out.count("\n") == 1
    (_, before, _), = samples(json.loads(result.out), "public.users")
    assert before == {"id": 1, "name": "\x7f\r\U000e0067",
                      "doc": {"a": [1000, "\x7f \U000e0067 \u202e \n"]}}


def test_a_table_that_may_not_be_read_is_counted_and_not_shown(db, project):
    users(db, 5)
    db.admin("CREATE TABLE secret (id int); GRANT INSERT ON secret TO app")
    project.script(script(EACH.format(
        'repo:execute("INSERT INTO secret VALUES ($1)", row.id) '
        'repo:update("users", { id = row.id }, { name = "n" })')))
    report = dry(project)
    assert counts(report) == {"public.secret": (5, 0, 0),
                              "public.users": (0, 5, 0)}
    assert samples(report, "public.secret") == []
    assert len(samples(report, "public.users")) == 3


def test_unknown_counters_are_not_shown_as_zero(db, readings):
    db.set("track_counts", "off")
    report = dry(readings)
    assert report["tables"] is None
    assert report["rows"] == 139
    assert len(samples(report, "public.readings")) == 3


# -- callbacks, one-shots -----------------------------------------------------

def test_a_one_shot(db, project, untouched):
    users(db, 10)
    project.script("""return {
      run = function(repo, run)
        assert(run.dry_run)
        repo:update_all("users", { name = "all" }, "id > $1", 4)
      end,
    }""")
    untouched()
    report = dry(project)

    assert (report["state"], report["rows"], report["batches"]) == (
        "done", None, 1)
    assert counts(report) == {"public.users": (0, 6, 0)}
    assert samples(report, "public.users")[0] == (
        {"id": 5}, {"id": 5, "name": "user 5"}, {"id": 5, "name": "all"})


def test_batches_find_what_on_start_wrote(db, project, untouched):
    users(db, 25)
    project.script(script(
        EACH.format('repo:update("users", { id = row.id }, '
                    '{ name = repo:scalar("SELECT v FROM helper") })'),
        "throttle_ms = 0, batch_size = 10, allow_ddl = true",
        more="""
        on_start = function(repo)
          repo:execute("CREATE TABLE helper AS SELECT 'from helper' AS v")
          repo:execute("INSERT INTO helper VALUES ($1)", "second")
          repo:execute("DELETE FROM helper WHERE v = 'second'")
        end,
        on_complete = function(repo)
          repo:execute("UPDATE helper SET v = $1 WHERE v = 'from helper'",
            "done")
        end,"""))
    untouched()
    report = dry(project)

    assert (report["rows"], report["batches"]) == (25, 3)
    assert counts(report)["public.users"] == (0, 25, 0)
    # once by on_start, although each batch repeats it; then on_complete
    assert counts(report)["public.helper"] == (2, 1, 1)
    assert samples(report, "public.users")[0][2]["name"] == "from helper"


def test_on_start_that_adds_a_column(db, project, untouched):
    users(db, 25)
    project.script(script(
        EACH.format('assert(row.step == nil) '
                    'repo:update("users", { id = row.id }, { step = 1 })'),
        "throttle_ms = 0, batch_size = 10, allow_ddl = true",
        "SELECT * FROM users", """
        on_start = function(repo)
          repo:execute("ALTER TABLE users ADD COLUMN step int")
        end,"""))
    untouched()
    assert counts(dry(project))["public.users"] == (0, 25, 0)


def test_on_complete_that_needs_what_the_batches_wrote(db, project, untouched):
    users(db, 10, ", step int")
    project.script(script(
        EACH.format('repo:update("users", { id = row.id }, { step = 1 })'),
        "throttle_ms = 0, allow_ddl = true", more="""
        on_complete = function(repo)
          repo:execute("ALTER TABLE users ALTER step SET NOT NULL")
        end,"""))
    untouched()
    result = project.run("--dry-run").expect(
        FAILED, "on_complete sees nothing that the batches wrote")
    assert counts(json.loads(result.out)) == {"public.users": (0, 10, 0)}


# -- the journal, other runs, rights -----------------------------------------

def test_an_unfinished_run_is_left_alone(db, readings):
    readings.run("--limit", 20, "--batch-size", 20).expect(STOPPED)
    before = db.contents()

    assert dry(readings)["rows"] == 139
    assert db.contents() == before

    assert readings.run().expect(DONE).rows == 139
    before = db.contents()
    assert dry(readings)["rows"] == 139  # a finished one does not matter
    assert db.contents() == before


def test_without_the_right_to_create_anything(db, readings):
    db.execute(f"GRANT SELECT, UPDATE ON readings TO {GUARDED}")
    url = db.cluster.url(db.name, user=GUARDED, password=PASSWORD)

    assert counts(dry(readings, url=url)) == {"public.readings": (0, 139, 0)}
    assert not db.has_journal()


def test_combined_writes_are_checked_without_the_journal(db, project,
                                                         untouched):
    users(db, 10)
    project.script(script(EACH.format(
        '\nrepo:update("users", { id = row.id == 7 and 777 or row.id }, '
        '{ name = "n" })')))
    untouched()
    result = project.run("--dry-run").expect(FAILED, "scripts/x.lua:6")
    assert re.search(r"error: .*777", result.err), result
    assert json.loads(result.out)["state"] == "failed"
