"""The journal where publications take every new table along, and in a schema
that holds tables of others."""

import pytest

from harness.cases import cases
from harness.cluster import Cluster
from harness.project import DONE, INVALID, STOPPED, UNREACHABLE, Project
from harness.wait import wait_until

SCRIPT = """
return { base_query = "SELECT id, n FROM t WHERE n IS NULL",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = row.id })
    end
  end }
"""
TABLE = "CREATE TABLE t (id int PRIMARY KEY, n int)"
PUBLISHED = "a publication includes luamig's tables"


@pytest.fixture(scope="module")
def logical():
    server = Cluster(wal_level="logical").start()
    yield server
    server.remove()


@pytest.fixture
def primary(logical, tmp_path):
    database = logical.make_database()
    database.execute(TABLE + "; INSERT INTO t SELECT i FROM"
                     " generate_series(1, 30) i")
    folder = Project(tmp_path, database.url)
    folder.script(SCRIPT)
    database.project = folder
    yield database
    folder.close()
    database.drop()


def publish(primary, what="FOR ALL TABLES", name="p"):
    primary.admin(f"CREATE PUBLICATION {name} {what}")


def has_journal(database):
    return database.scalar("SELECT to_regclass('luamig.version') IS NOT NULL")


@pytest.mark.parametrize("what", [
    "FOR ALL TABLES", "FOR ALL TABLES WITH (publish = 'insert')",
    "FOR ALL TABLES WITH (publish = 'delete, truncate')"])
def test_a_publication_of_all_tables_refuses_the_first_run(primary, what):
    publish(primary, what)
    primary.project.luamig("check", "x").expect(
        INVALID, PUBLISHED, ": p", "luamig journal --sql")
    primary.project.run().expect(
        UNREACHABLE, PUBLISHED, ": p", 'output of "luamig journal --sql"',
        "--force")
    assert not has_journal(primary)
    assert primary.scalar("SELECT count(n) FROM t") == 0
    primary.project.run("--force").expect(
        DONE, "overridden by --force: " + PUBLISHED)


@pytest.mark.versions
@pytest.mark.since(15)
def test_a_publication_of_the_schema_refuses_too(primary):
    primary.execute("CREATE SCHEMA luamig; CREATE SCHEMA other")
    publish(primary, "FOR TABLES IN SCHEMA other", "q")
    primary.project.luamig("check", "x").expect(DONE)
    publish(primary, "FOR TABLES IN SCHEMA luamig")
    primary.project.run().expect(UNREACHABLE, PUBLISHED + ", and a "
                                 "subscriber may not have them: p")
    primary.project.run("--journal-schema", "other").expect(
        UNREACHABLE, "may not have them: q", "--journal-schema other")
    primary.project.run("--journal-schema", "third").expect(DONE)


@pytest.mark.parametrize("what", cases([
    "", "FOR TABLE t", "FOR TABLES IN SCHEMA public",
    "FOR ALL TABLES WITH (publish = 'truncate')"],
    versions=["FOR TABLES IN SCHEMA public"],
    since={"FOR TABLES IN SCHEMA public": 15}))
def test_other_publications_are_no_matter(primary, what):
    publish(primary, what)
    primary.project.luamig("check", "x").expect(DONE).refuse(PUBLISHED)
    primary.project.run().expect(DONE).refuse(PUBLISHED)


def test_an_upgrade_under_a_publication_is_refused_as_well(primary):
    sql = primary.project.luamig("journal", "--sql", url=False).out
    primary.execute(sql[:sql.index("VALUES (3);")] + "VALUES (3); COMMIT;")
    publish(primary)
    primary.project.run().expect(
        UNREACHABLE, PUBLISHED, '"luamig journal --sql --from 3"')
    assert primary.scalar("SELECT max(version) FROM luamig.version") == 3
    primary.project.run("--force").expect(DONE)


def test_a_dry_run_installs_nothing_and_is_not_refused(primary):
    publish(primary)
    primary.project.run("--dry-run").expect(DONE)


def test_a_journal_that_is_there_is_not_asked_about(primary):
    primary.project.run("--limit", 10).expect(STOPPED)
    publish(primary)
    primary.project.run().expect(DONE).refuse(PUBLISHED)


def test_a_subscriber_goes_on_when_the_hint_is_followed(primary, logical):
    """One server, two databases: the slot is made by hand."""
    subscriber = logical.make_database()
    subscriber.execute(TABLE)
    publish(primary)
    primary.admin("SELECT pg_create_logical_replication_slot('s',"
                  " 'pgoutput')")
    subscriber.admin(
        f"CREATE SUBSCRIPTION s CONNECTION '{logical.url(primary.name, 'postgres')}'"
        " PUBLICATION p WITH (create_slot = false, slot_name = 's')")
    try:
        primary.project.run().expect(UNREACHABLE, PUBLISHED)
        subscriber.admin(primary.project.luamig(
            "journal", "--sql", url=False).expect(DONE).out)
        primary.project.run("--force").expect(DONE)
        primary.execute("INSERT INTO t VALUES (99, 1)")
        wait_until(lambda: subscriber.scalar(
            "SELECT count(n) FROM t") == 31, "the subscriber")
    finally:
        subscriber.admin("ALTER SUBSCRIPTION s DISABLE;"
                         "ALTER SUBSCRIPTION s SET (slot_name = NONE);"
                         "DROP SUBSCRIPTION s")
        wait_until(lambda: not primary.scalar(
            "SELECT active FROM pg_replication_slots WHERE slot_name = 's'"),
                   "the slot")
        primary.admin("SELECT pg_drop_replication_slot('s')")
        subscriber.drop()


# -- tables of others ----------------------------------------------------------


@pytest.mark.parametrize("schema, name", [
    ("public", "request"), ("public", "run"), ("public", "version"),
    ("luamig", "version"), ("app", "progress")])
def test_a_table_of_the_application_is_never_to_be_dropped(
        primary, schema, name):
    primary.execute(f"CREATE SCHEMA IF NOT EXISTS {schema};"
                    f"CREATE TABLE {schema}.{name} (id int, version int);"
                    f"INSERT INTO {schema}.{name} VALUES (7, 7)")
    for command in ("check", "run"):
        primary.project.luamig(
            command, "x", "--journal-schema", schema).expect(
                INVALID if command == "check" else UNREACHABLE,
                f'schema "{schema}" holds tables that are not luamig\'s: {name}',
                "--journal-schema NAME").refuse("DROP")
    primary.project.run("--journal-schema", "luamig_own").expect(DONE)
    primary.project.luamig("status", "--journal-schema", "luamig_own").expect(
        DONE, "done")


def test_a_journal_without_rows_beside_other_tables_is_not_to_be_dropped(
        primary):
    primary.project.run("--journal-schema", "public").expect(DONE)
    primary.execute("DELETE FROM public.version")
    primary.project.run("--journal-schema", "public").expect(
        UNREACHABLE, "also holds other objects: t",
        "--journal-schema NAME").refuse("DROP")


def test_a_function_of_others_is_not_to_be_dropped_either(primary):
    primary.execute("CREATE FUNCTION public.expect(p_actual bigint,"
                    " p_expected bigint) RETURNS bigint LANGUAGE sql"
                    " AS 'SELECT 1::bigint'")
    primary.project.run("--journal-schema", "public").expect(
        UNREACHABLE, "already exists", "--journal-schema NAME").refuse("DROP")


def test_the_table_of_a_file_would_stop_a_subscriber_too(primary):
    project = primary.project
    primary.execute(project.luamig("journal", "--sql", url=False).out)
    publish(primary)
    project.script("""return { input = { format = "csv", columns = { id = "int" } },
        migrate = function() end }""", "scripts/f.lua")
    project.write("f.csv", "id\n1\n")
    command = ["run", "scripts/f.lua", "--input", "f.csv"]
    project.luamig(*command).expect(
        UNREACHABLE, "would include the table of the file", ": p", "--force")
    assert primary.scalar("SELECT count(*) FROM luamig.run") == 0
    project.luamig(*command, "--force").expect(
        DONE, "overridden by --force: a publication would include the table")
