"""What is not combined, because somebody could tell. Each rule of
src/core/repo/shape_facts.c has a test here that the server fails when the rule is
gone."""

import pytest

from harness import statements
from harness.combining import NOISY, T, THREE, line, run
from harness.project import DONE, FAILED

DDL = ", allow_ddl = true"


# -- what is not -----------------------------------------------------------

KINDS = ["BEFORE {} ON {} FOR EACH ROW", "AFTER {} ON {} FOR EACH ROW",
         "BEFORE {} ON {} FOR EACH STATEMENT",
         "AFTER {} ON {} FOR EACH STATEMENT"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", THREE)
def test_a_trigger_keeps_its_own_verb_apart(run, verb, kind):
    assert run(T + NOISY + f"CREATE TRIGGER f {kind.format(verb, 't')} "
               "EXECUTE FUNCTION f()", """
  for i = 1, 3 do repo:update('t', {id = i}, {n = 7}) end
  for i = 11, 13 do repo:insert('t', {id = i, n = 7}) end
  for i = 1, 3 do repo:delete('t', {id = i}) end
""") == [f"{other} t" for other in THREE if other != verb]


@pytest.mark.parametrize("verb", THREE)
def test_always_overrides_triggers(run, verb):
    assert run(T + NOISY + f"CREATE TRIGGER f BEFORE {verb} ON t FOR EACH ROW "
               "EXECUTE FUNCTION f()", THREE[verb], '"always"') == [
        f"{verb} t"]


def test_a_disabled_trigger_does_not_matter(run):
    assert run(T + NOISY + """
        CREATE TRIGGER f BEFORE UPDATE ON t EXECUTE FUNCTION f();
        ALTER TABLE t DISABLE TRIGGER f""", THREE["UPDATE"]) == ["UPDATE t"]


def test_an_after_trigger_sees_no_later_row(db, run):
    assert run(T + """
        CREATE TABLE seen (nr int GENERATED ALWAYS AS IDENTITY, n int);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen (n) SELECT count(*) FROM t; RETURN NULL; END $$;
        CREATE TRIGGER f AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()
        """, THREE["INSERT"]) == []
    assert db.column("SELECT n FROM seen ORDER BY nr") == [10, 11, 12]


PARTED = """
    CREATE TABLE t (id int PRIMARY KEY, n int, s text) PARTITION BY RANGE (id);
    CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (100);
    INSERT INTO t SELECT i, 0 FROM generate_series(1, 9) i;"""
UNIQUE_N = T.replace("n int", "n int UNIQUE")
NOT_COMBINED = {
    "a trigger of a partition": (PARTED + NOISY + """
        CREATE TRIGGER f BEFORE UPDATE ON p FOR EACH ROW
        EXECUTE FUNCTION f()""", THREE["UPDATE"]),
    "a constraint trigger": (T + NOISY + """
        CREATE CONSTRAINT TRIGGER f AFTER INSERT ON t DEFERRABLE INITIALLY
        DEFERRED FOR EACH ROW EXECUTE FUNCTION f()""", THREE["INSERT"]),
    "a rule": (T + "CREATE RULE r AS ON UPDATE TO t DO ALSO NOTIFY x",
               THREE["UPDATE"]),
    "a rule of a partition": (
        PARTED + "CREATE RULE r AS ON DELETE TO p DO ALSO NOTIFY x",
        THREE["INSERT"]),
    "a view": (T.replace("TABLE t", "TABLE u").replace("INTO t", "INTO u")
               + "CREATE VIEW t AS SELECT * FROM u", THREE["INSERT"]),
    "row security": (T + "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
                     "CREATE POLICY p ON t USING (true)", THREE["UPDATE"]),
    "row security of a partition": (
        PARTED + "ALTER TABLE p ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON p USING (true)", THREE["UPDATE"]),
    "a parent": (T + "CREATE TABLE c () INHERITS (t);"
                 "INSERT INTO c SELECT * FROM t", THREE["INSERT"]),
    "a foreign key to itself": (
        T + "ALTER TABLE t ADD m int REFERENCES t", THREE["INSERT"]),
    "a foreign key to itself, delete": (
        T + "ALTER TABLE t ADD m int REFERENCES t ON DELETE CASCADE",
        THREE["DELETE"]),
    "a unique column": (UNIQUE_N, """
        for i = 1, 3 do repo:update('t', {id = i}, {n = 100 + i}) end"""),
    "a column of an exclusion constraint": (
        T + "ALTER TABLE t ADD EXCLUDE USING btree (n WITH =)", """
        for i = 1, 3 do repo:update('t', {id = i}, {n = 100 + i}) end"""),
    "a column in the condition of a unique index": (
        T + "CREATE UNIQUE INDEX ON t (s) WHERE n > 0", THREE["UPDATE"]),
    "a column in the expression of a unique index": (
        T + "CREATE UNIQUE INDEX ON t ((n * 100 + id))", THREE["UPDATE"]),
    "a change of the key": (T, """
        for i = 1, 3 do repo:update('t', {id = i}, {id = 100 + i}) end"""),
    "a key that is not unique": (T, """
        for i = 1, 3 do repo:update('t', {n = i}, {s = "x"}) end"""),
    "a delete by a key that is not unique": (T, """
        for i = 1, 3 do repo:delete('t', {n = i}) end"""),
    "a key that is unique in part": (
        T + "CREATE UNIQUE INDEX ON t (n) WHERE n > 0", """
        for i = 1, 3 do repo:delete('t', {n = i}) end"""),
    "half of a unique key": (T + "ALTER TABLE t ADD UNIQUE (n, s)", """
        for i = 1, 3 do repo:delete('t', {n = i}) end"""),
    "a key that is unique later": (
        T + "ALTER TABLE t ADD UNIQUE (n) DEFERRABLE", """
        for i = 1, 3 do repo:delete('t', {n = i}) end"""),
    "a key that is unique under another collation": (
        T + 'CREATE UNIQUE INDEX ON t (s COLLATE "POSIX")', """
        for i = 1, 3 do repo:delete('t', {s = "s" .. i}) end"""),
    "an overwritten unique column": (UNIQUE_N, """
        for i = 1, 3 do repo:insert('t', {id = i, n = 100 + i},
          {on_conflict = {columns = {"id"}, update = {"n"}}}) end"""),
    "a trigger on what is overwritten": (T + NOISY + """
        CREATE TRIGGER f BEFORE UPDATE ON t FOR EACH ROW
        EXECUTE FUNCTION f()""", """
        for i = 1, 3 do repo:insert('t', {id = i},
          {on_conflict = {columns = {"id"}, update = {"n"}}}) end"""),
    "a default for every column": (
        "CREATE TABLE t (id serial)",
        "for _ = 1, 3 do repo:insert('t', {}) end"),
}


@pytest.mark.parametrize("case, mode", [
    (case, mode) for case in NOT_COMBINED for mode in ["true", '"always"']
    if mode == "true" or "trigger" not in case])
def test_writes_with_visible_differences_are_not_combined(run, case, mode):
    schema, body = NOT_COMBINED[case]
    assert run(schema, body, mode) == []


def test_a_foreign_table_is_not_combined(db, run):
    db.admin("CREATE EXTENSION postgres_fdw")
    db.admin("CREATE SERVER me FOREIGN DATA WRAPPER postgres_fdw "
             f"OPTIONS (host '{db.cluster.dir}', dbname '{db.name}')")
    db.admin("CREATE USER MAPPING FOR app SERVER me "
             "OPTIONS (user 'app', password_required 'false')")
    db.admin("GRANT USAGE ON FOREIGN SERVER me TO app")
    schema = T.replace("TABLE t", "TABLE u").replace("INTO t", "INTO u")
    assert run(schema + "CREATE FOREIGN TABLE t (id int, n int) SERVER me "
               "OPTIONS (table_name 'u')", THREE["INSERT"]) == []
    assert db.scalar("SELECT count(*) FROM u") == 12


def test_a_foreign_partition_is_not_combined(db, run):
    db.admin("CREATE EXTENSION postgres_fdw")
    db.admin("CREATE SERVER me FOREIGN DATA WRAPPER postgres_fdw "
             f"OPTIONS (host '{db.cluster.dir}', dbname '{db.name}')")
    db.admin("CREATE USER MAPPING FOR app SERVER me "
             "OPTIONS (user 'app', password_required 'false')")
    db.admin("GRANT USAGE ON FOREIGN SERVER me TO app")
    assert run("""
        CREATE TABLE u (id int, n int);
        CREATE TABLE t (id int, n int) PARTITION BY RANGE (id);
        CREATE FOREIGN TABLE p PARTITION OF t FOR VALUES FROM (0) TO (100)
            SERVER me OPTIONS (table_name 'u')""", THREE["INSERT"]) == []
    assert db.scalar("SELECT count(*) FROM u") == 3


def test_a_type_without_an_array_type_is_not_combined(db, run):
    db.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
    db.admin("UPDATE pg_type SET typarray = 0 WHERE typname = 'mood'")
    assert run("CREATE TABLE t (id int PRIMARY KEY, m mood)", """
  for i = 1, 3 do repo:insert("t", {id = i, m = "bad"}) end
""") == []
    assert db.scalar("SELECT count(*) FROM t WHERE m = 'bad'") == 3


def test_columns_that_a_unique_index_does_not_hold_are_combined(run):
    assert run(UNIQUE_N, """
  for i = 1, 3 do repo:update('t', {id = i}, {s = "x"}) end
  for i = 4, 6 do repo:update('t', {n = i}, {s = "x"}) end
""") == ["UPDATE t", "UPDATE t"]


def test_a_shift_through_a_unique_column_fails_or_not_by_its_order(db, run):
    run(UNIQUE_N, """
  for i = 9, 1, -1 do repo:update('t', {id = i}, {n = i + 1}) end
""")
    assert db.column("SELECT n FROM t ORDER BY id") == list(range(2, 11))
    run("", """
  for i = 1, 9 do
    repo:update('t', {id = i}, {n = i + 2})
  end
""", code=FAILED, words=["23505", line(2)])


ORDER_MATTERS = {
    "a unique generated column": """
        CREATE TABLE t (id int PRIMARY KEY, n int,
            g int GENERATED ALWAYS AS (n * 2) STORED UNIQUE);""",
    "a unique index of a partition": """
        CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (1000);
        CREATE UNIQUE INDEX ON p (n);""",
}


@pytest.mark.parametrize("case", ORDER_MATTERS)
def test_a_shift_through_what_is_unique_elsewhere(run, case):
    """The rows lie in the table in the order in which the shift would pass."""
    assert run(ORDER_MATTERS[case] + """
        INSERT INTO t SELECT i, i FROM generate_series(100, 1, -1) i;
        ANALYZE t""", """
  repo:update("t", {id = 1}, {n = 2})
  repo:update("t", {id = 2}, {n = -3})
  repo:update("t", {id = 3}, {n = -4})
""", code=FAILED, words=["23505", line(1)]) == []


SELF_REFERENCES = {
    "of a partition's parent": ("p", """
        CREATE TABLE t (id int PRIMARY KEY, n int REFERENCES t)
            PARTITION BY RANGE (id);
        CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (100)"""),
    "of a partition to its parent": ("t", """
        CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (100);
        ALTER TABLE p ADD FOREIGN KEY (n) REFERENCES t"""),
}


@pytest.mark.parametrize("case", SELF_REFERENCES)
def test_a_foreign_key_within_a_partitioned_table(run, case):
    table, schema = SELF_REFERENCES[case]
    run(schema, f"""
  repo:insert("{table}", {{id = 1, n = 2}})
  repo:insert("{table}", {{id = 2, n = 1}})
""", code=FAILED, words=["23503", line(1)])


CASCADES = """
    CREATE TABLE a (id int PRIMARY KEY, b int);
    CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
    """


def test_a_cascade_that_comes_back(run):
    run(CASCADES + """
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b ON DELETE CASCADE;
        INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1);
        UPDATE a SET b = 1 WHERE id = 2""", """
  repo:delete("a", {id = 1})
  repo:delete("a", {id = 2})
""", code=FAILED, words=["P0002", "id = 2", line(2)])


def test_a_cascade_into_what_is_still_referenced(run):
    run(CASCADES + """
        CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b,
            a int REFERENCES a ON DELETE CASCADE);
        INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1);
        INSERT INTO c VALUES (1, 1, 2)""", """
  repo:delete("a", {id = 1})
  repo:delete("a", {id = 2})
""", code=FAILED, words=["23503", "c_b_fkey", line(1)])


def test_a_cascade_into_a_table_with_a_trigger(db, run):
    run(CASCADES + """
        CREATE TABLE seen (nr int GENERATED ALWAYS AS IDENTITY, n int);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen (n) SELECT count(*) FROM a; RETURN NULL; END $$;
        CREATE TRIGGER f AFTER DELETE ON b FOR EACH ROW EXECUTE FUNCTION f();
        INSERT INTO a VALUES (1), (2), (3); INSERT INTO b SELECT id, id FROM a
        """, """
  repo:delete("a", {id = 1})
  repo:delete("a", {id = 2})
""")
    assert db.column("SELECT n FROM seen ORDER BY nr") == [2, 1]


def test_a_check_that_reads_its_own_table(run):
    run("""CREATE TABLE t (id int PRIMARY KEY);
        CREATE FUNCTION few() RETURNS bool LANGUAGE sql STABLE AS
            'SELECT count(*) < 2 FROM t';
        ALTER TABLE t ADD CHECK (few())""", """
  for i = 1, 4 do repo:insert("t", {id = i}) end
""", code=FAILED, words=["23514", line(1)])


def test_a_default_that_reads_its_own_table(db, run):
    run("""CREATE TABLE t (id int PRIMARY KEY, n int);
        CREATE FUNCTION next() RETURNS int LANGUAGE sql STABLE AS
            'SELECT coalesce(max(n), 0) + 1 FROM t';
        ALTER TABLE t ALTER n SET DEFAULT next()""", """
  for i = 1, 4 do repo:insert("t", {id = i}) end
""")
    assert db.column("SELECT n FROM t ORDER BY id") == [1, 2, 3, 4]


def test_an_index_with_an_equality_of_its_own_proves_nothing(run):
    run("""CREATE EXTENSION citext; CREATE TABLE t (e citext, n int);
        CREATE UNIQUE INDEX ON t (e text_ops);
        INSERT INTO t VALUES ('a', 0), ('A', 0)""", """
  repo:update("t", {e = "a"}, {n = 1})
  repo:update("t", {e = "A"}, {n = 2})
""", code=FAILED, words=["P0003", line(1)])


def test_functions_of_the_users_do_not_get_in_the_way(db, run):
    assert run("""CREATE TABLE t (id int PRIMARY KEY);
        CREATE FUNCTION unnest(int[]) RETURNS SETOF int LANGUAGE sql AS
            'SELECT i + 100 FROM pg_catalog.unnest($1) i'""", """
  repo:insert("t", {id = 1})
  repo:insert("t", {id = 2})
""") == ["INSERT t"]
    assert db.column("SELECT id FROM t ORDER BY id") == [1, 2]


# -- what changes meanwhile --------------------------------------------------

WATCHED = """
    CREATE TABLE {0}t (id int PRIMARY KEY, n int);
    CREATE TABLE {0}seen (nr int GENERATED ALWAYS AS IDENTITY, n int);
    CREATE FUNCTION {0}f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO {0}seen (n) SELECT count(*) FROM {0}t; RETURN NULL; END $$;
    """
WATCH = ("CREATE TRIGGER f AFTER INSERT ON {0}t FOR EACH ROW "
         "EXECUTE FUNCTION {0}f()")


@pytest.mark.parametrize("set_path", [
    'repo:execute("SET LOCAL search_path = " .. schema)',
    'repo:query("SELECT set_config(\'search_path\', $1, true)", schema)'])
def test_a_name_may_come_to_mean_another_table(db, run, set_path):
    run("CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (id int);"
        + WATCHED.format("b.") + WATCH.format("b."), f"""
  for _, schema in ipairs {{ "a", "b" }} do
    {set_path}
    for i = 1, 3 do repo:insert("t", {{id = i}}) end
  end
""")
    assert db.column("SELECT n FROM b.seen ORDER BY nr") == [1, 2, 3]


def test_a_trigger_made_by_the_script_counts(db, run):
    run(WATCHED.format(""), f"""
  for i = 1, 3 do repo:insert("t", {{id = i}}) end
  repo:execute("{WATCH.format('')}")
  for i = 4, 6 do repo:insert("t", {{id = i}}) end
""", config=DDL)
    assert db.column("SELECT n FROM seen ORDER BY nr") == [4, 5, 6]


def test_a_trigger_dropped_in_a_savepoint_that_failed_counts(db, run):
    run(WATCHED.format("") + WATCH.format(""), """
  repo:savepoint(function()
    repo:execute("DROP TRIGGER f ON t")
    repo:insert("t", {id = 1})
    error("no")
  end)
  for i = 4, 6 do repo:insert("t", {id = i}) end
""", config=DDL)
    assert db.column("SELECT n FROM seen ORDER BY nr") == [1, 2, 3]


def test_an_index_dropped_by_the_script_proves_nothing(run):
    run("""CREATE TABLE t (id int, n int); CREATE UNIQUE INDEX x ON t (id);
        INSERT INTO t VALUES (1, 1), (2, 2)""", """
  repo:update("t", {id = 1}, {n = 1})
  repo:execute("DROP INDEX x")
  repo:execute("INSERT INTO t VALUES (1, 7)")
  repo:update("t", {id = 1}, {n = 2})
  repo:update("t", {id = 1}, {n = 3})
""", code=FAILED, words=["P0003", line(4)], config=DDL)


def test_a_trigger_made_by_others_during_the_run_counts(db, project):
    db.execute(WATCHED.format("") + "CREATE TABLE d (id int PRIMARY KEY);"
               "INSERT INTO d SELECT generate_series(1, 6)")
    project.script("""return {
      config = { batch_size = 3, throttle_ms = 0 },
      base_query = "SELECT id FROM d",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do repo:insert("t", { id = row.id }) end
      end }""")
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    db.execute(WATCH.format(""))
    runner.thaw()
    runner.wait().expect(DONE)
    assert db.column("SELECT n FROM seen ORDER BY nr") == [4, 5, 6]


TABLE = """CREATE TABLE t (id text PRIMARY KEY, n int, s varchar(9));
    INSERT INTO t (id) SELECT 'k' || n FROM generate_series(1, 30) n;"""
PARTED_TABLE = """CREATE TABLE t (id text PRIMARY KEY, n int, s varchar(9))
    PARTITION BY LIST (id);
    CREATE TABLE rest PARTITION OF t DEFAULT;
    INSERT INTO t (id) SELECT 'k' || n FROM generate_series(1, 30) n;"""
FIRE = NOISY + "CREATE TRIGGER f BEFORE UPDATE ON {} FOR EACH ROW " \
    "EXECUTE FUNCTION f();"
# What they had done before, and what they do.
OTHERS_DO = {
    "a unique index": (TABLE, "CREATE UNIQUE INDEX ON t (n)"),
    "an index that is dropped": (TABLE, "ALTER TABLE t DROP CONSTRAINT t_pkey"),
    "row security": (TABLE, "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
                     "CREATE POLICY p ON t USING (true)"),
    "a rule": (TABLE, "CREATE RULE r AS ON UPDATE TO t DO ALSO NOTIFY x"),
    "a child": (TABLE, "CREATE TABLE c () INHERITS (t)"),
    "a foreign key to itself": (
        TABLE, "ALTER TABLE t ADD FOREIGN KEY (s) REFERENCES t"),
    "a volatile default": (TABLE, """CREATE FUNCTION f() RETURNS int
        LANGUAGE sql VOLATILE AS 'SELECT count(*)::int FROM t';
        ALTER TABLE t ALTER n SET DEFAULT f()"""),
    "a volatile check": (TABLE, """CREATE FUNCTION f(int) RETURNS bool
        LANGUAGE sql VOLATILE AS 'SELECT true'; ALTER TABLE t ADD CHECK (f(n))
        """),
    "a trigger": (TABLE, FIRE.format("t")),
    "a trigger that is enabled": (
        TABLE + FIRE.format("t") + "ALTER TABLE t DISABLE TRIGGER f",
        "ALTER TABLE t ENABLE TRIGGER f"),
    "a second trigger": (
        TABLE + FIRE.format("t").replace("UPDATE", "DELETE"),
        "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW "
        "EXECUTE FUNCTION f()"),
    "a trigger of a partition": (PARTED_TABLE, FIRE.format("rest")),
    "a partition": (
        PARTED_TABLE + "CREATE TABLE p (LIKE t);" + FIRE.format("p"),
        "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN ('x')"),
    "another table of the name": (TABLE, """ALTER TABLE t RENAME TO old;
        CREATE VIEW t AS SELECT * FROM old"""),
    "a table before it in the path": (
        TABLE + "CREATE SCHEMA app AUTHORIZATION app",
        "CREATE VIEW app.t AS SELECT * FROM public.t"),
}
# After these, writes are still combined.
THAT_CHANGE_NOTHING = {
    "another equality": (TABLE, "CREATE EXTENSION IF NOT EXISTS citext;"
                         "ALTER TABLE t ALTER id TYPE citext"),
    "a longer column": (TABLE, "ALTER TABLE t ALTER s TYPE varchar(99)"),
    "statistics": (TABLE, "ANALYZE t"),
}
EARLY_OR_LATE = pytest.mark.parametrize("after", [
    pytest.param(1, id="early"),
    pytest.param(10, id="late", marks=pytest.mark.versions)])


def update_in_batches(db, project, schema, batches):
    """A script that updates t in batches of two."""
    statements.record(db)
    db.execute(schema)
    db.execute("CREATE TABLE d (id int PRIMARY KEY); "
               f"INSERT INTO d SELECT generate_series(1, {2 * batches})")
    project.script("""return {
      config = { batch_size = 2, throttle_ms = 0 },
      base_query = "SELECT id FROM d",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = "k" .. row.id }, { n = row.id })
        end
      end }""")


def update_while(db, project, others, after):
    """Others do something after one of the batches, which is the last but one.
    Returns how many updates were combined."""
    schema, sql = others
    update_in_batches(db, project, schema, after + 1)
    runner = project.start_run(fault=f"after_commit:{after}=stop")
    runner.wait_frozen()
    db.execute(sql)
    runner.thaw()
    runner.wait().expect(DONE)
    assert db.column("SELECT n FROM t WHERE n > 0 ORDER BY n") == list(
        range(1, 2 * after + 3))
    return len(statements.combined(db))


@EARLY_OR_LATE
@pytest.mark.parametrize("case", OTHERS_DO)
def test_what_others_do_to_the_table_during_the_run_counts(db, project, case,
                                                           after):
    """After it, writes are one by one."""
    assert update_while(db, project, OTHERS_DO[case], after) == after


@EARLY_OR_LATE
@pytest.mark.parametrize("case", THAT_CHANGE_NOTHING)
def test_others_may_do_what_does_not_matter(db, project, case, after):
    assert update_while(db, project, THAT_CHANGE_NOTHING[case],
                        after) == after + 1


def test_little_is_asked_about_a_table_that_stays_the_same(db, project):
    update_in_batches(db, project, TABLE, 14)
    project.run().expect(DONE)
    asked = statements.of(db)
    assert sum(sql.startswith("WITH RECURSIVE t AS") for sql in asked) == 1
    assert 2 <= sum(sql.startswith("SELECT v.count") for sql in asked) <= 8
