"""A cursor goes on only where it was made: in the same table, by the same key,
in the same order. What is refused says how to go on, and that works."""

import re

import pytest

from harness import old_journal
from harness.project import (DONE, FAILED, FAILURES, INVALID, STOPPED)

SCRIPT = """
return {{ {fields} config = {{ batch_size = 10, throttle_ms = 0, {config} }},
  base_query = [[{query}]],
  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      repo:execute("UPDATE {table} SET n = n + 10 WHERE {key} = $1", row.{key})
    end
  end,
}}
"""


def script(query="SELECT id FROM t", table="t", key="id", fields="",
           config=""):
    return SCRIPT.format(query=query, table=table, key=key, fields=fields,
                         config=config)


def make(db, table="t", kind="int", values="g", rows=40):
    db.execute(f"CREATE TABLE {table} (id {kind} PRIMARY KEY, other int, "
               "n int NOT NULL DEFAULT 0); "
               f"INSERT INTO {table} SELECT {values}, 100 - g "
               f"FROM generate_series(1, {rows}) g")


def stop(project, text=None, **more):
    project.script(text or script())
    project.run("--limit", 10, **more).expect(STOPPED, "run 1")


def sums(db, table="t"):
    return db.column(f"SELECT DISTINCT n FROM {table} ORDER BY n")


def once_each(db, table="t"):
    assert sums(db, table) == [10]


NOTHING = "SELECT 1"


# -- what does not fit is refused, and the ways on work ----------------------------


@pytest.mark.parametrize("change, why", [
    ("ALTER TABLE t ALTER id TYPE text",
     'the key column "id" was integer when run 1 began, and is text now'),
    ("ALTER TABLE t ALTER id TYPE numeric",
     'the key column "id" was integer when run 1 began, and is numeric now'),
    ("CREATE TABLE t2 (LIKE t INCLUDING ALL); INSERT INTO t2 SELECT * FROM t; "
     "ALTER TABLE t RENAME TO t1; ALTER TABLE t2 RENAME TO t",
     'the key column "id" comes from public.t, which is another table than '
     "when run 1 began"),
    ("CREATE TABLE t2 AS TABLE t; DROP TABLE t; ALTER TABLE t2 RENAME TO t; "
     "ALTER TABLE t ADD PRIMARY KEY (id)", "which is another table than when"),
    ("ALTER TABLE t ADD id2 int; UPDATE t SET id2 = 100 - id; "
     "ALTER TABLE t DROP id; ALTER TABLE t RENAME id2 TO id; "
     "ALTER TABLE t ADD PRIMARY KEY (id)",
     'comes from column "id", which has been dropped and added again'),
    ("CREATE SCHEMA app AUTHORIZATION app; CREATE TABLE app.t (LIKE t "
     "INCLUDING ALL); INSERT INTO app.t SELECT * FROM t",
     'the key column "id" came from public.t when run 1 began, and comes from '
     "app.t now"),
])
def test_a_table_that_was_changed_beneath_a_run(db, project, change, why):
    make(db)
    stop(project)
    db.admin("GRANT CREATE ON DATABASE \"%s\" TO app" % db.name)
    db.execute(change)
    before = sums(db)
    result = project.run().expect(INVALID, why, "--restart",
                                  'config.start_after = { "10" }')
    assert sums(db) == before
    assert project.status()[0]["state"] == "stopped"
    after = re.search(r"(start_after = \{.*?\})", result.err).group(1)
    project.script(script(config=after))
    project.run("--restart").expect(DONE, "run 1 is abandoned", "run 2 done")


def test_the_hint_of_a_key_that_became_text_loses_no_row(db, project):
    make(db, rows=200)
    stop(project)
    db.execute("ALTER TABLE t ALTER id TYPE text USING lpad(id::text, 3, '0')")
    project.run().expect(INVALID, "was integer")
    project.script(script(config='start_after = { "010" }'))
    project.run("--restart").expect(DONE, "run 2 done: 190 rows")
    once_each(db)


def test_the_hint_of_odd_texts_loses_no_row(db, project):
    make(db, kind='text COLLATE "C"',
         values="'0\"\\' || chr(10) || lpad(g::text, 3, '0')")
    stop(project)
    db.execute("ALTER TABLE t ALTER id TYPE char(9)")
    result = project.run().expect(INVALID, "was text")
    after = re.search(r"(start_after = \{.*?\})", result.err).group(1)
    db.execute('ALTER TABLE t ALTER id TYPE text COLLATE "C"')
    project.script(script(config=after))
    project.run("--restart").expect(DONE, "run 2 done: 30 rows")
    once_each(db)


@pytest.mark.parametrize("source, change, why", [
    ("t", 'ALTER TABLE t ALTER id TYPE text COLLATE "en-x-icu"',
     'was ordered by collation pg_catalog."C" when run 1 began'),
    ("v", "CREATE TABLE u AS TABLE t;"
     "CREATE OR REPLACE VIEW v AS SELECT id, n FROM u",
     'the key column "id" came from public.t when run 1 began')])
def test_a_change_while_the_run_is_at_work_is_seen_at_its_end(
        db, project, source, change, why):
    make(db, kind='text COLLATE "C"', values="chr(48 + g)")
    if source == "v":
        db.execute("CREATE VIEW v AS SELECT id, n FROM t")
    project.script(script(f"SELECT id FROM {source} WHERE id IS NOT NULL"))
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    db.execute(change)
    runner.thaw()
    runner.wait().expect(FAILED, why, "changed during the run", "--restart")
    assert db.state() == "failed"


def test_setting_it_back_goes_on(db, project):
    make(db)
    stop(project)
    db.execute("ALTER TABLE t RENAME TO t1; CREATE TABLE t (LIKE t1 "
               "INCLUDING ALL)")
    project.run().expect(INVALID, "another table")
    db.execute("DROP TABLE t; ALTER TABLE t1 RENAME TO t")
    project.run().expect(DONE, "resuming run 1")
    once_each(db)


TEXT = "lpad(g::text, 3, '0')"


@pytest.mark.parametrize("change, why", [
    ('ALTER TABLE t ALTER id TYPE text COLLATE "en_US.utf8"',
     r'ordered by collation pg_catalog."C" when run 1 began, and is ordered '
     r'by pg_catalog."'),
    ("ALTER TABLE t ALTER id TYPE text COLLATE pg_catalog.\"default\"",
     'ordered by collation pg_catalog."C" when run 1 began'),
    ("ALTER TABLE t ALTER id TYPE char(5)",
     "was text when run 1 began, and is character now"),
])
def test_another_order_of_texts(db, project, change, why):
    if "en_US" in change and not db.scalar(
            "SELECT count(*) FROM pg_collation WHERE collname = 'en_US.utf8'"):
        change = change.replace("en_US.utf8", "und-x-icu")
    make(db, kind='text COLLATE "C"', values=TEXT)
    stop(project)
    db.execute(change)
    project.run().expect(INVALID, 'the key column "id"', why,
                         'start_after = { "010" }')
    assert sums(db) == [0, 10]
    project.run("--restart").expect(DONE, "run 2 done: 40 rows")


def test_a_collation_of_another_version(db, project):
    make(db, kind='text COLLATE "und-x-icu"', values=TEXT)
    stop(project)
    db.execute("UPDATE luamig.run SET fingerprint = jsonb_set(fingerprint, "
               "'{key,0,version}', '\"1.2.3\"')")
    project.run().expect(INVALID, "collation pg_catalog.\"und-x-icu\" was of "
                                  "version 1.2.3 when run 1 began", "--restart")
    project.run("--restart").expect(DONE, "run 2 done")


def test_an_enum_that_was_made_anew_in_another_order(db, project):
    labels = ", ".join(f"'v{i:02}'" for i in range(1, 41))
    db.execute(f"CREATE TYPE kind AS ENUM ({labels})")
    make(db, kind="kind", values="('v' || lpad(g::text, 2, '0'))::kind")
    stop(project)
    backwards = ", ".join(f"'v{i:02}'" for i in range(40, 0, -1))
    db.execute(f"ALTER TYPE kind RENAME TO kind_old; "
               f"CREATE TYPE kind AS ENUM ({backwards}); "
               "ALTER TABLE t ALTER id TYPE kind USING id::text::kind")
    project.run().expect(INVALID, 'the key column "id" is of type kind, which '
                                  "is another one than when run 1 began")


def test_a_key_with_fewer_digits(db, project):
    make(db, kind="numeric(6,2)", values="g + 0.25")
    stop(project)
    db.execute("ALTER TABLE t ALTER id TYPE numeric(6,1)")
    project.run().expect(INVALID, "was numeric(6,2) when run 1 began, and is "
                                  "numeric(6,1) now")


# -- edits of the script ------------------------------------------------------------


@pytest.mark.parametrize("query, why", [
    ("SELECT id FROM u", "came from public.t when run 1 began, and comes from "
                         "public.u now"),
    ("SELECT other AS id FROM t WHERE other IS NOT NULL",
     'was the table\'s column "id" when run 1 began, and is "other" now'),
    ("SELECT id + 0 AS id FROM t WHERE id + 0 IS NOT NULL",
     "came from public.t when run 1 began, and comes from an expression now"),
    ("SELECT u.id FROM t JOIN u ON u.id = t.id", "comes from public.u now"),
    ("SELECT id FROM t UNION ALL SELECT id FROM u WHERE false",
     "may be NULL")])
def test_a_base_query_that_reads_another_key(db, project, query, why):
    make(db)
    make(db, "u")
    stop(project)
    project.script(script(query=query))
    project.run().expect(INVALID, why)
    assert (sums(db), sums(db, "u")) == ([0, 10], [0])


@pytest.mark.parametrize("query", [
    "SELECT id, other FROM t -- more",
    "SELECT id FROM  public.t\n  WHERE n < 5",
    "SELECT a.id FROM t AS a LEFT JOIN u ON u.id = a.id WHERE a.n < 5",
    "WITH x AS (SELECT * FROM t) SELECT id FROM x WHERE id IS NOT NULL"])
def test_a_base_query_may_be_edited_above_its_key(db, project, query):
    make(db)
    make(db, "u")
    stop(project)
    project.script(script(query=query))
    project.run().expect(DONE, "resuming run 1", "the script has changed",
                         "40 rows")
    once_each(db)


def test_a_key_that_the_query_computes_stands_on_all_of_it(db, project):
    make(db)
    query = "SELECT id, id %s AS k FROM t WHERE id %s IS NOT NULL"
    text = script(config='key = "k"', query=query % ("+ 0", "+ 0"))
    stop(project, text)
    project.run("--limit", 10).expect(STOPPED, "resuming run 1")
    project.script(script(config='key = "k"', query=query % ("+ 5", "+ 5")))
    project.run().expect(INVALID, "the base query, which computes the key "
                                  'column "k", has changed since run 1 began')
    project.script(text)
    project.run().expect(DONE, "resuming run 1")
    once_each(db)


def test_a_view_that_shows_another_table(db, project):
    make(db)
    make(db, "u")
    db.execute("CREATE VIEW v AS SELECT id, n FROM t")
    stop(project, script(query="SELECT id FROM v WHERE id IS NOT NULL"))
    db.execute("CREATE OR REPLACE VIEW v AS SELECT id, n FROM u")
    project.run().expect(INVALID, "came from public.t when run 1 began, and "
                                  "comes from public.u now")
    assert (sums(db), sums(db, "u")) == ([0, 10], [0])


@pytest.mark.parametrize("query", [
    "WITH t AS (SELECT id * 1 AS id FROM t) SELECT id FROM t "
    "WHERE id IS NOT NULL",
    "WITH w AS (SELECT id * 1 AS id FROM t), t AS (SELECT 1) SELECT id FROM w "
    "WHERE id IS NOT NULL"])
def test_a_table_that_has_the_name_of_a_with_query(db, project, query):
    make(db)
    stop(project, script(query=query))
    db.execute("CREATE TABLE t2 AS TABLE t; DROP TABLE t; "
               "ALTER TABLE t2 RENAME TO t")
    project.run().expect(INVALID, 'the key column "id", read public.t')
    assert sums(db) == [0, 10]


# -- what may change -----------------------------------------------------------------


@pytest.mark.parametrize("change", [
    "ALTER TABLE t ADD more text DEFAULT 'x'",
    "ALTER TABLE t DROP other",
    "ALTER TABLE t ALTER id TYPE bigint",
    "ALTER TABLE t ALTER id TYPE bigint; ALTER TABLE t ALTER id TYPE int",
    "CLUSTER t USING t_pkey",
    "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD UNIQUE (id); "
    "ALTER TABLE t ALTER id SET NOT NULL",
    "CREATE DOMAIN number AS int; ALTER TABLE t ALTER id TYPE number"])
def test_a_table_may_change_around_its_key(db, project, change):
    make(db)
    stop(project)
    db.execute(change)
    project.run().expect(DONE, "resuming run 1", "40 rows")
    once_each(db)


def partitioned(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) "
               "PARTITION BY RANGE (id); CREATE TABLE low (LIKE t INCLUDING "
               "ALL); CREATE TABLE mid PARTITION OF t FOR VALUES FROM (100) TO "
               "(200); INSERT INTO t SELECT generate_series(100, 139)")


@pytest.mark.parametrize("changes", [
    "INSERT INTO low SELECT generate_series(1, 9);"
    "ALTER TABLE t ATTACH PARTITION low FOR VALUES FROM (0) TO (100)",
    "ALTER TABLE t DETACH PARTITION mid; ALTER TABLE mid RENAME TO old;"
    "CREATE TABLE low2 PARTITION OF t FOR VALUES FROM (100) TO (200);"
    "INSERT INTO t SELECT * FROM old"], ids=["attached", "replaced"])
def test_a_partition_that_came_with_rows_is_named(db, project, changes):
    partitioned(db)
    stop(project)
    db.execute(changes)
    project.run("--limit", 10).expect(
        STOPPED, re.compile(r"warning: public\.low2? became part of the key's table "
                            "after run 1 began"), "resuming run 1")


def test_a_partition_without_rows_is_no_matter(db, project):
    partitioned(db)
    stop(project)
    db.execute("CREATE TABLE high PARTITION OF t FOR VALUES FROM (200) TO (300)")
    project.run().expect(DONE).refuse("warning: high")
    once_each(db)


def test_a_text_may_become_a_varchar(db, project):
    make(db, kind="text", values=TEXT)
    stop(project)
    db.execute("ALTER TABLE t ALTER id TYPE varchar(20)")
    project.run("--limit", 10).expect(STOPPED, "resuming run 1")
    db.execute("ALTER TABLE t ALTER id TYPE varchar(30)")
    project.run().expect(DONE, "resuming run 1")
    once_each(db)


def test_a_table_may_be_renamed_with_the_script(db, project):
    make(db)
    stop(project)
    db.execute("ALTER TABLE t RENAME TO t9; ALTER TABLE t9 RENAME id TO nr")
    project.script(script("SELECT nr AS id FROM t9", "t9").replace(
        "WHERE id", "WHERE nr"))
    project.run().expect(DONE, "resuming run 1", "the script has changed")
    once_each(db, "t9")


def test_on_start_may_make_the_key(db, project):
    make(db)
    project.script(script(fields="""on_start = function(repo)
        repo:execute("ALTER TABLE t ALTER id TYPE text "
          .. "USING lpad(id::text, 3, '0')") end,""",
                          config="allow_ddl = true"))
    project.run("--limit", 10).expect(STOPPED)
    project.run("--limit", 10).expect(STOPPED, "resuming run 1")
    db.execute("ALTER TABLE t ALTER id TYPE int USING id::int")
    project.run().expect(INVALID, "was text when run 1 began, and is integer")


# -- a schema for each tenant ----------------------------------------------------------


@pytest.fixture
def tenants(db, project):
    db.admin("GRANT CREATE ON DATABASE \"%s\" TO app" % db.name)
    for tenant in ("one", "two"):
        db.execute(f"CREATE SCHEMA {tenant}; SET search_path = {tenant}")
        make(db)
        db.execute("RESET search_path")

    def path(*schemas):
        project.env["PGOPTIONS"] = (
            "-c search_path=" + ",".join(schemas))
    return path


def test_a_run_does_not_go_on_in_the_schema_of_another_tenant(
        db, project, tenants):
    tenants("one")
    stop(project)
    tenants("two")
    project.run().expect(INVALID, "came from one.t when run 1 began, and comes "
                                  "from two.t now")
    assert sums(db, "two.t") == [0]
    tenants("one", "public")
    project.run().expect(DONE, "resuming run 1")
    once_each(db, "one.t")


def test_a_run_that_is_done_for_one_tenant_is_not_done_for_another(
        db, project, tenants):
    tenants("one")
    project.script(script())
    project.run().expect(DONE)
    project.run().expect(DONE, "run 1 is done already")
    tenants("two")
    project.run().expect(INVALID, "run 1, which is done, has read one.t, and "
                                  "this would read two.t", "--again")
    assert sums(db, "two.t") == [0]
    project.run("--again").expect(DONE, "run 2 done")
    once_each(db, "two.t")


def test_what_the_script_writes_stays_in_the_same_schema(db, project, tenants):
    make(db, "public.shared")
    text = script(query="SELECT id FROM public.shared")
    tenants("one")
    stop(project, text)
    tenants("two")
    project.run().expect(INVALID, "the search_path was one when run 1 began, "
                                  "and is two now")
    tenants("one")
    project.run().expect(DONE)
    assert (sums(db, "one.t"), sums(db, "two.t")) == ([10], [0])


def test_a_one_shot_that_is_done_for_one_tenant(db, project, tenants):
    project.script("""return { run = function(repo)
        repo:update_all("t", { n = 10 }, { n = 0 }) end }""")
    tenants("one")
    project.run().expect(DONE)
    tenants("one", "public")
    project.run().expect(DONE, "run 1 is done already")
    tenants("two")
    project.run().expect(INVALID, "had the search_path one, and this would "
                                  "have two", "--again")
    project.run("--again").expect(DONE)
    assert (sums(db, "one.t"), sums(db, "two.t")) == ([10], [10])


# -- runs that are done --------------------------------------------------------------


def test_a_done_run_without_its_table_is_done(db, project):
    make(db)
    project.script(script())
    project.run().expect(DONE)
    db.execute("DROP TABLE t")
    project.run().expect(DONE, "run 1 is done already").refuse("another table")


JOINED = "SELECT t.id FROM t JOIN u ON u.id = t.id"


def test_a_done_run_with_a_missing_table_is_done(db, project):
    make(db)
    make(db, "u")
    project.script(script(JOINED).replace("UPDATE t", "UPDATE u"))
    project.run().expect(DONE)
    db.execute("DROP TABLE t")
    project.run().expect(DONE, "run 1 is done already").refuse("another table")


@pytest.mark.parametrize("change", ["DROP TABLE t", "SELECT"])
def test_a_done_run_that_now_reads_a_table_more_is_not_done(
        db, project, change):
    make(db)
    make(db, "u")
    make(db, "v")
    project.script(script(JOINED))
    project.run().expect(DONE)
    db.execute(change)
    project.script(script("SELECT v.id FROM v JOIN u ON u.id = v.id"))
    project.run().expect(INVALID, "and this would read public.u, public.v")


def test_a_done_run_warns_that_its_table_was_created_again(db, project):
    make(db)
    project.script(script())
    project.run().expect(DONE)
    db.execute("DROP TABLE t")
    make(db)
    project.run().expect(DONE, "has read another table public.t; --again runs "
                               "the script on the table that has this name now")
    project.run("--again").expect(DONE, "run 2 done")
    project.run().expect(DONE, "done already").refuse("another table")


def test_a_done_script_that_now_reads_another_table_is_not_done(db, project):
    make(db)
    make(db, "u")
    project.script(script())
    project.run().expect(DONE)
    project.script(script("SELECT id FROM u", "u"))
    project.run().expect(INVALID, "has read public.t, and this would read "
                                  "public.u", "--again")
    project.run("--again").expect(DONE)
    once_each(db, "u")


# -- failed rows ----------------------------------------------------------------------


def test_failed_rows_are_not_retried_in_another_table(db, project):
    make(db)
    db.execute("ALTER TABLE t ADD CHECK (id <> 7 OR n < 10)")
    project.script(script(config='on_error = "quarantine"'))
    project.run().expect(FAILURES)
    db.execute("ALTER TABLE t RENAME TO t1; CREATE TABLE t (LIKE t1); "
               "INSERT INTO t SELECT * FROM t1; ALTER TABLE t ADD UNIQUE (id); "
               "ALTER TABLE t ALTER id SET NOT NULL")
    project.luamig("failures", "1", "--retry").expect(
        INVALID, "another table than when run 1 began")
    assert db.scalar("SELECT n FROM t WHERE id = 7") == 0


QUARANTINE = 'on_error = "quarantine"'


def fail_row_7(db, project, config="", **more):
    """A run with a failed row, which could be migrated by now."""
    make(db)
    db.execute("ALTER TABLE t ALTER other SET NOT NULL, ADD CONSTRAINT bad "
               "CHECK (id <> 7 OR n < 10)")
    project.script(script("SELECT id, other FROM t",
                          config=f"{QUARANTINE}, {config}", **more))
    project.run().expect(FAILURES)
    db.execute("ALTER TABLE t DROP CONSTRAINT bad")


@pytest.mark.parametrize("fingerprint", ["as it is", "of 0.1"])
@pytest.mark.parametrize("then, now", [
    ('key = "id"', 'key = { "id", "other" }'),
    ('key = { "other", "id" }', 'key = "other", assume_unique = true')])
def test_failed_rows_are_not_retried_by_another_key(
        db, project, then, now, fingerprint):
    fail_row_7(db, project, then)
    db.execute("UPDATE t SET other = 93 WHERE id = 8")  # that of 7
    if fingerprint == "of 0.1":
        db.execute("UPDATE luamig.run SET fingerprint = NULL")
    project.script(script("SELECT id, other FROM t",
                          config=f"{QUARANTINE}, {now}"))
    project.luamig("failures", "1", "--retry").expect(
        INVALID, "the key was (", "when run 1 began", "Change config.key back")
    assert db.rows("SELECT id FROM t WHERE n <> 10") == [(7,)]
    assert db.state() == "done_with_failures"
    project.script(script("SELECT id, other FROM t",
                          config=f"{QUARANTINE}, {then}"))
    project.luamig("failures", "1", "--retry").expect(DONE)
    once_each(db)


def test_a_failed_row_whose_key_was_edited_is_named(db, project):
    fail_row_7(db, project)
    db.execute("UPDATE luamig.failure SET key = '{7,93}'")
    project.luamig("failures", "1", "--retry").expect(
        FAILED, "the journal's key of failure 1 does not fit the key")
    db.execute("UPDATE luamig.failure SET key = '{7}'")
    project.luamig("failures", "1", "--retry").expect(DONE)
    once_each(db)


def test_a_failed_row_whose_key_is_that_of_another_now_is_named(db, project):
    fail_row_7(db, project, 'key = "other", assume_unique = true')
    db.execute("UPDATE t SET other = 93 WHERE id = 8")
    project.luamig("failures", "1", "--retry").expect(
        FAILED, "two rows of the base query have the same key: (other) = (93)")
    assert db.rows("SELECT id FROM t WHERE n <> 10") == [(7,)]


# -- copies of a database, and journals of 0.1 -------------------------------------------


@pytest.mark.parametrize("field", ["then", "now"])
def test_a_server_that_hides_its_identifier_is_no_copy(db, project, field):
    make(db)
    stop(project)
    if field == "then":
        db.execute("UPDATE luamig.run SET fingerprint = jsonb_set("
                   "fingerprint, '{system}', '\"\"')")
    else:
        db.admin("REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC")
    project.run().expect(DONE, "resuming run 1").refuse("is a copy")


def test_a_copy_of_the_database_goes_on_by_names(db, project, cluster):
    make(db)
    stop(project)
    copy = cluster.make_database(template=db.name) if not close(db) else None
    try:
        copy.execute("CREATE TABLE t2 (LIKE t INCLUDING ALL); INSERT INTO t2 "
                     "SELECT * FROM t; DROP TABLE t; "
                     "ALTER TABLE t2 RENAME TO t")
        project.luamig("run", "scripts/x.lua", "--db", copy.url).expect(
            DONE, "began in another database, and this database is a copy of it",
            "resuming run 1", "40 rows")
        once_each(copy)
        copy.execute("ALTER TABLE t ALTER id TYPE text")
    finally:
        copy.drop()
    project.run().expect(DONE, "resuming run 1")


def close(db):
    """No session may be left in a template."""
    for link in db._links.values():
        link.close()
    db._links.clear()


def test_an_old_run_gets_its_fingerprint_when_it_goes_on(db, project):
    make(db)
    project.script(script())
    old_journal.install(project, db)
    old_journal.add_run(db, "scripts/x.lua", script(), cursor=["10"],
                        bound=["40"], rows=10, batches=1)
    db.execute("UPDATE t SET n = 10 WHERE id <= 10")
    project.run("--limit", 10).expect(STOPPED, "resuming run 1")
    db.execute("ALTER TABLE t ALTER id TYPE text")
    project.run().expect(INVALID, "was integer when run 1 began")
    db.execute("ALTER TABLE t ALTER id TYPE int USING id::int")
    project.run().expect(DONE)
    once_each(db)
