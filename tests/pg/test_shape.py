"""Tables that change their shape, and statements that get lost, while a run
goes on."""

import pytest

from harness.project import DONE, FAILED, INVALID

SCRIPT = """
local calls = 0
return {{
  config = {{ batch_size = 10, throttle_ms = 0{config} }},
  base_query = "{query}",
  {more}
  migrate = function(rows, repo)
    local seen = {{}}
    calls = calls + 1
    {first}
    for i, row in ipairs(rows) do seen[i] = {{ tag = row.{tag} }} end
    repo:insert_all("seen", seen)
  end,
}}
"""


def make_table(db, columns="a int, id int PRIMARY KEY, tag int",
               values="1000 - n, n, n"):
    db.execute(f"CREATE TABLE d ({columns});"
               f"INSERT INTO d SELECT {values} FROM generate_series(1, 50) n;"
               "CREATE TABLE seen (nr bigint GENERATED ALWAYS AS IDENTITY, "
               "tag int)")


def script(query="SELECT * FROM d", config="", first="", more="", tag="tag"):
    return SCRIPT.format(query=query, config=config, first=first, more=more,
                         tag=tag)


def interfere(db, project, sql, disconnect=False):
    """Runs the script; sql is executed after its second batch."""
    runner = project.start_run(fault="after_commit:2=stop")
    runner.wait_frozen()
    db.execute(sql)
    if disconnect:
        db.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE datname = current_database() "
                 "AND application_name LIKE 'luamig:%%'")
    runner.thaw()
    return runner.wait()


def assert_all_seen(db):
    assert db.column("SELECT tag FROM seen ORDER BY nr") == list(range(1, 51))


# -- the base query's columns ----------------------------------------------


@pytest.mark.parametrize("config", ["", ", assume_unique = true"])
@pytest.mark.parametrize("disconnect", [False, True])
def test_a_column_is_added(db, project, disconnect, config):
    make_table(db, "a int, id int NOT NULL, tag int")
    project.script(script(config=config))

    result = interfere(db, project, "ALTER TABLE d ADD COLUMN more int",
                       disconnect)

    result.expect(DONE)
    assert_all_seen(db)


@pytest.mark.parametrize("disconnect", [False, True])
@pytest.mark.parametrize("key", ["PRIMARY KEY", "NOT NULL"])
def test_a_column_vanishes(db, project, key, disconnect):
    make_table(db, f"a int, id int {key}, tag int")
    project.script(script())

    result = interfere(db, project, "ALTER TABLE d DROP COLUMN a", disconnect)

    result.expect(FAILED, "the base query's columns have changed since the "
                  "run began", "Run the same command again: it checks the query again.",
                  "column page.a does not exist")
    assert db.state() == "failed"
    project.run().expect(DONE)
    assert_all_seen(db)


@pytest.mark.versions
@pytest.mark.parametrize("disconnect", [False, True])
def test_columns_change_places(db, project, disconnect):
    make_table(db)
    project.script(script())

    interfere(db, project,
              "ALTER TABLE d ADD tag2 int, ADD more int;"
              "UPDATE d SET tag2 = tag; ALTER TABLE d DROP tag;"
              "ALTER TABLE d RENAME tag2 TO tag;"
              "ALTER TABLE d ADD a2 int; ALTER TABLE d RENAME a TO a1;"
              "ALTER TABLE d RENAME a2 TO a", disconnect).expect(DONE)

    assert_all_seen(db)


ANOTHER = 'the key column "id" came from another table'


@pytest.mark.parametrize("disconnect", [False, True])
@pytest.mark.parametrize("config", ["", ", assume_unique = true"])
def test_tables_are_swapped(db, project, disconnect, config):
    make_table(db, "a int, id int NOT NULL, tag int")
    project.script(script(config=config))

    interfere(db, project,
              "CREATE TABLE d2 AS TABLE d; ALTER TABLE d2 ALTER id SET NOT NULL;"
              "ALTER TABLE d RENAME TO d1; ALTER TABLE d2 RENAME TO d",
              disconnect).expect(FAILED, ANOTHER, "the same command")

    assert len(db.column("SELECT tag FROM seen")) == 20
    project.run().expect(INVALID, "public.d, which is another table than when")
    db.execute("ALTER TABLE d RENAME TO d2; ALTER TABLE d1 RENAME TO d")
    project.run().expect(DONE)
    assert_all_seen(db)


@pytest.mark.parametrize("sql", [
    "ALTER TABLE d ADD id2 int; UPDATE d SET id2 = 51 - id;"
    "ALTER TABLE d ALTER id2 SET NOT NULL, DROP id;"
    "ALTER TABLE d RENAME id2 TO id",
    "CREATE SCHEMA app AUTHORIZATION app; CREATE TABLE app.d AS TABLE d;"
    "ALTER TABLE app.d ALTER id SET NOT NULL"], ids=["column", "schema"])
def test_the_key_comes_from_elsewhere(db, project, sql):
    make_table(db)
    project.script(script("SELECT * FROM (SELECT id, tag FROM d) q"))
    interfere(db, project, sql).expect(FAILED, ANOTHER)
    assert len(db.column("SELECT tag FROM seen")) == 20
    project.run().expect(INVALID, "run 1 began")


@pytest.mark.versions
def test_a_view_is_made_anew(db, project):
    make_table(db)
    db.execute("CREATE VIEW v AS SELECT * FROM d")
    project.script(script("SELECT * FROM v"))
    interfere(db, project, "DROP VIEW v; CREATE VIEW v AS SELECT tag, id, a "
              "FROM d").expect(FAILED, ANOTHER, "Run the same command again")
    project.run().expect(DONE)
    assert_all_seen(db)


@pytest.mark.parametrize("disconnect", [False, True])
@pytest.mark.parametrize("key", ["PRIMARY KEY", "NOT NULL"])
def test_the_key_changes_its_type(db, project, key, disconnect):
    make_table(db, f"a int, id int {key}, tag int")
    project.script(script())

    result = interfere(db, project, "ALTER TABLE d ALTER id TYPE bigint",
                       disconnect)

    result.expect(FAILED, "the base query's columns have changed since the "
                  "run began", "Run the same command again: it checks the query again.")
    project.run().expect(DONE)
    assert_all_seen(db)


@pytest.mark.versions
def test_another_column_changes_its_type(db, project):
    make_table(db)
    project.script(script())
    interfere(db, project, "ALTER TABLE d ALTER a TYPE text").expect(DONE)
    assert_all_seen(db)


def test_names_of_columns_that_need_quotes(db, project):
    make_table(db, '"A ""b""" int, id int PRIMARY KEY, tag int')
    project.script(script(r"SELECT *, 2 + 2, tag AS \"T.x\" FROM d",
                          tag='tag + (row["T.x"] - row.tag)'))
    project.run().expect(DONE)
    assert_all_seen(db)


DDL = ", allow_ddl = true"
ON_START = """
  on_start = function(repo)
    repo:execute("{sql}")
  end,"""


@pytest.mark.parametrize("fault", [None, "on_start_after_commit_sent=kill",
                                   "on_start_after_commit=kill"])
def test_on_start_adds_a_column(db, project, fault):
    make_table(db, "id int PRIMARY KEY", "n")
    project.script(script(config=DDL, more=ON_START.format(
        sql="ALTER TABLE d ADD COLUMN tag int GENERATED ALWAYS AS (id) "
            "STORED")))
    if fault:
        project.run(fault=fault)
    project.run().expect(DONE)
    assert_all_seen(db)


def test_on_start_changes_the_type_of_the_key(db, project):
    make_table(db)
    project.script(script(config=DDL, more=ON_START.format(
        sql="ALTER TABLE d ALTER id TYPE bigint")))
    project.run().expect(DONE)
    assert_all_seen(db)


def test_on_start_takes_the_key_away(db, project):
    make_table(db)
    project.script(script(config=DDL, more=ON_START.format(
        sql="ALTER TABLE d RENAME id TO number")))
    project.run().expect(INVALID, "could not find the highest key")
    assert db.state() == "failed"
    assert db.column("SELECT id FROM d WHERE id = 1") == [1], "rolled back"


@pytest.mark.versions
def test_on_start_takes_the_proof_away(db, project):
    make_table(db, "a int, id int UNIQUE NOT NULL, tag int")
    project.script(script(config=DDL, more=ON_START.format(
        sql="ALTER TABLE d ALTER id DROP NOT NULL")))

    project.run().expect(INVALID, "may be NULL")

    assert db.state() == "failed"
    db.execute("ALTER TABLE d ALTER id SET NOT NULL")
    project.run().expect(DONE)
    assert_all_seen(db)


# -- prepared statements ---------------------------------------------------


def test_a_statement_of_the_script_changes_its_result(db, project):
    make_table(db)
    db.execute("CREATE TABLE other (x int); INSERT INTO other VALUES (1)")
    project.script(script(first='repo:query("SELECT * FROM other")'))

    interfere(db, project, "ALTER TABLE other ADD COLUMN y int").expect(DONE)

    assert_all_seen(db)


FORGET = """
    repo:query("SELECT 1 AS a")
    if calls == 3 then
      repo:execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
    end
    repo:query("SELECT 1 AS a")"""
OCCUPY = """
    if calls == 3 then
      for n = 1, 60 do
        repo:execute(
          "DO $$ BEGIN EXECUTE 'PREPARE luamig_" .. n .. " AS SELECT 1';"
          .. " EXCEPTION WHEN duplicate_prepared_statement THEN END $$")
      end
    end"""


@pytest.mark.parametrize("first", [FORGET, OCCUPY], ids=["26000", "42P05"])
def test_another_client_drops_prepared_statements(db, project, first):
    make_table(db)
    project.script(script(first=first))
    project.run().expect(DONE)
    assert_all_seen(db)


@pytest.mark.versions
def test_what_the_server_does_not_support_is_tried_twice_only(db, project):
    make_table(db)
    project.script(script(first="""
      repo:execute("DO $$ BEGIN RAISE feature_not_supported; END $$")"""))
    project.run().expect(FAILED, "0A000")
    assert db.column("SELECT tag FROM seen") == []


# -- the journal -----------------------------------------------------------


@pytest.mark.parametrize("column, named", [("cursor", "cursor"),
                                           ("upper", "upper key")])
@pytest.mark.parametrize("value", ["'{NULL}'", "'{1,2}'"])
def test_a_foreign_cursor_is_refused(db, project, column, named, value):
    make_table(db)
    project.script(script())
    project.run("--limit", 10).expect(5)
    db.execute(f"UPDATE luamig.range SET {column} = {value}")

    project.run().expect(FAILED, f"the journal's {named} of run 1 does not "
                         "fit the key")

    db.execute("DELETE FROM seen")
    project.run("--restart").expect(DONE)
    assert_all_seen(db)


def test_a_cursor_that_is_damaged_during_the_run(db, project):
    make_table(db)
    project.script(script())

    interfere(db, project, "UPDATE luamig.range SET cursor = '{}'",
              disconnect=True).expect(
        FAILED, "the journal's cursor of run 1 does not fit the key")
