"""luamig new: a script that changes nothing yet and a spec that passes,
whatever the table looks like."""

import os
import subprocess

import pytest

from harness.project import (DONE, FAILED, INVALID, USAGE, Project,
                             clean_environment)

USERS = """
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email varchar(100) NOT NULL UNIQUE,
    onboarding_step text,
    created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO users (email) SELECT n || '@example.org' FROM generate_series(1, 5) n;
"""

# Tables that are hard to write about: name, DDL.
TABLES = {
    "a composite key": ("t", """
        CREATE TABLE t (tenant int, day date, note text,
                        PRIMARY KEY (tenant, day));
        INSERT INTO t SELECT 1, current_date + n, NULL
        FROM generate_series(1, 5) n"""),
    "a unique constraint instead of a key": ("t", """
        CREATE TABLE t (a int NOT NULL, b int NOT NULL, UNIQUE (a, b))"""),
    "nothing but a key": ("t", "CREATE TABLE t (id uuid PRIMARY KEY)"),
    "nothing that may be null": ("t", """
        CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL);
        INSERT INTO t SELECT n, n FROM generate_series(1, 5) n"""),
    "a key of two values": ("t", """
        CREATE TABLE t (flag bool PRIMARY KEY, what text);
        INSERT INTO t VALUES (true), (false)"""),
    "names that need quotes": ('"Odd.Table ]]"', """
        CREATE TABLE "Odd.Table ]]" (id int PRIMARY KEY, "x]]""" + '""' + """"
        text, "end" int NOT NULL, "new
line" text, "it's" text NOT NULL)"""),
    "words that SQL reserves": ("order", """
        CREATE TABLE "order" (id int PRIMARY KEY, "user" text)"""),
    "a schema": ("app.things", """
        CREATE SCHEMA app;
        CREATE TABLE app.things (id serial PRIMARY KEY, note text);
        INSERT INTO app.things (note) VALUES (NULL)"""),
    "a view": ("v", """
        CREATE TABLE t (id int PRIMARY KEY, note text);
        CREATE VIEW v AS SELECT * FROM t"""),
    "partitions": ("t", """
        CREATE TABLE t (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
        CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100);
        INSERT INTO t VALUES (1), (2)"""),
    "long names": ("t", f"""
        CREATE TABLE t (id int PRIMARY KEY, {'a' * 60} int NOT NULL,
                        {'b' * 60} int NOT NULL, {'c' * 60} text)"""),
    "a key that the mock has no values of": ("t", """
        CREATE TABLE t (k bytea PRIMARY KEY, note text)"""),
    "a document as the key": ("t", """
        CREATE TABLE t (k jsonb PRIMARY KEY, note text NOT NULL)"""),
    "columns of every type": ("t", """
        CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
        CREATE TYPE pair AS (a int, b int);
        CREATE DOMAIN short AS varchar(5) CHECK (value <> '');
        CREATE DOMAIN shorter AS short;
        CREATE TABLE t (
            id int8 PRIMARY KEY, a int2 NOT NULL, b numeric(4,2) NOT NULL,
            c real NOT NULL, d float8 NOT NULL, e bytea NOT NULL,
            f json NOT NULL, g jsonb NOT NULL UNIQUE, h int[] NOT NULL,
            i mood NOT NULL UNIQUE, j shorter NOT NULL, k char(3) NOT NULL,
            l varchar(2) NOT NULL UNIQUE, m uuid NOT NULL,
            n timestamp(3) NOT NULL, o time NOT NULL, p interval NOT NULL,
            q inet NOT NULL, r bool NOT NULL, s mood[] NOT NULL,
            u jsonb[] NOT NULL, v int4range NOT NULL, w bit(3) NOT NULL,
            x pair, y int GENERATED ALWAYS AS (a + 1) STORED, z point)"""),
}


@pytest.fixture
def bare(tmp_path):
    """A folder without a database."""
    project = Project(tmp_path)
    os.rmdir(tmp_path / "scripts")
    yield project
    project.close()


def tool(project, *command, **env):
    done = subprocess.run(command, cwd=project.path, timeout=120,
                          env={**clean_environment(), **env},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_good(project):
    """The linter and plain busted are content with all that is there."""
    project.luamig("init", url=False).expect(DONE)
    tool(project, "luacheck", ".")
    path = project.luamig("lua-path", url=False).expect(DONE).out.strip()
    out = tool(project, "busted", LUA_PATH=path)
    assert "0 failures / 0 errors" in out and "0 successes" not in out


def assert_nothing_written(project):
    assert not project.exists("scripts/x.lua")
    assert not project.exists("spec")


# -- without a table ---------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--one-shot",)])
def test_a_new_script_is_good_at_once(bare, more):
    bare.luamig("new", "welcome", *more).expect(
        DONE, "created scripts/welcome.lua\n",
        "created spec/welcome_spec.lua\n")
    assert "TODO" in bare.read("scripts/welcome.lua")
    assert_good(bare)
    bare.luamig("run", "scripts/welcome.lua", "--help").expect(DONE)


@pytest.mark.parametrize("name, path", [
    ("billing/2024/close_orders", "billing/2024/close_orders"),
    ("scripts/fix.lua", "fix"), ("fix.lua", "fix"), ("v1.2", "v1.2"),
    ("écrire", "écrire"), ("a-b_C", "a-b_C"), ("x" * 60, "x" * 60)])
def test_names_may_be_file_names(bare, name, path):
    bare.luamig("new", name).expect(DONE)
    assert bare.exists(f"scripts/{path}.lua")
    assert bare.exists(f"spec/{path}_spec.lua")
    assert_good(bare)


@pytest.mark.parametrize("name", [
    "", "a b", "../x", "a/../x", "/etc/x", "a/", "a//b", ".x", "a/.x", "-x/y",
    "a/-x", "x;y", "x'y", 'x"y', "$x", "x*", "x\ny", "x\\y", "x:y", ".lua",
    "scripts/", "x" * 300])
def test_other_names_are_refused(bare, name):
    bare.luamig("new", "--", name).expect(
        USAGE, "the name of a script takes letters, digits")
    assert os.listdir(bare.path) == []


@pytest.mark.parametrize("there", ["scripts/x.lua", "spec/x_spec.lua"])
def test_nothing_is_overwritten(bare, there):
    bare.write(there, "mine")
    before = sorted(os.walk(bare.path))

    bare.luamig("new", "x").expect(FAILED, f'"{there}" exists')

    assert bare.read(there) == "mine"
    assert sorted(os.walk(bare.path)) == before


def test_a_dangling_link_is_not_written_through(bare):
    os.makedirs(os.path.join(bare.path, "spec"))
    os.symlink("elsewhere", os.path.join(bare.path, "spec/x_spec.lua"))
    bare.luamig("new", "x").expect(FAILED, '"spec/x_spec.lua" exists')
    assert sorted(os.listdir(bare.path)) == ["spec"]


@pytest.mark.parametrize("arguments", [
    (), ("a", "b"), ("x", "--tabel", "t"), ("x", "--table"),
    ("x", "--table", "a.b.c"), ("x", "--table", '"a'),
    ("x", "--db", "postgresql:///x")])
def test_wrong_options_write_nothing(bare, arguments):
    bare.luamig("new", *arguments).expect(USAGE, "luamig help new")
    assert os.listdir(bare.path) == []


# -- with a table ------------------------------------------------------------


def test_the_script_fits_the_table(db, project):
    db.execute(USERS)

    project.luamig("new", "x", "--table", "users").expect(DONE)

    script = project.read("scripts/x.lua")
    assert ('"SELECT id, email, created_at FROM users '
            'WHERE onboarding_step IS NULL"') in script
    assert 'repo:update("users", { id = row.id }, changes)' in script
    spec = project.read("spec/x_spec.lua")
    for line in ('id = "bigint",', 'email = "character varying(100)",',
                 'primary_key = { "id" },',
                 'not_null = { "email", "created_at" },',
                 'unique = { { "email" } },',
                 "return row.onboarding_step == nil"):
        assert line in spec
    assert_good(project)


def test_the_sketch_needs_one_line_to_be_a_migration(db, project):
    db.execute(USERS)
    project.luamig("new", "x", "--table", "users").expect(DONE)
    for name, todo, line in (
            ("scripts/x.lua", "        -- TODO: the new values of a row",
             '        onboarding_step = "welcome",\n'),
            ("spec/x_spec.lua", "    -- TODO: check the rows",
             '    assert.equal("welcome", '
             'world:rows("users")[1].onboarding_step)\n')):
        text = project.read(name)
        assert text.count(todo) == 1
        project.write(name, text.replace(todo, line + todo))
    spec = project.read("spec/x_spec.lua")
    assert spec.count("pending(") == 2
    project.write("spec/x_spec.lua", spec.replace("pending(", "it("))

    assert_good(project)
    project.run().expect(DONE)

    assert db.scalar("SELECT count(*) FROM users "
                     "WHERE onboarding_step = 'welcome'") == 5


@pytest.mark.parametrize("more", [(), ("--one-shot",)])
@pytest.mark.parametrize("what", TABLES)
def test_every_table_gets_a_script_that_runs_and_changes_nothing(
        db, project, what, more):
    name, ddl = TABLES[what]
    db.execute(ddl)
    project.luamig("new", "x", "--table", name, *more).expect(DONE)
    assert_good(project)
    if what == "a view" and not more:
        return  # its key may be NULL for all that the catalog knows
    before = everything(db)
    project.run().expect(DONE)
    assert everything(db) == before


def everything(db):
    """All rows of all tables but the journal's, with the transaction that
    wrote them."""
    names = db.column(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND "
        "relnamespace::regnamespace::text IN ('public', 'app')")
    return {name: db.rows(f"SELECT xmin::text, t::text FROM {name} t")
            for name in names}


def test_a_table_without_a_key_is_told_to_name_one(db, project):
    db.execute("CREATE TABLE t (name text, n int)")
    project.luamig("new", "x", "--table", "t").expect(DONE)
    assert_good(project)
    assert "TODO: check the key: the table has no unique" in project.read(
        "scripts/x.lua")
    project.run().expect(INVALID, "may be NULL")


def test_a_table_that_is_not_there_is_an_error(db, project):
    db.execute(USERS)
    project.luamig("new", "x", "--table", "usres").expect(
        FAILED, 'table "usres" does not exist', 'Did you mean "users"?')
    assert_nothing_written(project)


def test_a_name_that_is_not_a_table_is_an_error(db, project):
    db.execute(USERS + "CREATE TABLE nothing ();")
    for name in ("users_id_seq", "users_pkey"):
        project.luamig("new", "x", "--table", name).expect(
            FAILED, f'table "{name}" does not exist')
    project.luamig("new", "x", "--table", "nothing").expect(
        FAILED, 'table "nothing" has no columns').refuse("traceback")
    project.luamig("new", "x", "--table", "t\udcff").expect(
        FAILED, r'"t\xff" is not the name of a table').refuse("statement")
    assert_nothing_written(project)


def test_without_a_database_the_columns_are_made_up(bare):
    bare.luamig("new", "x", "--table", "Users").expect(
        DONE, 'could not look at table "Users": no database is named',
        "example columns")
    assert 'FROM "Users" WHERE my_column IS NULL' in bare.read("scripts/x.lua")
    assert_good(bare)


def test_a_database_that_cannot_be_reached_is_no_reason_to_give_up(bare):
    bare.luamig("new", "x", "--table", "users", "--db",
                "postgresql://nobody:s3cret@127.0.0.1:1/none").expect(
        DONE, 'could not look at table "users"', "example columns"
    ).refuse("s3cret")
    assert_good(bare)


def test_a_repo_of_the_project_is_where_the_table_is(db, bare):
    db.execute(USERS)
    bare.write("luamig.lua",
               f'return {{ repos = {{ shop = "{db.url}" }}, scripts = "jobs" }}')
    bare.luamig("new", "jobs/x.lua", "--table", "users", "--repo", "shop"
                ).expect(DONE, "created jobs/x.lua\n"
                         ).refuse("example columns")
    assert "onboarding_step IS NULL" in bare.read("jobs/x.lua")
    assert '"jobs/x.lua"' in bare.read("spec/x_spec.lua")

    bare.luamig("new", "y", "--table", "users", "--repo", "shpo").expect(
        USAGE, '"shop"')
    bare.luamig("new", "y", "--repo", "shop").expect(USAGE, "--table")
    assert not bare.exists("jobs/y.lua")


def test_from_a_subfolder_the_files_go_where_the_project_has_them(bare):
    bare.luamig("init").expect(DONE)
    below = Project(os.path.join(bare.path, "spec"))
    os.rmdir(os.path.join(below.path, "scripts"))
    below.luamig("new", "x").expect(DONE)
    assert bare.exists("scripts/x.lua") and bare.exists("spec/x_spec.lua")
    assert_good(bare)


def test_looking_at_a_table_leaves_the_database_alone(db, project):
    db.execute(USERS)
    project.luamig("new", "x", "--table", "users").expect(DONE)
    assert not db.has_journal()
