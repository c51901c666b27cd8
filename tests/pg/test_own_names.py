"""Names without a schema never mean luamig's own tables, whatever role runs and
whatever the search_path says."""

import json

import pytest

from harness.project import DONE

SCRIPT = """return {{
  base_query = "SELECT id, n FROM {table}",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("{table}", {{ id = row.id }}, {{ n = row.n + 10 }})
    end
  end,
}}"""


@pytest.fixture
def role(db, project):
    """A role that is called like the journal's schema."""
    db.admin("DO $$ BEGIN CREATE ROLE luamig LOGIN; EXCEPTION WHEN"
             " duplicate_object THEN NULL; END $$")
    db.admin(f'GRANT CREATE ON DATABASE "{db.name}" TO luamig;'
             " GRANT CREATE ON SCHEMA public TO luamig")
    project.url = db.cluster.url(db.name, user="luamig")
    yield "luamig"
    db.close()
    db.admin("REASSIGN OWNED BY luamig TO app; DROP OWNED BY luamig")


def fill(db, table, user="app"):
    db.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, n int);"
               f" INSERT INTO {table} SELECT i, 0 FROM generate_series(1, 30) i",
               user=user)


@pytest.mark.parametrize("table", ["run", "request", "progress", "failure",
                                   "version"])
@pytest.mark.parametrize("again", [[], ["--dry-run"]])
def test_a_role_that_is_called_like_the_schema(db, project, role, table, again):
    fill(db, f"public.{table}", user=role)
    project.script(SCRIPT.format(table=table))
    project.luamig("check", "scripts/x.lua").expect(DONE)
    if again:
        project.script('return { run = function(repo) end }', "scripts/y.lua")
        project.run(script="scripts/y.lua").expect(DONE)
        project.run(*again).expect(DONE, '"rows":30')
    project.luamig("check", "scripts/x.lua").expect(DONE)
    assert project.run().expect(DONE).rows == 30
    assert db.scalar(f"SELECT sum(n) FROM public.{table}", user=role) == 300


@pytest.mark.parametrize("comment", ["/*luamig*/", "/*luamig: rows */ ",
                                     "/*luamig, about $1*/ ", "/*luamig"])
def test_a_script_may_begin_its_sql_like_luamig(db, project, comment):
    end = "" if "*/" in comment else "*/"
    fill(db, "t")
    project.script(f"""return {{
      base_query = [[{comment}{end}SELECT id FROM t]],
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:execute("{comment}{end} UPDATE t SET n = n + 10 WHERE id = $1"
            .. " /* luamig's */ ", row.id)
        end
      end }}""")
    project.run().expect(DONE)
    assert db.scalar("SELECT sum(n) FROM t") == 300


@pytest.mark.parametrize("path, schema", [
    ("luamig, public", "luamig"), ('"$user", luamig, public', "luamig"),
    ('"Mine Own", public', "Mine Own"), ("public, luamig", "luamig")])
def test_a_path_that_names_the_schema(db, project, path, schema):
    fill(db, "public.run")
    db.admin(f'ALTER DATABASE "{db.name}" SET search_path = {path}')
    project.script(SCRIPT.format(table="run"))
    for command in ("check", "run"):
        project.luamig(command, "scripts/x.lua", "--journal-schema",
                       schema).expect(DONE)
    db.close()
    assert db.scalar("SELECT sum(n) FROM public.run") == 300


@pytest.mark.parametrize("path", ["$user,public", "LuaMig,public"])
def test_a_path_of_the_connection_that_means_the_schema(
        db, project, role, path):
    fill(db, "public.run", user=role)
    project.env["PGOPTIONS"] = f"-c search_path={path}"
    project.script("return { run = function(repo) end }", "scripts/y.lua")
    project.run(script="scripts/y.lua").expect(DONE)
    project.script(SCRIPT.format(table="run"))
    assert project.run().expect(DONE).rows == 30
    assert db.scalar("SELECT sum(n) FROM public.run", user=role) == 300


def test_a_schema_that_is_shared_stays_on_the_path(db, project):
    """Names of others in it are meant."""
    fill(db, "public.orders")
    project.script(SCRIPT.format(table="orders"))
    assert project.run("--journal-schema", "public").expect(DONE).rows == 30


def test_raw_sql_means_the_tables_of_the_application(db, project, role):
    fill(db, "public.run", user=role)
    project.script("""return { run = function(repo)
        repo:execute("UPDATE run SET n = 7 WHERE id = 1")
        repo:update("run", { id = 2 }, { n = 7 }) end }""")
    project.run().expect(DONE)
    assert db.scalar("SELECT count(*) FROM public.run WHERE n = 7",
                     user=role) == 2
    assert json.loads(project.luamig("status", "--json").out)[0][
        "state"] == "done"
