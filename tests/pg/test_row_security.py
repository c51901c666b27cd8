"""Rows that policies hide from the role of a run."""

import pytest

from harness.cases import cases
from harness.project import DONE, FAILED, INVALID
from harness.wait import wait_until

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, tenant int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO t SELECT g, g % 2 FROM generate_series(1, 20) g;
CREATE TABLE u (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO u SELECT id FROM t;
"""
FORCE = "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; ALTER TABLE {0} FORCE ROW LEVEL SECURITY;"
EVEN = "CREATE POLICY even ON t USING (tenant = 0)"

HIDDEN = "query would be affected by row-level security policy"
HINT = "config = { row_security = true }"


def script(base="SELECT id FROM t", write='repo:update("u", { id = row.id }, { n = 1 })',
           config="", more=""):
    return f"""return {{
      config = {{ batch_size = 5, throttle_ms = 0, {config} }},
      base_query = [[{base}]],
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do {write} end
      end, {more}
    }}"""


@pytest.fixture
def tables(db):
    db.execute(TABLES)
    return db


def assert_untouched(db, count=0):
    assert db.scalar("SELECT count(*) FROM u WHERE n <> 0", user="postgres") == count


@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("check",)],
                         ids=lambda words: words[-1])
def test_an_owner_that_policies_hide_all_rows_from_is_refused(tables, project, command):
    tables.execute(FORCE.format("t"))
    project.script(script())
    result = project.luamig(command[0], "scripts/x.lua", *command[1:])
    assert result.code != DONE, result
    result.expect(result.code, HIDDEN, HINT).refuse("done: 0 rows")
    assert_untouched(tables)


def test_a_run_that_is_refused_leaves_no_journal(tables, project):
    tables.execute(FORCE.format("t"))
    project.script(script())
    project.run().expect(INVALID, HINT)
    assert not tables.has_journal()


def test_a_script_may_ask_for_visible_rows_only(tables, project):
    tables.execute(FORCE.format("t") + EVEN)
    project.script(script(config="row_security = true"))
    project.run().expect(DONE)
    assert tables.column("SELECT id FROM u WHERE n = 1 ORDER BY id") == list(range(2, 21, 2))
    project.luamig("check", "scripts/x.lua").expect(DONE, "row level security")


def test_a_role_with_bypassrls_sees_all_rows(tables, project):
    tables.execute(FORCE.format("t"))
    tables.admin("ALTER ROLE app BYPASSRLS")
    try:
        project.script(script())
        project.run().expect(DONE)
        assert_untouched(tables, 20)
    finally:
        tables.admin("ALTER ROLE app NOBYPASSRLS")


READERS = {
    "a view of another owner": (
        "CREATE ROLE {role}; GRANT ALL ON t TO {role}; CREATE VIEW v AS SELECT id FROM t;"
        "ALTER VIEW v OWNER TO {role}; ALTER TABLE t ENABLE ROW LEVEL SECURITY", "SELECT id FROM v WHERE id IS NOT NULL"),
    "a view with security_invoker": (
        "CREATE VIEW v WITH (security_invoker) AS SELECT id FROM t;"
        "ALTER VIEW v OWNER TO postgres; GRANT SELECT ON v TO app;" + FORCE.format("t"),
        "SELECT id FROM v WHERE id IS NOT NULL"),
    "a subquery": (FORCE.format("t"),
                   "SELECT id FROM u WHERE EXISTS (SELECT FROM t WHERE t.id = u.id)"),
    "a CTE": (FORCE.format("t"), "WITH c AS (SELECT id FROM t) SELECT id FROM u "
                                 "WHERE id NOT IN (SELECT id FROM c)"),
    "a partition": (
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);"
        "INSERT INTO p SELECT id FROM t; ALTER TABLE p OWNER TO app; ALTER TABLE p1 OWNER TO app;"
        + FORCE.format("p"), "SELECT id FROM p"),
    "a function": (
        "CREATE FUNCTION seen(k int) RETURNS bool LANGUAGE sql STABLE AS "
        "'SELECT EXISTS (SELECT FROM t WHERE id = k)';" + FORCE.format("t"),
        "SELECT id FROM u WHERE NOT seen(id)"),
}


@pytest.mark.parametrize("way", cases(
    READERS, versions=READERS, since={"a view with security_invoker": 15}))
def test_rows_that_are_hidden_below_the_base_query(tables, project, way):
    sql, base = READERS[way]
    role = f"other_{tables.name}"
    tables.admin(sql.format(role=role))
    project.script(script(base))
    try:
        result = project.run()
        assert result.code in (INVALID, FAILED), result
        result.expect(result.code, HIDDEN, HINT)
        assert_untouched(tables)
    finally:
        if "CREATE ROLE" in sql:
            tables.admin(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


WRITES = {
    "update": 'repo:update("u", { id = row.id }, { n = 1 })',
    "update that may miss": 'repo:update("u", { id = row.id }, { n = 1 }, { missing = "ignore" })',
    "delete": 'repo:delete("u", { id = row.id }, { missing = "ignore" })',
    "update_all": 'repo:update_all("u", { n = 1 }, { id = row.id })',
    "delete_all": 'repo:delete_all("u", { id = row.id })',
    "insert": 'repo:insert("u", { id = row.id + 100 })',
    "execute": 'repo:execute("UPDATE u SET n = 1 WHERE id = $1", row.id)',
    "query": 'repo:query("SELECT * FROM u")',
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("combine", ["true", "false"])
def test_a_table_that_is_written_may_not_hide_rows_either(tables, project, write, combine):
    tables.execute(FORCE.format("u"))
    project.script(script(write=WRITES[write], config=f"combine = {combine}"))
    project.run().expect(FAILED, HIDDEN, HINT, "scripts/x.lua:5")
    assert tables.rows("SELECT count(*), max(n) FROM u", user="postgres") == [(20, 0)]


CHANGES = {
    "enabled and forced": FORCE.format("t"),
    "enabled, and the owner changed": (
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; GRANT ALL ON t TO app;"
        "ALTER TABLE t OWNER TO postgres; GRANT ALL ON t TO app"),
    "enabled on the table that is written": FORCE.format("u"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_row_security_that_comes_in_mid_run_is_noticed_in_the_batch(tables, project, change):
    project.script(script())
    runner = project.start_run(fault="after_commit:2=stop")
    runner.wait_frozen()
    tables.admin(CHANGES[change])
    runner.thaw()
    runner.wait().expect(FAILED, HIDDEN, HINT)
    assert_untouched(tables, 10)
    tables.admin("ALTER TABLE t DISABLE ROW LEVEL SECURITY; "
                 "ALTER TABLE u DISABLE ROW LEVEL SECURITY")
    project.run().expect(DONE)
    assert_untouched(tables, 20)


def test_foreign_keys_to_a_table_with_policies_are_checked_all_the_same(tables, project):
    """They look past policies; a key that is not there is refused."""
    tables.execute("CREATE TABLE child (id int REFERENCES t);" + FORCE.format("t"))
    project.script(script("SELECT id FROM u", 'repo:insert("child", { id = row.id })'))
    project.run().expect(DONE)
    assert tables.scalar("SELECT count(*) FROM child") == 20


def test_a_failed_row_is_not_retried_where_rows_are_hidden(tables, project):
    project.script(script("SELECT id FROM t", """
        if row.id == 3 and not io.open("go") then error "not yet" end
        repo:update("u", { id = row.id }, { n = 1 })""", 'on_error = "quarantine"'))
    project.run().expect(7)
    tables.execute(FORCE.format("t"))
    project.write("go", "")
    project.luamig("failures", "scripts/x.lua", "--retry").expect(INVALID, HINT)
    assert_untouched(tables, 19)


def test_a_one_shot_is_refused_where_its_rows_are_hidden(tables, project):
    tables.execute(FORCE.format("u"))
    project.script("""return { run = function(repo)
      repo:update_all("u", { n = 1 }, { n = 0 }) end }""")
    project.run().expect(FAILED, HINT)
    assert_untouched(tables)
