"""Which writes are combined, and that nobody can tell.

What the server executed is in its log: a combined statement there is one that
begins with WITH written AS. Each rule of src/core/repo/shape_facts.c has a test here that
the server fails when the rule is gone.
"""

import re
import signal
import statistics
import time

import pytest

from harness import plans, statements
from harness.project import DONE, FAILED
from harness.proxy import TO_CLIENT, TO_SERVER

SCRIPT = """
local luamig = require "luamig"
return {{ config = {{ combine = {combine}{config} }}, run = function(repo, run)
  local function say(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    run.log(table.concat(words, " "))
  end
{body}
end }}
"""
DDL = ", allow_ddl = true"
FIRST_LINE = 9  # of the body, in scripts/x.lua


@pytest.fixture
def run(db, project):
    """Runs a one-shot over a schema; returns the statements that were
    combined."""
    statements.record(db)

    def run_it(schema, body, combine="true", code=DONE, words=(), config=""):
        if schema:
            db.execute(schema)
        before = len(statements.combined(db))
        project.script(SCRIPT.format(body=body.lstrip("\n"), combine=combine,
                                     config=config))
        run_it.result = project.run("--again").expect(code, *words)
        run_it.said = re.findall(r"^luamig: script: (.*)", run_it.result.err,
                                 re.M)
        return statements.combined(db)[before:]
    return run_it


def line(number):
    """How an error names a line of the body, the first being 1."""
    return f"at: scripts/x.lua:{FIRST_LINE - 1 + number}\n"


# -- what is combined ------------------------------------------------------

T = """CREATE TABLE t (id int PRIMARY KEY, n int, s text);
       INSERT INTO t SELECT i, i, 's' || i FROM generate_series(1, 9) i;"""
THREE = {
    "UPDATE": "for i = 1, 3 do repo:update('t', {id = i}, {n = 7}) end",
    "INSERT": "for i = 11, 13 do repo:insert('t', {id = i, n = 7}) end",
    "DELETE": "for i = 1, 3 do repo:delete('t', {id = i}) end",
}


@pytest.mark.parametrize("verb", THREE)
def test_writes_of_one_shape_become_one_statement(db, run, verb):
    assert run(T, THREE[verb]) == [f"{verb} t"]
    assert db.column("SELECT id FROM t WHERE n = 7 AND id <> 7") == (
        [] if verb == "DELETE" else [1, 2, 3] if verb == "UPDATE"
        else [11, 12, 13])
    assert db.scalar("SELECT count(*) FROM t") == {
        "UPDATE": 9, "INSERT": 12, "DELETE": 6}[verb]


@pytest.mark.parametrize("verb", THREE)
def test_combine_false_combines_nothing(db, run, verb):
    assert run(T, THREE[verb], combine="false") == []
    assert len([s for s in statements.of(db) if s.startswith(verb)
                and '"t"' in s]) == 3


def test_a_single_write_stays_what_it_is(run):
    assert run(T, "repo:update('t', {id = 1}, {n = 2})") == []


def test_rows_that_may_be_missing(db, run):
    assert run(T, """
  for i = 8, 11 do repo:update('t', {id = i}, {n = 2}, {missing = "ignore"}) end
  for i = 7, 11, 2 do repo:delete('t', {id = i}, {missing = "ignore"}) end
""") == ["UPDATE t", "DELETE t"]
    assert db.rows("SELECT id, n FROM t WHERE id > 6") == [(8, 2)]


def test_rows_that_may_be_there(db, run):
    assert run(T, """
  for i = 8, 11 do
    repo:insert('t', {id = i, n = 2}, {on_conflict = "nothing"})
  end
  for i = 8, 12 do
    repo:insert('t', {id = i, n = 3, s = "x" .. i},
      {on_conflict = {columns = {"id"}, update = {"s"}}})
  end
""") == ["INSERT t", "INSERT t"]
    assert db.rows("SELECT * FROM t WHERE id > 7 ORDER BY id") == [
        (8, 8, "x8"), (9, 9, "x9"), (10, 2, "x10"), (11, 2, "x11"),
        (12, 3, "x12")]


def test_what_each_of_them_did_is_told(db, run):
    run(T, """
  local handles = {}
  local function tell()
    local all = {}
    for i, handle in ipairs(handles) do all[i] = handle.affected end
    say(table.concat(all, " "))
    handles = {}
  end
  for i = 8, 11 do
    handles[#handles + 1] = repo:update('t', {id = i}, {n = 2},
      {missing = "ignore"})
  end
  tell()
  for i = 8, 11 do
    handles[#handles + 1] = repo:insert('t', {id = i},
      {on_conflict = "nothing"})
  end
  tell()
  for i = 10, 12 do
    handles[#handles + 1] = repo:delete('t', {id = i}, {missing = "ignore"})
  end
  tell()
""")
    assert run.said[-3:] == ["1 1 0 0", "0 0 1 1", "1 1 0"]


@pytest.mark.parametrize("kind", ["citext", "text COLLATE nocase", "numeric"])
def test_one_row_under_two_names_does_not_pass_for_a_missing_one(db, run, kind):
    """The second write to the row must be the one that stays."""
    one, same = ("1", "1.0") if kind == "numeric" else ("a", "A")
    run(f"""CREATE EXTENSION citext;
        CREATE COLLATION nocase (provider = icu, deterministic = false,
            locale = 'und-u-ks-level2');
        CREATE TABLE t (k {kind} PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('2', 0)""", f"""
  local ignore = {{missing = "ignore"}}
  repo:update("t", {{k = "{one}"}}, {{n = 1}}, ignore)
  repo:update("t", {{k = "3"}}, {{n = 2}}, ignore)
  repo:update("t", {{k = "{same}"}}, {{n = 3}}, ignore)
  local overwrite = {{on_conflict = {{columns = {{"k"}}, update = {{"n"}}}}}}
  repo:insert("t", {{k = "4", n = 4}}, overwrite)
  repo:insert("t", {{k = "2", n = 5}}, overwrite)
  repo:insert("t", {{k = "4{".0" if kind == "numeric" else ""}", n = 6}},
    overwrite)
""")
    assert db.column("SELECT n FROM t ORDER BY n") == [3, 5, 6]


@pytest.mark.parametrize("call", [
    "repo:update('t', {id = i}, {n = n})",
    "repo:update('t', {id = i}, {n = n}, {missing = 'ignore'})",
    """repo:insert('t', {id = i, n = n},
         {on_conflict = {columns = {'id'}, update = {'n'}}})"""])
def test_a_key_that_comes_again_begins_another_statement(db, run, call):
    assert len(run(T, f"""
  for n = 1, 3 do
    for i = 1, 3 do {call} end
  end
""")) == 3
    assert db.column("SELECT n FROM t WHERE id < 4") == [3, 3, 3]


def test_columns_that_an_index_only_includes(run):
    assert run("""CREATE TABLE t (id int, n int, s text,
            PRIMARY KEY (id) INCLUDE (n));
        INSERT INTO t SELECT i, i FROM generate_series(1, 9) i""", """
  for i = 1, 3 do repo:update('t', {id = i}, {s = "x"}) end
  for i = 1, 3 do repo:delete('t', {id = i}) end
""") == ["UPDATE t", "DELETE t"]


def test_a_composite_key(db, run):
    assert run("""
        CREATE TABLE t (a int, b text, n int, PRIMARY KEY (b, a));
        INSERT INTO t SELECT i % 3, 'x' || i % 2, 0 FROM generate_series(0, 5) i
        """, """
  repo:update("t", {a = 0, b = "x0"}, {n = 1})
  repo:update("t", {a = 0, b = "x1"}, {n = 2})
  repo:update("t", {a = 2, b = "x0"}, {n = 3})
  repo:delete("t", {a = 1, b = "x1"})
  repo:delete("t", {a = 2, b = "x1"})
""") == ["UPDATE t", "DELETE t"]
    assert db.rows("SELECT a, b, n FROM t ORDER BY 1, 2") == [
        (0, "x0", 1), (0, "x1", 2), (1, "x0", 0), (2, "x0", 3)]


def test_a_partitioned_table(db, run):
    assert run("""
        CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (100);
        INSERT INTO t SELECT i, 0 FROM generate_series(1, 9) i""",
        "".join(THREE.values()).replace("end", "end ")
               .replace("for i = 1, 3 do repo:delete",
                        "for i = 4, 6 do repo:delete")) == [
        "UPDATE t", "INSERT t", "DELETE t"]
    assert db.rows("SELECT id, n FROM t ORDER BY id") == [
        (1, 7), (2, 7), (3, 7), (7, 0), (8, 0), (9, 0), (11, 7), (12, 7),
        (13, 7)]


def test_a_key_longer_than_what_is_unique(run):
    assert run(T, """
  repo:update("t", {id = 1, s = "s1"}, {n = 1})
  repo:update("t", {id = 2, s = "s2"}, {n = 1})
""") == ["UPDATE t"]


def test_a_quoted_name_in_a_schema(db, run):
    assert run("""CREATE SCHEMA "S x"; CREATE TABLE "S x"."T ""y" (
        "id ""1" int PRIMARY KEY, "select" text)""", """
  for i = 1, 3 do
    repo:insert('"S x"."T ""y"', {['id "1'] = i, ["select"] = "v" .. i})
  end
  for i = 1, 3 do
    repo:update('"S x"."T ""y"', {['id "1'] = i}, {["select"] = "w" .. i})
  end
""") == ['INSERT S x.T y', 'UPDATE S x.T y']
    assert db.column('SELECT "select" FROM "S x"."T ""y" ORDER BY 1') == [
        "w1", "w2", "w3"]


def test_who_may_only_insert_can_insert(run, db):
    assert run("CREATE TABLE t (id int);"
               "REVOKE SELECT, UPDATE ON t FROM app", """
  repo:insert("t", {id = 1})
  repo:insert("t", {id = 2})
""") == ["INSERT t"]


# -- what is not -----------------------------------------------------------

NOISY = """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;"""
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
def test_what_could_be_noticed_is_not_combined(run, case, mode):
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


OTHERS_DO = {
    "a unique index": "CREATE UNIQUE INDEX ON t (n)",
    "an index that is dropped": "ALTER TABLE t DROP CONSTRAINT t_pkey",
    "row security": "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
                    "CREATE POLICY p ON t USING (true)",
    "a rule": "CREATE RULE r AS ON UPDATE TO t DO ALSO NOTIFY x",
    "a child": "CREATE TABLE c () INHERITS (t)",
    "a foreign key to itself": "ALTER TABLE t ADD FOREIGN KEY (s) REFERENCES t",
    "a volatile default": """CREATE FUNCTION f() RETURNS int LANGUAGE sql
        VOLATILE AS 'SELECT count(*)::int FROM t';
        ALTER TABLE t ALTER n SET DEFAULT f()""",
    "a volatile check": """CREATE FUNCTION f(int) RETURNS bool LANGUAGE sql
        VOLATILE AS 'SELECT true'; ALTER TABLE t ADD CHECK (f(n))""",
    "another equality": "CREATE EXTENSION IF NOT EXISTS citext;"
                        "ALTER TABLE t ALTER id TYPE citext",
    "another table of the name": """ALTER TABLE t RENAME TO old;
        CREATE VIEW t AS SELECT * FROM old""",
}


@pytest.mark.parametrize("case", OTHERS_DO)
def test_what_others_do_to_the_table_during_the_run_counts(db, project, case):
    """After it, writes are one by one; or, under another equality, still what
    they were."""
    statements.record(db)
    db.execute("""CREATE TABLE t (id text PRIMARY KEY, n int, s text);
        INSERT INTO t (id) VALUES ('a'), ('b'), ('c'), ('d'), ('e'), ('f');
        CREATE TABLE d (id int PRIMARY KEY);
        INSERT INTO d SELECT generate_series(1, 6)""")
    project.script("""return {
      config = { batch_size = 3, throttle_ms = 0 },
      base_query = "SELECT id FROM d",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = ("abcdef"):sub(row.id, row.id) },
            { n = row.id })
        end
      end }""")
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    db.execute(OTHERS_DO[case])
    runner.thaw()
    runner.wait().expect(DONE)
    assert db.column("SELECT n FROM t ORDER BY id") == [1, 2, 3, 4, 5, 6]
    assert statements.combined(db) == ["UPDATE t"] * (
        2 if case == "another equality" else 1)


# -- values ----------------------------------------------------------------

TEXTS = ["NULL", "null", "", " ", "{", "}", "{}", '"', '\\"', "\\", "\\\\",
         "a,b", "a;b", "(1,2)", "it's", "$1", "%s", "\n", "é😀", " x ",
         "\t", "'';--"]
KINDS_OF_VALUES = {
    "text": TEXTS,
    "varchar": TEXTS,
    "varchar(3)": ["abc", "", "é😀ü"],
    "char(4)": ["abcd", "ab", ""],
    "char": ["x", ""],
    '"char"': ["x", ""],
    "name": ["a name", ""],
    "citext": ["Abc", "NULL"],
    "numeric(6,2)": ["1.005", "-9999.99", "0.125"],
    "numeric": ["0.10", "NaN", "1e30", "12345678901234567890.123456789"],
    "bit(3)": ["101"],
    "varbit(5)": ["1", "10101"],
    "box": ["(2,2),(1,1)", "(1.5,1),(0,0)"],
    "point": ["(1,2)"],
    "mood": ["happy", "so so", "a,b", '"q"', "NULL"],
    "posint": ["1", "42"],
    "short": ["abc", "NULL"],
    "pair": ['(1,"a,b")', '(,"")', "(,)", r'(2,"\"\\")'],
    "int4range": ["[1,5)", "empty", "(,)"],
    "jsonb": ['{"a": [1, null, "\\"x\\\\"]}', "null", '"{}"'],
    "json": ['{ "b":1,  "a" : [] }', "null"],
    "xml": ["<a b='1'>x</a>"],
    "timestamptz(0)": ["2024-01-01 00:00:00.6+00", "infinity"],
    "timestamp(3)": ["2024-01-01 00:00:00.123456"],
    "interval day to minute": ["1 day 02:03:04"],
    "date": ["0044-03-15 BC", "infinity"],
    "inet": ["::1"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "money": ["12.34", "-1234567.89"],
    "tsvector": ["'it''s':1 b:2A"],
    "regclass": ["pg_class"],
}
TYPES = """CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('happy', 'so so', 'a,b', '"q"', 'NULL');
    CREATE DOMAIN posint AS text CHECK (VALUE::int > 0);
    CREATE DOMAIN short AS varchar(4);
    CREATE TYPE pair AS (a int, b text);"""


def quoted(text):
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'


@pytest.mark.parametrize("kind", KINDS_OF_VALUES)
def test_values_are_what_they_would_be_one_by_one(db, run, kind):
    """Inserted and updated, combined and one by one; always with a NULL.
    unnest makes several columns of a composite type, so that one may stay
    uncombined."""
    values = KINDS_OF_VALUES[kind]
    listed = ", ".join(quoted(value) for value in values + values[:1])
    body = f"""
  local values = {{ {listed} }}
  if {str(kind.startswith("json")).lower()} then
    for i, value in ipairs(values) do values[i] = luamig.json(value) end
  end
  for _, prefix in ipairs {{ "a", "b" }} do
    for i, value in ipairs(values) do
      repo:insert(prefix .. "i", {{id = i, v = value}})
    end
    repo:insert(prefix .. "i", {{id = 1000, v = luamig.NULL}})
    for i, value in ipairs(values) do
      repo:update(prefix .. "u", {{id = i}}, {{v = value}})
    end
    repo:update(prefix .. "u", {{id = 1000}}, {{v = luamig.NULL}})
  end
"""
    schema = TYPES + NOISY
    for prefix in "ab":
        schema += (f"CREATE TABLE {prefix}i (id int PRIMARY KEY, v {kind});"
                   f"CREATE TABLE {prefix}u (id int PRIMARY KEY, v {kind});"
                   f"INSERT INTO {prefix}u SELECT "
                   f"generate_series(1, {len(values) + 1});"
                   f"INSERT INTO {prefix}u VALUES (1000);")
    for table, verb in (("bi", "INSERT"), ("bu", "UPDATE")):
        schema += (f"CREATE TRIGGER f AFTER {verb} ON {table} "
                   "EXECUTE FUNCTION f();")
    combined = run(schema, body)
    assert kind == "pair" or combined == ["INSERT ai", "UPDATE au"]
    expected = db.rows("SELECT id, v::text FROM bi ORDER BY id")
    assert len(expected) == len(values) + 2
    for table in ("ai", "au", "bu"):
        assert db.rows(f"SELECT id, v::text FROM {table} "
                       "ORDER BY id") == expected, table


ARRAYS = {
    "int[]": ["{1, 2, 3}", "luamig.array{}", "{{1, 2}, {3, 4}}",
              "{1, luamig.NULL}", "luamig.NULL"],
    "text[]": ["{'a', 'NULL', '{}', '\"', 'b,c'}", "{luamig.NULL}"],
    "char(3)[]": ["{'abc', 'de '}"],
    "varchar(4)[]": ["{'abcd'}"],
    "numeric(5,2)[]": ["{luamig.decimal('1.25')}"],
    "ints": ["{1, 2}"],
    "box[]": ["{'(2,2),(1,1)', '(3,3),(0,0)'}"],
    "jsonb[]": ["{luamig.json('{\"a\": [1]}'), luamig.json('null')}"],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_combined_and_are_what_they_would_be(db, run, kind):
    values = ARRAYS[kind] + ARRAYS[kind][:1]
    schema = f"""CREATE DOMAIN ints AS int[];
        CREATE TABLE t (id int PRIMARY KEY, a {kind});
        INSERT INTO t SELECT generate_series(1, 9)"""
    calls = "".join(f"""
  repo:update("t", {{id = {i}}}, {{a = {value}}})""" for i, value in enumerate(
        values, 1)) + "".join(f"""
  repo:insert("t", {{id = {i}, a = {value}}})""" for i, value in enumerate(
            values, 11))
    read = "SELECT id, a::text FROM t WHERE id <> 9 ORDER BY id"
    run(schema, calls, combine="false")
    alone = db.rows(read)
    db.execute("DROP TABLE t; DROP DOMAIN ints")
    assert run(schema, calls) == ["UPDATE t", "INSERT t"]
    assert db.rows(read) == alone


def test_numbers_booleans_and_bytes(db, run):
    assert run("""CREATE TABLE t (id int8 PRIMARY KEY, b bool, f float8,
        r real, n numeric, y bytea)""", r"""
  repo:insert("t", {id = 1, b = true, f = 0.1, r = 0.1, n = 0.1, y = "\0\"\\"})
  repo:insert("t", {id = math.mininteger, b = false, f = -0.0, r = 1/0,
                    n = 12345678901234567, y = ""})
  repo:insert("t", {id = math.maxinteger, b = false, f = -1/0, r = 1e-45,
                    n = 1e300, y = "\xff,{}"})
""") == ["INSERT t"]
    assert db.rows("SELECT id, b, f::text, r::text, n::text, y::text FROM t "
                   "ORDER BY id") == [
        (-2**63, False, "-0", "Infinity", "12345678901234567", "\\x"),
        (1, True, "0.1", "0.1", "0.1", "\\x00225c"),
        (2**63 - 1, False, "-Infinity", "1e-45", "1" + "0" * 300,
         "\\xff2c7b7d")]


KEYS = {
    "text": TEXTS, "citext": ["a", "B", "NULL"], "char(3)": ["a", "bc", "def"],
    "varchar(5)": ["a", "NULL"], "mood": ["happy", "a,b", "NULL"],
    "short": ["a", "NULL"], "numeric(5,2)": ["1.50", "2"],
    "date": ["2024-01-01", "infinity"], "int4range": ["[1,2)", "empty"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_many_types(db, run, kind):
    values = KEYS[kind]
    listed = ", ".join(quoted(value) for value in values)
    combined = run(TYPES + f"CREATE TABLE t (k {kind} PRIMARY KEY, n int)", f"""
  local keys = {{ {listed} }}
  for i, k in ipairs(keys) do repo:insert("t", {{k = k, n = 0}}) end
  for i, k in ipairs(keys) do repo:update("t", {{k = k}}, {{n = i}}) end
""")
    assert combined == (["INSERT t", "UPDATE t"] if len(values) > 1 else [])
    assert db.column("SELECT n FROM t ORDER BY n") == list(
        range(1, len(values) + 1))


# -- keys ------------------------------------------------------------------


def test_the_last_write_to_a_key_wins(db, run):
    run(T, """
  for n = 1, 3 do
    for i = 1, 3 do repo:update("t", {id = i}, {n = n * 10 + i}) end
  end
""")
    assert db.column("SELECT n FROM t WHERE id <= 3 ORDER BY id") == [
        31, 32, 33]


@pytest.mark.parametrize("kind", ["citext", 'text COLLATE nocase', "char(3)",
                                  "numeric"])
def test_keys_are_equal_when_the_server_says_so(db, run, kind):
    one, same = {"char(3)": ("a", "a "), "numeric": ("1", "1.0")}.get(
        kind, ("a", "A"))
    run(f"""CREATE EXTENSION citext;
        CREATE COLLATION nocase (provider = icu, deterministic = false,
            locale = 'und-u-ks-level2');
        CREATE TABLE t (k {kind} PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('2', 0)""", f"""
  repo:update("t", {{k = "{one}"}}, {{n = 1}})
  repo:update("t", {{k = "2"}}, {{n = 2}})
  repo:update("t", {{k = "{same}"}}, {{n = 3}})
""")
    assert db.column("SELECT n FROM t ORDER BY n") == [2, 3]


def test_a_row_deleted_twice_is_missing_the_second_time(run):
    run(T, """
  repo:delete("t", {id = 1})
  repo:delete("t", {id = 2})
  repo:delete("t", {id = 1})
""", code=FAILED, words=["P0002", "id = 1", line(3)])


# -- order -----------------------------------------------------------------


def test_order_is_kept_across_shapes_tables_and_sql(db, run):
    assert run(T + "CREATE TABLE u (id int PRIMARY KEY, n int);", """
  for i = 1, 3 do repo:update("t", {id = i}, {n = 10}) end
  repo:execute("UPDATE t SET n = n + 1 WHERE id <= 3")
  for i = 1, 3 do repo:update("t", {id = i}, {s = "x"}) end
  for i = 1, 2 do repo:insert("u", {id = i, n = 1}) end
  repo:execute("INSERT INTO u SELECT id + 10, n FROM t WHERE id <= 2")
  for i = 1, 3 do repo:delete("t", {id = i}) end
  repo:insert("t", {id = 1, n = 5})
  repo:insert("t", {id = 2, n = 5})
  repo:update_all("t", {n = 6}, "n = $1", 5)
  for i = 1, 2 do repo:update("t", {id = i}, {n = 7}) end
  for i = 1, 2 do repo:delete("u", {id = i}) end
""") == ["UPDATE t", "UPDATE t", "INSERT u", "DELETE t", "INSERT t",
         "UPDATE t", "DELETE u"]
    assert db.rows("SELECT id, n, s FROM t WHERE id < 5 ORDER BY id") == [
        (1, 7, None), (2, 7, None), (4, 4, "s4")]
    assert db.rows("SELECT id, n FROM u ORDER BY id") == [(11, 11), (12, 11)]


IN_TURN = """
  for i = 1, 5 do
    repo:insert("a", {id = i})
    repo:insert("b", {id = i})
  end"""
NO_LINK = {
    "nothing": "CREATE TABLE a (id int); CREATE TABLE b (id int)",
    "one parent": """CREATE TABLE p (id int PRIMARY KEY);
        INSERT INTO p SELECT generate_series(1, 9);
        CREATE TABLE a (id int REFERENCES p);
        CREATE TABLE b (id int REFERENCES p)""",
    "a number each": """CREATE TABLE a (id int, nr serial);
        CREATE TABLE b (id int, nr int GENERATED ALWAYS AS IDENTITY)""",
    "a trigger for others": """CREATE TABLE a (id int); CREATE TABLE b (id int);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
            RETURN NULL; END';
        CREATE TRIGGER f AFTER DELETE ON a EXECUTE FUNCTION f()""",
}
LINK = {
    "a foreign key": """CREATE TABLE a (id int PRIMARY KEY);
        CREATE TABLE b (id int REFERENCES a)""",
    "a foreign key of partitions": """
        CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (100);
        CREATE TABLE b (id int REFERENCES a) PARTITION BY RANGE (id);
        CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (100)""",
    "a sequence": """CREATE SEQUENCE s;
        CREATE TABLE a (id int, nr int DEFAULT nextval('s'));
        CREATE TABLE b (id int, nr int DEFAULT nextval('s'))""",
}


@pytest.mark.parametrize("case", NO_LINK)
def test_tables_without_a_link_are_written_side_by_side(db, run, case):
    assert run(NO_LINK[case], IN_TURN) == ["INSERT a", "INSERT b"]
    for table in "ab":
        assert db.column(f"SELECT id FROM {table} ORDER BY id") == [
            1, 2, 3, 4, 5]


@pytest.mark.parametrize("case", LINK)
def test_linked_tables_are_written_in_turn(db, run, case):
    assert run(LINK[case], IN_TURN) == []
    assert db.column("SELECT id FROM b ORDER BY id") == [1, 2, 3, 4, 5]
    if case == "a sequence":
        assert db.rows("SELECT a.nr, b.nr FROM a JOIN b USING (id)"
                       " ORDER BY id") == [
            (2 * i - 1, 2 * i) for i in range(1, 6)]


def test_a_trigger_may_touch_any_table(db, run):
    assert run("""CREATE TABLE a (id int); CREATE TABLE b (id int, n int);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
            NEW.n := (SELECT count(*) FROM a); RETURN NEW; END';
        CREATE TRIGGER f BEFORE INSERT ON b FOR EACH ROW
        EXECUTE FUNCTION f()""", IN_TURN, combine='"always"') == []
    assert db.rows("SELECT id, n FROM b ORDER BY id") == [
        (i, i) for i in range(1, 6)]


def test_many_tables_side_by_side(db, run):
    """More than there is room for."""
    run("".join(f"CREATE TABLE t{i} (id int, n int);" for i in range(20)), """
  for i = 1, 10 do
    for t = 0, 19 do repo:insert("t" .. t, {id = i, n = t}) end
  end
""")
    for i in range(20):
        assert db.rows(f"SELECT count(*), sum(id), min(n) FROM t{i}") == [
            (10, 55, i)]


def test_parents_come_before_children(db, run):
    run("""CREATE TABLE a (id int PRIMARY KEY);
        CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a)""", """
  for i = 1, 20 do
    repo:insert("a", {id = i})
    repo:insert("b", {id = i, a = i})
  end
  for i = 1, 20 do repo:delete("b", {id = i}) end
  for i = 1, 20 do repo:delete("a", {id = i}) end
""")
    assert db.scalar("SELECT count(*) FROM a") == 0


def test_reads_see_what_was_written_before(run):
    run(T, """
  for i = 1, 3 do repo:update("t", {id = i}, {n = 100}) end
  say(repo:scalar("SELECT count(*) FROM t WHERE n = 100"))
  for i = 1, 3 do repo:insert("t", {id = 20 + i, n = 100}) end
  say(#repo:query("SELECT * FROM t WHERE n = 100"))
  for i = 1, 2 do repo:delete("t", {id = i}) end
  say(repo:one("SELECT count(*) AS c FROM t WHERE n = 100").c)
  for i = 3, 4 do repo:update("t", {id = i}, {n = 200}) end
  say(repo:update_all("t", {s = "z"}, "n = $1", 200).affected)
""")
    assert run.said == ["3", "6", "4", "2"]


def test_handles_count_each_its_own_row(run):
    run(T, """
  local handles = {}
  for i = 1, 3 do handles[i] = repo:update("t", {id = i}, {n = 0}) end
  say(handles[2].affected, handles[3].affected, handles[1].affected)
  for i = 1, 3 do handles[i] = repo:delete("t", {id = i}) end
  say(handles[1].affected, handles[3].affected)
  say(repo:insert_all("t", {{id = 1}, {id = 2}, {id = 3, n = 1}}).affected)
""")
    assert run.said == ["1 1 1", "1 1", "3"]


def test_savepoints_see_and_undo_what_was_written(db, run):
    run(T, """
  for i = 1, 3 do repo:update("t", {id = i}, {n = 100}) end
  say(repo:savepoint(function()
    for i = 1, 3 do repo:update("t", {id = i}, {n = 200}) end
    error("no", 0)
  end))
  say(repo:savepoint(function()
    for i = 3, 4 do repo:update("t", {id = i}, {s = "kept"}) end
    return "fine"
  end))
  for i = 4, 5 do repo:update("t", {id = i}, {n = 300}) end
""")
    assert run.said == ["false no", "true fine"]
    assert db.rows("SELECT n, s FROM t WHERE id < 6 ORDER BY id") == [
        (100, "s1"), (100, "s2"), (100, "kept"), (300, "kept"), (300, "s5")]


@pytest.mark.parametrize("numbers", [
    "serial", "int GENERATED ALWAYS AS IDENTITY",
    "int GENERATED BY DEFAULT AS IDENTITY"])
def test_inserts_are_numbered_in_the_order_of_the_calls(db, run, numbers):
    assert run(f"CREATE TABLE t (nr {numbers}, n int, s text UNIQUE)", """
  for i = 1, 2000 do
    local n = (i * 7919) % 2003
    repo:insert("t", {n = n, s = ("%x"):format(n * 104729)})
  end
""") == ["INSERT t"] * 3
    assert db.rows("SELECT nr, n FROM t ORDER BY nr") == [
        (i, i * 7919 % 2003) for i in range(1, 2001)]


NUMBERED = {
    "an identity and its sequence": """
        CREATE TABLE a (id int, nr int GENERATED ALWAYS AS IDENTITY);
        CREATE TABLE b (id int, nr int DEFAULT nextval('a_nr_seq'))""",
    "an identity and its last number": """
        CREATE TABLE a (id int, nr int GENERATED ALWAYS AS IDENTITY);
        CREATE TABLE b (id int, nr int DEFAULT currval('a_nr_seq'))""",
    "a sequence by its text": """CREATE SEQUENCE s;
        CREATE TABLE a (id int, nr int DEFAULT nextval('s'::text));
        CREATE TABLE b (id int, nr int DEFAULT nextval('s'::text))""",
    "a domain's default": """CREATE SEQUENCE s;
        CREATE DOMAIN d AS int DEFAULT nextval('s');
        CREATE TABLE a (id int, nr d); CREATE TABLE b (id int, nr d)""",
    "whatever came last": """CREATE TABLE a (id int, nr serial);
        CREATE TABLE b (id int, nr int DEFAULT lastval())""",
}


@pytest.mark.parametrize("case", NUMBERED)
def test_numbers_are_given_in_the_order_of_the_calls(db, run, case):
    run(NUMBERED[case], IN_TURN)
    last = "last" in case
    assert db.rows("SELECT a.nr, b.nr FROM a JOIN b USING (id) ORDER BY id") == [
        (i, i) if last else (2 * i - 1, 2 * i) for i in range(1, 6)]


def test_a_key_that_comes_again_after_a_full_group(db, run):
    """The room for keys is given back with a large group."""
    run(T.replace("9", "900"), """
  for i = 1, 128 do repo:update("t", {id = i}, {n = 7}) end
  for n = 8, 9 do repo:update("t", {id = 1}, {n = n}) end
  for i = 1, 700 do repo:update("t", {id = i}, {s = "x"}) end
""")
    assert db.rows("SELECT count(*), sum(n) FROM t WHERE n IN (7, 9)"
                   " AND id < 129 AND s = 'x'") == [(128, 127 * 7 + 9)]


# -- errors ----------------------------------------------------------------


def test_a_missing_row_is_named(db, run):
    combined = run(T, """
  repo:update("t", {id = 1}, {n = 0})
  repo:update("t", {id = 2}, {n = 0})
  repo:update("t", {id = 99}, {n = 0})
  repo:update("t", {id = 3}, {n = 0})
""", code=FAILED, words=["P0002", 'update of "t"', "id = 99", line(3)])
    assert combined == ["UPDATE t"]
    assert db.scalar("SELECT sum(n) FROM t") == 45


BAD = {
    "a check": ("23514", "t_n_check", """
  repo:update("t", {id = 1}, {n = 1})
  repo:update("t", {id = 2}, {n = -1})
  repo:update("t", {id = 3}, {n = 3})"""),
    "a foreign key": ("23503", "t_p_fkey", """
  repo:insert("t", {id = 21, p = 1})
  repo:insert("t", {id = 22, p = 2})
  repo:insert("t", {id = 23, p = 1})"""),
    "a unique key": ("23505", "t_pkey", """
  repo:insert("t", {id = 21})
  repo:insert("t", {id = 1})
  repo:insert("t", {id = 23})"""),
    "not null": ("23502", "", """
  repo:update("t", {id = 1}, {s = "x"})
  repo:update("t", {id = 2}, {s = luamig.NULL})
  repo:update("t", {id = 3}, {s = "x"})"""),
    "too long": ("22001", "", """
  repo:update("t", {id = 1}, {s = "x"})
  repo:update("t", {id = 2}, {s = "too long"})
  repo:update("t", {id = 3}, {s = "x"})"""),
    "a domain": ("23514", "posint_check", """
  repo:update("t", {id = 1}, {d = 1})
  repo:update("t", {id = 2}, {d = 0})
  repo:update("t", {id = 3}, {d = 1})"""),
    "no such text": ("22P02", "", """
  repo:update("t", {id = 1}, {u = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"})
  repo:update("t", {id = 2}, {u = "no uuid"})
  repo:update("t", {id = 3}, {u = luamig.NULL})"""),
    "an overflow": ("22003", "", """
  repo:update("t", {id = 1}, {m = "1"})
  repo:update("t", {id = 2}, {m = "1000"})
  repo:update("t", {id = 3}, {m = "1"})"""),
    "a referenced row": ("23503", "c_t_fkey", """
  repo:delete("t", {id = 1})
  repo:delete("t", {id = 5})
  repo:delete("t", {id = 2})"""),
    "too large for an index": ("54000", "", """
  repo:insert("t", {id = 21, s = "x", l = "y"})
  repo:insert("t", {id = 22, s = "x", l = ("y"):rep(4000)})
  repo:insert("t", {id = 23, s = "x", l = "z"})"""),
    "a missing row": ("P0002", "", """
  repo:delete("t", {id = 1})
  repo:delete("t", {id = 98})
  repo:delete("t", {id = 2})"""),
}
ARRAYS_REFUSED = {"a domain", "no such text"}  # before they are executed
BAD_SCHEMA = """CREATE DOMAIN posint AS int CHECK (VALUE > 0);
    CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1);
    CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n >= 0), p int REFERENCES p,
        s varchar(5) NOT NULL DEFAULT '', d posint, u uuid, m numeric(3,1),
        l text);
    ALTER TABLE t ALTER l SET STORAGE PLAIN;
    CREATE INDEX ON t (l);
    INSERT INTO t SELECT generate_series(1, 9);
    CREATE TABLE c (t int REFERENCES t); INSERT INTO c VALUES (5);
    CREATE TABLE log (nr int GENERATED ALWAYS AS IDENTITY, line text);"""


@pytest.mark.parametrize("end", ["", "repo:query('SELECT 1')",
                                 "error('mine')", "local h = nil + 1"])
@pytest.mark.parametrize("case", BAD)
def test_an_error_in_a_group_names_its_row(db, run, case, end):
    state, constraint, body = BAD[case]
    combined = run(BAD_SCHEMA, f"{body}\n  {end}\n", code=FAILED,
                   words=[state, line(2)])
    assert len(combined) == (case not in ARRAYS_REFUSED)
    if constraint:
        assert f"constraint: {constraint}" in run.result.err
    assert "written" not in run.result.err
    assert db.scalar("SELECT count(*) FROM t") == 9


@pytest.mark.parametrize("case", [case for case in BAD
                                  if BAD[case][0] != "54000"])
def test_a_savepoint_catches_an_error_in_a_group(db, run, case):
    state, constraint, body = BAD[case]
    combined = run(BAD_SCHEMA, f"""
  local ok, err = repo:savepoint(function(){body}
  end)
  say(ok, err.sqlstate, err.where, err.constraint)
  for i = 7, 9 do repo:update("t", {{id = i}}, {{n = 70}}) end
""")
    assert len(combined) == (case not in ARRAYS_REFUSED)
    at = f"scripts/x.lua:{FIRST_LINE + 2}"
    assert run.said == [f"false {state} {at} {constraint or 'nil'}"]
    assert db.column("SELECT id FROM t WHERE n = 70 ORDER BY id") == [7, 8, 9]
    assert db.scalar("SELECT count(*) FROM t") == 9


@pytest.mark.parametrize("case", BAD)
def test_an_error_that_is_swallowed_fails_the_batch(db, run, case):
    state, _, body = BAD[case]
    run(BAD_SCHEMA, f"""
  pcall(function(){body}
    repo:query("SELECT 1")
  end)
  say(pcall(repo.query, repo, "SELECT 1"))
  pcall(repo.insert, repo, "log", {{line = "x"}})
""", code=FAILED, words=[state])
    assert f"at: scripts/x.lua:{FIRST_LINE + 2}\n" in run.result.err
    assert all(said.startswith("false ") and "transaction has failed" in said
               for said in run.said)
    assert db.scalar("SELECT count(*) FROM log") == 0
    assert db.scalar("SELECT count(*) FROM t") == 9


def test_the_first_of_two_errors_is_the_one(run):
    """The missing row comes first, whoever notices what first."""
    run(T + "CREATE TABLE u (id int PRIMARY KEY)", """
  for i = 11, 12 do repo:insert("u", {id = i}) end
  repo:update("t", {id = 1}, {n = 0})
  local ok, err = repo:savepoint(function()
    repo:update("t", {id = 99}, {n = 0})
    repo:insert("u", {id = 1})
    repo:insert("u", {id = 1})
  end)
  say(ok, err.sqlstate)
""")
    assert run.said == ["false P0002"]


def test_the_first_error_is_the_one_whatever_was_sent_first(run):
    """The group on "t" waits while "b" and "a" are written in turn."""
    schema = T + """CREATE TABLE a (id int PRIMARY KEY);
        CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"""
    run(schema, """
  repo:update("t", {id = 1}, {n = 1})
  repo:update("t", {id = 99}, {n = 1})
  repo:insert("a", {id = 1})
  repo:update("b", {id = 77}, {a = 1})
  repo:insert("a", {id = 2})
""", code=FAILED, words=["P0002", "id = 99", line(2)])


@pytest.mark.parametrize("combine", ["true", "false"])
def test_a_missing_row_noticed_while_more_is_on_its_way(run, combine):
    """What follows the missing row fails as well, and both answers are there
    before the savepoint ends."""
    run(T + "CREATE TABLE u (id int PRIMARY KEY, s text)", """
  repo:update("t", {id = 1}, {n = 0})
  repo:execute("UPDATE u SET s = $1 WHERE id = $2", "a", 7)
  repo:execute("INSERT INTO u (id) VALUES ($1)", 10)
  local ok, err = repo:savepoint(function()
    repo:update("t", {id = 99}, {n = 0})
    repo:execute("INSERT INTO u (id) VALUES ($1)", 10)
    for i = 1, 20 do
      repo:execute("UPDATE u SET s = $1 WHERE id = $2", ("x"):rep(1000000), i)
    end
  end)
  say(ok, err.sqlstate)
""", combine=combine)
    assert run.said == ["false P0002"]


def test_a_savepoint_drops_the_group_that_was_open_when_it_failed(db, run):
    """The look-up of a new shape hears of the error while a group is open."""
    run("""CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2);
        CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        INSERT INTO b VALUES (1, 1);
        CREATE TABLE u (id int PRIMARY KEY, n int); INSERT INTO u VALUES (1)
        """, """
  local ok, err = repo:savepoint(function()
    repo:delete("a", {id = 1})
    repo:insert("u", {id = 2})
    repo:update("u", {id = 1}, {n = 1})
  end)
  say(ok, err.sqlstate, err.where)
  repo:insert("u", {id = 3})
""")
    assert run.said == [f"false 23503 scripts/x.lua:{FIRST_LINE + 1}"]
    assert db.rows("SELECT id, n FROM u ORDER BY id") == [(1, None), (3, None)]


@pytest.mark.parametrize("calls", [1, 3])
def test_a_statement_that_the_server_refuses_names_its_line(run, calls):
    body = ("  repo:insert('t', {id = 1, g = 2})\n" * calls
            + "  repo:insert('u', {id = 1})\n" * 2)
    run("""CREATE TABLE t (id int PRIMARY KEY,
            g int GENERATED ALWAYS AS (id) STORED);
        CREATE TABLE u (id int)""", body, code=FAILED,
        words=["428C9", line(1)])


def test_a_group_takes_no_longer_than_its_rows(db, run):
    """statement_timeout is meant for one write, not for many."""
    run("""CREATE TABLE t (id int PRIMARY KEY);
        CREATE FUNCTION slow() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_sleep(0.2); RETURN true; END $$;
        ALTER TABLE t ADD CHECK (slow())""", """
  for i = 1, 8 do repo:insert("t", {id = i}) end
""", config=", statement_timeout_ms = 1000")
    assert db.scalar("SELECT count(*) FROM t") == 8


def test_the_next_batch_is_combined_again(db, project):
    statements.record(db)
    db.execute(T)
    project.script("""return {
      config = { batch_size = 3, throttle_ms = 0 },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        repo:savepoint(function()
          for _, row in ipairs(rows) do
            repo:update("t", { id = row.id == 2 and 99 or row.id }, { n = 0 })
          end
        end)
      end }""")
    project.run().expect(DONE)
    assert len(statements.combined(db)) == 3
    assert db.column("SELECT n FROM t ORDER BY id") == [1, 2, 3] + [0] * 6


CLIENT_SIDE = {
    "an unknown column": ("", """
  repo:insert("t", {id = 1})
  repo:update("t", {id = 1}, {nn = 1})"""),
    "a refused statement": ("", """
  repo:insert("t", {id = 1})
  repo:execute("COMMIT")"""),
}


@pytest.mark.parametrize("case", CLIENT_SIDE)
def test_an_error_of_the_script_does_not_overtake_one_of_the_data(run, case):
    more, body = CLIENT_SIDE[case]
    run(T + more, body, code=FAILED, words=["23505", line(1)])
    assert run("", f"""
  say(repo:savepoint(function() {body.strip()} end))""", words=["false"]) == []


AT_COMMIT = {
    "a lone row": ("""CREATE TABLE a (id int PRIMARY KEY);
        CREATE TABLE b (id int PRIMARY KEY)""", """
  repo:insert("a", {id = 1})
  repo:insert("b", {id = 1})
  repo:scalar("SELECT 1")
  repo:insert("b", {id = 1})
  repo:insert("a", {id = 1})""", "b_pkey"),
    "deferred constraints": ("""CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE a (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE b (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED)""",
        """
  repo:insert("a", {p = luamig.NULL})
  repo:insert("b", {p = 7})
  repo:insert("a", {p = 8})
  repo:insert("b", {p = 7})""", "b_p_fkey"),
}


@pytest.mark.parametrize("case", AT_COMMIT)
def test_the_first_error_is_the_one_also_at_commit(run, case):
    schema, body, constraint = AT_COMMIT[case]
    run(schema, body, code=FAILED, words=[constraint])


def test_a_finalizer_that_adds_to_the_table_being_read(run):
    run("CREATE TABLE t (id int PRIMARY KEY)", """
  local current
  local function arm()
    setmetatable({}, {__gc = function()
      if current then
        for i = 1, 6000 do rawset(current, "y" .. i, i) end
      end
      arm()
    end})
  end
  arm()
  collectgarbage("generational")
  for i = 1, 400 do
    current = {}
    for n = 1, 2000 do current["x" .. n] = n end
    local row = current
    pcall(repo.update, repo, "t", {id = i}, row)
    current = nil
  end
""", code=FAILED, words=["42703"])


# -- what could be taken for something else --------------------------------

LENGTHS = {
    "numeric": ("numeric(6,2)", "1.50", "2.50", "1.501", "2.499"),
    "timestamp": ("timestamp(0)", "2024-01-01 00:00:01",
                  "2024-01-01 00:00:03", "2024-01-01 00:00:01.4",
                  "2024-01-01 00:00:02.6"),
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_a_key_is_not_rounded_to_the_length_of_its_domain(db, run, kind):
    base, one, two, near_one, near_two = LENGTHS[kind]
    run(f"""CREATE DOMAIN d AS {base}; CREATE TABLE t (k d PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('{two}', 0)""", f"""
  repo:delete("t", {{k = "{near_one}"}}, {{missing = "ignore"}})
  repo:delete("t", {{k = "{near_two}"}}, {{missing = "ignore"}})
  repo:update("t", {{k = "{one}"}}, {{n = 1}})
  repo:update("t", {{k = "{two}"}}, {{n = 1}})
""")
    assert db.column("SELECT n FROM t") == [1, 1]


def test_a_name_that_the_server_cuts_is_the_same_name(run):
    name = "n" * 70
    assert run(f"""CREATE TABLE t (id int PRIMARY KEY, {name} int UNIQUE);
        INSERT INTO t SELECT i, i FROM generate_series(1, 3) i""", f"""
  for i = 3, 1, -1 do repo:update("t", {{id = i}}, {{{name} = i + 1}}) end
""") == []


@pytest.mark.parametrize("base, value, state", [
    ("varchar(4)[]", "abcdefgh", "22001"), ("bit(3)[]", "10101", "22026")])
def test_a_domain_over_an_array_does_not_cut(run, base, value, state):
    run(f"CREATE DOMAIN d AS {base}; CREATE TABLE t (id int, v d)", f"""
  for i = 1, 2 do repo:insert("t", {{id = i, v = {{"{value}"}}}}) end
""", code=FAILED, words=[state])


def test_a_cast_of_the_users_is_not_an_input_function(db, run):
    db.admin("""CREATE TYPE pair AS (a int, b text);
        CREATE FUNCTION mkp(text) RETURNS pair LANGUAGE sql AS
            'SELECT ROW(42, $1)::pair';
        CREATE CAST (text AS pair) WITH FUNCTION mkp(text)""")
    run("CREATE TABLE t (id int, v pair)", """
  for i = 1, 2 do repo:insert("t", {id = i, v = "(1,x)"}) end
""")
    assert db.column("SELECT v::text FROM t") == ["(1,x)", "(1,x)"]


KEY_TYPES = {"regclass": ("pg_class", "pg_type"), "cidr": ("10.1", "10.2")}


@pytest.mark.parametrize("kind", KEY_TYPES)
@pytest.mark.parametrize("combine", ["true", "false"])
def test_a_key_is_what_the_server_takes_it_for(run, kind, combine):
    """It compares these as values of another type, which refuses the text."""
    one, two = KEY_TYPES[kind]
    run(f"""CREATE TABLE t (k {kind} PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('{two}', 0)""", f"""
  repo:update("t", {{k = "{one}"}}, {{n = 1}})
  repo:update("t", {{k = "{two}"}}, {{n = 1}})
""", combine=combine, code=FAILED)


COUNTING = """CREATE FUNCTION few(int) RETURNS bool LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN (SELECT count(*) < 2 FROM t); END';"""
HIDDEN = {
    "a domain's check": COUNTING + """
        CREATE DOMAIN d AS int CHECK (few(VALUE)); CREATE TABLE t (id d)""",
    "an operator": COUNTING.replace("(int)", "(int, int)") + """
        CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = few);
        CREATE TABLE t (id int, CHECK (id ### id))""",
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_function_behind_something_else_that_reads_the_table(run, case):
    run(HIDDEN[case], "for i = 1, 4 do repo:insert('t', {id = i}) end",
        code=FAILED, words=["23514"])


def test_a_type_that_others_widen_is_wide_at_once(db, project):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT generate_series(1, 6)""")
    project.script("""return {
      config = { batch_size = 3, throttle_ms = 0 },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for i, row in ipairs(rows) do
          local n = row.id > 3 and 3000000000 or 1
          repo:update("t", { id = row.id }, { n = n })
          repo:query("SELECT 1")
        end
      end }""")
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    db.execute("ALTER TABLE t ALTER n TYPE bigint")
    runner.thaw()
    runner.wait().expect(DONE)
    assert db.scalar("SELECT sum(n) FROM t") == 9000000003


# -- size ------------------------------------------------------------------


def test_a_large_group_is_sent_on(db, project, run):
    """10,000 rows of 1 kB: more statements, not more memory."""
    project.env["ASAN_OPTIONS"] = "exitcode=99:quarantine_size_mb=1"
    peak = []
    for count in (2000, 10_000):
        before = len(statements.combined(db))
        run("CREATE TABLE t (id int PRIMARY KEY, s text)" if not before
            else "TRUNCATE t", f"""
  local value = ("x"):rep(1000)
  for i = 1, {count} do repo:insert("t", {{id = i, s = value}}) end
  local status = io.open("/proc/self/status")
  say(status:read("a"):match("VmHWM:%s*(%d+)"))
  status:close()
""")
        peak.append(int(run.said[0]))
        sent = len(statements.combined(db)) - before
        assert count // 1000 <= sent <= count // 1000 + 2
        assert db.scalar("SELECT count(*) FROM t WHERE length(s) = 1000") == (
            count)
    assert peak[1] - peak[0] < 6 * 1024, peak


def test_a_statement_grows_with_each_that_was_sent(run):
    """The server has something to do from early on, and few statements."""
    assert run("CREATE TABLE t (id int PRIMARY KEY)", """
  for i = 1, 10000 do repo:insert("t", {id = i}) end
""") == ["INSERT t"] * 4


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
@pytest.mark.parametrize("batch", [10, 10_000])
def test_the_index_is_used_at_every_batch_size(db, project, verb, batch):
    db.execute("""CREATE TABLE t (id bigint PRIMARY KEY, n int);
        INSERT INTO t SELECT i, 0 FROM generate_series(1, 30000) i;
        ANALYZE t""")
    plans.record(db)
    project.script(f"""return {{
      config = {{ batch_size = {batch}, throttle_ms = 0 }},
      base_query = "SELECT id FROM t WHERE id <= {2 * batch}",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          if "{verb}" == "UPDATE" then
            repo:update("t", {{ id = row.id }}, {{ n = 1 }})
          else
            repo:delete("t", {{ id = row.id }})
          end
        end
      end }}""")
    project.run().expect(DONE)
    found = plans.of_combined(db)
    assert len(found) == (2 if batch == 10 else 8)
    for plan in found:
        kinds = {node["Node Type"] for node in plans.nodes(plan)
                 if node.get("Relation Name") == "t"
                 and node["Node Type"] != "ModifyTable"}
        assert kinds <= {"Index Scan", "Index Only Scan"} and kinds, kinds


def test_a_batch_takes_two_round_trips(db, project, proxy):
    """Counted where they pass: each time that the client sends after it was
    answered. A slow answer lets it send all that it does not wait for."""
    db.execute(T.replace("9", "900") + "CREATE TABLE u (id int, n int)")
    heard = []

    def listen(direction, data, passed):
        if direction == TO_CLIENT:
            time.sleep(0.01)
        heard.append((direction, b"COMMIT" in data))

    proxy.rule = listen
    project.script("""return {
      config = { batch_size = 100, throttle_ms = 0 },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = row.id })
          repo:insert("u", { id = row.id, n = 0 })
        end
      end }""")
    url = db.cluster.url(db.name, host=proxy.host)
    project.start_run(url=url).wait().expect(DONE)
    trips, counts = 0, []
    for before, (direction, commits) in zip([(TO_CLIENT, False)] + heard,
                                            heard):
        trips += direction == TO_SERVER and before[0] == TO_CLIENT
        if commits and direction == TO_SERVER:
            counts.append(trips)
            trips = 0
    assert statistics.mode(counts) == 2, counts


# -- exactly once ----------------------------------------------------------

POINTS = ["after_page", "after_migrate", "after_flush", "before_commit",
          "after_commit_sent", "after_commit"]


@pytest.mark.parametrize("point", POINTS)
def test_increments_survive_a_kill_at_every_step(db, project, point):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT i, i FROM generate_series(1, 500) i;
        CREATE TABLE audit (id int, n int)""")
    statements.record(db)
    project.script("""return {
      config = { batch_size = 100, throttle_ms = 0 },
      base_query = "SELECT id, n FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = row.n + 10 })
        end
        for _, row in ipairs(rows) do
          repo:insert("audit", { id = row.id, n = row.n })
        end
      end }""")
    for _ in range(12):
        runner = project.start_run(fault=f"{point}:2=kill")
        if runner.process.wait(60) != -signal.SIGKILL:
            break
    project.run().expect(DONE)
    assert db.rows("SELECT id, n FROM t WHERE n <> id + 10") == []
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM audit") == [
        (500, 500)]
    combined = statements.combined(db)
    assert combined.count("UPDATE t") >= 5
    assert combined.count("INSERT audit") >= 5
