"""luamig.add and luamig.column: computed by the server, combined or not, and
nobody can tell the difference; and what an insert returns."""

import pytest

from harness import statements
from harness.combining import T, line, run
from harness.project import DONE, FAILED


def test_each_call_counts_in_its_order(db, run):
    assert run(T, """
  for n = 1, 3 do
    for i = 1, 3 do repo:update('t', {id = i}, {n = luamig.add(n)}) end
  end
  for i = 4, 9 do
    repo:update('t', {id = i}, {s = luamig.column "n", n = luamig.add(10 * i)})
  end
""") == ["UPDATE t"] * 4
    assert db.column("SELECT n FROM t ORDER BY id") == [
        7, 8, 9, 44, 55, 66, 77, 88, 99]
    assert db.column("SELECT s FROM t WHERE id > 3 ORDER BY id") == [
        "4", "5", "6", "7", "8", "9"]


def test_a_line_may_compute_in_another_way_each_time(db, run):
    run(T, """
  local ways = { function(i) return luamig.add(i) end,
    function() return luamig.column "id" end, function(i) return 100 * i end,
    function() return luamig.column "n" end, function() return luamig.NULL end }
  for round = 1, 2 do
    for i = 1, 9 do
      repo:update('t', {id = i}, {n = ways[(i - 1) % 5 + 1](i)})
    end
  end
""")
    assert db.rows("SELECT id, n FROM t ORDER BY id") == [
        (1, 3), (2, 2), (3, 300), (4, 4), (5, None), (6, 18), (7, 7),
        (8, 800), (9, 9)]


@pytest.mark.versions
@pytest.mark.parametrize("kind", ["citext", "text COLLATE nocase", "numeric"])
def test_one_row_under_two_names_gets_both_numbers(db, run, kind):
    one, same = ("1", "1.0") if kind == "numeric" else ("a", "A")
    run(f"""CREATE EXTENSION citext;
        CREATE COLLATION nocase (provider = icu, deterministic = false,
            locale = 'und-u-ks-level2');
        CREATE TABLE t (k {kind} PRIMARY KEY, n int);
        INSERT INTO t VALUES ('{one}', 0), ('2', 0)""", f"""
  for _, opts in ipairs {{ {{}}, {{ missing = "ignore" }} }} do
    repo:update("t", {{k = "{one}"}}, {{n = luamig.add(1)}}, opts)
    repo:update("t", {{k = "2"}}, {{n = luamig.add(10)}}, opts)
    repo:update("t", {{k = "{same}"}}, {{n = luamig.add(100)}}, opts)
  end
""")
    assert db.column("SELECT n FROM t ORDER BY n") == [20, 202]


DOMAINS = """
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN cents AS numeric(8,2);"""
KINDS = """
    CREATE TABLE {name} (id int PRIMARY KEY, p positive, c cents, m numeric(6,2),
        s smallint, f real, d double precision, b bigint, "a ""b" text,
        x text[], y text[], q bigint);
    INSERT INTO {name} SELECT i, 10 * i, i, i, i, i / 10.0, i / 10.0, i, 'a',
        array['x', NULL], array['y'], NULL FROM generate_series(1, 6) i;"""
CHANGES = """
  for _, name in ipairs { "plain", "uncombined" } do
    for i = 1, 6 do
      repo:update(name, { id = i }, {
        p = luamig.add(-5), c = luamig.add(luamig.decimal "0.005"),
        m = luamig.add(luamig.decimal "0.005"), s = luamig.add(-i),
        f = luamig.add(0.2), d = luamig.add(0.2), b = luamig.add(1 << 40),
        ['a "b'] = luamig.column "id", x = luamig.column "y",
        y = luamig.column "x", q = luamig.column "b" })
    end
    repo:update_all(name, { p = luamig.add(-1), ['a "b'] = luamig.column "x" },
      "id > $1 AND p < $2", 2, 50)
  end
"""


@pytest.mark.versions
def test_combined_or_not_the_values_are_the_same(db, run):
    """The second table has a trigger, so its updates are not combined."""
    db.admin(f'ALTER DATABASE "{db.name}"'
             " SET search_path = bad, public, pg_catalog")
    combined = run(
        DOMAINS + KINDS.format(name="plain") +
        KINDS.format(name="uncombined") + """
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER g BEFORE UPDATE ON uncombined
            FOR EACH ROW EXECUTE FUNCTION f();
        CREATE FUNCTION wrong(int, int) RETURNS int LANGUAGE sql
            AS 'SELECT 0 * $1 * $2';
        CREATE SCHEMA bad;
        CREATE OPERATOR bad.+ (leftarg = int, rightarg = int,
            function = wrong)""", CHANGES)
    assert combined == ["UPDATE plain"]
    assert db.rows("TABLE public.plain EXCEPT TABLE public.uncombined") == []
    assert db.rows("SELECT p, c::text, m::text, s, q, y::text, x::text"
                   " FROM public.plain WHERE id = 2") == [
        (15, "2.01", "2.01", 0, 2, "{x,NULL}", "{y}")]
    assert db.rows('SELECT p, "a ""b" FROM public.plain WHERE id IN (3, 6)'
                   " ORDER BY id") == [(24, "{y}"), (55, "6")]


@pytest.mark.parametrize("first", ["", """
  repo:insert('t', {id = 50})"""])
def test_a_sum_that_is_too_large_names_its_row_and_line(db, run, first):
    run(T, first + """
  for i = 1, 9 do
    repo:update('t', {id = i}, {n = luamig.add(i == 5 and 2147483647 or 1)})
  end
""", code=FAILED, words=["22003", "integer out of range",
                         line(3 if first else 2)])
    assert db.column("SELECT n FROM t WHERE n > 9") == []


def test_a_column_that_becomes_text_is_refused_by_name(db, run):
    """Also where it becomes so in the middle of a run."""
    run(T, """
  repo:update('t', {id = 1}, {n = luamig.add(1)})
  repo:update('t', {id = 1}, {s = luamig.add(1)})
""", code=FAILED, words=['row id = 1, column "s" of "t": luamig.add needs a '
                         "numeric type, not type text", line(2)])
    run("", """
  for i = 1, 3 do
    if i == 3 then repo:execute "ALTER TABLE t ALTER n TYPE text" end
    repo:update('t', {id = i}, {n = luamig.add(1)})
  end
""", config=", allow_ddl = true", code=FAILED,
        words=['row id = 3, column "n" of "t": luamig.add needs'])


@pytest.mark.versions
@pytest.mark.parametrize("kind", ["int", "citext"])
def test_inserts_add_to_what_is_there(db, run, kind):
    """Combined; also where two names are one to the server."""
    run(f"""CREATE EXTENSION citext; CREATE DOMAIN up AS int CHECK (VALUE > 0);
        CREATE TABLE t (k {kind} PRIMARY KEY, n int, u up DEFAULT 1, s text);
        INSERT INTO t VALUES ('1', 10, 5, 'old')""", f"""
  local add = {{on_conflict = {{columns = {{"k"}}, add = {{"n", "u"}},
    update = {{"s"}}}}}}
  for i = 1, 3 do
    for _, k in ipairs {{ {"1, 2, 3" if kind == "int" else "'1', 'a', 'A'"} }} do
      repo:insert("t", {{k = k, n = i, s = "s" .. i}}, add)
    end
  end
""")
    assert db.rows("SELECT n, u, s FROM t ORDER BY k") == (
        [(16, 8, "s3"), (6, 3, "s3"), (6, 3, "s3")] if kind == "int" else
        [(16, 8, "s3"), (12, 6, "s3")])
    if kind == "int":
        assert statements.combined(db).count("INSERT t") == 3


@pytest.mark.versions
def test_an_insert_returns_what_the_server_has_written(db, run):
    """Also of views, identities and triggers; without a wait for each."""
    assert run("""
        CREATE TABLE p (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            code text UNIQUE, at timestamptz DEFAULT '2024-01-31 12:00+00',
            tags text[] DEFAULT '{a}', price numeric(6,2),
            twice numeric GENERATED ALWAYS AS (price * 2) STORED);
        CREATE VIEW v AS SELECT id, code FROM p;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.code = 'never' THEN RETURN NULL; END IF;
            NEW.code = NEW.code || '!'; RETURN NEW; END $$;
        CREATE TRIGGER g BEFORE INSERT ON p
            FOR EACH ROW EXECUTE FUNCTION f();""", """
  local handles = {}
  for i, code in ipairs { "x", "y", "z" } do
    handles[i] = repo:insert("p", { code = code, price = i },
      { returning = { "id", "code", "twice", "at", "tags" } })
  end
  for _, handle in ipairs(handles) do
    local row = handle.row
    say(row.id, row.code, row.twice, row.at, row.tags[1], handle.affected)
  end
  local never = repo:insert("p", { code = "never" },
    { returning = { "id" }, missing = "ignore" })
  say(never.row, never.affected)
  say(repo:insert("v", { code = "w" }, { returning = { "id", "code" } }).row.code)
  say(repo:insert("p", { code = "w!" }, { returning = { "id" },
    on_conflict = "nothing" }).row.id > 3)
""") == []
    assert run.said == [
        "1 x! 2.00 2024-01-31 12:00:00+00 a 1",
        "2 y! 4.00 2024-01-31 12:00:00+00 a 1",
        "3 z! 6.00 2024-01-31 12:00:00+00 a 1", "nil 0", "w!", "true"]


def test_inserts_that_return_their_rows_travel_together(db, run):
    """Reading a row is what waits."""
    run(T, """
  for i = 11, 13 do repo:insert('t', {id = i}, {returning = {"id"}}) end
  local n = repo:scalar("SELECT count(*) FROM t")
  say(n)
""")
    assert run.said == ["12"]
    assert [s for s in statements.of(db) if s.startswith('INSERT INTO "t"')][
        :1] == [
        'INSERT INTO "t" ("id") VALUES ($1) RETURNING "id"']


def test_an_insert_that_fails_fails_at_its_row(run):
    run(T, """
  local one = repo:insert('t', {id = 11}, {returning = {"id"}})
  local two = repo:insert('t', {id = 1}, {returning = {"id"}})
  say(one.row.id)
""", code=FAILED, words=["23505", line(2)])
