"""Every btree key pages through its table, each row once and in order, by the
key's own index."""

import re

import pytest

from harness import plans, postgres
from harness.cases import cases
from harness.project import DONE, FAILED, INVALID

SMALL = [(1, [0, 1, 5]), (7, [20, 21, 22]), (1000, [999, 1000, 1001, 2000])]

# Before PostgreSQL 14 numeric knows no infinity.
GREATEST = "Infinity" if postgres.major() >= 14 else "1e999"

# name: (columns, key, how to make the key of row n)
KINDS = {
    "int2": ("k int2", ["k"], "(n * 8 - 16000)::int2"),
    "int4": ("k int4", ["k"],
             "CASE n WHEN 1 THEN -2147483648 WHEN 2 THEN 2147483647 "
             "ELSE (n - 1000) * 7 END"),
    "int8": ("k int8", ["k"],
             "CASE n WHEN 1 THEN -9223372036854775808 "
             "WHEN 2 THEN 9223372036854775807 "
             "ELSE (n - 1000) * 1000000007::int8 END"),
    "text_c": ('k text COLLATE "C"', ["k"],
               "(ARRAY['a','B','é','ß','-z','',E'\\t','\"q\"','''','\\'])"
               "[n % 10 + 1] || chr(97 + n % 26) || n"),
    "text_icu": ('k text COLLATE "en-x-icu"', ["k"],
                 "(ARRAY['a','B','é','ß','-z','_','co-op','coop','É','Z'])"
                 "[n % 10 + 1] || chr(97 + n % 26) || n"),
    "varchar": ("k varchar(40)", ["k"], "'v' || md5(n::text)"),
    "char": ("k character(12)", ["k"], "'c' || n"),
    "uuid": ("k uuid", ["k"], "md5(n::text)::uuid"),
    "timestamptz": ("k timestamptz", ["k"],
                    "CASE n WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' "
                    "WHEN 3 THEN '0044-03-15 BC'::timestamptz ELSE "
                    "'2024-03-31 01:59:59.999990+01'::timestamptz "
                    "+ n * interval '1 microsecond' END"),
    "timestamp": ("k timestamp", ["k"],
                  "'2024-10-27 02:00'::timestamp + n * interval '7.000001 s'"),
    "numeric": ("k numeric", ["k"],
                f"CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-{GREATEST}' "
                f"WHEN 3 THEN '{GREATEST}' WHEN 4 THEN 1e40 + 0.1 "
                "ELSE (n - 1000) * 0.00000000000000000001 END"),
    "float8": ("k float8", ["k"],
               "CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' "
               "WHEN 3 THEN 'Infinity' WHEN 4 THEN 5e-324 "
               "ELSE (n - 1000) / 3.0::float8 END"),
    "float4": ("k float4", ["k"],
               "CASE n WHEN 1 THEN 'NaN'::float4 ELSE (n / 7.0)::float4 END"),
    "date": ("k date", ["k"],
             "CASE n WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' "
             "ELSE '1999-12-25'::date + n END"),
    "interval": ("k interval", ["k"],
                 "n * interval '1 day 1.000001 s' - interval '400 days'"),
    "bytea": ("k bytea", ["k"], "sha256(n::text::bytea)"),
    "inet": ("k inet", ["k"], "'10.0.0.0'::inet + n"),
    "int4_text": ("a int4, b text COLLATE \"en-x-icu\"", ["a", "b"],
                  "n % 3, (ARRAY['x','Y','é'])[n % 3 + 1] || n"),
    "date_uuid_int8": ("a date, b uuid, c int8", ["a", "b", "c"],
                       "'2024-01-01'::date + n % 4, "
                       "md5((n % 9)::text)::uuid, -n::int8"),
    "numeric_timestamptz": (
        "a numeric, b timestamptz", ["a", "b"],
        f"(ARRAY['NaN', 0.1, 0.10, -1, '{GREATEST}'])[n % 5 + 1]::numeric, "
        "'2024-01-01Z'::timestamptz + n * interval '1 microsecond'"),
}

SCRIPT = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 0, key = {key} }},
  base_query = [[{query}]],
  migrate = function(rows, repo)
    repo:insert_all("seen", rows_of(rows))
  end,
}}
"""

PRELUDE = """
local function rows_of(rows)
  local seen = {}
  for i, row in ipairs(rows) do seen[i] = { tag = row.tag } end
  return seen
end
"""


def lua_list(names):
    return "{ " + ", ".join(f"[==[{name}]==]" for name in names) + " }"


def make_seen(db):
    db.execute("CREATE TABLE seen (nr bigint GENERATED ALWAYS AS IDENTITY, "
               "tag int)")


def make_table(db, table, kind, size):
    columns, key, values = KINDS[kind]
    db.execute(f"CREATE TABLE {table} ({columns}, tag int NOT NULL, "
               f"PRIMARY KEY ({', '.join(key)}))")
    db.execute(f"INSERT INTO {table} SELECT {values}, n "
               f"FROM generate_series(1, {size}) n ORDER BY md5(n::text)")
    db.execute(f"ANALYZE {table}")


def script(key, query, batch):
    return PRELUDE + SCRIPT.format(batch=batch, key=lua_list(key), query=query)


def assert_seen(db, table, key, where="true"):
    """Every row once, in the order of its key."""
    order = ", ".join(key)
    expected = db.column(f"SELECT tag FROM {table} WHERE {where} "
                         f"ORDER BY {order}")
    assert db.column("SELECT tag FROM seen ORDER BY nr") == expected
    return len(expected)


def run_and_compare(db, project, table, key, query=None, batch=7,
                    where="true"):
    make_seen(db)
    project.script(script(key, query or f"SELECT * FROM {table}", batch))
    result = project.run().expect(DONE)
    assert result.rows == assert_seen(db, table, key, where)
    return result


# -- every type ------------------------------------------------------------


@pytest.mark.parametrize("batch,sizes", SMALL)
@pytest.mark.parametrize("kind", KINDS)
def test_each_row_once_and_in_order(db, project, kind, batch, sizes):
    key = KINDS[kind][1]
    make_seen(db)
    for size in sizes:
        table = f"t{size}"
        make_table(db, table, kind, size)
        name = project.script(script(key, f"SELECT * FROM {table}", batch),
                              f"scripts/{table}.lua")
        result = project.run(script=name).expect(DONE)
        assert result.rows == size == assert_seen(db, table, key)
        assert db.progress("batches") == -(-size // batch), (
            "the end needs no batch of its own")
        db.execute("DELETE FROM seen")


@pytest.mark.parametrize("kind", cases(
    KINDS, versions=["int4_text", "numeric_timestamptz"]))
def test_pages_walk_the_index_of_the_key(db, project, kind):
    columns, key, _ = KINDS[kind]
    size = 4000 if kind == "int2" else 20_000
    make_table(db, "t", kind, size)
    plans.record(db)
    project.script(script(key, "SELECT * FROM t WHERE tag >= 0", size // 20)
                   .replace('repo:insert_all("seen", rows_of(rows))', ""))

    project.run().expect(DONE)

    pages = plans.of_pages(db)
    assert len(pages) >= 20, "the plans of the pages were not found"
    for page in pages:
        assert_walks_the_index(page, key)


def test_pages_of_a_key_that_is_not_proved_unique_walk_its_index(
        db, project):
    db.execute("CREATE TABLE t (k int NOT NULL, tag int);"
               "CREATE INDEX ON t (k);"
               "INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n;"
               "ANALYZE t")
    plans.record(db)
    project.script(script(["k"], "SELECT * FROM t WHERE tag >= 0", 1000)
                   .replace('repo:insert_all("seen", rows_of(rows))', ""))

    assert project.run().expect(DONE).rows == 20_000

    pages = plans.of_pages(db)
    assert len(pages) >= 20, "the plans of the pages were not found"
    for page in pages:
        assert_walks_the_index(page, ["k"])


def assert_walks_the_index(page, key):
    kinds = [node["Node Type"] for node in plans.nodes(page)]
    assert not [kind for kind in kinds if "Sort" in kind], kinds
    scans = [node for node in plans.nodes(page) if "Relation Name" in node]
    assert scans, page
    for scan in scans:
        condition = scan.get("Index Cond", "")
        missing = [column for column in key
                   if not re.search(rf"\b{column}\b", condition)]
        assert not missing, f"no index condition on {missing}: {scan}"
        assert "tag" in scan.get("Filter", "tag"), scan
        for column in key:
            assert f"({column} " not in scan.get("Filter", ""), scan


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date",
                                  "float8", "float4", "interval", "bytea"])
def test_the_server_may_display_values_as_it_likes(db, project, kind):
    db.set("datestyle", "SQL, DMY")
    db.set("timezone", "Asia/Kolkata")
    db.set("intervalstyle", "postgres_verbose")
    db.set("extra_float_digits", "0")
    db.set("bytea_output", "escape")
    db.set("lc_messages", "C")
    make_table(db, "t", kind, 50)
    run_and_compare(db, project, "t", ["k"])


@pytest.mark.parametrize("kind", cases(KINDS, versions=[
    "text_icu", "timestamptz", "numeric_timestamptz"]))
def test_a_run_resumes_at_any_key(db, project, kind):
    key = KINDS[kind][1]
    make_table(db, "t", kind, 23)
    make_seen(db)
    project.script(script(key, "SELECT * FROM t", 3))

    for _ in range(7):
        project.run("--limit", 3).expect(5)
    project.run().expect(DONE)

    assert assert_seen(db, "t", key) == 23


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_any_key_can_be_updated(db, project, kind):
    key = KINDS[kind][1]
    make_table(db, "t", kind, 60)
    where = ", ".join(f"{name} = row.{name}" for name in key)
    project.script(f"""
      return {{
        config = {{ batch_size = 7, throttle_ms = 0, key = {lua_list(key)} }},
        base_query = "SELECT * FROM t",
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            repo:update("t", {{ {where} }}, {{ tag = row.tag + 1000 }})
          end
        end,
      }}""")

    project.run().expect(DONE)

    assert db.column("SELECT tag FROM t ORDER BY tag") == list(
        range(1001, 1061))


# -- every shape of table and query ----------------------------------------


def test_an_empty_table(db, project):
    make_table(db, "t", "int8", 0)
    assert run_and_compare(db, project, "t", ["k"]).rows == 0


def test_a_key_given_as_a_plain_name(db, project):
    make_table(db, "t", "int4", 20)
    make_seen(db)
    project.script(script(["k"], "SELECT * FROM t", 7)
                   .replace("{ [==[k]==] }", '"k"'))
    project.run().expect(DONE)
    assert_seen(db, "t", ["k"])


@pytest.mark.versions
def test_a_partitioned_table(db, project):
    db.execute("""
        CREATE TABLE t (id int PRIMARY KEY, tag int) PARTITION BY HASH (id);
        CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 0);
        CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 1);
        CREATE TABLE t2 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 2);
        INSERT INTO t SELECT n, n FROM generate_series(1, 50) n""")
    run_and_compare(db, project, "t", ["id"])


def test_a_table_partitioned_by_the_first_part_of_its_key(db, project):
    db.execute("""
        CREATE TABLE t (day date, id int, tag int, PRIMARY KEY (day, id))
            PARTITION BY RANGE (day);
        CREATE TABLE t0 PARTITION OF t
            FOR VALUES FROM ('2024-01-01') TO ('2024-01-10');
        CREATE TABLE t1 PARTITION OF t DEFAULT;
        INSERT INTO t SELECT '2024-01-01'::date + n % 20, n, n
            FROM generate_series(1, 50) n""")
    run_and_compare(db, project, "t", ["day", "id"])


VIEW = """
CREATE TABLE a (id int PRIMARY KEY, b_id int, tag int);
CREATE TABLE b (id int PRIMARY KEY, kind text);
INSERT INTO b SELECT n, CASE WHEN n % 2 = 0 THEN 'even' ELSE 'odd' END
    FROM generate_series(1, 10) n;
INSERT INTO a SELECT n, n % 10 + 1, n FROM generate_series(1, 50) n;
CREATE VIEW v AS SELECT a.id, a.tag, b.kind FROM a JOIN b ON b.id = a.b_id;
"""


@pytest.mark.versions
def test_a_view_with_a_join(db, project):
    db.execute(VIEW)
    run_and_compare(db, project, "v", ["id"],
                    "SELECT id, tag FROM v WHERE id IS NOT NULL "
                    "AND kind = 'odd'", where="kind = 'odd'")


def test_a_join_in_the_base_query(db, project):
    db.execute(VIEW)
    run_and_compare(db, project, "v", ["id"],
                    "SELECT a.id, a.tag, b.kind FROM a "
                    "JOIN b ON b.id = a.b_id WHERE b.kind = 'even'",
                    where="kind = 'even'")


def test_the_key_may_have_another_name_in_the_query(db, project):
    make_table(db, "t", "int8", 30)
    make_seen(db)
    project.script(script(["number"], "SELECT k AS number, tag FROM t", 7))
    project.run().expect(DONE)
    assert_seen(db, "t", ["k"])


def test_names_that_need_quotes(db, project):
    db.execute('''CREATE TABLE "T ""odd""" ("The Key" int PRIMARY KEY,
                                            tag int)''')
    db.execute('''INSERT INTO "T ""odd""" SELECT n, n
                  FROM generate_series(1, 20) n''')
    make_seen(db)
    project.script(script(["The Key"],
                          'SELECT "The Key", tag FROM "T ""odd"""', 7))
    project.run().expect(DONE)
    assert db.column("SELECT tag FROM seen ORDER BY nr") == list(range(1, 21))


@pytest.mark.parametrize("query", [
    "SELECT * FROM t -- all of them",
    "SELECT * FROM t;",
    "SELECT * FROM t ; -- all of them\n  ",
    "  \n/* every */ SELECT * FROM t /* row */",
    "SELECT *, 'a -- b; ORDER BY c LIMIT 1' AS note FROM t",
    "TABLE t",
    "WITH x AS (SELECT * FROM t ORDER BY tag LIMIT 1000) SELECT * FROM x "
    "WHERE k IS NOT NULL",
    "SELECT t.* FROM t WHERE tag IN (SELECT tag FROM t ORDER BY tag LIMIT 99)",
])
def test_base_queries_as_people_write_them(db, project, query):
    make_table(db, "t", "int8", 30)
    run_and_compare(db, project, "t", ["k"], query)


def test_a_base_query_with_parameters(db, project):
    make_table(db, "t", "int8", 100)
    make_seen(db)
    project.script(PRELUDE + """
      return {
        config = { batch_size = 7, throttle_ms = 0, key = "k" },
        args = { least = { type = "integer", required = true } },
        base_query = function(args)
          return "SELECT * FROM t WHERE tag >= $1 AND tag::text LIKE $2",
                 args.least, "%5"
        end,
        migrate = function(rows, repo)
          repo:insert_all("seen", rows_of(rows))
        end,
      }""")

    project.run("--arg", "least=50").expect(DONE)

    assert assert_seen(db, "t", ["k"], "tag >= 50 AND tag % 10 = 5") == 5


def test_a_key_whose_type_is_a_domain(db, project):
    db.execute("CREATE DOMAIN number AS int CHECK (value > 0);"
               "CREATE TABLE t (k number PRIMARY KEY, tag int);"
               "INSERT INTO t SELECT n, n FROM generate_series(1, 30) n")
    run_and_compare(db, project, "t", ["k"])


@pytest.mark.versions
def test_a_unique_index_is_as_good_as_a_primary_key(db, project):
    db.execute("CREATE TABLE t (k int NOT NULL, tag int);"
               "CREATE UNIQUE INDEX ON t (k);"
               "INSERT INTO t SELECT n, n FROM generate_series(1, 30) n")
    run_and_compare(db, project, "t", ["k"])


@pytest.mark.versions
def test_a_nullable_key_that_the_query_excludes(db, project):
    db.execute("CREATE TABLE t (k int UNIQUE, tag int);"
               "INSERT INTO t SELECT nullif(n, 5), n "
               "FROM generate_series(1, 30) n")
    run_and_compare(db, project, "t", ["k"],
                    "SELECT * FROM t WHERE k IS NOT NULL",
                    where="k IS NOT NULL")


# -- rows that come while the run goes on ----------------------------------


GROWING = """
  return {{
    config = {{ batch_size = 10, throttle_ms = 0, key = "k"{more} }},
    base_query = "SELECT k, tag FROM t WHERE NOT done",
    migrate = function(rows, repo)
      for _, row in ipairs(rows) do
        repo:update("t", {{ k = row.k }}, {{ done = true }})
      end
    end,
  }}"""


def grow_during_the_run(db, project, more):
    """A run over 10, 20 … 300, stopped after its second batch; then 50 new
    rows appear beyond its last key and 3 ahead of its cursor."""
    db.execute("CREATE TABLE t (k int PRIMARY KEY, tag int, "
               "done bool NOT NULL DEFAULT false);"
               "INSERT INTO t SELECT n * 10, n FROM generate_series(1, 30) n")
    project.script(GROWING.format(more=more))
    runner = project.start_run(fault="after_commit:2=stop")
    runner.wait_frozen()
    db.execute("INSERT INTO t SELECT 1000 + n FROM generate_series(1, 50) n")
    db.execute("INSERT INTO t VALUES (255), (256), (257)")
    runner.thaw()
    return runner.wait().expect(DONE)


def test_rows_beyond_the_last_key_are_left_alone_and_counted(db, project):
    result = grow_during_the_run(db, project, "")

    result.expect(DONE, "still matching: 50 rows",
                  "50 of them beyond the last key of this run")
    assert result.rows == 33
    assert db.scalar("SELECT count(*) FROM t WHERE NOT done") == 50
    project.run("--again").expect(DONE, "still matching: 0 rows")
    assert db.scalar("SELECT count(*) FROM t WHERE NOT done") == 0


def test_follow_new_goes_on_to_the_end_of_the_table(db, project):
    result = grow_during_the_run(db, project, ", follow_new = true")
    assert result.rows == 83
    assert db.scalar("SELECT count(*) FROM t WHERE NOT done") == 0


def test_the_bound_survives_a_stop(db, project):
    db.execute("CREATE TABLE t (k int PRIMARY KEY, tag int, "
               "done bool NOT NULL DEFAULT false);"
               "INSERT INTO t SELECT n FROM generate_series(1, 30) n")
    project.script(GROWING.format(more=""))

    project.run("--limit", 10).expect(5)
    db.execute("INSERT INTO t SELECT n FROM generate_series(31, 40) n")
    project.run().expect(DONE, "still matching: 10 rows")

    assert db.scalar("SELECT max(k) FROM t WHERE done") == 30


@pytest.mark.parametrize("row", ["deleted", "moved away"])
def test_the_row_at_the_cursor_may_disappear(db, project, row):
    make_table(db, "t", "int4", 30)
    make_seen(db)
    project.script(script(["k"], "SELECT * FROM t", 10))
    project.run("--limit", 10).expect(5)
    last = db.scalar("SELECT tag FROM seen ORDER BY nr DESC LIMIT 1")

    if row == "deleted":
        db.execute("DELETE FROM t WHERE tag = %s", last)
    else:
        db.execute("UPDATE t SET k = k - 1 WHERE tag = %s", last)
    assert project.run().expect(DONE).rows == 30

    seen = db.column("SELECT tag FROM seen ORDER BY nr")
    assert sorted(seen) == list(range(1, 31))


@pytest.mark.versions
def test_start_after_skips_what_comes_before(db, project):
    make_table(db, "t", "int4_text", 30)
    make_seen(db)
    project.script(script(["a", "b"], "SELECT * FROM t", 7).replace(
        "batch_size", 'start_after = { 1, "Y10" }, batch_size'))
    project.run().expect(DONE)
    assert_seen(db, "t", ["a", "b"], "(a, b) > (1, 'Y10')")


def test_a_wrong_start_after_can_be_corrected(db, project):
    make_table(db, "t", "int4", 30)
    make_seen(db)
    text = script(["k"], "SELECT * FROM t", 7)

    for wrong in ('"abc"', "99999999999", '""'):
        project.script(text.replace("batch_size",
                                    f"start_after = {wrong}, batch_size"))
        project.run().expect(INVALID, "config.start_after", "k")
    project.script(text.replace("batch_size",
                                "start_after = { -6923 }, batch_size"))
    project.run().expect(DONE)

    assert_seen(db, "t", ["k"], "k > -6923")


# -- keys that are refused -------------------------------------------------


def refuse_key(db, project, key, query, *texts):
    project.script(script([key], query, 7))
    result = project.run().expect(INVALID, *texts)
    assert not db.has_journal()
    return result


@pytest.mark.parametrize("key", ["ctid", "xmin", "tableoid"])
@pytest.mark.parametrize("query", ["SELECT {}, * FROM t",
                                   "SELECT * FROM (SELECT {}, * FROM t) x"])
def test_a_system_column_is_no_key(db, project, key, query):
    make_table(db, "t", "int8", 10)
    refuse_key(db, project, key, query.format(key),
               f'"{key}" is a system column and cannot be the key: it changes with every '
               "update")


def test_a_system_column_behind_a_view_is_no_key(db, project):
    make_table(db, "t", "int8", 10)
    db.execute("CREATE VIEW v AS SELECT ctid AS place, tag FROM t")
    refuse_key(db, project, "place", "SELECT * FROM v WHERE place IS NOT NULL",
               '"place" is a system column')


def test_a_foreign_table_promises_nothing(db, project):
    db.admin("CREATE FOREIGN DATA WRAPPER dummy;"
             "CREATE SERVER elsewhere FOREIGN DATA WRAPPER dummy;"
             "CREATE FOREIGN TABLE f (id int NOT NULL, tag int) "
             "SERVER elsewhere;"
             "GRANT SELECT ON f TO public")
    refuse_key(db, project, "id", "SELECT * FROM f", "may be NULL")


@pytest.mark.versions
def test_a_foreign_partition_promises_nothing(db, project):
    db.admin("CREATE FOREIGN DATA WRAPPER dummy;"
             "CREATE SERVER elsewhere FOREIGN DATA WRAPPER dummy;"
             "CREATE TABLE t (id int NOT NULL, tag int) "
             "PARTITION BY RANGE (tag);"
             "CREATE FOREIGN TABLE f PARTITION OF t DEFAULT SERVER elsewhere;"
             "GRANT SELECT ON t TO public")
    refuse_key(db, project, "id", "SELECT * FROM t", "may be NULL")


INHERITANCE = """
CREATE TABLE t (id int NOT NULL, tag int);
CREATE TABLE child () INHERITS (t);
CREATE TABLE grandchild () INHERITS (child);
"""


def allow_null(db, child):
    """From PostgreSQL 18 on, NOT NULL is inherited by all or by none."""
    db.execute(f"ALTER TABLE {child} ALTER id DROP NOT NULL"
               if db.cluster.version < 18 else
               "ALTER TABLE t ALTER id DROP NOT NULL;"
               "ALTER TABLE t ADD NOT NULL id NO INHERIT")


@pytest.mark.versions
def test_a_child_table_may_allow_null(db, project):
    db.execute(INHERITANCE)
    allow_null(db, "grandchild")
    db.execute("INSERT INTO grandchild VALUES (NULL, 1)")
    refuse_key(db, project, "id", "SELECT * FROM t", "may be NULL")


@pytest.mark.parametrize("table", ["t", "ONLY t"])
def test_a_table_with_children_has_a_key(db, project, table):
    db.execute(INHERITANCE + "INSERT INTO t VALUES (1, 1), (3, 3);"
               "INSERT INTO grandchild VALUES (2, 2)")
    if table != "t":
        allow_null(db, "child")
    run_and_compare(db, project, table, ["id"])


def test_a_null_that_slipped_past_the_proof(db, project):
    db.execute("CREATE TABLE t (k int UNIQUE NOT NULL, tag int);"
               "INSERT INTO t SELECT n, n FROM generate_series(1, 30) n")
    make_seen(db)
    project.script(script(["k"], "SELECT * FROM t", 7).replace(
        "config = {", "config = { allow_ddl = true,").replace("  migrate", """
      on_start = function(repo)
        repo:execute("ALTER TABLE t ALTER k DROP NOT NULL")
        repo:execute("INSERT INTO t VALUES (NULL, 99)")
      end,
      migrate"""))

    project.run().expect(FAILED, "NULL key", "SELECT * FROM (base query) AS q "
                                             "WHERE q.k IS NOT NULL")

    assert db.column("SELECT tag FROM seen") == []
    project.script(script(["k"], "SELECT * FROM (SELECT * FROM t) AS q "
                          "WHERE q.k IS NOT NULL", 7))
    assert project.run("--restart").expect(DONE).rows == 30


def test_a_query_that_is_too_deep_to_analyse(db, project):
    make_table(db, "t", "int8", 30)
    make_seen(db)
    deep = "SELECT * FROM t WHERE tag >= " + "(" * 800 + "0" + ")" * 800
    refuse_key(db, project, "k", deep, "base_query cannot be analysed",
               "Put the query into a view").refuse("may be NULL")

    db.execute(f"CREATE VIEW my_view AS {deep}")
    project.script(script(["k"], "SELECT * FROM my_view WHERE k IS NOT NULL",
                          7))
    project.run().expect(DONE)
    assert_seen(db, "t", ["k"])


# -- keys that would move --------------------------------------------------


MOVE = """
return {{
  config = {{ batch_size = 7, throttle_ms = 0, key = {key} }},
  base_query = "{query}",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("{table}", {{ {column} = row.{row} }},
                  {{ {column} = row.{row} + 1000 }})
    end
  end,
}}
"""
FAMILY = """
CREATE TABLE t (id int PRIMARY KEY, tag int);
CREATE TABLE b (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (t);
INSERT INTO t SELECT n, n FROM generate_series(1, 30) n;
INSERT INTO b SELECT n FROM generate_series(1, 30) n;
CREATE VIEW v AS SELECT id AS number, tag FROM t;
CREATE VIEW vv AS SELECT v.number AS nr, b.id AS b_id, v.tag
    FROM v JOIN b ON b.id = v.number;
"""


@pytest.mark.parametrize("query,key,table,column,row", [
    ("SELECT * FROM t", ["id"], "t", "id", "id"),
    ("SELECT * FROM t", ["id"], "child", "id", "id"),
    ("SELECT * FROM v WHERE number > 0", ["number"], "t", "id", "number"),
    ("SELECT * FROM v WHERE number > 0", ["number"], "v", "number", "number"),
    ("SELECT * FROM vv", ["nr"], "t", "id", "nr"),
    ("SELECT * FROM vv", ["nr"], "v", "number", "nr"),
    ("SELECT * FROM vv", ["b_id", "nr"], "t", "id", "nr"),
    ("SELECT * FROM vv", ["b_id", "nr"], "b", "id", "nr"),
])
def test_the_key_cannot_be_moved(db, project, query, key, table, column, row):
    db.execute(FAMILY)
    project.script(MOVE.format(query=query, key=lua_list(key), table=table,
                               column=column, row=row))
    project.run().expect(FAILED, f'column "{column}" of "{table}" belongs '
                         "to the key of the run")
    assert db.scalar("SELECT count(*) FROM t WHERE id <= 30") == 30


@pytest.mark.parametrize("query,key,table,column", [
    ("SELECT * FROM v WHERE number > 0", "number", "b", "id"),
    ("SELECT * FROM v WHERE number > 0", "number", "t", "tag"),
    ("SELECT * FROM child WHERE id IS NOT NULL", "id", "b", "id"),
])
def test_other_columns_can_be_changed(db, project, query, key, table, column):
    db.execute(FAMILY)
    project.script(MOVE.format(query=query, key=lua_list([key]), table=table,
                               column=column, row=key))
    project.run().expect(DONE)
