"""Other versions of PostgreSQL than the installed one: what is another there."""

import re

import pytest

from harness import corpus, readings
from harness.oracle import assert_once
from harness.postgres import bin_dir
from harness.project import DONE, FAILED, INVALID

VERSIONS = [13, 14, 16, 17, 18]


def on(*versions):
    return pytest.mark.parametrize("version", versions)


@pytest.fixture
def project(project_of, version):
    return project_of(version)


@on(*VERSIONS)
def test_a_run_is_killed_and_goes_on(project):
    readings.create(project.db, 300)
    project.script(readings.script(batch=50))

    project.run(fault="after_commit:2=kill")
    project.run().expect(DONE)

    assert_once(project.db)


# -- the guard ---------------------------------------------------------------

SYNTAX_ERROR = "42601"


@pytest.fixture(scope="module")
def corpus_of(server_of):
    databases = {}

    def database(version):
        if version not in databases:
            databases[version] = corpus.database(server_of(version))
        return databases[version]
    yield database
    for one in databases.values():
        one.drop()


@on(*VERSIONS)
def test_what_not_every_version_knows_is_sql_there(corpus_of, version):
    """So that the corpus does not judge what no server would take."""
    tried = []
    for line, first, last, verdict, sql in corpus.newer():
        if first <= version <= last:
            with corpus.trial(corpus_of(version)) as run:
                state = run(sql)
            wrong = state if verdict == "passes" else state == SYNTAX_ERROR
            assert not wrong, f"line {line}: {state}: {sql}"
            tried.append(line)
    assert tried


@on(16, 17, 18)
def test_what_not_every_version_knows_is_no_sql_elsewhere(corpus_of, version):
    """PostgreSQL 14 reads 1_0 as 1 AS _0."""
    for line, first, last, _, sql in corpus.newer():
        if not first <= version <= last:
            with corpus.trial(corpus_of(version)) as run:
                assert run(sql) is not None, f"line {line}: {sql}"


@pytest.fixture
def guarded(project_of, version):
    """Runs a one-shot over the table g in a new database; gives its result
    and what is in the table then."""
    def run(body, config=""):
        project = project_of(version)
        project.db.execute(
            "CREATE TABLE g (id int PRIMARY KEY, a int);"
            "INSERT INTO g SELECT n, n FROM generate_series(1, 9) n;")
        project.script('local luamig = require "luamig" '
                       "return { config = { %s }, run = function(repo)\n%s\n"
                       "end }" % (config, body))
        return project.run(), project.db.rows("SELECT id, a FROM g ORDER BY id")
    return run


UNTOUCHED = [(n, n) for n in range(1, 10)]
HARMFUL = [
    (16, "UPDATE g SET a = a + 1_0"),
    (18, "UPDATE g SET a = 0 RETURNING WITH (OLD AS o) o.a"),
    (17, "MERGE INTO g USING (SELECT 1 AS id) s ON g.id = s.id "
         "WHEN NOT MATCHED BY SOURCE THEN DELETE"),
    (17, "WITH x AS (MERGE INTO g USING (SELECT 1) s ON true "
         "WHEN MATCHED THEN DELETE RETURNING g.id) SELECT count(*) FROM x"),
    (17, "UPDATE g SET a = JSON_VALUE('[7]', '$[0]' RETURNING int)"),
    (16, "DELETE FROM g USING (SELECT 1)"),
    (16, "DELETE FROM g WHERE system_user IS NULL"),
    (16, "EXPLAIN ANALYZE DELETE FROM g WHERE 0x1 = 1"),
    (14, "UPDATE g SET a = 0WHERE id > 0OR true"),
    (13, "DELETE FROM g WHERE 3 ! = 6"),
]


@pytest.mark.parametrize("version, sql", HARMFUL)
def test_a_change_of_every_row_in_newer_sql_must_be_allowed(guarded, sql):
    result, rows = guarded(f'repo:query("{sql}")')

    result.expect(FAILED, re.compile("cannot judge the statement|every row"), "hint: ",
                  "luamig.ALL")
    assert rows == UNTOUCHED

    result, rows = guarded(f'repo:query(luamig.ALL, "{sql}")')

    result.expect(DONE).refuse("judged")
    assert rows != UNTOUCHED


@on(16)
@pytest.mark.parametrize("call", [
    'update_all("g", { a = 0 }, "a < 1_000 OR true")',
    'delete_all("g", "a < 1_000 OR true")',
    'delete_all("g", "a < 0x10 AND id < $1", 99)',
    'update_all("g", { a = 0 }, "a < 1_000) OR (1 = 1")',
])
def test_a_condition_in_new_words_is_refused(guarded, call):
    result, rows = guarded(f"repo:{call}")

    result.expect(FAILED, re.compile("cannot judge the statement|every row|delete_all"),
                  "scripts/x.lua:2", "luamig.ALL")
    assert rows == UNTOUCHED


@on(18)
@pytest.mark.parametrize("sql", [
    "ALTER TABLE g ADD CONSTRAINT whole NOT NULL a NOT VALID",
    "CREATE TABLE k (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)",
    "ALTER TABLE g ADD CONSTRAINT small CHECK (a < 10) NOT ENFORCED",
    "SELECT 1_0 AS a INTO k",
])
def test_ddl_in_new_words_needs_what_ddl_needs(guarded, sql):
    for said in ("", "luamig.ALL, "):
        guarded(f'repo:execute({said}"{sql}")')[0].expect(
            FAILED, "config.allow_ddl")
    guarded(f'repo:execute("{sql}")',
               "allow_ddl = true, allow_unjudged = true")[0].expect(DONE)


@on(18)
@pytest.mark.parametrize("sql, value", [
    ("SELECT count(*) FROM g WHERE a < 0b101", 4),
    ("SELECT a FROM JSON_TABLE('7', '$' COLUMNS (a int PATH '$'))", 7),
    ("SELECT x FROM (SELECT 1_0 AS x) FOR UPDATE", 10),
    ("SELECT JSON_OBJECT('DELETE': 1) ->> 'DELETE'", 1),
])
def test_a_query_in_new_words_passes(guarded, sql, value):
    result, _ = guarded(f"""
        local found = repo:scalar([[{sql}]])
        assert(tostring(found) == "{value}", tostring(found))""")

    result.expect(DONE).refuse("judged")


@on(18)
@pytest.mark.parametrize("sql", [
    "SET work_mem = 8_192", "COPY g TO STDOUT WHERE 1_0", "COMMIT 1_0",
    "VACUUM ONLY g"])
def test_what_is_never_allowed_is_not_in_new_words_either(guarded, sql):
    guarded(f'repo:execute(luamig.ALL, "{sql}")',
               "allow_ddl = true, allow_unjudged = true")[0].expect(FAILED)


@pytest.mark.parametrize("version, query", [
    (16, "SELECT id, 1_0 AS ten FROM g WHERE id IS NOT NULL"),
    (17, "SELECT g.id, j.ten FROM g, JSON_TABLE('10', '$' "
         "COLUMNS (ten int PATH '$')) j WHERE g.id IS NOT NULL"),
    (16, "WITH x AS (DELETE FROM g RETURNING 1_0) SELECT id, 10 AS ten FROM g"),
    (18, "WITH x AS (DELETE FROM g RETURNING WITH (OLD AS o) o.id, 10 AS ten) "
         "SELECT * FROM x WHERE id IS NOT NULL"),
    (14, "SELECT id, 10AS ten FROM g WHERE id IS NOT NULL"),
])
def test_a_base_query_in_new_words_goes_through_a_view(project, query):
    project.db.execute("CREATE TABLE g (id int PRIMARY KEY, a int);"
                       "INSERT INTO g SELECT n, n FROM generate_series(1, 9) n")
    page = """return { base_query = [[%s]],
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            repo:update("g", { id = row.id }, { a = row.ten })
          end
        end }"""
    project.script(page % query)
    grammar_knows = project.run("--dry-run").code == DONE
    if not grammar_knows:
        result = project.run()
        result.expect(INVALID, re.compile("cannot be analysed|must not change"))
    assert project.db.scalar("SELECT count(*) FROM g WHERE a = id") == 9
    if "DELETE" in query:
        return

    project.db.execute("CREATE VIEW that_view AS " + query)
    project.script(page % "SELECT * FROM that_view WHERE id IS NOT NULL")
    project.run().expect(DONE)

    assert project.db.scalar("SELECT count(*) FROM g WHERE a = 10") == 9


# -- constraints of PostgreSQL 18 ---------------------------------------------

PAGE = """return { base_query = "SELECT id, a FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do repo:update("t", { id = row.id }, { a = 1 }) end
  end }"""


@on(18)
def test_not_null_that_is_not_valid_makes_no_key(project):
    db = project.db
    db.execute("CREATE TABLE t (id int UNIQUE, a int);"
               "INSERT INTO t SELECT n FROM generate_series(1, 5) n;"
               "INSERT INTO t VALUES (NULL);"
               "ALTER TABLE t ADD CONSTRAINT whole NOT NULL id NOT VALID")
    project.script(PAGE)
    hint = "ALTER TABLE public.t VALIDATE CONSTRAINT whole"

    project.run().expect(INVALID, '"id" may be NULL', hint)
    project.luamig("new", "first", "--table", "t").expect(DONE)
    assert "TODO: check the key" in project.read("scripts/first.lua")

    db.execute("DELETE FROM t WHERE id IS NULL; " + hint)
    project.run().expect(DONE)
    assert db.column("SELECT a FROM t") == [1] * 5


@on(18)
def test_not_null_that_is_not_valid_in_one_partition_makes_no_key(project):
    db = project.db
    db.execute("CREATE TABLE t (id int, a int) PARTITION BY LIST (a);"
               "CREATE TABLE one PARTITION OF t FOR VALUES IN (1);"
               "INSERT INTO t VALUES (NULL, 1);"
               "ALTER TABLE t ADD CONSTRAINT whole NOT NULL id NOT VALID")
    project.script(PAGE)

    project.run().expect(INVALID, '"id" may be NULL', "VALIDATE CONSTRAINT")


@on(18)
def test_a_foreign_key_that_is_not_enforced_is_not_warned_of(project):
    project.db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int);"
        "CREATE TABLE lax (t_id int, CONSTRAINT lax_t FOREIGN KEY (t_id)"
        " REFERENCES t NOT ENFORCED);"
        "CREATE TABLE strict (t_id int CONSTRAINT strict_t REFERENCES t)")
    project.script(PAGE)

    result = project.luamig("check", "scripts/x.lua").expect(
        DONE, "strict_t of public.strict")

    result.refuse("lax")


@on(18)
def test_a_virtual_column_is_reported_like_a_stored_one(project):
    db = project.db
    db.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int AS (a * 2))"
               .replace("AS (", "GENERATED ALWAYS AS ("))
    db.execute("INSERT INTO t SELECT n, n FROM generate_series(1, 5) n")
    project.script(PAGE)
    project.run().expect(DONE)
    assert db.column("SELECT b FROM t") == [2] * 5

    project.script(PAGE.replace("{ a = 1 }", "{ b = 1 }"), "scripts/y.lua")
    project.run(script="scripts/y.lua").expect(FAILED, '"b"', "428C9")


@on(18)
def test_a_virtual_column_as_key(project):
    db = project.db
    db.execute("CREATE TABLE t (id int PRIMARY KEY, a int,"
               " b int GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL)")
    db.execute("INSERT INTO t SELECT n FROM generate_series(1, 50) n")
    project.script(PAGE.replace("id, a", "b, id, a").replace(
        "migrate", 'config = { key = "b", batch_size = 7 }, migrate', 1))

    assert project.run("--force").expect(DONE).rows == 50
    assert db.scalar("SELECT count(*) FROM t WHERE a = 1") == 50


@on(18)
def test_a_key_without_overlaps(project):
    db = project.db
    db.execute("CREATE TABLE t (id int4range, at daterange, a int,"
               " PRIMARY KEY (id, at WITHOUT OVERLAPS))")
    db.execute("INSERT INTO t SELECT int4range(n, n + 1),"
               " daterange(date '2024-01-01' + m, date '2024-01-02' + m)"
               " FROM generate_series(1, 10) n, generate_series(1, 3) m")
    project.script("""return { base_query = "SELECT id, at FROM t",
      config = { key = { "id", "at" }, batch_size = 7 },
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id, at = row.at }, { a = 1 })
        end
      end }""")

    assert project.run("--force").expect(DONE).rows == 30
    assert db.scalar("SELECT count(*) FROM t WHERE a = 1") == 30


# -- names, and files of other versions ----------------------------------------

@on(14, 16, 18)
@pytest.mark.parametrize("name", ["wärme", "é" * 60, "x" * 90, "数据"])
def test_the_run_can_be_read_in_application_name(project, name):
    db = project.db
    db.execute("CREATE TABLE t (id int PRIMARY KEY, name text);"
               "INSERT INTO t VALUES (1)")
    project.script("""return { base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        repo:execute("UPDATE t SET name = current_setting('application_name')"
                     .. " WHERE id = $1", rows[1].id)
      end }""", f"scripts/{name}.lua")

    project.run(script=f"scripts/{name}.lua").expect(DONE)

    said = db.scalar("SELECT name FROM t")
    assert said.startswith("luamig: run 1 of ") and said.endswith(".lua")
    assert len(said) <= 63 and said.isascii() and "\\x" not in said


@on(16)
@pytest.mark.parametrize("line, first", [
    ("SET transaction_timeout = 0;", 17),
    ("SET file_copy_method = 'copy';", 18),
])
def test_a_schema_file_of_a_later_version_and_what_the_hint_says(
        project, line, first):
    rest = "SET statement_timeout = 0;\nCREATE TABLE t (id int PRIMARY KEY);\n"
    project.write("schema.sql", line + "\n" + rest)
    project.write("spec/a_spec.lua",
                  'it("runs", function() assert.is_true(true) end)')
    load = ("test", "--schema", "schema.sql")

    project.luamig(*load, url=False).expect(
        INVALID, "unrecognized configuration parameter", "later version",
        "LUAMIG_PG_BIN")

    project.luamig(*load, url=False, env={
        "LUAMIG_PG_BIN": bin_dir(first)}).expect(DONE)
    project.write("schema.sql", rest)
    project.luamig(*load, url=False).expect(DONE)


# -- transaction_timeout, from 17 on ------------------------------------------

WITH_TRANSACTION_TIMEOUT = on(17, 18)

# So many seconds for each row, and a setting of the script's own.
SLOW = """
    repo:query("SELECT set_config('transaction_timeout', '%s', true)")
    repo:query("SELECT pg_sleep($1 * 0.3)", #rows)""" + readings.ROW_BY_ROW


@WITH_TRANSACTION_TIMEOUT
def test_a_transaction_timeout_below_a_batch_does_not_disturb(project):
    readings.create(project.db, 4)
    project.db.set("transaction_timeout", "1500ms")
    project.script(readings.script(
        batch=4, migrate='repo:query("SELECT pg_sleep(2.5)")'
        + readings.ROW_BY_ROW))

    project.run().expect(DONE).refuse("reconnecting")

    assert_once(project.db)


@WITH_TRANSACTION_TIMEOUT
def test_a_transaction_timeout_of_the_script_makes_batches_smaller(project):
    readings.create(project.db, 8)
    project.script(readings.script(batch=8, migrate=SLOW % "1s"))

    result = project.run().expect(
        DONE, "the transaction lasted longer than transaction_timeout")

    assert result.err.count("lasted longer") == 2
    assert_once(project.db)


@on(18)
def test_a_transaction_timeout_while_lua_works_is_named_the_same(project):
    """The server ends the session while nobody listens."""
    readings.create(project.db, 4)
    project.script(readings.script(batch=4, migrate="""
      repo:query("SELECT set_config('transaction_timeout', '1s', true)")
      os.execute("sleep " .. 0.4 * #rows)""" + readings.ROW_BY_ROW))

    project.run().expect(DONE, "lasted longer than transaction_timeout")

    assert_once(project.db)


@WITH_TRANSACTION_TIMEOUT
def test_a_row_that_exceeds_a_transaction_timeout_of_the_script(project):
    """... is given up, and what the hint says helps."""
    readings.create(project.db, 2)
    project.script(readings.script(batch=2, migrate=SLOW % "100ms"))

    project.run().expect(
        FAILED, "gave up after 2 attempts", "transaction_timeout", "25P04",
        "The batch has one row. Leave transaction_timeout as it is")
    project.script(readings.script(batch=2, migrate=SLOW % "30s"))
    project.run().expect(DONE)

    assert_once(project.db)


@on(18)
def test_a_callback_that_exceeds_a_transaction_timeout(project):
    readings.create(project.db, 2)
    project.script("""return { base_query = "SELECT id, value FROM readings",
      migrate = function(rows, repo) end,
      on_start = function(repo)
        repo:query("SELECT set_config('transaction_timeout', '300ms', true)")
        repo:query("SELECT pg_sleep(2)")
      end }""")

    project.run().expect(FAILED, "gave up after 2 attempts", "25P04").refuse(
        "The batch has one row")
