"""config.source: the base query reads in another database, also on another
server, of another version, encoding or order of texts."""

import pytest

from harness.cluster import Cluster
from harness.project import (DONE, FAILED, FAILURES, INVALID, STOPPED,
                             UNREACHABLE, USAGE)
from harness.wait import wait_until

SCRIPT = """
return {{
  config = {{ source = "legacy", batch_size = {batch}, throttle_ms = 0{config} }},
  base_query = "{query}",
  migrate = function(rows, repo, run)
    {body}
  end,
{more}
}}
"""
COPY = """
    for _, row in ipairs(rows) do
      repo:insert("copies", { id = row.id, s = row.s })
    end"""
COUNT = "SELECT count(*), count(DISTINCT id), min(s) FROM copies"


def script(batch=10, config="", query="SELECT id, s FROM items", body=COPY,
           more=""):
    return SCRIPT.format(batch=batch, query=query, body=body, more=more,
                         config=config and ", " + config)


def items(db, count, key="bigint", value="n"):
    db.execute(f"CREATE TABLE items (id {key} PRIMARY KEY, s text)")
    db.execute(f"INSERT INTO items SELECT {value}, 's' || n"
               " FROM generate_series(1, %s) n", count)
    db.execute("ANALYZE items")


def name_source(project, url):
    project.write("luamig.lua", 'return { repos = { legacy = "%s" } }' % url)


@pytest.fixture
def legacy(cluster):
    database = cluster.make_database()
    yield database
    database.drop()


@pytest.fixture
def two(project, db, legacy):
    """A project whose luamig.lua names the other database."""
    name_source(project, legacy.url)
    db.execute("CREATE TABLE copies (id bigint PRIMARY KEY, s text)")
    project.script(script())
    return project


def copied(db):
    return db.scalar("SELECT count(*) FROM copies")


# -- reading there, writing here -------------------------------------------------


def test_rows_are_copied_from_the_source(two, db, legacy):
    items(legacy, 25)
    two.run().expect(DONE, "run 1 done: 25 rows, 3 batches",
                     'the base query reads source "legacy"')
    assert db.rows(COUNT) == [(25, 25, "s1")]
    assert not legacy.has_journal()
    two.run().expect(DONE, "is done")
    legacy.execute("DROP TABLE items")
    two.run().expect(DONE, "is done")  # the source is not asked again


def test_a_run_goes_on_after_its_last_row(two, db, legacy):
    items(legacy, 25)
    two.run("--limit", 10).expect(STOPPED)
    legacy.execute("INSERT INTO items VALUES (26, 'late'), (0, 'below')")
    two.run().expect(DONE, "run 1 done: 25 rows", "1 of them beyond the last key")
    assert db.rows(COUNT) == [(25, 25, "s1")]
    two.luamig("status", "1").expect(DONE, "source:    legacy")
    source = two.status("1")[0]["source"]
    assert source["repo"] == "legacy" and "/" in source["position"]


def test_several_workers_copy_each_row_once(two, db, legacy):
    items(legacy, 2000)
    two.script(script(batch=20))
    two.run("--workers", 3).expect(DONE, "2,000 rows")
    assert db.rows(COUNT) == [(2000, 2000, "s1")]


def test_a_process_joins_with_the_same_source_only(two, db, legacy, cluster):
    items(legacy, 1000)
    two.script(script(config="throttle_ms = 10").replace(
        "throttle_ms = 0, ", ""))
    other = cluster.make_database()
    try:
        items(other, 1000)
        first = two.start_run()
        wait_until(lambda: db.progress("batches") > 2, "batches")
        name_source(two, other.url)
        two.run("--join").expect(UNREACHABLE, "is not the source of this run")
        name_source(two, legacy.url)
        two.run("--join").expect(DONE)
        first.wait().expect(DONE)
    finally:
        other.drop()
    assert db.rows(COUNT) == [(1000, 1000, "s1")]


def test_a_dry_run_writes_nothing(two, db, legacy):
    items(legacy, 25)
    result = two.run("--dry-run").expect(DONE)
    assert "copies" in result.out
    assert copied(db) == 0 and not db.has_journal()


def test_a_failed_row_is_recorded_and_retried(two, db, legacy):
    items(legacy, 25)
    db.execute("INSERT INTO copies VALUES (7, 'there')")
    two.script(script(config='on_error = "quarantine", quarantine_rows = true'))
    two.run().expect(FAILURES, "failed rows: 1")
    assert db.rows("SELECT key, row_data ->> 's' FROM luamig.failure") == [
        (["7"], "s7")]
    db.execute("DELETE FROM copies WHERE id = 7")
    two.luamig("failures", "1", "--retry").expect(DONE, "1 row migrated")
    assert db.rows(COUNT) == [(25, 25, "s1")]


def test_a_row_that_the_source_cannot_read_is_recorded(two, db, legacy):
    items(legacy, 25)
    legacy.execute("UPDATE items SET s = '0' WHERE id = 7")
    legacy.execute("UPDATE items SET s = '5' WHERE id <> 7")
    two.script(script(query="SELECT id, (10 / s::int)::text AS s FROM items",
                      config='on_error = "quarantine"'))
    two.run().expect(FAILURES, "failed rows: 1", "division by zero")
    assert copied(db) == 24


def test_the_key_of_the_run_may_be_written_in_its_own_database(two, db, legacy):
    items(legacy, 3)
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, s text)")
    db.execute("INSERT INTO items SELECT n, 'x' FROM generate_series(1, 3) n")
    two.script(script(body="""
    for _, row in ipairs(rows) do
      repo:update("items", { id = row.id }, { id = row.id + 100 })
    end"""))
    two.run().expect(DONE)
    assert db.column("SELECT id FROM items ORDER BY 1") == [101, 102, 103]


def test_a_script_that_writes_to_the_source_is_told_what_to_do(two, db, legacy):
    items(legacy, 3)
    two.script(script(body="""
    run.source:query "UPDATE items SET s = 'x' WHERE id = 1 RETURNING id\""""))
    two.run().expect(FAILED, "cannot execute UPDATE in a read-only transaction",
                     "25006", "run.source only reads",
                     "scripts/x.lua:7").refuse("reconnecting")
    assert legacy.scalar("SELECT s FROM items WHERE id = 1") == "s1"


def test_types_are_those_of_the_source(two, db, legacy):
    """Its OIDs mean other types, or none, in the run's own database."""
    legacy.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    legacy.execute("CREATE DOMAIN small AS int CHECK (VALUE < 100)")
    legacy.execute("CREATE TABLE items (id mood PRIMARY KEY, n small, l mood[])")
    legacy.execute("INSERT INTO items VALUES ('sad', 1, '{glad,sad}'),"
                   " ('glad', 2, NULL)")
    db.execute("CREATE TYPE point3 AS (x int, y int, z int)")
    db.execute("ALTER TABLE copies ALTER id TYPE text")
    two.script(script(query="SELECT id, n, l FROM items", batch=1, body="""
    for _, row in ipairs(rows) do
      local words = row.l and table.concat(row.l, "+") or "none"
      repo:insert("copies", { id = row.id, s = math.type(row.n) .. " " .. words })
    end"""))
    two.run().expect(DONE, "2 rows")
    assert db.rows("SELECT id, s FROM copies ORDER BY id") == [
        ("glad", "integer none"), ("sad", "integer glad+sad")]


@pytest.mark.parametrize("prepare", ["", """
  prepare = function(rows)
    local results = {}
    for _, row in ipairs(rows) do results[row.id] = row.id % 10 end
    return results
  end,"""])
def test_rows_are_prepared_outside_of_both_transactions(
        two, db, legacy, prepare):
    items(legacy, 25)
    two.script(script(batch=10, more=prepare, body="""
    for _, row in ipairs(rows) do
      local done = run.source:scalar("SELECT s FROM items WHERE id = $1", row.id)
      repo:insert("copies", { id = row.id, s = done })
    end"""))
    two.run("--workers", 2).expect(DONE, "25 rows")
    assert db.rows(COUNT) == [(25, 25, "s1")]


def test_an_interrupted_page_of_the_source_is_cancelled(two, db, legacy):
    items(legacy, 200)
    two.script(script(batch=100, config="statement_timeout_ms = 300",
                      query="SELECT id, s FROM items WHERE"
                      " pg_sleep(CASE WHEN id % 100 = 1 THEN 0.01 ELSE 0.004"
                      " END) IS NOT NULL"))
    two.run().expect(DONE, "200 rows")
    assert db.rows(COUNT) == [(200, 200, "s1")]


# -- other servers -----------------------------------------------------------------


def text_keys(db, collation=""):
    db.execute(f"CREATE TABLE items (id text {collation} PRIMARY KEY, s text)")
    db.execute("INSERT INTO items SELECT chr(64 + n % 26 + 32 * (n % 2)) || n,"
               " 's' FROM generate_series(1, 300) n")
    db.execute("INSERT INTO items VALUES ('é1', 's'), ('ß', 's'), ('Zz', 's'),"
               " ('_', 's')")


@pytest.mark.parametrize("collation", ["", 'COLLATE "und-x-icu"'])
def test_keys_have_the_order_that_the_source_gives_them(
        two, db, legacy, collation):
    text_keys(legacy, collation)
    db.execute("ALTER TABLE copies ALTER id TYPE text")
    two.script(script(batch=7))
    two.run("--limit", 100).expect(STOPPED)
    two.run("--workers", 2).expect(DONE, "304 rows")
    assert db.rows(COUNT) == [(304, 304, "s")]


def make_latin1(cluster):
    cluster.execute("CREATE DATABASE latin OWNER app TEMPLATE template0"
                    " ENCODING 'LATIN1' LOCALE 'C'")
    return cluster.database("latin")


def test_a_source_of_another_encoding_is_read(project, db, cluster):
    latin = make_latin1(cluster)
    try:
        text_keys(latin)
        name_source(project, latin.url)
        db.execute("CREATE TABLE copies (id text PRIMARY KEY, s text)")
        project.script(script(batch=7))
        project.run().expect(DONE, "304 rows")
        assert db.scalar("SELECT count(*) FROM copies WHERE id = 'é1'") == 1
    finally:
        latin.drop()


def test_a_key_that_the_journal_cannot_keep_ends_the_run(project, db, cluster):
    latin = make_latin1(cluster)
    try:
        db.execute("CREATE TABLE items (id text PRIMARY KEY, s text)")
        db.execute("INSERT INTO items VALUES ('a', 's'), ('żółw', 's')")
        latin.execute("CREATE TABLE copies (n bigint)")
        name_source(project, db.url)
        project.script(script(batch=1, body='repo:insert("copies", { n = 1 })'))
        project.run(url=latin.url).expect(FAILED, "22P05",
                                        "cannot hold a character")
        assert latin.scalar("SELECT count(*) FROM copies") <= 1
    finally:
        latin.drop()


@pytest.mark.parametrize("version", [13, 18])
def test_the_servers_may_have_other_versions(two, db, db_of, version):
    legacy = db_of(version)
    items(legacy, 25)
    name_source(two, legacy.url)
    two.run().expect(DONE, "25 rows")
    assert db.rows(COUNT) == [(25, 25, "s1")]


# -- which source -----------------------------------------------------------------


def test_a_run_stays_with_its_source(two, db, legacy, cluster):
    items(legacy, 25)
    two.run("--limit", 10).expect(STOPPED)
    other = cluster.make_database()
    try:
        items(other, 25)
        name_source(two, other.url)
        two.run().expect(UNREACHABLE, "is not the source of this run",
                         'repo "legacy"')
        assert (copied(db), db.state()) == (10, "stopped")
    finally:
        other.drop()


@pytest.mark.parametrize("first", [True, False])
def test_a_source_cannot_come_or_go_during_a_run(two, db, legacy, first):
    texts = [script(), script().replace('source = "legacy", ', "")]
    items(legacy, 25)
    items(db, 25)
    two.script(texts[0 if first else 1])
    two.run("--limit", 10).expect(STOPPED)
    two.script(texts[1 if first else 0])
    two.run().expect(INVALID, "config.source was", "--restart")
    assert (copied(db), db.state()) == (10, "stopped")


def test_a_changed_search_path_is_still_seen(two, db, legacy):
    items(legacy, 25)
    two.run("--limit", 10).expect(STOPPED)
    db.execute("CREATE SCHEMA other")
    db.set("search_path", "other, public")
    two.run().expect(INVALID, "the search_path was public")
    assert copied(db) == 10


@pytest.mark.parametrize("name, code, texts", [
    ("nowhere", USAGE, ["config.source", 'has no repo "nowhere"']),
    ("gone", UNREACHABLE, ['source "gone": could not connect'])])
def test_a_source_that_is_not_there_is_told(project, db, name, code, texts):
    project.write("luamig.lua",
                  'return { repos = { gone = "host=/nowhere dbname=x" } }')
    project.script(script().replace("legacy", name))
    project.run().expect(code, *texts)
    assert not db.has_journal()


def test_a_source_without_the_table_is_told(two, db, legacy):
    two.run().expect(INVALID, 'relation "items" does not exist',
                     'in the database of repo "legacy"')
    assert not db.has_journal()


# -- check ---------------------------------------------------------------------------


def test_check_looks_at_both(two, db, legacy):
    items(legacy, 25)
    result = two.luamig("check", "scripts/x.lua", "-v").expect(
        DONE, f"/{db.name}, as app", f'"legacy" is ', f"/{legacy.name}",
        "luamig does not notice what it changes", "is not copied",
        "(id bigint) is NOT NULL and unique")
    result.refuse("triggers", "table  ")


def test_a_source_that_is_the_runs_own_database_is_told(two, db):
    items(db, 25)
    name_source(two, db.url)
    two.luamig("check", "scripts/x.lua").expect(
        DONE, "warning  source", "It is the run's own database")
    two.run("--limit", 1).expect(
        STOPPED, "warning: source \"legacy\" is the run's own database")
    two.script(script(body='repo:update("items", { id = 1 }, { id = 99 })'))
    two.run().expect(FAILED, "belongs to the key of the run")


def test_check_says_that_it_cannot_reach_the_source(two, db, legacy):
    name_source(two, "host=/nowhere dbname=x")
    two.luamig("check", "scripts/x.lua").expect(
        UNREACHABLE, "error    source", "could not connect")


def test_a_key_that_may_be_null_in_the_source_is_refused(two, db, legacy):
    legacy.execute("CREATE TABLE items (id bigint, s text)")
    two.luamig("check", "scripts/x.lua").expect(INVALID, "may be NULL")
    two.run().expect(INVALID, "may be NULL")


# -- the journal ---------------------------------------------------------------------


def test_a_journal_of_an_earlier_version_is_upgraded_in_the_middle_of_a_run(
        project, db):
    items(db, 25)
    db.execute("CREATE TABLE copies (id bigint PRIMARY KEY, s text)")
    project.script(script().replace('source = "legacy", ', ""))
    project.run("--limit", 10).expect(STOPPED)
    db.execute("ALTER TABLE luamig.progress DROP COLUMN source,"
               " DROP COLUMN mark")
    db.execute("DELETE FROM luamig.version WHERE version >= 7")
    project.run().expect(DONE, "run 1 done: 25 rows")
    assert db.rows(COUNT) == [(25, 25, "s1")]
    assert db.scalar("SELECT source FROM luamig.progress") is None
