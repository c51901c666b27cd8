"""A key is followed to its tables whatever stands between: what is not
constant is refused, and what is constant is not."""

import pytest

from harness.cases import cases
from harness.project import DONE, INVALID, Project
from test_constant_keys import TABLES, WINDOW, script, write

MORE = """
CREATE FUNCTION rank_of(policies) RETURNS bigint STABLE LANGUAGE sql AS
    'SELECT count(*) FROM policies WHERE id <= $1.id AND NOT enabled';
CREATE FUNCTION listed() RETURNS TABLE (nr int, email text) IMMUTABLE
    LANGUAGE sql AS $$SELECT n, 'p' || lpad(n::text, 4, '0')
                      FROM generate_series(1, 60) n$$;
CREATE FUNCTION fresh() RETURNS TABLE (nr bigint, email text) STABLE
    LANGUAGE sql AS 'SELECT nr, email FROM numbered';
CREATE TYPE span AS (age int, count int);
CREATE TABLE spans (id int PRIMARY KEY, email text NOT NULL, span span);
INSERT INTO spans SELECT id, email, (id, id)::span FROM policies;
CREATE VIEW chosen AS SELECT * FROM policies FOR UPDATE SKIP LOCKED;
CREATE VIEW kept AS SELECT DISTINCT ON (made) * FROM policies
    ORDER BY made, id;
CREATE VIEW later AS SELECT * FROM policies;
CREATE VIEW taken AS SELECT * FROM policies WHERE NOT enabled
    ORDER BY id LIMIT 20;
CREATE VIEW joined AS SELECT p.id AS nr, p.email FROM policies p
    JOIN groups g ON g.policy = p.id AND NOT p.enabled;
CREATE TABLE old (LIKE policies);
CREATE MATERIALIZED VIEW stored AS TABLE policies;
"""


@pytest.fixture(scope="module")
def tables(cluster):
    """A database for tests that leave it as it is."""
    database = cluster.make_database()
    database.execute(TABLES + MORE)
    yield database
    database.drop()


@pytest.fixture
def reader(tables, tmp_path):
    folder = Project(tmp_path, tables.url)
    yield folder
    folder.close()


NUMBERS = ("SELECT row_number() OVER (ORDER BY email) AS id, email "
           "FROM policies WHERE NOT enabled")
REFUSED = {
    "a union whose left part is a star": (
        "SELECT * FROM (TABLE old UNION ALL SELECT row_number() OVER (ORDER BY "
        "email) + 1000, email, enabled, tags, made FROM policies WHERE NOT "
        "enabled) s WHERE id IS NOT NULL", WINDOW),
    "a union whose left part is a list": (
        "SELECT column1 AS id, column2 AS email FROM (VALUES (0::bigint, "
        "'none') UNION ALL " + NUMBERS + ") s WHERE column1 IS NOT NULL",
        WINDOW),
    "a field of a row": (
        "SELECT (q).id AS id, (q).email AS email FROM (" + NUMBERS + ") q "
        "WHERE (q).id IS NOT NULL", WINDOW),
    "a row as JSON": (
        "SELECT * FROM (SELECT (to_jsonb(q)->>'id')::int AS id, q.email FROM "
        "(" + NUMBERS + ") q) s WHERE id IS NOT NULL", WINDOW),
    "all fields of a row": (
        "SELECT * FROM (SELECT (q).* FROM (" + NUMBERS + ") q) s "
        "WHERE id IS NOT NULL", WINDOW),
    "behind all fields of a row": (
        "WITH s (email, id, x) AS (SELECT (q).*, 1 FROM (SELECT email, "
        "row_number() OVER (ORDER BY email) FROM policies) q) SELECT id, email "
        "FROM s WHERE id IS NOT NULL", WINDOW),
    "WITH under the name of the view that it reads": (
        "WITH numbered AS (SELECT nr AS id, email FROM numbered) SELECT id, "
        "email FROM numbered WHERE id IS NOT NULL", WINDOW),
    "WITH that reads what a later one is called": (
        "WITH a AS (SELECT nr AS id, email FROM numbered), numbered AS (SELECT "
        "id AS nr, email FROM policies) SELECT a.id, a.email FROM a "
        "WHERE a.id IS NOT NULL", WINDOW),
    "a column without a name": (
        'SELECT "?column?" AS id, email FROM (SELECT row_number() OVER (ORDER '
        "BY email) + 1000, email FROM policies WHERE NOT enabled) s "
        'WHERE "?column?" IS NOT NULL', WINDOW),
    "a column that two casts name": (
        "SELECT text AS id, email FROM (SELECT (row_number() OVER (ORDER BY "
        "email) + 1000)::int::text, email FROM policies) s "
        "WHERE text IS NOT NULL", WINDOW),
    "a function as a column of its row": (
        "SELECT * FROM (SELECT p.rank_of AS id, p.email FROM policies p) s "
        "WHERE id IS NOT NULL", '"rank_of"'),
    "a function as a field of its row": (
        "SELECT * FROM (SELECT (p).rank_of AS id, p.email FROM policies p) s "
        "WHERE id IS NOT NULL", '"rank_of"'),
    "an aggregate as a column of its row": (
        "SELECT * FROM (SELECT p.count AS id, p.email FROM policies p GROUP BY "
        "email) s WHERE id IS NOT NULL", 'the aggregate "count"'),
    "a column of the outer query, under its own name": (
        "SELECT l.nr AS id, t.email FROM numbered t, LATERAL (SELECT s.nr FROM "
        "(SELECT 1) one, LATERAL (SELECT nr) s) l WHERE l.nr IS NOT NULL",
        WINDOW),
    "a column of the outer query, beside a list": (
        "SELECT l.id, t.email FROM numbered t, LATERAL (SELECT nr AS id FROM "
        "(VALUES (1)) v) l WHERE l.id IS NOT NULL", WINDOW),
    "a column of the outer query, beside a function": (
        "SELECT l.id, t.email FROM numbered t, LATERAL (SELECT nr AS id FROM "
        "generate_series(1, 1)) l WHERE l.id IS NOT NULL", WINDOW),
    "a table of the outer query, beside a function": (
        "SELECT l.id, t.email FROM numbered t, LATERAL (SELECT t.nr AS id FROM "
        "generate_series(1, 1)) l WHERE l.id IS NOT NULL", WINDOW),
    "a column of the outer query, as an argument": (
        "SELECT l.nr AS id, t.email FROM numbered t, LATERAL (SELECT g.nr FROM "
        "generate_series(nr, nr) AS g (nr)) l WHERE l.nr IS NOT NULL", WINDOW),
    "a column of the outer query, beside one that is not seen": (
        "SELECT l.id, t.email FROM numbered t, LATERAL (SELECT s.id FROM "
        "(SELECT nr AS id) s, (SELECT 1 AS nr) x) l WHERE l.id IS NOT NULL",
        WINDOW),
    "a column of the outer query, beside one without a name": (
        "SELECT l.id, t.email FROM numbered t, LATERAL (SELECT nr AS id FROM "
        "(SELECT CASE WHEN true THEN 1 END) v) l WHERE l.id IS NOT NULL",
        WINDOW),
    "a star of the outer query": (
        "SELECT l.nr AS id, t.email FROM numbered t, LATERAL (SELECT t.*) l "
        "WHERE l.nr IS NOT NULL", WINDOW),
    "the row that DISTINCT ON keeps, renamed": (
        "WITH s (id, email) AS (SELECT DISTINCT ON (made) * FROM policies "
        "ORDER BY made, id) SELECT id, email FROM s WHERE id IS NOT NULL",
        "the row that DISTINCT ON keeps"),
    "the row that DISTINCT ON keeps, in a view": (
        "SELECT id, email FROM kept WHERE id IS NOT NULL",
        'the row that DISTINCT ON keeps, in the view "kept"'),
    "DISTINCT ON of another column of that name": (
        "SELECT e AS id, e AS email FROM (SELECT DISTINCT ON (email) email AS "
        "e, made AS email FROM policies ORDER BY email) s "
        "WHERE e IS NOT NULL", "the row that DISTINCT ON keeps"),
    "XMLTABLE": (
        "SELECT x.id, q.email FROM (" + NUMBERS + ") q, XMLTABLE('/a' PASSING "
        "xmlelement(name a, q.id) COLUMNS id int PATH '.') x "
        "WHERE x.id IS NOT NULL", WINDOW),
    "a function that reads a view": (
        "SELECT nr AS id, email FROM fresh() WHERE nr IS NOT NULL",
        '"fresh"'),
    "the columns of a function": (
        "SELECT * FROM (SELECT nr AS id, email FROM ROWS FROM (fresh()) AS f) "
        "s WHERE id IS NOT NULL", '"fresh"'),
    "the day as a literal": (
        "SELECT * FROM (SELECT date 'today' - made::date AS id, email FROM "
        "policies) s WHERE id IS NOT NULL", "the time or the session"),
    "a table as XML": (
        "SELECT * FROM (SELECT table_to_xml('policies', false, false, '')::text"
        " || id AS id, email FROM policies) s WHERE id IS NOT NULL",
        '"table_to_xml"'),
}


@pytest.mark.parametrize("kind", cases(REFUSED, versions=[
    "a star of the outer query", "the row that DISTINCT ON keeps, in a view",
    "XMLTABLE", "a function that reads a view"]))
def test_a_key_is_followed(reader, kind):
    query, text = REFUSED[kind]
    reader.script(script(query, "id"))
    reader.run().expect(INVALID, "is not constant: it comes from", text, "^")


LIMITS = {
    "a number of rows": (
        "SELECT * FROM (SELECT id, email FROM policies WHERE NOT enabled ORDER "
        "BY md5(email) LIMIT 20) s WHERE id IS NOT NULL",
        "luamig run --limit"),
    "a number of rows, in a view": (
        "SELECT id, email FROM taken WHERE id IS NOT NULL", "in the view taken"),
    "with ties": (
        "WITH s AS (SELECT id, email FROM policies WHERE NOT enabled ORDER BY "
        "made FETCH FIRST 20 ROWS WITH TIES) SELECT * FROM s "
        "WHERE id IS NOT NULL", "luamig run --limit"),
    "a number of rows without an order": (
        "SELECT * FROM (SELECT id, email FROM policies LIMIT 20) s "
        "WHERE id IS NOT NULL", "Add ORDER BY"),
    "a number of rows of WITH": (
        "WITH w AS (SELECT * FROM policies WHERE NOT enabled), s AS (SELECT "
        "id, email FROM w ORDER BY id LIMIT 20) SELECT * FROM s "
        "WHERE id IS NOT NULL", "move the conditions out of the subselect"),
    "a number of rows of a view": (
        "SELECT * FROM (SELECT nr AS id, email FROM joined ORDER BY email "
        "LIMIT 20) s WHERE id IS NOT NULL", "move the conditions out of the subselect"),
    "the first of each that is to be migrated": (
        "SELECT o.id, o.email FROM groups g, LATERAL (SELECT id, email FROM "
        "policies p WHERE p.id >= g.policy AND NOT enabled ORDER BY id LIMIT 1)"
        " o WHERE o.id IS NOT NULL",
        "Page by the key of the outer row"),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_limit_below_the_key_is_refused(reader, kind):
    query, text = LIMITS[kind]
    reader.script(script(query, "id"))
    reader.run().expect(INVALID, "base_query must not have LIMIT in the subselect "
                        "that returns its key", text, "^")


def test_the_rows_are_taken_by_the_command_instead(db, project):
    write(db, project, "SELECT id, email FROM policies WHERE NOT enabled", "id")
    project.run("--limit", "20")
    assert db.scalar("SELECT count(*) FROM policies WHERE enabled") == 20


def test_the_conditions_are_put_around_the_number_of_rows(db, project):
    write(db, project, "SELECT * FROM (SELECT id, email, enabled FROM policies "
          "ORDER BY md5(email) LIMIT 20) s WHERE NOT enabled AND "
          "id IS NOT NULL", "id")
    assert project.run().expect(DONE).rows == 20


def test_the_first_row_of_each_group_is_paged_by_the_outer_key(db, project):
    write(db, project, "SELECT g.id AS g, o.id, o.email FROM groups g, LATERAL "
          "(SELECT id, email FROM policies p WHERE p.id >= g.policy AND NOT "
          "enabled ORDER BY id LIMIT 1) o", "g")
    assert project.run().expect(DONE).rows == 60


@pytest.mark.parametrize("query", [
    "SELECT * FROM (SELECT id, email FROM policies FOR UPDATE SKIP LOCKED) s "
    "WHERE id IS NOT NULL",
    "SELECT id, email FROM chosen WHERE id IS NOT NULL"])
def test_skip_locked_is_refused(reader, query):
    reader.script(script(query, "id"))
    reader.run().expect(INVALID, "base_query must not have SKIP LOCKED",
                        "would never migrate the rows")


CONSTANT = {
    "a union of tables": (
        "SELECT * FROM (TABLE policies UNION ALL SELECT id + 60, email, "
        "enabled, tags, made FROM policies) s WHERE id IS NOT NULL", "id"),
    "a union of stars": (
        "SELECT id, email FROM (TABLE later UNION TABLE later) s "
        "WHERE id IS NOT NULL", "id"),
    "what a window function leaves out": (
        "SELECT * FROM (SELECT id, email FROM policies EXCEPT SELECT nr + 100, "
        "email FROM numbered) s WHERE id IS NOT NULL", "id"),
    "a field of a row": (
        "SELECT * FROM (SELECT (q).id AS id, (q).email AS email FROM policies "
        "q) s WHERE id IS NOT NULL", "id"),
    "a field that is called like an aggregate": (
        "SELECT * FROM (SELECT (s.span).count AS k, (s.span).age, email FROM "
        "spans s) s WHERE k IS NOT NULL", "k"),
    "a row": ("SELECT * FROM (SELECT md5(p::text) || p.id AS k, id, email FROM "
              "spans p) s WHERE k IS NOT NULL", "k"),
    "WITH under the name of its table": (
        "WITH policies AS (SELECT id, email FROM policies) SELECT * FROM "
        "policies WHERE id IS NOT NULL", "id"),
    "WITH under the name of a view": (
        "WITH numbered AS (SELECT id, email FROM policies), a AS (SELECT * "
        "FROM numbered) SELECT * FROM a WHERE id IS NOT NULL", "id"),
    "a sample's name": (
        "WITH sampled AS (SELECT id, email FROM policies) SELECT * FROM "
        "sampled WHERE id IS NOT NULL", "id"),
    "a list of numbers": (
        "SELECT p.email, g.nr FROM generate_series(1, 60, 1) AS g (nr) "
        "JOIN policies p ON p.id = g.nr WHERE g.nr IS NOT NULL", "nr"),
    "a list of documents": (
        "SELECT r.id, p.email FROM jsonb_to_recordset('[{\"id\": 1}, "
        "{\"id\": 2}, {\"id\": 3}]'::jsonb) AS r (id int) JOIN "
        "policies p USING (id) WHERE r.id IS NOT NULL", "id"),
    "the columns of a function": (
        "SELECT nr, email FROM listed() WHERE nr IS NOT NULL", "nr"),
    "the columns of a function with a name": (
        "SELECT nr, p.email FROM policies p JOIN listed() AS f ON f.nr = p.id "
        "WHERE nr IS NOT NULL", "nr"),
    "DISTINCT ON by the name of an expression": (
        "SELECT * FROM (SELECT DISTINCT ON (k) lower(email) AS k, id, email "
        "FROM policies ORDER BY k, id) s WHERE k IS NOT NULL", "k"),
    "DISTINCT ON by position": (
        "SELECT * FROM (SELECT DISTINCT ON (1) lower(email) AS k, id, email "
        "FROM policies ORDER BY 1, id) s WHERE k IS NOT NULL", "k"),
    "DISTINCT ON a column that gets another name": (
        "SELECT * FROM (SELECT DISTINCT ON (p.email) email AS k, id, email "
        "FROM policies p ORDER BY p.email, id) s WHERE k IS NOT NULL", "k"),
    "XMLTABLE": (
        "SELECT x.id, p.email FROM policies p, XMLTABLE('/a' PASSING "
        "xmlelement(name a, p.id) COLUMNS id int PATH '.') x "
        "WHERE x.id IS NOT NULL", "id"),
    "a setting beside the key": (
        "SELECT p.id, email, n FROM policies p, (SELECT count(*) AS n FROM "
        "groups LIMIT 1) s", "id"),
    "a setting that is not qualified": (
        "SELECT id, email, n FROM policies, (SELECT policy AS n FROM groups "
        "LIMIT 1) s WHERE id IS NOT NULL", "id"),
    "the latest of each": (
        "SELECT o.id, o.email FROM groups g JOIN LATERAL (SELECT p.id, p.email "
        "FROM policies p WHERE p.id = g.policy ORDER BY made DESC LIMIT 1) o "
        "ON true WHERE o.id IS NOT NULL", "id"),
    "the latest of each, by a subselect": (
        "SELECT id, email FROM policies p WHERE id = (SELECT id FROM policies "
        "q WHERE q.email = p.email ORDER BY made DESC LIMIT 1)", "id"),
    "the oldest": (
        "WITH s AS (SELECT * FROM later ORDER BY made, id LIMIT 20) SELECT id, "
        "email FROM s WHERE NOT enabled AND id IS NOT NULL", "id"),
    "LIMIT ALL": ("SELECT * FROM (SELECT id, email FROM policies LIMIT ALL) s "
                  "WHERE id IS NOT NULL", "id"),
    "grouping sets": (
        "SELECT * FROM (SELECT email, enabled, count(*) FROM policies GROUP BY "
        "GROUPING SETS ((email), (enabled))) s WHERE email IS NOT NULL",
        "email"),
    "a materialized view": (
        "SELECT id, email FROM stored WHERE id IS NOT NULL", "id"),
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_constant_key_is_taken(reader, kind):
    reader.script(script(*CONSTANT[kind]))
    reader.run("--dry-run").expect(DONE)


def test_a_key_below_too_many_queries_is_refused(reader):
    names = ["policies"] + [f"q{n}" for n in range(600)]
    with_queries = ", ".join(f"{name} AS (SELECT * FROM {below})"
                             for below, name in zip(names, names[1:]))
    reader.script(script(f"WITH {with_queries} SELECT id, email FROM q599 "
                         "WHERE id IS NOT NULL", "id"))
    reader.run().expect(INVALID, "the base query is too large")


# -- views that only the server can read ----------------------------------------

NEWER = "(email IS JSON) IS NOT TRUE"  # not in luamig's grammar
UNREAD = {
    "a number": f"{NUMBERS} AND {NEWER}",
    "an expression": f"SELECT id * 2 AS id, email FROM policies WHERE {NEWER}",
    "a number of rows": f"SELECT id, email FROM policies WHERE NOT enabled AND "
                        f"{NEWER} ORDER BY md5(email) LIMIT 20",
    "a sample": f"SELECT id, email FROM policies TABLESAMPLE system (50) "
                f"WHERE {NEWER}",
}


@pytest.mark.parametrize("version", [16])
@pytest.mark.parametrize("kind", UNREAD)
def test_a_view_that_cannot_be_analysed(project_of, version, kind):
    project = project_of(version)
    db = project.db
    write(db, project, "SELECT id, email FROM unread WHERE id IS NOT NULL",
          "id")
    db.execute("CREATE VIEW unread AS " + UNREAD[kind])
    project.run().expect(
        INVALID, 'the view "unread" cannot be analysed', "grammar",
        "Page by a column of a table that the view returns unchanged",
        "move the newer SQL into another view")

    db.execute(f"""DROP VIEW unread;
        CREATE VIEW newer AS SELECT *, {NEWER} AS plain FROM policies;
        CREATE VIEW unread AS SELECT DISTINCT id, email FROM newer
            WHERE plain""")
    project.run().expect(DONE)
    assert db.scalar("SELECT count(*) FROM policies WHERE enabled") == 60


# -- views that read by their owner's rights ------------------------------------------

OWNED = """
CREATE TABLE done (id int PRIMARY KEY); CREATE SCHEMA private;
CREATE TABLE private.t (id int PRIMARY KEY, name text);
INSERT INTO private.t SELECT n, n FROM generate_series(1, 10) n;
CREATE VIEW private.inner AS SELECT * FROM private.t;
CREATE VIEW shown AS SELECT id FROM private.inner;
CREATE VIEW ranked AS SELECT row_number() OVER (ORDER BY name) AS id FROM private.inner;
GRANT ALL ON shown, ranked, done TO app;
"""
HIDDEN_FROM_ROLE = {
    "a schema": "",
    "rows": ("GRANT USAGE ON SCHEMA private TO app; GRANT SELECT ON private.t TO app;"
             "ALTER TABLE private.t ENABLE ROW LEVEL SECURITY;"),
}


@pytest.mark.parametrize("hidden", HIDDEN_FROM_ROLE)
def test_a_view_may_read_what_the_role_may_not(db, project, hidden):
    db.admin(OWNED + HIDDEN_FROM_ROLE[hidden])
    page = """return { config = { batch_size = 4, throttle_ms = 0 },
      base_query = "SELECT id FROM %s%s",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do repo:insert("done", { id = row.id }) end
      end }"""
    project.script(page % ("ranked", " WHERE id IS NOT NULL"))
    project.run().expect(INVALID, WINDOW)
    project.script(page % ("shown", ""))
    project.run().expect(INVALID, "may be NULL", 'Add "WHERE id IS NOT NULL"')
    project.script(page % ("shown", " WHERE id IS NOT NULL"))
    project.luamig("check", "scripts/x.lua").expect(DONE).refuse("25P02", "aborted")
    project.run().expect(DONE)
    assert db.scalar("SELECT count(*) FROM done") == 10
