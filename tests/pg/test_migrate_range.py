"""Scripts that get ranges of the key, and no rows: one statement a batch."""

import json
import re

import pytest
from test_key_operators import ext  # noqa: F401, a fixture
from test_keys import KINDS, lua_list, make_table

from harness import plans, readings, statements
from harness.cases import cases
from harness.dry import counts, dry, samples
from harness.oracle import assert_once
from harness.project import DONE, FAILED, FAILURES, INVALID, STOPPED
from harness.wait import wait_until

ADD = """
    local where, params = range:where "t"
    repo:execute("UPDATE {table} AS t SET n = n + 1 WHERE " .. where .. "{more}",
      table.unpack(params))
"""

SCRIPT = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0, key = {key}{config} }},
  base_query = [==[{query}]==],
  migrate_range = function(range, repo, run)
{body}
  end,
}}
"""


def script(body=None, key=("id",), query="SELECT * FROM t", batch=10,
           config="", table="t", more=""):
    return SCRIPT.format(
        body=body or ADD.format(table=table, more=more), key=lua_list(key),
        query=query, batch=batch, config=config and ", " + config)


def numbers(db, count=100, where="true"):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
               f"INSERT INTO t SELECT i FROM generate_series(1, {count}) i"
               f" WHERE {where}; ANALYZE t")


def visits(db, where="true"):
    """How often the rows were written: {times: rows}."""
    return dict(db.rows(f"SELECT n, count(*)::int FROM t WHERE {where}"
                        " GROUP BY n"))


# -- ranges --------------------------------------------------------------------


@pytest.mark.versions
def test_ranges_follow_each_other_and_the_last_ends_at_the_bound(db, project):
    numbers(db, 25)
    project.script(script("""
      run.log(("%s %d"):format(range.after and range.after.id, range.upto.id))
      """ + ADD.format(table="t", more="")))
    result = project.run().expect(DONE)
    assert re.findall(r"script: (\S+ \d+)", result.err) == [
        "nil 10", "10 20", "20 25"]
    assert result.rows == 25 and db.progress("batches") == 3
    assert visits(db) == {1: 25}


@pytest.mark.parametrize("kind", cases(KINDS, versions=[
    "text_icu", "varchar", "date_uuid_int8"]))
def test_each_row_of_any_key_is_in_one_range(db, project, kind):
    key = KINDS[kind][1]
    make_table(db, "t", kind, 60)
    db.execute("ALTER TABLE t ADD n int NOT NULL DEFAULT 0")
    project.script(script(key=key, batch=7))
    project.run("--limit", 20).expect(STOPPED)
    result = project.run().expect(DONE)
    assert db.progress() == 60 and result.rows == 60
    assert visits(db) == {1: 60}


@pytest.mark.parametrize("columns", ["a ext.citext, b int",
                                     "a ext.citext, b int, c ext.hstore"])
def test_a_key_of_columns_with_operators_of_their_own(
        db, project, ext, columns):  # noqa: F811
    """A range of such a key is no comparison of rows."""
    ext("citext", "hstore")
    names = [part.split()[0] for part in columns.split(", ")]
    values = ["chr(65 + i % 3 + 32 * (i % 2))", "i",
              "ext.hstore('x', i::text)"][:len(names)]
    db.execute(f"CREATE TABLE t ({columns}, n int NOT NULL DEFAULT 0,"
               f" PRIMARY KEY ({', '.join(names)}));"
               f"INSERT INTO t SELECT {', '.join(values)}"
               " FROM generate_series(1, 30) i")
    project.script(script(key=names, batch=4))
    project.run().expect(DONE)
    assert visits(db) == {1: 30}


@pytest.mark.parametrize("query, target", [
    ('k COLLATE "C"', 'k text COLLATE "en-x-icu"'),
    ('k COLLATE "en-x-icu"', "k text"),
    ('k COLLATE "default"', 'k text COLLATE "en-x-icu"')])
def test_the_key_compares_by_its_own_collation_in_any_table(
        db, project, query, target):
    """The column that the script's statement compares may have another."""
    words = ["a", "B", "c", "D", "é", "F", "-g", "H"]
    db.execute(f"CREATE TABLE t (k text PRIMARY KEY, n int DEFAULT 0);"
               f"CREATE TABLE other ({target}, n int NOT NULL DEFAULT 0)")
    for word in words:
        db.execute("INSERT INTO t VALUES (%s); INSERT INTO other VALUES (%s)",
                   word, word)
    project.script(script(key=["k"], query=f"SELECT * FROM (SELECT {query} AS k"
                          " FROM t) q WHERE k IS NOT NULL", batch=3, table="other"))
    project.run().expect(DONE)
    assert db.rows("SELECT n, count(*)::int FROM other GROUP BY n") == [(1, 8)]


def test_a_range_in_other_columns_beside_parameters_of_the_script(db, project):
    db.execute("""CREATE TABLE orders (id bigint PRIMARY KEY);
        INSERT INTO orders SELECT generate_series(1, 30);
        CREATE TABLE lines (order_id int, n int DEFAULT 0, kind text);
        INSERT INTO lines SELECT i % 30 + 1, 0, 'k' || i % 2
            FROM generate_series(0, 119) i""")
    project.script(script("""
      local where, params = range:where({ number = "l.order_id" }, 3)
      local done = repo:execute("UPDATE lines l SET n = n + $1 WHERE kind = $2 AND "
        .. where, 5, "k1", table.unpack(params))
      run.log("lines " .. done.affected)
    """, key=["number"], query="SELECT id AS number FROM orders"))
    project.run().expect(DONE, "lines 20")
    assert db.rows("SELECT kind, n, count(*)::int FROM lines GROUP BY 1, 2"
                   " ORDER BY 1") == [("k0", 0, 60), ("k1", 5, 60)]


def test_a_statement_is_prepared_for_the_first_range_and_for_all_others(
        db, project):
    numbers(db, 60)
    statements.record(db)
    project.script(script())
    project.run().expect(DONE)
    texts = [sql for sql in statements.of(db) if sql.startswith("UPDATE t")]
    assert len(texts) == 6 and len(set(texts)) == 2, texts


def test_the_pages_have_keys_only_and_are_read_from_the_index_alone(
        db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0,"
               " note text);"
               "INSERT INTO t SELECT i, 0, repeat('x', 500)"
               " FROM generate_series(1, 3000) i")
    db.admin("VACUUM (ANALYZE) t")
    plans.record(db)
    project.script(script("repo:scalar('SELECT 1')", batch=300,
                          query="SELECT id, note FROM t"))
    project.run().expect(DONE)
    pages = plans.of_pages(db)
    assert len(pages) >= 10
    for page in pages:
        assert "Index Only Scan" in [node["Node Type"]
                                     for node in plans.nodes(page)], page


def test_rows_that_the_filter_lets_go_while_the_run_works(db, project):
    """Each batch changes what the base query returns."""
    numbers(db, 100)
    project.script(script(query="SELECT id FROM t WHERE n = 0",
                          more=" AND n = 0"))
    assert project.run().expect(DONE).rows == 100
    assert visits(db) == {1: 100}


def test_only_rows_of_the_base_query_count(db, project):
    """A statement without its condition meets the rows in between as well."""
    numbers(db, 100)
    query = "SELECT id FROM t WHERE id % 10 = 0"
    project.script(script(query=query, batch=3, more=" AND id % 10 = 0"))
    assert project.run().expect(DONE).rows == 10
    assert db.progress("batches") == 4
    assert visits(db) == {0: 90, 1: 10}


def test_the_script_reads_and_writes_what_it_likes_of_its_range(db, project):
    """Keys are values like those of rows."""
    db.execute("CREATE TABLE t (a numeric, b timestamptz, n int DEFAULT 0,"
               " PRIMARY KEY (a, b));"
               "INSERT INTO t SELECT i / 8.0, '2024-01-01Z'::timestamptz"
               " + i * interval '1 microsecond' FROM generate_series(1, 20) i")
    project.script(script("""
      local after = range.after
      repo:execute([[UPDATE t SET n = n + 1 WHERE ($1::numeric IS NULL OR
        (a, b) > ($1::numeric, $2::timestamptz)) AND (a, b) <= ($3, $4)]],
        after and after.a, after and after.b, range.upto.a, range.upto.b)
    """, key=["a", "b"], batch=6))
    project.run().expect(DONE)
    assert visits(db) == {1: 20}


@pytest.mark.parametrize("body, said", [
    ("return range.uptp", 'range has no field "uptp" (did you mean "upto"?)'),
    ("return range.upto.ids",
     'range.upto has no field "ids" (did you mean "id"?)'),
    ("for _, row in ipairs(range) do end",
     "range is not a list; functions get (rows, repo, run), (range, repo, run)"),
    ('range.where("t")', "call range:where(...) with a colon"),
    ("range:where({ n = 't.n' })",
     'range:where has no SQL for the key column "id"'),
    ("range:where({ id = 't.id', n = 't.n' })",
     "range:where takes SQL for the key columns only"),
    ('range:where("t", 0)', "the number of a parameter, from 1"),
    ("kept = kept or range; return kept:where()",
     "the range is used after its function has returned")],
    ids=lambda text: text[:20])
def test_a_mistake_with_a_range_is_told(db, project, body, said):
    numbers(db, 20)
    project.script("local kept\n" + script(body))
    project.run().expect(FAILED, said, re.compile(r"x\.lua:\d+"))


# -- what is refused -------------------------------------------------------------


@pytest.mark.versions
def test_two_rows_of_one_key_are_refused_wherever_they_are(db, project):
    db.execute("CREATE TABLE t (id int NOT NULL, n int DEFAULT 0);"
               "CREATE INDEX ON t (id);"
               "INSERT INTO t SELECT i FROM generate_series(1, 30) i")
    for twice in (5, 10, 30):
        db.execute("UPDATE t SET n = 0; INSERT INTO t VALUES (%s)", twice)
        project.script(script())
        project.run("--restart").expect(
            FAILED, f"two rows of the base query have the same key: (id) = ({twice})")
        db.execute("DELETE FROM t WHERE ctid IN (SELECT max(ctid) FROM t"
                   " WHERE id = %s)", twice)


def test_a_key_that_may_be_null_is_refused(db, project):
    db.execute("CREATE TABLE t (a int NOT NULL, b int, n int, UNIQUE (a, b))")
    project.script(script(key=["a", "b"]))
    project.run().expect(INVALID, 'the key column "b" may be NULL')


# -- errors, sizes and ends ---------------------------------------------------


def test_killed_at_any_step_each_row_is_migrated_once(db, project):
    readings.create(db, 500)
    add = readings.script(batch=100).replace("(rows, repo)", "(range, repo)") \
        .replace("  migrate =", "  migrate_range =")
    body = """
    local where, params = range:where()
    repo:execute("UPDATE readings SET value = value + 10 WHERE " .. where,
      table.unpack(params))
  """
    project.script(re.sub(r"(\(range, repo\)).*?\n  end,",
                          lambda found: found[1] + body + "end,", add,
                          flags=re.S))
    for point in ("after_page", "after_migrate", "before_commit",
                  "after_commit_sent", "after_commit"):
        runner = project.start_run(fault=f"{point}:1=kill")
        assert runner.process.wait(60) < 0, runner.result()
    project.run().expect(DONE)
    assert_once(db)


BAD = """
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, most int);
ALTER TABLE t ADD CHECK (n <= most);
INSERT INTO t SELECT i, 0, CASE WHEN i = ANY ('{%s}') THEN 0 ELSE 1 END
    FROM generate_series(1, 100) i"""


@pytest.mark.parametrize("bad", [[1], [50], [100], [40, 41, 90]],
                         ids=lambda bad: f"{len(bad)} from {bad[0]}")
def test_failed_rows_are_recorded_and_the_others_migrated(db, project, bad):
    db.execute(BAD % ",".join(map(str, bad)))
    project.script(script(batch=32, config='on_error = "quarantine"'))
    project.run().expect(FAILURES, f"failed rows: {len(bad)};")
    assert db.column("SELECT id FROM t WHERE n <> 1 ORDER BY id") == bad
    assert db.column("SELECT key[1]::int FROM luamig.failure"
                     " ORDER BY 1") == bad
    assert db.progress() == 100 - len(bad)


def test_a_failed_row_is_tried_again_alone(db, project):
    """Also by a statement that would write its neighbours again, and where the
    base query does not return these any more."""
    db.execute(BAD % "1,50")
    db.execute("DELETE FROM t WHERE id = 49")
    project.script(script(batch=32, query="SELECT id FROM t WHERE n = 0",
                          config='on_error = "quarantine"'))
    project.run().expect(FAILURES)
    db.execute("UPDATE t SET most = 2 WHERE id <> 1")
    project.luamig("failures", "1", "--retry").expect(
        FAILURES, "row (id) = (50) is migrated", "row (id) = (1) has failed again")
    assert visits(db) == {0: 1, 1: 98}


def test_a_failed_row_without_a_table_is_not_tried_again_by_range(
        db, project):
    """Nobody knows which key is before it; a new run does it."""
    db.execute(BAD % "50")
    project.script(script(
        "repo:execute('UPDATE t SET n = n + 1 WHERE n = 0 AND id > $1 AND id <= $2',"
        " range.after and range.after.k or 0, range.upto.k)",
        key=["k"], query="SELECT id + 0 AS k FROM t WHERE id + 0 IS NOT NULL"
        " AND n = 0", config='on_error = "quarantine", assume_unique = true'))
    project.run().expect(FAILURES)
    before = db.rows("SELECT message, attempts FROM luamig.failure")
    db.execute("UPDATE t SET most = 1")
    project.luamig("failures", "1", "--retry").expect(
        INVALID, "the row (k) = (50) cannot be migrated alone by migrate_range",
        "begin a new run with --again")
    assert db.rows("SELECT message, attempts FROM luamig.failure") == before
    project.run("--again").expect(DONE)
    assert visits(db) == {1: 100}


def test_a_failed_range_names_its_keys(db, project):
    db.execute(BAD % "15")
    project.script(script())
    project.run().expect(FAILED, "batch 2, keys (id) after (10) to (20)")


def test_hardly_a_row_matches_and_ranges_end_where_windows_do(db, project):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
        INSERT INTO t SELECT i FROM generate_series(1, 1200) i;
        ANALYZE t;
        CREATE FUNCTION looked_at(r boolean) RETURNS boolean
        LANGUAGE plpgsql STABLE COST 1000 AS $$ BEGIN
            IF NOT r THEN PERFORM pg_sleep(0.0003); END IF; RETURN r; END $$""")
    project.script(script(
        "repo:execute('UPDATE t SET n = n + 1 WHERE id % 400 = 0 AND id > $1"
        " AND id <= $2', range.after and range.after.id or 0, range.upto.id)",
        query="SELECT id FROM t WHERE looked_at(id % 400 = 0)",
        config="statement_timeout_ms = 150, retries = 2"))
    result = project.run("-v").expect(DONE, "reading the key in windows")
    assert result.rows == 3
    assert visits(db, "id % 400 = 0") == {1: 3}
    assert visits(db, "id % 400 <> 0") == {0: 1197}


def test_a_statement_that_times_out_gets_a_smaller_range(db, project):
    numbers(db, 40)
    project.script(script("""
      local slow = repo:scalar("SELECT count(*) FROM t WHERE id > $1 AND id <= $2",
        range.after and range.after.id or 0, range.upto.id) > 10
      repo:scalar("SELECT pg_sleep($1)", slow and 10 or 0)
    """ + ADD.format(table="t", more=""), batch=40,
                          config="statement_timeout_ms = 100"))
    assert project.run().expect(DONE).retries >= 2
    assert visits(db) == {1: 40}


def test_follow_new_and_start_after(db, project):
    numbers(db, 20)
    project.script(script(config="start_after = 5, follow_new = true",
                          batch=5))
    assert project.run().expect(DONE).rows == 15
    assert visits(db) == {0: 5, 1: 15}


@pytest.mark.parametrize("isolation, rows", [("repeatable read", 20),
                                             ("read committed", 21)])
def test_what_others_insert_between_the_keys_and_the_statement(
        db, project, isolation, rows):
    """With read committed the statement sees a row that was not counted."""
    numbers(db, 20, "i <> 7")
    db.execute("INSERT INTO t VALUES (21)")
    project.script(script("""
      if run.batch == 1 then
        os.execute(run.args.command)
      end
    """ + ADD.format(table="t", more=""), config=f'isolation = "{isolation}"')
        .replace("return {", 'return { args = { command = { type = "string",'
                 " required = true } },", 1))
    command = f"psql -X -q '{db.url}' -c 'INSERT INTO t VALUES (7)'"
    result = project.run("--arg", f"command={command}").expect(DONE)
    assert result.rows == 20
    assert visits(db).get(1) == rows


# -- before a run -------------------------------------------------------------


def test_a_dry_run_shows_rows_of_the_first_ranges(db, project):
    numbers(db, 30)
    contents = db.contents()
    project.script(script())
    report = dry(project)
    assert (report["rows"], report["batches"]) == (30, 3)
    assert counts(report) == {"public.t": (0, 30, 0)}
    assert [(key, before["n"], after["n"])
            for key, before, after in samples(report, "public.t")] == [
        ({"id": 1}, 0, 1), ({"id": 2}, 0, 1), ({"id": 3}, 0, 1)]
    assert db.contents() == contents


def test_check_reads_keys_only(db, project):
    numbers(db, 3000)
    project.script(script(query="SELECT id, n / 0 AS x FROM t"))
    result = project.luamig("check", "scripts/x.lua", "--json").expect(DONE)
    assert json.loads(result.out)
