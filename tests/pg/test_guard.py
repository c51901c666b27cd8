"""What scripts may not say, and how they are told."""

import re

import pytest

from harness import corpus
from harness.project import DONE, FAILED, INVALID
from test_repo import TABLES, one_shot

SYNTAX_ERROR = "42601"


# -- the corpus --------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus_db(cluster):
    database = corpus.database(cluster)
    yield database
    database.drop()


@pytest.fixture
def tried(corpus_db):
    with corpus.trial(corpus_db) as run:
        yield run


@pytest.mark.since(15)
@pytest.mark.parametrize("sql", [
    pytest.param(sql, id=f"line-{line}") for line, verdict, sql in corpus.statements()
    if verdict == "passes"])
def test_what_is_harmless_in_the_corpus_is_good_sql(tried, sql):
    assert tried(sql) is None


@pytest.mark.since(15)
@pytest.mark.parametrize("sql", [
    pytest.param(sql, id=f"line-{line}") for line, verdict, sql in corpus.statements()
    if verdict not in ("passes", "empty") and "un" not in verdict])
def test_what_is_refused_in_the_corpus_is_sql_too(tried, sql):
    assert tried(sql) != SYNTAX_ERROR


# -- scripts that are refused ------------------------------------------------


@pytest.fixture
def guarded(db, project):
    """Runs a one-shot over the tables t and said; returns its result."""
    db.execute(TABLES)

    def run(body, config=""):
        project.script(one_shot(body, f"config = {{ {config} }},"))
        return project.run()
    return run


def line_of(body, part):
    before = one_shot(body, "config = {  },").split(part)[0]
    return f"scripts/x.lua:{before.count(chr(10)) + 1}"


REFUSED = {
    "UPDATE t SET n = 9": ["UPDATE without WHERE", "luamig.ALL"],
    "DELETE FROM t": ["DELETE without WHERE", "luamig.ALL"],
    "DELETE FROM t WHERE id = 5 OR 1 = 1": [
        "the WHERE condition has the same result for every row", "luamig.ALL"],
    "WITH x AS (DELETE FROM t RETURNING id) SELECT id FROM x": [
        "DELETE without WHERE"],
    "EXPLAIN ANALYZE DELETE FROM t": ["DELETE without WHERE"],
    "MERGE INTO t USING said ON true WHEN MATCHED THEN DELETE": [
        "the ON condition of MERGE"],
    "TRUNCATE t": ["config.allow_ddl"],
    "LOCK t": ["config.allow_ddl"],
    "SELECT id INTO more FROM t": ["config.allow_ddl"],
    "CREATE TEMP TABLE more (id int)": ["config.allow_ddl"],
    "COMMIT": ["must not begin or end transactions", "repo:savepoint"],
    "SET TRANSACTION READ ONLY": ["must not begin or end transactions"],
    "VACUUM t": ["cannot run inside a transaction"],
    "COPY t TO STDOUT": ["COPY cannot be used", "repo:insert"],
    "SELECT set_config('work_mem', '8MB', false)": [
        "must not change the session", "third argument"],
    "SELECT pg_advisory_lock(7)": ["pg_advisory_xact_lock"],
    "DELETE FROM t WHERE id = 1; DELETE FROM t": ["several statements"],
}


@pytest.mark.parametrize("sql", REFUSED)
@pytest.mark.parametrize("call", ["execute", "query"])
def test_a_refusal_names_line_statement_place_and_way_out(
        guarded, db, sql, call):
    body = f"""
        repo:execute("UPDATE t SET n = 5 WHERE id = 1")
        repo:{call}("{sql}")
        """
    guarded(body).expect(FAILED, line_of(body, f'repo:{call}("{sql}'), sql,
                         "hint:", "LINE 1: ", "^", *REFUSED[sql])
    assert db.column("SELECT n FROM t ORDER BY id") == [0] * 10


@pytest.mark.versions
def test_nothing_passes_after_a_refusal(guarded, db):
    guarded("""
        pcall(repo.execute, repo, "DELETE FROM t")
        repo:execute("UPDATE t SET n = 9 WHERE id = 1")
        """).expect(FAILED, "DELETE without WHERE")
    assert db.scalar("SELECT count(*) FROM t WHERE n = 0") == 10


@pytest.mark.versions
def test_an_error_before_the_refused_statement_is_the_one_reported(guarded):
    guarded("""
        repo:execute("UPDATE t SET n = 1 / (n * 0) WHERE id = 1")
        repo:execute("DELETE FROM t")
        """).expect(FAILED, "22012").refuse("DELETE without WHERE")


@pytest.mark.versions
@pytest.mark.parametrize("condition", ["true", "id = 5 OR 1 = 1", "1 = 1 -- "])
def test_a_condition_that_is_always_true_is_refused_in_update_all(
        guarded, db, condition):
    value = ", true" if "$1" in condition else ""
    guarded(f'repo:update_all("t", {{ n = 9 }}, "{condition}"{value})').expect(
        FAILED, "the same result for every row", "luamig.ALL", "scripts/x.lua")
    guarded(f'repo:delete_all("t", "{condition}"{value})').expect(
        FAILED, "the same result for every row", "luamig.ALL", "scripts/x.lua")
    assert db.scalar("SELECT count(*) FROM t WHERE n = 0") == 10


@pytest.mark.versions
def test_luamig_all_allows_a_change_of_every_row(guarded, db):
    guarded("""
        say(repo:execute(luamig.ALL, "UPDATE t SET n = $1", 3).affected)
        say(#repo:query(luamig.ALL, "UPDATE t SET n = n + 1 RETURNING id"))
        say(repo:scalar(luamig.ALL, "WITH x AS (DELETE FROM t RETURNING n) "
                        .. "SELECT sum(n) FROM x WHERE $1", true))
        say(repo:one(luamig.ALL, "SELECT count(*) AS n FROM t").n)
        """).expect(DONE)
    assert db.column("SELECT word FROM said ORDER BY nr") == [
        "10", "10", "40", "0"]


def test_saying_it_once_does_not_mean_it_the_next_time(guarded, db):
    guarded("""
        repo:execute(luamig.ALL, "UPDATE t SET n = n + 1")
        repo:execute("UPDATE t SET n = n + 1")
        """).expect(FAILED, "UPDATE without WHERE")
    assert db.scalar("SELECT sum(n) FROM t") == 0


@pytest.mark.parametrize("sql", ["COMMIT", "SET work_mem = '8MB'",
                                 "COPY t TO STDOUT", "TRUNCATE t"])
def test_meaning_every_row_allows_nothing_else(guarded, sql):
    guarded(f'repo:execute(luamig.ALL, "{sql}")').expect(FAILED, sql)


@pytest.mark.versions
def test_ddl_where_it_is_allowed(guarded, db):
    guarded("""
        repo:execute("LOCK t")
        repo:execute("CREATE TEMP TABLE more ON COMMIT DROP AS SELECT * FROM t")
        repo:execute("ALTER TABLE t ADD COLUMN m int DEFAULT 4")
        say(repo:scalar("SELECT sum(t.m) FROM t JOIN more USING (id)"))
        repo:execute("TRUNCATE t")
        """, "allow_ddl = true").expect(DONE)
    assert db.column("SELECT word FROM said") == ["40"]
    assert db.scalar("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize("sql", ["CREATE INDEX CONCURRENTLY ON t (n)",
                                 "DELETE FROM t", "COMMIT"])
def test_allowing_ddl_allows_nothing_else(guarded, sql):
    guarded(f'repo:execute("{sql}")', "allow_ddl = true").expect(FAILED, sql)


# -- what cannot be judged ---------------------------------------------------

DEEP = 'local deep = ("("):rep(800) .. "1" .. (")"):rep(800)'


def test_a_query_that_is_nested_too_deeply_passes(guarded, db):
    guarded(f"""
        {DEEP}
        for i = 1, 3 do say(repo:scalar("SELECT " .. deep)) end
        repo:execute("DO $$ BEGIN END $$")
        """).expect(DONE).refuse("judged")
    assert db.column("SELECT word FROM said ORDER BY nr") == ["1", "1", "1"]


def test_a_write_that_is_nested_too_deeply_must_be_allowed(guarded, db):
    body = f"""
        {DEEP}
        repo:execute("UPDATE t SET n = " .. deep .. " WHERE id = 1")
        """
    guarded(body).expect(FAILED, "cannot judge the statement: it is nested too deeply",
                         line_of(body, "repo:execute"), "allow_unjudged")
    assert db.scalar("SELECT sum(n) FROM t") == 0
    guarded(body.replace("execute(", "execute(luamig.ALL, ")).expect(
        DONE).refuse("judged")
    assert db.scalar("SELECT sum(n) FROM t") == 1


def test_a_long_statement_that_cannot_be_cut_into_words_is_not_called_deep(guarded):
    body = """
        repo:execute("UPDATE t SET n = 1 /* " .. ("x"):rep(2000) .. " */ WHERE s = 'a")
        """
    guarded(body).expect(FAILED, "unterminated quoted string").refuse("deep")


def test_a_condition_that_is_nested_too_deeply_is_refused(guarded, db):
    for call in ('update_all("t", { n = 9 }, "n < " .. deep)',
                 'delete_all("t", "n < " .. deep .. " OR true")'):
        guarded(f"{DEEP} repo:{call}").expect(
            FAILED, "cannot judge the statement", "repo:execute(luamig.ALL")
    assert db.scalar("SELECT count(*) FROM t WHERE n = 0") == 10


def test_the_config_may_allow_what_cannot_be_judged(guarded, db):
    result = guarded(f"""
        {DEEP}
        for i = 1, 3 do
          repo:execute("UPDATE t SET n = n + " .. deep .. " WHERE id = 1")
        end
        """, "allow_unjudged = true").expect(
            DONE, "warning: luamig cannot judge the statement")
    assert result.err.count("cannot judge the statement") == 1
    assert db.scalar("SELECT sum(n) FROM t") == 3


@pytest.mark.versions
@pytest.mark.parametrize("sql", ["DELET FROM t", "UPDATE t SET n = ?",
                                 "SELECT 'open", "UPDATE t SET n = 1_ WHERE id = 1",
                                 "DELETE FROM t WHERE id = 1 RETURNING"])
def test_a_syntax_error_is_the_servers_to_report(guarded, sql):
    guarded(f'repo:execute("{sql}")').expect(
        FAILED, "42601", sql).refuse("judged")


def test_an_error_before_an_unjudged_statement_is_the_one_reported(guarded):
    guarded(f"""
        {DEEP}
        repo:execute("UPDATE t SET n = 1 / (n * 0) WHERE id = 1")
        repo:execute("DELETE FROM t WHERE n < " .. deep)
        """).expect(FAILED, "22012").refuse("judged")


# -- volatile functions in a base query --------------------------------------


PAGED = """return {{
  base_query = "{query}",
  migrate = function(rows, repo) end,
}}"""


@pytest.mark.versions
@pytest.mark.parametrize("query, named", [
    ("SELECT id FROM t WHERE random() < 2 AND clock_timestamp() > now()",
     "clock_timestamp, random"),
    ("SELECT id, (SELECT own(n)) AS x FROM t", "own"),
    ("SELECT id, lower(name) AS l, now() AS at FROM t WHERE abs(n) = 0", None),
    ("SELECT id, twofold(n) AS x FROM t", None),
    ("SELECT id, hidden.own(n) AS x FROM t", None),
])
def test_volatile_functions_are_warned_of(db, project, query, named):
    db.execute(TABLES + """
        CREATE SCHEMA hidden;
        CREATE FUNCTION own(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
        CREATE FUNCTION hidden.own(int) RETURNS int LANGUAGE sql STABLE
            AS 'SELECT $1';
        CREATE FUNCTION twofold(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
        CREATE FUNCTION twofold(text) RETURNS text LANGUAGE sql STABLE
            AS 'SELECT $1';""")
    project.script(PAGED.format(query=query))
    result = project.run().expect(DONE)
    if named:
        result.expect(DONE, f"calls volatile functions ({named})")
        assert result.err.count("volatile") == 1
    else:
        result.refuse("volatile")


def test_a_missing_key_column_points_at_the_select_list(db, project):
    db.execute(TABLES)
    project.script(PAGED.format(query="SELECT name, n AS ids FROM t"))
    project.run().expect(INVALID, 'the key column "id"',
                         "LINE 1: SELECT name, n AS ids FROM t\n", "^",
                         'It returns "ids"')
