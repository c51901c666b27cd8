"""The hint at a key that may be NULL is followed, whatever the query."""

import re

import pytest

from harness.project import DONE, INVALID

TABLES = """
CREATE TABLE t (id int UNIQUE, "Odd Key" int UNIQUE, tag int NOT NULL);
INSERT INTO t SELECT nullif(n, 5), nullif(n, 6), n FROM generate_series(1, 9) n;
CREATE TABLE u (id int PRIMARY KEY, t_id int NOT NULL);
INSERT INTO u SELECT n, n FROM generate_series(1, 9) n;
CREATE VIEW v AS SELECT id AS nr, tag FROM t;
"""

FORMS = {
    "a star": ("SELECT * FROM t", "id", "condition"),
    "a star with a condition": ("SELECT * FROM t WHERE tag > 0", "id",
                                "condition"),
    "a column": ("SELECT id FROM t", "id", "condition"),
    "quotes": ('SELECT "Odd Key" FROM t', "Odd Key", "condition"),
    "an alias": ("SELECT x.id AS k FROM t AS x", "k", "condition"),
    "an alias that is a column elsewhere": ("SELECT tag AS id, id AS k FROM t",
                                            "k", "condition"),
    "a view": ("SELECT * FROM v", "nr", "condition"),
    "a group": ("SELECT id, count(*) AS n FROM t GROUP BY id", "id",
                "condition"),
    "an expression": ("SELECT id + 1 AS k, tag FROM t", "k", "around"),
    "a function": ("SELECT abs(id) AS k, tag FROM t", "k", "around"),
    "a union": ("SELECT id, tag FROM t UNION SELECT id, tag FROM t", "id",
                "around"),
    "a union of promises": ("SELECT id FROM u UNION ALL SELECT id + 10 FROM u",
                            "id", "around"),
    "grouping sets": ("SELECT id, count(*) AS n FROM t GROUP BY "
                      "GROUPING SETS ((id))", "id", "around"),
    "a join with a star": ("SELECT t.*, u.t_id FROM t JOIN u ON u.id = t.tag",
                           "id", "around"),
    "an outer join": ("SELECT u.id AS u_id, t.id FROM u LEFT JOIN t "
                      "ON t.id = u.id", "id", "condition"),
    "a WITH query": ("WITH x AS (SELECT * FROM t) SELECT * FROM x", "id",
                     "condition"),
    "a subselect": ("SELECT * FROM (SELECT id AS k FROM t) s", "k",
                    "condition"),
    "a comment": ("SELECT id + 1 AS k FROM t -- all of them", "k", "around"),
}


def script(query, key):
    return f"""
      return {{
        config = {{ batch_size = 2, throttle_ms = 0, key = [==[{key}]==] }},
        base_query = [==[{query}]==],
        migrate = function(rows, repo) end,
      }}"""


def follow(query, hint):
    condition = re.search(r'Add "WHERE (.*) IS NOT NULL" to the base query',
                          hint)
    if condition:
        word = "AND" if " WHERE " in query else "WHERE"
        addition = f" {word} {condition[1]} IS NOT NULL"
        group = query.find(" GROUP BY")
        if group >= 0:
            return query[:group] + addition + query[group:]
        return query + addition
    around = re.search(r"Write (SELECT \* FROM )\(base query\)"
                       r"( AS q WHERE q\..* IS NOT NULL) to leave them out", hint)
    assert around, hint
    return f"{around[1]}({query}\n){around[2]}"


@pytest.mark.parametrize("form", FORMS)
def test_the_hint_can_be_followed(db, project, form):
    query, key, kind = FORMS[form]
    db.execute(TABLES)
    project.script(script(query, key))
    hint = project.run().expect(INVALID, "may be NULL").err

    assert ("Add" if kind == "condition" else "Write SELECT") in hint
    project.script(script(follow(query, hint), key))

    assert project.run().expect(DONE).rows >= 8


def test_the_other_ways_of_the_hint(db, project):
    db.execute(TABLES + "DELETE FROM t WHERE id IS NULL")
    project.script(script("SELECT * FROM t", "id"))
    project.run().expect(INVALID, "declare the column NOT NULL",
                         "name another key")
    db.execute("ALTER TABLE t ALTER id SET NOT NULL")
    assert project.run().expect(DONE).rows == 8
