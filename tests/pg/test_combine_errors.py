"""Errors of combined writes: which row, which line, and that the first is the
one."""

import pytest

from harness import statements
from harness.combining import FIRST_LINE, T, line, run
from harness.project import DONE, FAILED


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
