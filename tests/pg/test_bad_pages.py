"""Pages that the server cannot give: a row raises in the base query, or rows
are too large. The row at fault is named or set aside, and memory is bounded."""

import os
import re
import time

import pytest

from harness.project import DONE, FAILED, FAILURES

SCRIPT = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0 {config} }},
  base_query = [[{query}]],
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = row.n + 1 }})
    end
  end,
}}
"""
JSON = "SELECT id, n, raw::jsonb ->> 'a' AS a FROM t"
QUARANTINE = ', on_error = "quarantine"'


def add(project, query=JSON, batch=100, config=""):
    project.script(SCRIPT.format(query=query, batch=batch, config=config))


def fill(db, bad, count=1000, good="{\"a\": 1}", worse="no json"):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0,"
               " raw text, d int NOT NULL DEFAULT 1)")
    db.execute("INSERT INTO t (id, raw, d) SELECT i,"
               " CASE WHEN i = ANY (%s) THEN %s ELSE %s END,"
               " CASE WHEN i = ANY (%s) THEN 0 ELSE 1 END"
               " FROM generate_series(1, %s) i", list(bad), worse, good,
               list(bad), count)
    db.execute("ANALYZE t")


def assert_all_but(db, bad):
    assert db.column("SELECT id FROM t WHERE n <> 1 ORDER BY id") == list(bad)
    assert db.column("SELECT key[1]::int FROM luamig.failure"
                     " WHERE resolved_at IS NULL ORDER BY 1") == list(bad)


@pytest.mark.parametrize("query, state", [
    (JSON, "22P02"),
    ("SELECT id, n, 10 / d AS a FROM t", "22012"),
    ("SELECT t.id, t.n, u.raw::jsonb AS a FROM t JOIN t u USING (id)", "22P02"),
    ("SELECT id, n, (2000000000 * (2 - d))::int AS a FROM t", "22003"),
    ("SELECT id, n, (SELECT g FROM generate_series(d, 1) g) AS a FROM t",
     "21000"),
    ("SELECT id, n, convert_from(CASE d WHEN 0 THEN '\\xff'::bytea ELSE"
     " '\\x61' END, 'UTF8') AS a FROM t", "22021"),
    ("SELECT id, n FROM t WHERE raw::jsonb ? 'a'", "22P02"),
    ("SELECT id, n FROM t WHERE 10 / d > 0", "22012"),
])
@pytest.mark.parametrize("bad", [[1], [500], [1000], [100, 101], [7, 950]],
                         ids=str)
def test_rows_at_which_the_base_query_fails_are_recorded(
        db, project, query, state, bad):
    fill(db, bad)
    add(project, query, config=QUARANTINE)
    result = project.run().expect(FAILURES, f"failed rows: {len(bad)};")
    assert result.rows == 1000 - len(bad)
    assert_all_but(db, bad)
    assert set(db.column("SELECT sqlstate FROM luamig.failure")) == {state}


@pytest.mark.parametrize("batch", [1, 2, 3, 1000])
def test_a_bad_row_in_batches_of_any_size(db, project, batch):
    fill(db, [40, 41], count=60)
    add(project, batch=batch, config=QUARANTINE)
    project.run().expect(FAILURES)
    assert_all_but(db, [40, 41])


def test_a_page_that_raises_names_its_row_and_goes_on_from_there(db, project):
    fill(db, [457])
    add(project)
    project.run().expect(FAILED, "the base query fails at the row (id) = (457)",
                         "22P02", "on_error")
    assert db.scalar("SELECT count(*) FROM t WHERE n = 1") == 456
    db.execute("UPDATE t SET raw = '{}' WHERE id = 457")
    project.run().expect(DONE)
    assert db.scalar("SELECT count(*) FROM t WHERE n = 1") == 1000


def test_the_hint_of_a_page_that_raises_can_be_followed(db, project):
    fill(db, [457])
    add(project)
    project.run().expect(FAILED)
    add(project, config=QUARANTINE)
    project.run().expect(FAILURES)
    assert_all_but(db, [457])
    db.execute("DELETE FROM luamig.run")
    db.execute("UPDATE t SET n = 0")
    add(project, JSON + " WHERE raw <> 'no json'")
    project.run("--again").expect(DONE)
    assert db.scalar("SELECT count(*) FROM t WHERE n = 1") == 999


def test_rows_that_the_base_query_could_not_read_are_retried(db, project):
    fill(db, [8, 9])
    add(project, config=QUARANTINE)
    project.run().expect(FAILURES)
    db.execute("UPDATE t SET raw = '{}' WHERE id = 9")
    project.luamig("failures", "1", "--retry").expect(
        FAILURES, "row (id) = (8) has failed again")
    assert_all_but(db, [8])
    db.execute("UPDATE t SET raw = '{}' WHERE id = 8")
    project.luamig("failures", "1", "--retry").expect(DONE)
    assert_all_but(db, [])


def test_a_query_that_fails_at_every_row_fails_the_run(db, project):
    fill(db, [])
    add(project, "SELECT t.id, t.n, t.id / (SELECT 0 * count(*) FROM t u) AS x"
        " FROM t", config=QUARANTINE)
    project.run().expect(FAILED)
    assert db.scalar("SELECT count(*) FROM luamig.failure") <= 100


def test_a_sorted_page_raises_at_a_row_far_ahead(db, project):
    """Without an index for the order, the server computes columns of all rows
    before it sorts them."""
    fill(db, [700])
    db.execute("CREATE VIEW v AS SELECT id + 0 AS id, n, raw FROM t")
    project.script("""return {
      config = { batch_size = 100, throttle_ms = 0, key = "id",
        assume_unique = true, on_error = "quarantine" },
      base_query = "SELECT id, n, raw::jsonb AS a FROM v WHERE id IS NOT NULL",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = row.n + 1 })
        end
      end }""")
    project.run("--force").expect(FAILURES)
    assert db.column("SELECT id FROM t WHERE n <> 1") == [700]


def test_a_dry_run_names_the_row_at_which_the_page_raises(db, project):
    fill(db, [457])
    add(project)
    project.run("--dry-run").expect(
        FAILED, "(id) = (457)", 'config.on_error = "quarantine"')


def test_a_dry_run_says_that_a_run_records_the_failed_row(db, project):
    fill(db, [457])
    add(project, config=QUARANTINE)
    result = project.run("--dry-run").expect(
        FAILED, "(id) = (457)", "a run records such rows as failed rows",
        '"would_quarantine":true')
    result.refuse("config.on_error")
    project.run().expect(FAILURES)
    assert_all_but(db, [457])


@pytest.mark.parametrize("count", [20, 60])
@pytest.mark.parametrize("query", [
    "SELECT a, b, n FROM t WHERE 10 / d > 0", "SELECT a, b, n, 10 / d FROM t"])
def test_a_condition_raises_in_a_table_that_is_read_as_a_whole(
        db, project, query, count):
    """The server evaluates it before the condition on the key."""
    db.execute(f"""CREATE TABLE t (a int, b int, n int NOT NULL DEFAULT 0,
            d int NOT NULL DEFAULT 1, PRIMARY KEY (a, b));
        INSERT INTO t SELECT g % 3, g, 0, CASE WHEN g IN (7, {count}) THEN 0
            ELSE 1 END FROM generate_series(1, {count}) g;
        ANALYZE t""")
    add(project, query, batch=3, config=QUARANTINE + ', key = { "a", "b" }')
    project.script(project.read("scripts/x.lua").replace("{ id = row.id }",
                                          "{ a = row.a, b = row.b }"))
    project.run().expect(FAILURES)
    assert db.column("SELECT b FROM t WHERE n <> 1 ORDER BY b") == [7, count]
    assert db.scalar("SELECT count(*) FROM luamig.failure") == 2


def test_a_condition_that_raises_and_a_key_of_two_tables(db, project):
    fill(db, [7], count=20)
    db.execute("CREATE TABLE u AS SELECT id AS of FROM t; ANALYZE u")
    add(project, "SELECT t.id, u.of, t.n FROM t JOIN u ON u.of = t.id WHERE "
        "10 / d > 0 AND u.of IS NOT NULL",
        config=QUARANTINE + ', key = { "id", "of" }')
    project.run().expect(FAILED, "the base query's conditions fail at a row",
                         "the key does not come from one table")


# -- large rows --------------------------------------------------------------


LITTLE = {"LUAMIG_FAULT_LUA_MIB": "128"}

LARGE = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0 }},
  base_query = "SELECT id, n, body FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", {{ id = row.id }}, {{ n = #row.body }})
    end
  end,
}}
"""


def peak_mib(runner):
    """Of a runner, as far as one looks."""
    peak = 0
    while runner.alive:
        try:
            with open(f"/proc/{runner.pid}/status", encoding="ascii") as file:
                found = re.search(r"VmHWM:\s+(\d+)", file.read())
            peak = max(peak, int(found.group(1)) // 1024 if found else 0)
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    return peak


def fill_large(db, sizes):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0,"
               " body text)")
    for number, mib in enumerate(sizes):
        db.execute("INSERT INTO t VALUES (%s, 0, repeat('x', %s))",
                   number + 1, int(mib * 1024 * 1024))


@pytest.mark.parametrize("sizes, limit", [
    ([10] * 40, 500),
    ([0.001] * 200 + [12] * 20 + [0.001] * 200, 500),
    ([150, 0.001, 150], 1300),
], ids=["40 of 10 MiB", "20 among small ones", "larger than a page"])
def test_a_page_of_large_rows_takes_bounded_memory(
        db, project, sizes, limit):
    fill_large(db, sizes)
    project.script(LARGE.format(batch=1000))
    options = os.environ.get("ASAN_OPTIONS", "")
    runner = project.start_run("-v", env={
        "ASAN_OPTIONS": f"{options}:quarantine_size_mb=1"})
    peak = peak_mib(runner)
    runner.wait().expect(DONE)
    assert db.column("SELECT n FROM t ORDER BY id") == [
        int(mib * 1024 * 1024) for mib in sizes]
    assert peak < limit, peak


def test_pages_of_several_workers_do_not_count_as_one(db, project):
    """Each may take the memory of a page: none is read again with fewer rows."""
    fill_large(db, [1.5] * 80)
    project.script(LARGE.format(batch=20))
    project.run("--workers", 4, "-v").expect(DONE).refuse("more than")
    assert db.scalar("SELECT count(*) FROM t WHERE n > 0") == 80


def test_code_that_needs_too_much_memory_gets_fewer_rows(db, project):
    """In Lua each row becomes 40 MiB; the cap of this test is 128."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")
    db.execute("INSERT INTO t SELECT i FROM generate_series(1, 8) i")
    project.script("""return {
      config = { batch_size = 8, throttle_ms = 0 },
      base_query = "SELECT id, n FROM t",
      migrate = function(rows, repo)
        local kept = {}
        for i, row in ipairs(rows) do
          kept[i] = ("x"):rep(40 * 1024 * 1024) .. i
          repo:update("t", { id = row.id }, { n = row.n + 1 })
        end
      end }""")
    project.run(env=LITTLE).expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def test_a_row_that_is_too_large_for_the_code_is_named(db, project):
    fill_large(db, [1, 1, 150, 1])
    script = LARGE.format(batch=4)
    project.script(script)
    project.run(env=LITTLE).expect(FAILED, "not enough memory",
                                   "keys (id) from (3) to (3)")
    project.script(script.replace("batch_size", 'on_error = "quarantine",'
                                  " batch_size"))
    project.run(env=LITTLE).expect(FAILURES, "row (id) = (3) failed and is recorded")
    assert db.column("SELECT id FROM t WHERE n > 0 ORDER BY id") == [1, 2, 4]
