"""Which writes are combined, and that nobody can tell.

What the server executed is in its log: a combined statement there is one that
begins with WITH written AS.
"""

import collections
import signal
import time

import pytest

from harness import plans, statements
from harness.combining import T, THREE, run
from harness.project import DONE
from harness.proxy import TO_CLIENT, TO_SERVER


# -- what is combined ------------------------------------------------------


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


def test_reads_see_the_rows_of_a_group(db, run):
    assert run(T, """
  for i = 1, 3 do repo:update('t', {id = i}, {n = 70 + i}) end
  assert(repo:get('t', {id = 2}, {columns = {"n"}}).n == 72)
  for i = 4, 6 do repo:update('t', {id = i}, {n = 71}) end
  assert(#repo:select('t', {n = 71}) == 4)
""") == ["UPDATE t", "UPDATE t"]


def test_rows_that_a_partial_index_may_have(db, run):
    db.execute("CREATE TABLE p (id int PRIMARY KEY, n int, s text);"
               "CREATE UNIQUE INDEX ON p (n) WHERE s IS NULL;"
               "INSERT INTO p VALUES (1, 1, NULL), (2, 2, 'gone')")
    run(T, """
  for i = 1, 3 do
    repo:insert('p', {id = 10 + i, n = i},
      {on_conflict = {columns = {"n"}, where = "s IS NULL", update = {"id"}}})
  end
""")
    assert db.rows("SELECT id, n, s FROM p ORDER BY id") == [
        (2, 2, "gone"), (11, 1, None), (12, 2, None), (13, 3, None)]


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


def test_combined_writes_count_the_rows_of_each_call(db, run):
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


def test_a_role_with_only_insert_can_insert(run, db):
    assert run("CREATE TABLE t (id int);"
               "REVOKE SELECT, UPDATE ON t FROM app", """
  repo:insert("t", {id = 1})
  repo:insert("t", {id = 2})
""") == ["INSERT t"]


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
""") == ["INSERT t"] * 4
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
        assert count // 1000 <= sent <= count // 1000 + 3
        assert db.scalar("SELECT count(*) FROM t WHERE length(s) = 1000") == (
            count)
    assert peak[1] - peak[0] < 6 * 1024, peak


def test_a_statement_grows_with_each_that_was_sent(run):
    """The server has something to do from early on, and few statements."""
    assert run("CREATE TABLE t (id int PRIMARY KEY)", """
  for i = 1, 10000 do repo:insert("t", {id = i}) end
""") == ["INSERT t"] * 5


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
    assert len(found) == (2 if batch == 10 else 10)
    for plan in found:
        kinds = {node["Node Type"] for node in plans.nodes(plan)
                 if node.get("Relation Name") == "t"
                 and node["Node Type"] != "ModifyTable"}
        assert kinds <= {"Index Scan", "Index Only Scan"} and kinds, kinds


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_takes_one_round_trip(db, project, proxy, workers):
    """Counted where they pass: each time that a connection sends after it was
    answered. A slow answer lets it send all that it does not wait for."""
    db.execute(T.replace("9", "5900") + "CREATE TABLE u (id int, n int)")
    heard = collections.defaultdict(lambda: [(TO_CLIENT, False)])

    def listen(link, direction, data):
        if direction == TO_CLIENT:
            time.sleep(0.01)
        heard[link].append((direction, b"COMMIT" in data))

    proxy.watch = listen
    project.script("""return {
      config = { batch_size = 100, throttle_ms = 0, workers = %d },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = row.id })
          repo:insert("u", { id = row.id, n = 0 })
        end
      end }""" % workers)
    url = db.cluster.url(db.name, host=proxy.host)
    project.start_run(url=url).wait().expect(DONE)
    alone = 0
    for pieces in heard.values():
        trips = 0
        for before, (direction, commits) in zip(pieces, pieces[1:]):
            trips += direction == TO_SERVER and before[0] == TO_CLIENT
            if commits and direction == TO_SERVER:
                alone += trips == 1
                trips = 0
    assert alone >= 40  # of 59


# -- exactly once ----------------------------------------------------------

POINTS = ["after_page", "after_migrate", "after_flush", "before_commit",
          "after_commit_sent", "after_commit"]


@pytest.mark.parametrize("point", POINTS)
def test_increments_survive_a_kill_at_every_step(db, project, point):
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, n int);
        INSERT INTO t SELECT i, i FROM generate_series(1, 500) i;
        CREATE TABLE audit (id int, n int)""")
    statements.record(db)
    project.script("""local luamig = require "luamig"
    return {
      config = { batch_size = 100, throttle_ms = 0 },
      base_query = "SELECT id, n FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = luamig.add(10) })
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
