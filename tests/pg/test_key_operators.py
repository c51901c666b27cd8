"""Keys compare by the operators of their type's default operator class, which
need not be those that the search_path finds."""

import re

import pytest

from harness import plans
from harness.project import DONE, INVALID

WORDS = ["apple", "Banana", "cherry", "Date", "elder", "Fig", "grape",
         "Hazel", "iris", "Juniper"]


@pytest.fixture
def ext(db):
    """A schema for extensions that no search_path has."""
    db.admin("CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO PUBLIC")

    def install(*names):
        for name in names:
            db.admin(f'CREATE EXTENSION "{name}" SCHEMA ext')
    return install


def count_visits(db, table="t"):
    """Each row of the table has a counter n, and its updates are counted."""
    db.execute(f"ALTER TABLE {table} ADD n int NOT NULL DEFAULT 0")


def migrate_by(key, query="SELECT * FROM t", table="t", batch=1):
    """Adds one to n of each row."""
    names = ", ".join(f'"{name}"' for name in key)
    where = ", ".join(f"{name} = row.{name}" for name in key)
    return f"""
      return {{
        config = {{ batch_size = {batch}, throttle_ms = 0, key = {{ {names} }} }},
        base_query = [[{query}]],
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            repo:update("{table}", {{ {where} }}, {{ n = row.n + 1 }})
          end
        end,
      }}"""


def run_each_once(db, project, key, query="SELECT * FROM t", batch=1):
    """Over a stop and a resume."""
    project.script(migrate_by(key, query, batch=batch))
    project.run("--limit", 3).expect(5)
    project.run().expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def values(words):
    return ", ".join(f"('{word}')" for word in words)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_citext_key_whose_schema_is_not_searched(db, project, ext, batch):
    ext("citext")
    db.execute("CREATE TABLE t (k ext.citext PRIMARY KEY);"
               f"INSERT INTO t VALUES {values(WORDS)}")
    count_visits(db)
    run_each_once(db, project, ["k"], batch=batch)


@pytest.mark.versions
def test_a_domain_over_citext_in_another_schema(db, project, ext):
    ext("citext")
    db.execute("CREATE DOMAIN email AS ext.citext CHECK (value <> '');"
               "CREATE TABLE t (k email PRIMARY KEY);"
               f"INSERT INTO t VALUES {values(WORDS)}")
    count_visits(db)
    run_each_once(db, project, ["k"])


@pytest.mark.parametrize("columns", ["a int, b ext.citext",
                                     "a ext.citext, b int",
                                     "a ext.citext, b ext.citext",
                                     "a ext.citext, b int, c ext.hstore",
                                     "a int, b int, c ext.citext"])
def test_a_key_of_columns_with_operators_of_their_own(db, project, ext,
                                                      columns):
    ext("citext", "hstore")
    names = [part.split()[0] for part in columns.split(", ")]
    texts = {"int": "{0} % 3", "ext.citext": "chr(65 + {0} % 3 + {1})",
             "ext.hstore": "ext.hstore('x', {0}::text)"}
    row = [texts[part.split()[1]].format(
               "(n / 3)" if i % 2 else "n", "32 * (n % 2)")
           for i, part in enumerate(columns.split(", "))]
    db.execute(f"CREATE TABLE t ({columns}, PRIMARY KEY ({', '.join(names)}));"
               f"INSERT INTO t SELECT {', '.join(row)} "
               "FROM generate_series(1, 40) n ON CONFLICT DO NOTHING")
    assert db.scalar("SELECT count(*) FROM t") >= 9
    count_visits(db)
    run_each_once(db, project, names)


def test_pages_of_a_key_with_several_operators_use_its_index(db, project, ext):
    ext("citext")
    db.execute("CREATE TABLE t (a int, b ext.citext, PRIMARY KEY (a, b));"
               "INSERT INTO t SELECT n % 2, ('k' || n)::ext.citext "
               "FROM generate_series(1, 20000) n")
    count_visits(db)
    db.execute("ANALYZE t")
    plans.record(db)
    script = migrate_by(["a", "b"], batch=1000)
    begin = script.index("for _, row")
    end = script.index("end", begin)
    project.script(script[:begin] + script[end + 3:])

    assert project.run().expect(DONE).rows == 20_000

    pages = plans.of_pages(db)
    assert len(pages) >= 15, "the plans of the pages were not found"
    for page in pages[1:]:
        scans = [node for node in plans.nodes(page) if "Relation Name" in node]
        conditions = [scan.get("Index Cond", "") for scan in scans]
        assert len(scans) == 2, page
        assert any(re.search(r"a = .* AND \(b OPERATOR\(ext.>\)", condition)
                   for condition in conditions), conditions
        assert any("a > " in condition for condition in conditions), conditions


@pytest.mark.versions
def test_types_whose_operators_have_other_names(db, project, ext):
    ext("hstore")
    db.execute("CREATE TABLE t (k ext.hstore PRIMARY KEY);"
               "INSERT INTO t SELECT ext.hstore(n::text, 'x') "
               "FROM generate_series(1, 12) n")
    count_visits(db)
    run_each_once(db, project, ["k"])


@pytest.mark.parametrize("collation", ['"en-x-icu"', '"default"', "nd"])
def test_a_name_with_a_collation_that_is_not_its_type_s(db, project,
                                                        collation):
    db.execute("CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2',"
               "deterministic = false);"
               f"CREATE TABLE t (k name COLLATE {collation} PRIMARY KEY);"
               f"INSERT INTO t VALUES {values(WORDS)}")
    count_visits(db)
    run_each_once(db, project, ["k"])


def test_a_query_may_give_its_key_another_collation(db, project):
    db.execute("CREATE TABLE t (k text PRIMARY KEY);"
               f"INSERT INTO t VALUES {values(WORDS)}")
    count_visits(db)
    run_each_once(
        db, project, ["k"],
        'SELECT n, k COLLATE "en-x-icu" AS k FROM t '
        'WHERE (k COLLATE "en-x-icu") IS NOT NULL')


@pytest.mark.versions
def test_two_keys_that_are_equal_by_their_collation(db, project):
    db.execute("CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2',"
               "deterministic = false);"
               "CREATE TABLE t (k text COLLATE nd NOT NULL);"
               "INSERT INTO t VALUES ('a'), ('b'), ('B'), ('c')")
    count_visits(db)
    project.script(migrate_by(["k"], batch=2))
    project.run().expect(1, "two rows of the base query have the same key")
    assert db.column("SELECT DISTINCT n FROM t") == [0]


def test_operators_of_the_same_name_that_are_found_first(db, project):
    """A schema in front has < and > of its own for the key's type."""
    db.execute("CREATE SCHEMA odd;"
               "CREATE FUNCTION odd.never(int, int) RETURNS bool "
               "LANGUAGE sql IMMUTABLE AS 'SELECT false';"
               + "".join(f"CREATE OPERATOR odd.{name} (FUNCTION = odd.never, "
                         "LEFTARG = int, RIGHTARG = int);"
                         for name in ("<", "<=", "=", ">=", ">"))
               + "CREATE TABLE t (k int PRIMARY KEY);"
               "INSERT INTO t SELECT generate_series(1, 10)")
    count_visits(db)
    db.set("search_path", "odd, public, pg_catalog")
    db.admin(f'ALTER DATABASE "{db.name}" SET search_path = '
             "odd, pg_catalog, public")
    run_each_once(db, project, ["k"])


# -- keys that have no order, or no constant text ------------------------------


def refuse(db, project, query, key, *texts):
    project.script(migrate_by([key], query))
    result = project.run().expect(INVALID, *texts)
    assert not db.has_journal()
    return result


@pytest.mark.parametrize("kind,value", [
    ("json", "('[' || n || ']')::json"), ("point", "point(n, n)"),
    ("xml", "('<a>' || n || '</a>')::xml"), ("xid", "n::text::xid")])
def test_a_key_without_an_order_is_refused_and_its_text_will_do(
        db, project, kind, value):
    db.execute(f"CREATE TABLE t (id int PRIMARY KEY, k {kind} NOT NULL);"
               f"INSERT INTO t SELECT n, {value} "
               "FROM generate_series(1, 10) n")
    count_visits(db)
    refuse(db, project, "SELECT * FROM t", "k", "its values have no order",
           '"k"::text AS key_text FROM (base query) AS q WHERE "k"::text IS '
           "NOT NULL")

    project.script(migrate_by(
        ["key_text"], 'SELECT *, "k"::text AS key_text FROM '
        '(SELECT * FROM t) AS q WHERE "k"::text IS NOT NULL').replace(
            "{ key_text = row.key_text }", "{ id = row.id }"))
    project.run().expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def test_elements_without_an_order(db, project):
    db.execute("CREATE TABLE t (k json[] NOT NULL)")
    refuse(db, project, "SELECT *, 0 AS n FROM t", "k",
           "the server cannot order the base query by its key",
           "Name another key with config.key")


@pytest.mark.versions
def test_a_regclass_is_refused_and_its_number_will_do(db, project):
    db.execute("CREATE TABLE t (k regclass PRIMARY KEY);"
               "INSERT INTO t SELECT oid FROM pg_class LIMIT 20")
    count_visits(db)
    refuse(db, project, "SELECT * FROM t", "k",
           "is the name of an object, so the key is not constant",
           'SELECT *, "k"::oid AS key_oid FROM (base query) AS q WHERE '
           '"k"::oid IS NOT NULL')

    project.script(migrate_by(
        ["key_oid"], 'SELECT *, "k"::oid AS key_oid FROM '
        '(SELECT * FROM t) AS q WHERE "k"::oid IS NOT NULL', batch=3).replace(
            "{ key_oid = row.key_oid }", "{ k = row.key_oid }"))
    project.run().expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


@pytest.mark.parametrize("kind", ["regproc", "regtype", "regrole",
                                  "regnamespace", "regconfig", "regclass[]"])
def test_other_names_of_objects_are_no_keys(db, project, kind):
    db.execute(f"CREATE TABLE t (k {kind} PRIMARY KEY)")
    refuse(db, project, "SELECT *, 0 AS n FROM t", "k",
           "is the name of an object, so the key is not constant")


def test_a_row_without_a_type_is_no_key(db, project):
    db.execute("CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL)")
    refuse(db, project, "SELECT * FROM (SELECT row(a, b) AS k, 0 AS n FROM t) "
           "AS q WHERE k IS NOT NULL", "k", "a row without a named type",
           "columns of their own")


def test_a_key_that_mixes_collations(db, project):
    db.execute('CREATE TABLE t (a text COLLATE "C", b text COLLATE "en-x-icu", '
               "n int NOT NULL DEFAULT 0);"
               "INSERT INTO t VALUES ('a', 'b'), ('c', 'd')")
    query = "SELECT * FROM (SELECT a, a || b{} AS k, n FROM t) AS q " \
            "WHERE k IS NOT NULL"
    refuse(db, project, query.format(""), "k",
           "has no collation to order it by", 'COLLATE "C" AS k')

    project.script(migrate_by(["k"], query.format(' COLLATE "C"')).replace(
        "{ k = row.k }", "{ a = row.a }"))
    project.run().expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def test_a_key_of_a_composite_type(db, project):
    db.execute("CREATE TYPE pair AS (a int, b text);"
               "CREATE TABLE t (k pair PRIMARY KEY);"
               "INSERT INTO t SELECT row(n % 3, n::text)::pair "
               "FROM generate_series(1, 12) n")
    count_visits(db)
    run_each_once(db, project, ["k"])
    run_each_once_more(db, project, "combine = false")


def run_each_once_more(db, project, config):
    project.script(migrate_by(["k"], batch=5).replace(
        "config = {", f"config = {{ {config},"))
    project.run("--again").expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [2]


# -- texts that round ----------------------------------------------------------


SEGMENTS = ["0.1234561", "0.1234564", "0.1234567", "0.5", "0.75", "1"]


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("rows", [SEGMENTS, SEGMENTS[-3:] + ["7.1234567"],
                                  ["1", "7.1234561", "7.1234567"]])
def test_a_type_whose_text_is_rounded(db, project, ext, batch, rows):
    """seg prints six digits: no row is passed over, or met twice, in
    silence."""
    ext("seg")
    db.execute("CREATE TABLE t (k ext.seg PRIMARY KEY, "
               "id serial, n int NOT NULL DEFAULT 0);"
               f"INSERT INTO t (k) VALUES {values(rows)}")
    project.script(migrate_by(["k"], batch=batch).replace(
        "{ k = row.k }", "{ id = row.id }"))

    result = project.run()

    visits = db.column("SELECT n FROM t")
    if result.code == DONE:
        assert visits == [1] * len(rows)
    else:
        result.expect(1, "the text of a key has another value than the key",
                      "Page by another key", "--restart")
        assert max(visits) <= 1
        project.script(migrate_by(["id"]))
        project.run("--restart").expect(DONE)


def test_rows_that_come_and_go_while_a_page_is_read(db, project, ext):
    """Whether a text is rounded is asked of the page itself: a statement after
    it, under read committed, may find other rows. calls stands for others that
    take the rows away once they have been read."""
    ext("ltree")
    db.execute("CREATE TABLE t (k ext.ltree PRIMARY KEY, "
               "n int NOT NULL DEFAULT 0); CREATE SEQUENCE calls;"
               f"INSERT INTO t VALUES {values(['a', 'a.b', 'b', 'c'])}")
    project.script(migrate_by(["k"], batch=9).replace(
        "config = {", 'config = { isolation = "read committed",').replace(
        "FROM t", "FROM t WHERE nextval('calls') <= 8"))
    project.run().expect(DONE)
    assert db.column("SELECT n FROM t") == [1] * 4


def test_segments_that_are_not_rounded(db, project, ext):
    ext("seg")
    db.execute("CREATE TABLE t (k ext.seg PRIMARY KEY);"
               f"INSERT INTO t VALUES {values(['0.5', '0.75', '1 .. 2', '3'])}")
    count_visits(db)
    run_each_once(db, project, ["k"])
