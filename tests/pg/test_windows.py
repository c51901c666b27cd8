"""Pages that no batch size makes quick enough, since hardly a row matches."""

import pytest

from harness.project import DONE, FAILED, FAILURES, STOPPED
from harness.wait import wait_until

COUNT = 1200
EVERY = 400

FIND = """
return {{
  config = {{ batch_size = 10, throttle_ms = 0, statement_timeout_ms = 150,
             retries = 2, {config} }},
  base_query = [[{query}]],
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = row.n + 10 }})
    end
  end,
}}
"""


@pytest.fixture
def table(db):
    """To find that a row is not wanted takes a third of a millisecond."""
    db.execute(f"""CREATE TABLE t (id int PRIMARY KEY, n int, wanted boolean);
        INSERT INTO t SELECT i, i, i %% {EVERY} = 0
            FROM generate_series(1, {COUNT}) i;
        ANALYZE t;
        CREATE FUNCTION looked_at(r boolean) RETURNS boolean
        LANGUAGE plpgsql STABLE COST 1000 AS $$ BEGIN
            IF NOT r THEN PERFORM pg_sleep(0.0003); END IF; RETURN r; END $$""".replace(
                "%%", "%"))
    return db


def find(project, query="SELECT id, n FROM t WHERE looked_at(wanted)",
         config=""):
    project.script(FIND.format(query=query, config=config))


def assert_found(db, untouched=()):
    assert db.column("SELECT id FROM t WHERE n = id + 10 ORDER BY id") == [
        id for id in range(EVERY, COUNT + 1, EVERY) if id not in untouched]
    assert db.scalar("SELECT count(*) FROM t WHERE n NOT IN (id, id + 10)"
                     ) == 0


def test_a_needle_in_a_haystack_is_found_in_windows(table, project):
    find(project)
    result = project.run("-v").expect(DONE, "reading the key in windows")
    assert result.rows == COUNT // EVERY
    assert_found(table)


def test_a_search_that_is_killed_goes_on_where_it_was(table, project):
    """Also where nothing has matched so far."""
    find(project, query="SELECT id, n FROM t WHERE looked_at(id = 1200)",
         config="follow_new = true")
    runner = project.start_run()
    wait_until(lambda: not runner.alive or table.progress("cursor"),
               "the first window")
    assert runner.kill()
    position = int(table.progress("cursor")[0])
    assert position > 0 and table.progress() == 0
    project.run().expect(DONE, f"after (id) = ({position})")
    assert table.column("SELECT id FROM t WHERE n <> id") == [1200]


def test_windows_of_a_view_and_a_composite_key(table, project):
    table.execute("""CREATE TABLE pairs (a text, b int, PRIMARY KEY (b, a));
        INSERT INTO pairs SELECT 'k' || i % 3, i FROM t, LATERAL (SELECT id) AS
            x(i);
        ANALYZE pairs;
        CREATE VIEW wanted AS SELECT p.b AS second, p.a AS first, t.id, t.n
            FROM pairs p JOIN t ON t.id = p.b""")
    find(project, config='key = { "second", "first" }',
         query="SELECT * FROM wanted WHERE looked_at(second % 400 = 0)")
    project.run().expect(DONE, "reading the key in windows of")
    assert_found(table)


def test_a_window_does_not_end_at_a_key_that_the_query_leaves_out(
        table, project):
    table.execute("""ALTER TABLE t ADD a int NOT NULL DEFAULT 1, ADD b int;
        UPDATE t SET a = id / 100, b = CASE WHEN wanted THEN id END;
        CREATE UNIQUE INDEX ON t (a, b); ANALYZE t""")
    find(project, config='key = { "a", "b" }',
         query="SELECT a, b, id, n FROM t WHERE b IS NOT NULL AND"
               " looked_at(wanted)")
    table.execute("""CREATE OR REPLACE FUNCTION looked_at(r boolean) RETURNS
        boolean LANGUAGE plpgsql STABLE COST 1 AS $$ BEGIN
            PERFORM pg_sleep(0.1); RETURN r; END $$""")
    project.run().expect(DONE, "reading the key in windows of")
    assert_found(table)


def test_windows_are_left_where_rows_abound(table, project):
    table.execute("UPDATE t SET wanted = true WHERE id > 800")
    find(project)
    result = project.run("-v").expect(DONE, "does not use windows of the key any more")
    assert result.rows == 2 + 400


def test_a_row_at_fault_within_a_window(table, project):
    table.execute("ALTER TABLE t ADD CHECK (id <> 800 OR n < 810)")
    find(project, config='on_error = "quarantine"')
    project.run().expect(FAILURES)
    assert_found(table, untouched=[800])
    assert table.column("SELECT key[1]::int FROM luamig.failure") == [800]


def test_a_key_of_no_table_cannot_be_walked(table, project):
    find(project, query="SELECT id + 0 AS id, n FROM t WHERE looked_at(wanted)"
                        " AND id + 0 IS NOT NULL",
         config="assume_unique = true")
    project.run().expect(FAILED, "57014")


def test_a_limit_holds_in_windows(table, project):
    find(project)
    assert project.run("--limit", 1).expect(STOPPED).rows == 1
    assert project.run().expect(DONE).rows == 3
    assert_found(table)
