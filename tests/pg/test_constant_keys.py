"""A key is constant: what other rows, the time or chance have a part in is
refused before the first row."""

import pytest

from harness.project import DONE, INVALID

TABLES = """
CREATE TABLE policies (id int PRIMARY KEY, email text NOT NULL UNIQUE,
    enabled bool NOT NULL DEFAULT false, tags text[] NOT NULL DEFAULT '{a,b}',
    made timestamptz NOT NULL DEFAULT '2024-01-01Z');
INSERT INTO policies SELECT n, 'p' || lpad(n::text, 4, '0')
    FROM generate_series(1, 60) n;
CREATE TABLE groups (id int PRIMARY KEY, policy int NOT NULL);
INSERT INTO groups SELECT n, n FROM generate_series(1, 60) n;
CREATE FUNCTION pick(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION fixed(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION looks(int) RETURNS int STABLE LANGUAGE sql AS
    'SELECT count(*)::int FROM policies WHERE id < $1 AND NOT enabled';
CREATE VIEW numbered AS SELECT row_number() OVER (ORDER BY email) AS nr, *
    FROM policies WHERE NOT enabled;
CREATE VIEW deep AS SELECT nr AS k, email FROM (SELECT * FROM numbered) AS n;
CREATE VIEW sampled AS SELECT * FROM policies TABLESAMPLE bernoulli (50);
CREATE VIEW plain AS SELECT id AS k, email, enabled FROM policies;
"""

SCRIPT = """
return {{
  config = {{ batch_size = 7, throttle_ms = 0, key = {{ {key} }} }},
  base_query = [[{query}]],
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("policies", {{ email = row.email }}, {{ enabled = true }})
    end
  end,
}}
"""


def script(query, key):
    names = ", ".join(f'"{name}"' for name in key.split(", "))
    return SCRIPT.format(query=query, key=names)


def write(db, project, query, key):
    db.execute(TABLES)
    project.script(script(query, key))


WINDOW = 'the window function "row_number"'
REFUSED = {
    "window": (
        "SELECT * FROM (SELECT row_number() OVER (ORDER BY email) AS id, email "
        "FROM policies WHERE NOT enabled) s WHERE id IS NOT NULL", WINDOW),
    "window, alias": (
        "SELECT s.n AS id, s.email FROM (SELECT row_number() OVER (ORDER BY "
        "email) n, email FROM policies) s WHERE s.n IS NOT NULL", WINDOW),
    "window, renamed by the alias": (
        "SELECT * FROM (SELECT row_number() OVER (), email FROM policies) "
        "s (id, email) WHERE id IS NOT NULL", WINDOW),
    "named window": (
        "SELECT * FROM (SELECT rank() OVER w AS id, email FROM policies "
        "WINDOW w AS (ORDER BY email)) s WHERE id IS NOT NULL",
        'the window function "rank"'),
    "window in an expression": (
        "SELECT * FROM (SELECT 10 * (row_number() OVER (ORDER BY email)) + 1 "
        "AS id, email FROM policies) s WHERE id IS NOT NULL", WINDOW),
    "aggregate as a window": (
        "SELECT * FROM (SELECT sum(1) OVER (ORDER BY email) AS id, email FROM "
        "policies) s WHERE id IS NOT NULL", 'the window function "sum"'),
    "WITH": (
        "WITH s AS (SELECT row_number() OVER () AS id, email FROM policies) "
        "SELECT * FROM s WHERE id IS NOT NULL", WINDOW),
    "WITH, materialized, renamed": (
        "WITH s (id, email) AS MATERIALIZED (SELECT row_number() OVER (), "
        "email FROM policies) SELECT s.id, s.email FROM s "
        "WHERE s.id IS NOT NULL", WINDOW),
    "WITH of a WITH": (
        "WITH a AS (SELECT row_number() OVER () AS n, email FROM policies), "
        "b AS (SELECT n AS id, email FROM a) SELECT * FROM b "
        "WHERE id IS NOT NULL", WINDOW),
    "recursive WITH": (
        "WITH RECURSIVE r AS (SELECT id, email FROM policies WHERE id = 1 "
        "UNION ALL SELECT (SELECT max(id) FROM policies), email FROM r "
        "WHERE false) SELECT * FROM r WHERE id IS NOT NULL", "a subselect"),
    "view": ("SELECT nr AS id, email FROM numbered WHERE nr IS NOT NULL",
             WINDOW + ', in the view "numbered"'),
    "view of a view": ("SELECT k AS id, email FROM deep WHERE k IS NOT NULL",
                       WINDOW + ', in the view "numbered"'),
    "join": (
        "SELECT s.id, p.email FROM policies p JOIN (SELECT row_number() OVER "
        "(ORDER BY email) AS id, email FROM policies) s USING (email) "
        "WHERE s.id IS NOT NULL", WINDOW),
    "join with a name": (
        "SELECT j.nr AS id, j.email FROM (policies p JOIN (SELECT row_number() "
        "OVER () AS nr, email AS e FROM policies) s ON s.e = p.email) AS j "
        "WHERE j.nr IS NOT NULL", WINDOW),
    "lateral": (
        "SELECT l.id, p.email FROM policies p CROSS JOIN LATERAL (SELECT "
        "row_number() OVER () + p.id AS id FROM groups g WHERE g.id = p.id) l "
        "WHERE l.id IS NOT NULL", WINDOW),
    "second part of a union": (
        "SELECT * FROM (SELECT id, email FROM policies WHERE id < 10 UNION ALL "
        "SELECT row_number() OVER () + 100, email FROM policies WHERE id > 10) "
        "s WHERE id IS NOT NULL", WINDOW),
    "part of the key": (
        "SELECT id AS id0, n AS id, email FROM (SELECT *, row_number() OVER () "
        "AS n FROM policies) s WHERE n IS NOT NULL", WINDOW),
    "aggregate": (
        "SELECT * FROM (SELECT min(id) AS id, email FROM policies WHERE NOT "
        "enabled GROUP BY email) s WHERE id IS NOT NULL",
        'the aggregate "min"'),
    "random": (
        "SELECT * FROM (SELECT (random() * 1000)::int AS id, email FROM "
        "policies) s WHERE id IS NOT NULL", 'the volatile function "random"'),
    "function that is not declared": (
        "SELECT * FROM (SELECT pick(id) AS id, email FROM policies) s "
        "WHERE id IS NOT NULL", 'the volatile function "pick"'),
    "function that reads a table": (
        "SELECT * FROM (SELECT looks(id) AS id, email FROM policies) s "
        "WHERE id IS NOT NULL", "a function that depends on more than the "
        'row "looks"'),
    "nextval": (
        "SELECT * FROM (SELECT nextval('numbers') AS id, email FROM policies) "
        "s WHERE id IS NOT NULL", 'the volatile function "nextval"'),
    "now": (
        "SELECT * FROM (SELECT now() - made AS id, email FROM policies) s "
        "WHERE id IS NOT NULL",
        'a function that depends on more than the row "now"'),
    "age": (
        "SELECT * FROM (SELECT age(made) AS id, email FROM policies) s "
        "WHERE id IS NOT NULL",
        'a function that depends on more than the row "age"'),
    "current_date": (
        "SELECT * FROM (SELECT current_date - id AS id, email FROM policies) s "
        "WHERE id IS NOT NULL", "the time or the session"),
    "current_setting": (
        "SELECT * FROM (SELECT current_setting('port')::int + id AS id, email "
        "FROM policies) s WHERE id IS NOT NULL", '"current_setting"'),
    "set": (
        "SELECT * FROM (SELECT generate_series(1, 2) AS id, email FROM "
        "policies) s WHERE id IS NOT NULL",
        'the set-returning function "generate_series"'),
    "set, unnest": (
        "SELECT * FROM (SELECT unnest(tags) AS id, email FROM policies) s "
        "WHERE id IS NOT NULL", 'the set-returning function "unnest"'),
    "subselect": (
        "SELECT * FROM (SELECT (SELECT count(*) FROM policies q WHERE q.id <= "
        "p.id AND NOT q.enabled) AS id, email FROM policies p) s "
        "WHERE id IS NOT NULL", "a subselect"),
    "a row that DISTINCT ON keeps": (
        "SELECT * FROM (SELECT DISTINCT ON (made) id, email FROM policies "
        "WHERE NOT enabled ORDER BY made, id) s WHERE id IS NOT NULL",
        "the row that DISTINCT ON keeps"),
    "DISTINCT ON and a star": (
        "SELECT id, email FROM (SELECT DISTINCT ON (made) * FROM policies "
        "ORDER BY made, id) s WHERE id IS NOT NULL",
        "the row that DISTINCT ON keeps"),
    "ctid in an expression": (
        "SELECT * FROM (SELECT ctid::text AS id, email FROM policies) s "
        "WHERE id IS NOT NULL", 'the system column "ctid"'),
    "xmin in an expression": (
        "SELECT * FROM (SELECT p.xmin::text::bigint AS id, email FROM policies "
        "p) s WHERE id IS NOT NULL", 'the system column "xmin"'),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_key_that_is_not_constant_is_refused(db, project, kind):
    query, text = REFUSED[kind]
    db.execute("CREATE SEQUENCE numbers")
    write(db, project, query, "id" if kind != "part of the key" else "id0, id")

    result = project.run().expect(INVALID, "is not constant: it comes from",
                                  text, "^")

    project.run("--dry-run").expect(INVALID, text)
    project.luamig("check", "scripts/x.lua").expect(INVALID, text)
    assert not db.has_journal(), result
    assert db.scalar("SELECT count(*) FROM policies WHERE enabled") == 0


SAMPLES = ["SELECT id, email FROM policies TABLESAMPLE system (50)",
           "SELECT id, email FROM policies TABLESAMPLE bernoulli (50) "
           "REPEATABLE (1)",
           "SELECT id, email FROM sampled WHERE id IS NOT NULL",
           "SELECT id, email FROM policies WHERE id IN (SELECT id FROM "
           "policies TABLESAMPLE system (50))",
           "WITH s AS (SELECT * FROM policies TABLESAMPLE system (50)) "
           "SELECT id, email FROM s WHERE id IS NOT NULL"]


@pytest.mark.parametrize("query", SAMPLES)
def test_a_sample_is_refused(db, project, query):
    write(db, project, query, "id")
    project.run().expect(INVALID, "base_query must not have TABLESAMPLE",
                         "WHERE id % 100 = 0", "^")


OFFSETS = [
    "SELECT * FROM (SELECT id, email FROM policies WHERE NOT enabled "
    "ORDER BY id OFFSET 20) s WHERE id IS NOT NULL",
    "WITH s AS (SELECT * FROM policies ORDER BY email OFFSET 5 LIMIT 50) "
    "SELECT id, email FROM s WHERE id IS NOT NULL",
    "SELECT id, email FROM (SELECT * FROM tail) v WHERE id IS NOT NULL"]


@pytest.mark.parametrize("query", OFFSETS)
def test_rows_that_are_left_out_by_their_number(db, project, query):
    write(db, project, query, "id")
    db.execute("CREATE VIEW tail AS SELECT * FROM policies WHERE NOT enabled "
               "ORDER BY id OFFSET 20")
    project.run().expect(INVALID, "base_query must not have OFFSET",
                         "config.start_after", "^")

    project.script(SCRIPT.format(
        query="SELECT id, email FROM policies WHERE NOT enabled",
        key='"id"').replace("config = {", "config = { start_after = 20,"))
    assert project.run().expect(DONE).rows == 40


def test_rows_are_chosen_by_their_key_instead(db, project):
    write(db, project, "SELECT id, email FROM policies WHERE id % 10 = 0",
          "id")
    assert project.run().expect(DONE).rows == 6


CONSTANT = {
    "a plain table": ("SELECT id, email FROM policies", "id"),
    "a group": ("SELECT email, count(*) AS n, min(id) FROM policies "
                "GROUP BY email", "email"),
    "a window beside the key": (
        "SELECT id, email, row_number() OVER (ORDER BY id) AS n FROM policies",
        "id"),
    "a window that chooses rows": (
        "SELECT id, email FROM (SELECT *, row_number() OVER (PARTITION BY made "
        "ORDER BY id) AS n FROM policies) s WHERE n > 0 AND id IS NOT NULL",
        "id"),
    "now beside the key": ("SELECT id, email, now() AS t, random() AS r "
                           "FROM policies WHERE made < now()", "id"),
    "a subselect beside the key": (
        "SELECT id, email, (SELECT count(*) FROM groups) AS n FROM policies",
        "id"),
    "an immutable function": (
        "SELECT * FROM (SELECT fixed(id) AS k, email FROM policies) s "
        "WHERE k IS NOT NULL", "k"),
    "functions of the server": (
        "SELECT * FROM (SELECT concat(lower(email), '-', id) AS k, email "
        "FROM policies) s WHERE k IS NOT NULL", "k"),
    "an expression": ("SELECT * FROM (SELECT id * 2 AS k, email FROM policies) "
                      "s WHERE k IS NOT NULL", "k"),
    "coalesce and case": (
        "SELECT * FROM (SELECT CASE WHEN id > 0 THEN coalesce(id, 0) END AS k, "
        "email FROM policies) s WHERE k IS NOT NULL", "k"),
    "a view": ("SELECT k, email FROM plain WHERE k IS NOT NULL", "k"),
    "a view whose number is not the key": (
        "SELECT id, email, nr FROM numbered WHERE id IS NOT NULL", "id"),
    "a join": ("SELECT p.id, p.email, g.id AS g FROM policies p JOIN groups g "
               "ON g.policy = p.id", "id"),
    "using": ("SELECT id, email FROM policies JOIN groups USING (id) "
              "WHERE id IS NOT NULL", "id"),
    "a union": ("SELECT * FROM (SELECT id, email FROM policies WHERE id < 9 "
                "UNION ALL SELECT id, email FROM policies WHERE id >= 9) s "
                "WHERE id IS NOT NULL", "id"),
    "the columns of DISTINCT ON": (
        "SELECT * FROM (SELECT DISTINCT ON (p.email) p.email, p.id FROM "
        "policies p ORDER BY p.email, p.id) s WHERE email IS NOT NULL",
        "email"),
    "the columns of DISTINCT ON behind a star": (
        "SELECT * FROM (SELECT DISTINCT ON (email) * FROM policies) s "
        "WHERE email IS NOT NULL", "email"),
    "DISTINCT": ("SELECT DISTINCT id, email FROM policies", "id"),
    "OFFSET 0": ("SELECT * FROM (SELECT id, email FROM policies OFFSET 0) s "
                 "WHERE id IS NOT NULL", "id"),
    "a lateral lookup": (
        "SELECT p.id, p.email, l.nr FROM policies p LEFT JOIN LATERAL (SELECT "
        "g.id AS nr FROM groups g WHERE g.policy = p.id ORDER BY g.id "
        "OFFSET 1 LIMIT 1) l ON true", "id"),
    "a recursive query": (
        "WITH RECURSIVE r AS (SELECT id, email FROM policies WHERE id = 1 "
        "UNION ALL SELECT p.id, p.email FROM policies p JOIN r ON p.id = "
        "r.id + 1) SELECT * FROM r WHERE id IS NOT NULL", "id"),
    "elements of an array": (
        "SELECT p.id, p.email, u.n FROM policies p, unnest(p.tags) "
        "WITH ORDINALITY AS u (tag, n) WHERE u.n IS NOT NULL", "id, n"),
    "rows of a function": (
        "SELECT p.email, g.nr FROM generate_series(1, 60) AS g (nr) "
        "JOIN policies p ON p.id = g.nr WHERE g.nr IS NOT NULL", "nr"),
    "rows of a list": (
        "SELECT p.email, v.nr FROM (VALUES (1), (2), (3)) AS v (nr) "
        "JOIN policies p ON p.id = v.nr WHERE v.nr IS NOT NULL", "nr"),
    "a column that is called as a system column": (
        'SELECT * FROM (SELECT id AS "xmin", email FROM policies) s '
        'WHERE "xmin" IS NOT NULL', "xmin"),
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_constant_key_is_not_refused(db, project, kind):
    query, key = CONSTANT[kind]
    write(db, project, query, key)
    project.run().expect(DONE)
    assert db.scalar("SELECT count(*) FROM policies WHERE enabled") in (60, 3)


# -- what the refusals say, followed ------------------------------------------


def test_the_columns_of_group_by_are_the_key_of_a_group(db, project):
    query = "SELECT min(id) AS id, email FROM policies GROUP BY email"
    write(db, project, query, "id")
    project.run().expect(INVALID, "Page by the columns of GROUP BY")
    project.script(SCRIPT.format(query=query, key='"email"'))
    assert project.run().expect(DONE).rows == 60


def test_a_function_may_be_declared_immutable(db, project):
    write(db, project, "SELECT * FROM (SELECT pick(id) AS id, email FROM "
          "policies) s WHERE id IS NOT NULL", "id")
    project.run().expect(INVALID, "declare the function IMMUTABLE")
    db.execute("ALTER FUNCTION pick(int) IMMUTABLE")
    assert project.run().expect(DONE).rows == 60


def test_a_set_belongs_into_from(db, project):
    write(db, project, "SELECT id, unnest(tags) AS tag, email FROM policies",
          "id, tag")
    project.run().expect(INVALID, "Put the function into FROM",
                         'key = { "id", "tag" }')
    project.script(SCRIPT.format(
        query="SELECT id, tag, email FROM policies t, unnest(t.tags) AS tag "
        "WHERE tag IS NOT NULL", key='"id", "tag"'))
    assert project.run().expect(DONE).rows == 120
