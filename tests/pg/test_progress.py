"""What a run says of its progress, by what the server knows."""

import re

import pytest

from harness.project import DONE, STOPPED
from harness.terminal import at_a_terminal

KEYS = {
    "int": "i",
    "numeric(10, 2)": "i / 100.0",
    "uuid": "lpad(to_hex(i), 32, '0')::uuid",
    "text": "'k' || lpad(i::text, 6, '0')",
    'text COLLATE "C"': "'k' || lpad(i::text, 6, '0')",
    "char(8)": "lpad(i::text, 8, '0')",
    "timestamptz": "timestamptz '2001-01-01 UTC' + i * interval '1 hour'",
    "date": "date '2001-01-01' + i",
}

# All rows match, and the planner multiplies: it expects one in a hundred.
SCRIPT = """return {{
  config = {{ batch_size = {batch}, throttle_ms = 0 }},
  base_query = "SELECT id FROM {source} WHERE a = b AND id IS NOT NULL",
  migrate = function(rows, repo)
    repo:query "SELECT pg_sleep({sleep})"
  end,
}}"""


def make_table(db, key="int", value="i", rows=3000):
    db.execute(f"""CREATE TABLE t (id {key} PRIMARY KEY, a int, b int);
        INSERT INTO t SELECT {value}, i, i FROM generate_series(1, {rows}) i;
        ANALYZE t""")


def write_script(project, source="t", batch=100, sleep=0.03):
    project.script(SCRIPT.format(source=source, batch=batch, sleep=sleep))


def shown_at_a_terminal(project, *arguments):
    code, shown = at_a_terminal(project, "run", "scripts/x.lua", "--db",
                                project.url, *arguments)
    return code, shown


@pytest.mark.parametrize("key", KEYS)
def test_the_position_of_any_key_stands_in_for_a_poor_estimate(db, project,
                                                               key):
    make_table(db, key, KEYS[key])
    write_script(project)
    code, shown = shown_at_a_terminal(project)
    assert code == DONE, shown
    assert re.search(r"perhaps [\d.]+m?s left, by the key's position",
                     shown), shown


@pytest.mark.versions
def test_the_position_is_found_through_views_and_partitions(db, project):
    db.execute("""CREATE TABLE p (id int PRIMARY KEY, a int, b int)
            PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1500);
        CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1500) TO (9000);
        INSERT INTO p SELECT i, i, i FROM generate_series(1, 3000) i;
        CREATE VIEW v AS SELECT * FROM p WHERE a > 0;
        ANALYZE p""")
    write_script(project, "v")
    code, shown = shown_at_a_terminal(project)
    assert code == DONE, shown
    assert "by the key's position" in shown, shown


def test_without_statistics_there_is_no_estimate(db, project):
    make_table(db)
    db.admin("DELETE FROM pg_statistic WHERE starelid = 't'::regclass")
    write_script(project)
    code, shown = shown_at_a_terminal(project)
    assert code == DONE, shown
    assert "rows/s" in shown
    assert "position" not in shown, shown


@pytest.mark.versions
def test_counted_rows_are_the_total(db, project):
    make_table(db)
    write_script(project)
    code, shown = shown_at_a_terminal(project, "--count")
    assert code == DONE, shown
    assert " of 3,000 rows" in shown, shown
    assert "about 3,000 rows" not in shown


@pytest.mark.parametrize("workers", [1, 4])
def test_a_resumed_run_counts_the_rows_that_are_left(db, project, workers):
    """Several workers leave some of each range."""
    make_table(db)
    write_script(project)
    project.run("--limit", 1000, "--workers", workers).expect(STOPPED)
    code, shown = shown_at_a_terminal(project, "--count")
    assert code == DONE, shown
    assert " of 3,000 rows" in shown, shown


def test_the_position_of_several_ranges_is_what_is_behind_them(db, project):
    make_table(db)
    write_script(project, batch=50)
    project.run("--limit", 2000, "--workers", 4).expect(STOPPED)
    code, shown = shown_at_a_terminal(project)
    assert code == DONE, shown
    first = re.search(r"\] +(\d+)%", shown)
    assert 60 <= int(first.group(1)) <= 72, shown


def test_rows_that_cannot_be_counted_in_time_are_estimated(db, project):
    make_table(db, rows=300)
    db.execute("""CREATE FUNCTION is_quick() RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN
          IF current_setting('statement_timeout') = '10s' THEN
            RAISE 'canceling statement' USING ERRCODE = '57014';
          END IF;
          RETURN true;
        END $$;
        CREATE VIEW v AS SELECT * FROM t WHERE is_quick()""")
    write_script(project, "v", sleep=0)
    project.run("--count").expect(
        DONE, "luamig: warning: the rows were not counted: canceling "
        "statement; the total is an estimate", "run 1 done: 300 rows")


def test_all_workers_ranges_are_counted_within_one_limit(db, project):
    """Each range has some of the slow rows."""
    make_table(db, rows=800)
    db.execute("""CREATE FUNCTION is_in_time(id int) RETURNS bool
        LANGUAGE plpgsql AS $$
        DECLARE most interval := current_setting('statement_timeout');
          passed interval := statement_timestamp() - now();
        BEGIN
          IF most > '10s' OR most = '0s' THEN
            RETURN true; -- not a count
          ELSIF most > '10s' - passed + interval '0.15s' THEN
            RAISE 'at % there were % left', passed, most;
          ELSIF id % 50 = 0 THEN
            PERFORM pg_sleep(0.02);
          END IF;
          RETURN true;
        END $$;
        CREATE VIEW v AS SELECT * FROM t WHERE is_in_time(id)""")
    write_script(project, "v", batch=50, sleep=0)
    project.run("--limit", 200, "--workers", 4, "--count").expect(
        STOPPED).refuse("were not counted")
    code, shown = shown_at_a_terminal(project, "--count", "--workers", "4")
    assert code == DONE, shown
    assert " of 800 rows" in shown, shown


# -- application_name --------------------------------------------------------

LONG = "scripts/" + 10 * "very_" + "long_name.lua"
ACCENTS = "scripts/" + 40 * "é" + ".lua"


@pytest.mark.parametrize("script", ["scripts/x.lua", LONG, ACCENTS])
def test_the_server_shows_script_and_run(db, project, script):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, name text);"
               "INSERT INTO t VALUES (1)")
    project.script("""return {
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        repo:execute("UPDATE t SET name = current_setting('application_name')"
                     .. " WHERE id = $1", rows[1].id)
      end }""", script)
    project.run(script=script).expect(DONE)
    name = db.scalar("SELECT name FROM t")
    assert name.startswith("luamig: run 1 of ") and name.endswith(".lua"), name
    assert len(name) <= 63
    assert (script in name) == (len(script) < 40), name
