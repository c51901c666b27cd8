"""A journal that another role has made, or changed, is refused before anything
of it runs as the role that migrates."""

import pytest

from harness.cluster import OWNER, SUPERUSER
from harness.project import DONE, UNREACHABLE

SCRIPT = """return {
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = row.n + 10 })
    end
  end,
}"""

TRAP = """RETURNS {returns} LANGUAGE plpgsql AS $$ BEGIN
    CREATE TABLE proof (); RETURN {value}; END $$"""

# The table that a journal has on Citus.
TWO_PHASE = "CREATE TABLE luamig.two_phase (never integer CHECK (false))"


@pytest.fixture
def shop(db, project):
    """A role that may create schemas, and a script of ours."""
    db.admin("DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN"
             " duplicate_object THEN NULL; END $$")
    db.admin(f'GRANT CREATE ON DATABASE "{db.name}" TO mallory')
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               " INSERT INTO t SELECT i, i FROM generate_series(1, 50) i")
    project.script(SCRIPT)
    project.url = db.cluster.url(db.name, user=SUPERUSER)
    yield db
    db.close()
    db.admin("REASSIGN OWNED BY mallory TO postgres; DROP OWNED BY mallory")


def install(db, project, user):
    sql = project.luamig("journal", "--sql", url=False).expect(DONE).out
    db.execute(sql, user=user)


def assert_refused(db, project, *texts):
    for command in (["run", "scripts/x.lua"], ["status"], ["failures", 1],
                    ["pause", 1]):
        project.luamig(*command).expect(UNREACHABLE, *texts)
    found = project.luamig("check", "scripts/x.lua")
    assert found.code != DONE and texts[0] in found.out, found
    assert db.scalar("SELECT count(*) FROM pg_class WHERE relname = 'proof'"
                     ) == 0
    assert db.scalar("SELECT count(*) FROM t WHERE n <> id") == 0


def test_an_empty_schema_of_another_role(shop, project):
    shop.execute("CREATE SCHEMA luamig", user="mallory")
    assert_refused(shop, project, "it belongs to role", '"mallory"',
                   "LUAMIG_JOURNAL_OWNER=mallory")


def test_a_schema_with_a_function_of_its_own(shop, project):
    shop.execute("CREATE SCHEMA luamig; CREATE FUNCTION luamig.checkpoint("
                 "bigint, uuid, bigint, bigint, text[], bigint, bigint) "
                 + TRAP.format(returns="void", value=""), user="mallory")
    assert_refused(shop, project, 'role "mallory"')


def test_a_whole_journal_of_another_role(shop, project):
    install(shop, project, "mallory")
    assert_refused(shop, project, 'role "mallory"')


@pytest.mark.parametrize("table", ["progress", "range", "two_phase"])
def test_one_table_that_was_given_away(shop, project, table):
    install(shop, project, OWNER)
    shop.execute(TWO_PHASE)
    shop.admin(f"ALTER TABLE luamig.{table} OWNER TO mallory")
    assert_refused(shop, project, f'table {table} belongs to role "mallory"')


def test_an_overload_by_one_who_may_create_there(shop, project):
    install(shop, project, OWNER)
    shop.execute("GRANT USAGE, CREATE ON SCHEMA luamig TO mallory")
    shop.execute("CREATE FUNCTION luamig.checkpoint(text, text, text, text,"
                 " text, text, text) " + TRAP.format(returns="void", value=""),
                 user="mallory")
    assert_refused(shop, project,
                   'function checkpoint belongs to role "mallory"')


@pytest.mark.parametrize("table", ["progress", "two_phase"])
def test_a_trigger_by_one_who_may_create_them(shop, project, table):
    install(shop, project, OWNER)
    shop.execute(TWO_PHASE + ";GRANT USAGE ON SCHEMA luamig TO mallory;"
                 f" GRANT TRIGGER ON luamig.{table} TO mallory")
    shop.execute("CREATE SCHEMA m; CREATE FUNCTION m.f() "
                 + TRAP.format(returns="trigger", value="NEW")
                 + f"; CREATE TRIGGER g BEFORE INSERT ON luamig.{table}"
                 " FOR EACH ROW EXECUTE FUNCTION m.f()", user="mallory")
    assert_refused(shop, project, 'trigger g belongs to role "mallory"')


def test_a_view_in_place_of_a_table(shop, project):
    shop.execute("CREATE SCHEMA luamig; CREATE VIEW luamig.version AS"
                 " SELECT 4 AS version, ''::text AS installed_by",
                 user="mallory")
    assert_refused(shop, project, 'role "mallory"')


@pytest.mark.parametrize("name, change", [
    ("checkpoint", "CREATE OR REPLACE FUNCTION luamig.checkpoint(p_run bigint,"
     " p_owner uuid, p_seq bigint, p_lease_ms bigint, p_cursor text[],"
     " p_rows bigint, p_retries bigint) "
     + TRAP.format(returns="void", value="")),
    ("fence", "ALTER FUNCTION luamig.fence SET search_path = public"),
    ("fence", "ALTER FUNCTION luamig.fence SECURITY DEFINER"),
    ("expect", "ALTER FUNCTION luamig.expect(bigint, bigint)"
     " RESET search_path"),
    ("resolve", "DROP FUNCTION luamig.resolve"),
    ("quarantine", "CREATE FUNCTION luamig.quarantine() RETURNS int"
     " LANGUAGE sql AS 'SELECT 1'")], ids=lambda value: value[:30])
def test_a_function_that_is_not_as_luamig_has_made_it(shop, project, name,
                                                      change):
    """Even where its owner is trusted."""
    install(shop, project, OWNER)
    shop.execute(change)
    assert_refused(shop, project,
                   "differ from those that luamig made: " + name)


def test_membership_is_no_trust(shop, project):
    """Any role may be granted to anybody."""
    install(shop, project, "mallory")
    shop.admin(f"GRANT mallory TO {OWNER}")
    shop.admin(f'ALTER DATABASE "{shop.name}" OWNER TO {SUPERUSER}')
    project.url = shop.url
    project.run().expect(UNREACHABLE, 'role "mallory"')
    shop.admin(f"REVOKE mallory FROM {OWNER}")


def test_the_hint_is_followed(shop, project):
    install(shop, project, "mallory")
    project.run().expect(UNREACHABLE, "LUAMIG_JOURNAL_OWNER=mallory")
    project.env["LUAMIG_JOURNAL_OWNER"] = "mallory"
    project.run().expect(DONE)
    project.luamig("check", "scripts/x.lua").expect(
        DONE, 'they belong to role "mallory"')
    del project.env["LUAMIG_JOURNAL_OWNER"]
    project.run("--journal-schema", "mine").expect(DONE)


@pytest.mark.parametrize("maker", [SUPERUSER, OWNER])
@pytest.mark.parametrize("user", [SUPERUSER, OWNER])
def test_a_journal_of_an_admin_or_the_owner_of_the_database(shop, project,
                                                            maker, user):
    install(shop, project, maker)
    if user != maker:
        shop.execute(project.luamig("journal", "--sql", "--grant", user,
                                    url=False).out, user=maker)
    project.url = shop.cluster.url(shop.name, user=user)
    project.run().expect(DONE)
    project.luamig("check", "scripts/x.lua").expect(
        DONE, f'they belong to role "{maker}"')
