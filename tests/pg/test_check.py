"""What "luamig check" says of a migration, on a table of a million rows, and
what "luamig run" makes of that."""

import json
import re

import pytest

from harness.cluster import GUARDED, PASSWORD, SUPERUSER
from harness.project import (DONE, INVALID, STOPPED, UNREACHABLE, USAGE,
                             Project)
from harness.terminal import at_a_terminal
from harness.wait import wait_until

ROWS = 1000000

SCRIPT = """
return {{
  config = {{ {config} }},
  base_query = [[{query}]],
  migrate = function(rows, repo) end,
}}
"""


@pytest.fixture(scope="module")
def big(cluster):
    """One row in 100,000 of it has status 2, half of the others 1; nothing is
    written to it. ANALYZE sees each row of t: of a sample, chance would decide
    how often the planner takes status to be 2."""
    database = cluster.make_database()
    database.execute(f"""
        CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL,
            status int NOT NULL, maybe bigint);
        INSERT INTO t SELECT i, i, CASE WHEN i % 100000 = 0 THEN 2
            ELSE i % 2 END, i FROM generate_series(1, {ROWS}) i;
        ALTER TABLE t ALTER status SET STATISTICS 10000;
        CREATE TABLE bare (LIKE t);
        INSERT INTO bare TABLE t;
        CREATE INDEX bare_status ON bare (status);
        CREATE VIEW seen AS SELECT id, n, status FROM t WHERE n > 0;
        CREATE TABLE parted (id bigint PRIMARY KEY, n int)
            PARTITION BY RANGE (id);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO
            (100000);
        CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100000) TO
            (200000);
        INSERT INTO parted SELECT i, i FROM generate_series(1, 199999) i;
        ANALYZE""")
    yield database
    database.drop()


@pytest.fixture
def folder(big, tmp_path):
    """No run of another folder's script is in its journal."""
    here = Project(tmp_path, big.url)
    yield here
    here.close()
    big.execute("DROP SCHEMA IF EXISTS luamig CASCADE")


def write(project, query="SELECT id, n FROM t", config=""):
    project.script(SCRIPT.format(query=query, config=config))


def check(project, *arguments, **options):
    """Exit code and the object of --json."""
    result = project.luamig("check", "scripts/x.lua", "--json", *arguments,
                            **options)
    assert not result.err, result
    return result.code, json.loads(result.out)


def findings(report, subject, level=None):
    return [finding for finding in report["findings"]
            if finding["subject"] == subject
            and level in (None, finding["level"])]


def levels(report, subject):
    return [finding["level"] for finding in findings(report, subject)]


def only(report, subject):
    found = findings(report, subject)
    assert len(found) == 1, report
    return found[0]


# -- the plan ------------------------------------------------------------------


def test_the_right_index(folder):
    write(folder)
    code, report = check(folder)
    assert code == DONE and report["errors"] == 0
    assert levels(report, "plan") == ["ok"]
    assert report["page_rows_read"] == 1001
    assert (report["rows"], report["batches"]) == (ROWS, 1000)
    assert report["duration_ms"] > 1000 * 100  # the pauses alone


def test_no_index(folder):
    write(folder, "SELECT id, n FROM bare WHERE n > 0")
    code, report = check(folder)
    plan = only(report, "plan")
    assert code == INVALID and plan["level"] == "error"
    assert re.search(r"reads about (1,000,000|999,\d+) rows to return 1,000; "
                     r"the run would read the table (1,000|999) times",
                     plan["message"])
    assert ('CREATE INDEX CONCURRENTLY ON public.bare ("id") WHERE (n > 0);'
            in plan["hint"])
    assert "Sort" in plan["plan"]


def test_an_index_on_a_filter_that_many_rows_match(folder):
    write(folder, "SELECT id, n FROM bare WHERE status = 1")
    code, report = check(folder)
    assert code == INVALID and levels(report, "plan") == ["error"]
    assert "(status = 1)" in only(report, "plan")["hint"]


def test_an_index_on_a_filter_that_few_rows_match(folder):
    write(folder, "SELECT id, n FROM bare WHERE status = 2")
    code, report = check(folder)
    assert code == DONE and levels(report, "plan") == ["ok"]
    assert report["page_rows_read"] == report["rows"] == 10


@pytest.mark.parametrize("batch_size", [1000, 3])
def test_a_needle_in_a_haystack_is_looked_for_once(folder, batch_size):
    """However many pages there are, together they read the table once."""
    write(folder, "SELECT id, n FROM t WHERE status = 2")
    code, report = check(folder, "--batch-size", batch_size)
    assert code == DONE and "error" not in levels(report, "plan")


def test_an_index_that_serves_the_first_page_only(folder, big):
    """The table is as small as an error allows: a page that takes too long is
    not measured."""
    big.execute("CREATE TABLE few AS SELECT id FROM t WHERE id <= 210000; "
                "ALTER TABLE few ADD PRIMARY KEY (id); ANALYZE few")
    write(folder, "SELECT id, row_number() OVER (ORDER BY id) AS r FROM few")
    code, report = check(folder)
    plan = only(report, "plan")
    assert code == INVALID and plan["level"] == "error"
    assert "cannot use the key to read fewer rows" in plan["hint"]


def test_rows_that_are_passed_over_once_are_no_fault(folder):
    """The first page has to find the end of what does not match; those after
    it do not."""
    write(folder, f"SELECT id, n FROM t WHERE n > {ROWS} * 0.3")
    _, report = check(folder)
    assert "error" not in levels(report, "plan")
    assert report["page_rows_read"] < ROWS / 5


def test_a_small_table_never_is_an_error(folder, big):
    big.execute("CREATE TABLE small AS SELECT i AS id FROM "
                "generate_series(1, 20000) i; "
                "ALTER TABLE small ALTER id SET NOT NULL; ANALYZE small")
    write(folder, "SELECT id FROM small", "batch_size = 10")
    code, report = check(folder)
    assert code == DONE and levels(report, "plan") == ["warning"]


def test_a_table_that_was_never_analyzed(folder, big):
    big.execute("CREATE TABLE fresh (id int PRIMARY KEY); INSERT INTO fresh "
                "SELECT i FROM generate_series(1, 50000) i")
    write(folder, "SELECT id FROM fresh")
    code, report = check(folder)
    assert code == DONE and levels(report, "plan") == ["ok"]
    assert (only(report, "table")["message"]
            == "public.fresh has rows that no ANALYZE has counted")


def test_keys_of_several_columns_and_of_text(folder, big):
    big.execute("""CREATE TABLE pairs (a text COLLATE "C", b int,
            PRIMARY KEY (a, b));
        INSERT INTO pairs SELECT 'k' || i % 100, i
            FROM generate_series(1, 200000) i;
        ANALYZE pairs""")
    write(folder, "SELECT * FROM pairs", 'key = { "a", "b" }')
    code, report = check(folder)
    assert code == DONE
    assert "a text COLLATE C, b integer" in only(report, "key")["message"]
    assert "in the middle" in only(report, "plan")["detail"]


def test_a_list_that_each_page_looks_up_does_not_refuse_a_run(folder, big):
    """The server hashes the subquery once for a page, not once for a row."""
    big.execute("CREATE TABLE listed AS SELECT i AS id FROM "
                "generate_series(1, 20000) i; ANALYZE listed")
    write(folder, "SELECT id FROM t WHERE n NOT IN (SELECT id FROM listed)")
    folder.run("--limit", "1").expect(STOPPED)
    assert check(folder)[0] == DONE


@pytest.mark.parametrize("query, key, hint", [
    ("SELECT b, a FROM ordered", '"b", "a"',
     r"in another order: name them in that order in config.key \(a, b\)"),
    ("SELECT id, n FROM parted", '"n", "id"',
     r'CONCURRENTLY ON public.parted_\d \("n", "id"\); and the same for the other'),
    ("SELECT id, n FROM forebear", '"id"',
     r'CONCURRENTLY ON public.heir \("id"\); and the same for the other'),
    ("SELECT id, n FROM t WHERE n > (SELECT avg(n) FROM t)", '"id"',
     "A subquery on t reads most of these rows, again for each page")])
def test_the_advice_can_be_followed(folder, big, query, key, hint):
    big.execute("""CREATE TABLE IF NOT EXISTS ordered (a int, b int,
            PRIMARY KEY (a, b));
        CREATE TABLE IF NOT EXISTS forebear (id int PRIMARY KEY, n int);
        CREATE TABLE IF NOT EXISTS heir () INHERITS (forebear);
        INSERT INTO ordered SELECT i / 1000, i % 1000 FROM
            generate_series(1, 200000) i ON CONFLICT DO NOTHING;
        INSERT INTO heir SELECT i, i FROM generate_series(1, 200000) i
            WHERE NOT EXISTS (SELECT FROM heir);
        ALTER TABLE parted ALTER n SET NOT NULL;
        ANALYZE ordered; ANALYZE heir; ANALYZE forebear""")
    write(folder, query, f"key = {{ {key} }}, batch_size = 1000")
    _, report = check(folder)
    plan = only(report, "plan")
    assert plan["level"] != "ok" and re.search(hint, plan["hint"]), plan


def test_the_plan_is_shown_when_asked_for(folder):
    write(folder)
    out = folder.luamig("check", "scripts/x.lua", "-v").expect(DONE).out
    assert "Index Scan using t_pkey on t" in out
    out = folder.luamig("check", "scripts/x.lua").expect(DONE).out
    assert "t_pkey" not in out


# -- the key and the query -------------------------------------------------------


def test_a_key_that_may_be_null(folder):
    write(folder, "SELECT maybe, n FROM t", 'key = "maybe"')
    code, report = check(folder)
    assert code == INVALID
    assert "may be NULL" in only(report, "key")["message"]
    assert findings(report, "plan"), "the rest is looked at all the same"


def test_a_key_that_is_not_unique(folder):
    write(folder, "SELECT status, n FROM t", 'key = "status"')
    code, report = check(folder)
    assert code == INVALID
    assert "have the same key: (status)" in only(report, "key")["message"]


def test_a_duplicate_that_only_the_statistics_know(folder, big):
    big.execute("""CREATE TABLE twice (id int NOT NULL);
        INSERT INTO twice SELECT i FROM generate_series(1, 5000) i;
        INSERT INTO twice SELECT 4000 FROM generate_series(1, 100);
        CREATE INDEX ON twice (id);
        ANALYZE twice""")
    write(folder, "SELECT id FROM twice", "batch_size = 100")
    code, report = check(folder)
    assert code == INVALID
    assert "the same key: (id) = (4000)" in only(report, "key")["message"]


def test_a_key_that_is_unique_but_not_proved_so(folder):
    write(folder, "SELECT id, n FROM bare WHERE status = 2")
    code, report = check(folder)
    assert code == DONE and levels(report, "key") == ["warning"]


def test_a_script_with_a_syntax_error(folder):
    folder.script("return {\n  config = {,\n}")
    code, report = check(folder)
    assert code == INVALID
    assert [f["subject"] for f in report["findings"]] == ["script"]
    assert "x.lua:2" in json.dumps(report)


@pytest.mark.parametrize("query, words", [
    ("SELECT id FORM t", "syntax error"),
    ("SELECT id FROM nowhere", "does not exist"),
    ("SELECT id FROM t ORDER BY n", "ORDER BY")])
def test_a_query_that_cannot_be_paged(folder, query, words):
    write(folder, query)
    code, report = check(folder)
    assert code == INVALID and levels(report, "query") == ["error"]
    assert words in only(report, "query")["message"]
    assert not findings(report, "plan") and findings(report, "health")


def test_a_lock_on_the_table_is_not_an_error_of_the_query(odd, project):
    write(project, "SELECT id FROM odd")
    with odd.connect() as holder:
        holder.cursor().execute("LOCK TABLE odd")
        code, report = check(project)
    assert code == DONE and report["errors"] == 0
    query = only(report, "query")
    assert query["level"] == "warning" and "lock" in query["hint"]


def test_the_place_in_a_query_is_shown(folder):
    write(folder, "SELECT id FROM t ORDER BY n")
    _, report = check(folder)
    assert re.search(r"ORDER BY n\n +\^", only(report, "query")["detail"])


def test_a_query_that_fails_when_it_is_run(folder):
    write(folder, "SELECT id, 1 / (n - 1) AS r FROM t")
    code, report = check(folder)
    assert code == INVALID
    assert "division by zero" in only(report, "plan")["message"]


def test_nothing_can_be_written_by_the_query(folder, big):
    big.execute("CREATE SEQUENCE IF NOT EXISTS counter")
    write(folder, "SELECT id, nextval('counter') AS r FROM t")
    code, report = check(folder)
    assert code == INVALID
    assert "read-only transaction" in only(report, "plan")["message"]
    assert big.scalar("SELECT NOT is_called FROM counter")


def test_a_one_shot_has_no_pages(folder):
    folder.script("return { run = function(repo) end }")
    code, report = check(folder)
    assert code == DONE and not findings(report, "plan")
    assert levels(report, "journal") == ["ok"]


# -- the tables ------------------------------------------------------------------


def test_a_view_is_seen_through(folder):
    write(folder, "SELECT id, n FROM seen")
    code, report = check(folder)
    assert code == DONE
    messages = [f["message"] for f in findings(report, "table")]
    assert "public.seen is a view" in messages
    assert "public.t has about 1,000,000 rows" in messages


def test_a_partitioned_table(folder):
    write(folder, "SELECT id, n FROM parted")
    code, report = check(folder)
    assert code == DONE and levels(report, "plan") == ["ok"]
    assert (only(report, "table")["message"]
            == "public.parted is partitioned (2), about 199,999 rows")


@pytest.fixture
def odd(db):
    db.execute("""CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE odd (id int PRIMARY KEY, n int REFERENCES parent,
            twice int GENERATED ALWAYS AS (n * 2) STORED);
        CREATE TABLE child (id int PRIMARY KEY, odd_id int REFERENCES odd);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RETURN NEW; END';
        CREATE TRIGGER touch BEFORE UPDATE OR INSERT ON odd FOR EACH ROW
            EXECUTE FUNCTION f();
        CREATE TRIGGER asleep BEFORE DELETE ON odd FOR EACH ROW
            EXECUTE FUNCTION f();
        ALTER TABLE odd DISABLE TRIGGER asleep;
        CREATE RULE keep AS ON DELETE TO odd DO INSTEAD NOTHING""")
    return db


@pytest.mark.versions
def test_what_happens_when_a_table_is_written(odd, project):
    write(project, "SELECT id FROM odd")
    code, report = check(project)
    assert code == DONE
    trigger = only(report, "triggers")
    assert trigger["level"] == "warning"
    assert "touch (INSERT, UPDATE)" in trigger["message"]
    assert "asleep" not in trigger["message"]
    assert "keep" in only(report, "rules")["message"]
    assert "twice" in only(report, "generated_columns")["message"]
    keys = {f["level"]: f["message"] for f in findings(report, "foreign_keys")
            if "no index" in f["message"] or "to public.parent" in f["message"]}
    assert "child_odd_id_fkey of public.child" in keys["warning"]
    assert "parent" in keys["ok"]
    odd.execute("CREATE INDEX ON child (odd_id)")
    _, report = check(project)
    assert "warning" not in levels(report, "foreign_keys")


@pytest.mark.versions
def test_a_published_table_without_identity(odd, project):
    odd.execute("CREATE TABLE plain (id int NOT NULL); "
                "CREATE PUBLICATION everywhere FOR TABLE plain, odd")
    write(project, "SELECT id FROM plain")
    _, report = check(project)
    assert levels(report, "replica_identity") == ["warning"]
    write(project, "SELECT id FROM odd")
    _, report = check(project)
    assert levels(report, "replica_identity") == []


@pytest.mark.versions
def test_rows_that_policies_hide_and_tables_that_a_crash_empties(db, project):
    db.execute("CREATE UNLOGGED TABLE u (id int PRIMARY KEY); "
               "ALTER TABLE u ENABLE ROW LEVEL SECURITY")
    write(project, "SELECT id FROM u")
    _, report = check(project)
    assert levels(report, "unlogged") == ["warning"]
    assert not findings(report, "row_security"), "the owner is exempt"
    db.execute("ALTER TABLE u FORCE ROW LEVEL SECURITY")
    _, report = check(project)
    assert levels(report, "query") == ["error"]
    write(project, "SELECT id FROM u", config="row_security = true")
    _, report = check(project)
    assert levels(report, "row_security") == ["warning"]


# -- rights, the journal, the server ----------------------------------------------


def as_guarded(database):
    return database.cluster.url(database.name, user=GUARDED, password=PASSWORD)


@pytest.mark.versions
def test_a_role_that_lacks_a_privilege(odd, project):
    odd.execute(f"GRANT CREATE ON DATABASE \"{odd.name}\" TO {GUARDED}")
    write(project, "SELECT id FROM odd")
    code, report = check(project, url=as_guarded(odd))
    assert code == INVALID
    assert "error" in levels(report, "privileges")
    odd.execute(f"GRANT SELECT, INSERT ON odd TO {GUARDED}")
    code, report = check(project, url=as_guarded(odd))
    assert code == DONE
    rights = only(report, "privileges")
    assert rights["level"] == "warning"
    assert rights["message"] == "public.odd: the role may not UPDATE, DELETE"


@pytest.mark.versions
def test_a_role_that_may_not_make_the_journal(odd, project):
    odd.admin(f'REVOKE ALL ON DATABASE "{odd.name}" FROM {GUARDED}')
    odd.execute(f"GRANT ALL ON odd TO {GUARDED}")
    write(project, "SELECT id FROM odd")
    code, report = check(project, url=as_guarded(odd))
    assert code == INVALID and levels(report, "journal") == ["error"]
    assert "luamig journal --sql" in only(report, "journal")["hint"]


def test_a_role_that_may_not_use_the_journal(odd, project):
    odd.execute(f"GRANT ALL ON odd TO {GUARDED}")
    project.script("return { run = function() end }", "scripts/other.lua")
    project.luamig("run", "scripts/other.lua").expect(DONE)
    odd.execute("GRANT USAGE ON SCHEMA luamig TO " + GUARDED)
    odd.execute("GRANT SELECT ON ALL TABLES IN SCHEMA luamig TO " + GUARDED)
    write(project, "SELECT id FROM odd")
    code, report = check(project, url=as_guarded(odd))
    assert code == INVALID
    assert "INSERT on run" in only(report, "journal")["message"]
    project.run(url=as_guarded(odd)).expect(INVALID, "INSERT on run",
                                            "journal --sql --grant")


@pytest.mark.versions
def test_health_says_what_is_not_seen(odd, project):
    write(project, "SELECT id FROM odd")
    _, report = check(project)
    assert "grant pg_read_all_stats" in json.dumps(findings(report, "health"))
    _, report = check(project, url=odd.cluster.url(odd.name, user=SUPERUSER))
    assert "grant pg_read_all_stats" not in json.dumps(report)


def test_check_reports_that_a_run_would_be_held(odd, project):
    write(project, "SELECT id FROM odd",
          "health = { snapshot_age_s = 0.000001 }")
    link = odd.connect()
    link.autocommit = False
    with link.cursor() as cursor:
        cursor.execute("SELECT txid_current()")
        _, report = check(project)
    link.close()
    assert "a run would wait" in json.dumps(findings(report, "health"))


def test_a_database_that_is_not_there(project):
    write(project, "SELECT id FROM t")
    code, report = check(project, url="host=/nowhere dbname=x")
    assert code == UNREACHABLE
    assert levels(report, "server") == ["error"]
    project.luamig("check", "x.lua", "y.lua").expect(
        USAGE, 'unexpected argument "y.lua"; check takes one script')


# -- it changes nothing ------------------------------------------------------------

CONTENTS = """SELECT c.oid::regclass::text, c.relfilenode,
        pg_relation_size(c.oid), c.relpages, c.reltuples
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg_toast%%' ORDER BY 1, 2"""


def state_of(database):
    """Tables, what is in them, counters of what was written, and who is there
    holding what."""
    written = ("SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del)"
               " FROM pg_stat_all_tables WHERE schemaname <> 'pg_catalog'")
    return {
        "relations": database.rows(CONTENTS, user=SUPERUSER),
        "rows": database.rows("SELECT count(*), sum(hashtext(t::text)),"
                              " max(xmin::text::bigint) FROM t"),
        "written": database.rows(written, user=SUPERUSER),
        "schemas": database.column("SELECT nspname FROM pg_namespace "
                                   "ORDER BY 1"),
        "roles": database.column("SELECT rolname FROM pg_roles ORDER BY 1"),
        "sequences": database.rows("SELECT * FROM pg_sequences ORDER BY 1, 2",
                                   user=SUPERUSER),
        "next xid": database.scalar(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text",
            user=SUPERUSER),
        "sessions": database.runners(),
        "prepared": database.rows("SELECT * FROM pg_prepared_xacts"),
        "advisory": database.rows("SELECT * FROM pg_locks "
                                  "WHERE locktype = 'advisory'")}


@pytest.mark.parametrize("query", [
    "SELECT id, n FROM t", "SELECT id FROM bare",
    "SELECT id, nextval('c') AS c FROM t", "SELECT nothing FROM t"])
def test_a_check_changes_nothing(folder, big, query):
    big.execute("CREATE SEQUENCE IF NOT EXISTS c")
    write(folder, query)
    wait_until(lambda: not big.runners(), "earlier sessions to end")
    before = state_of(big)
    check(folder)
    wait_until(lambda: not big.runners(), "the session to end")
    assert state_of(big) == before


# -- people and machines -------------------------------------------------------------


def test_the_verdicts_of_people(folder):
    write(folder, "SELECT id, n FROM bare")
    out = folder.luamig("check", "scripts/x.lua").expect(INVALID).out
    assert re.search(r"^ok       server  ", out, re.M)
    assert re.search(r"^error    plan  .*\n         \S.*\n"
                     r"         hint: CREATE INDEX", out, re.M)
    assert re.match(r"1 error, \d warnings?: correct the errors before you run it$",
                    out.splitlines()[-1])
    assert "\033" not in out


def test_verdicts_are_coloured_on_a_terminal(folder):
    write(folder)
    arguments = ("check", "scripts/x.lua", "--db", folder.url)
    code, shown = at_a_terminal(folder, *arguments)
    assert code == DONE and "\033[32mok" in shown
    code, shown = at_a_terminal(folder, *arguments, env={"NO_COLOR": "1"})
    assert code == DONE and "\033" not in shown


# -- the run ---------------------------------------------------------------------------


def test_a_refused_run_gets_a_hint(folder):
    write(folder, "SELECT id, n FROM bare")
    folder.run().expect(INVALID, "plan: each page reads about",
                        "CREATE INDEX CONCURRENTLY", "--force").refuse("run 1")


@pytest.mark.versions
@pytest.mark.parametrize("kind", ["k text_pattern_ops", 'k COLLATE "C"'])
def test_an_index_in_another_order_is_not_an_index_on_the_key(db, project, kind):
    db.execute(f"""CREATE TABLE words (k text COLLATE "en-x-icu" NOT NULL);
        CREATE INDEX ON words ({kind});
        INSERT INTO words SELECT 'w' || i FROM generate_series(1, 20000) i;
        ANALYZE words""")
    write(project, "SELECT k FROM words", 'batch_size = 10, key = "k"')
    index = 'CREATE INDEX CONCURRENTLY ON public.words ("k");'
    assert index in only(check(project)[1], "plan")["hint"]
    db.execute(index.replace("CONCURRENTLY", ""))
    assert levels(check(project)[1], "plan") == ["ok"]


def test_a_run_is_forced_and_says_what_it_overrides(db, project):
    db.execute("""CREATE TABLE bare (id int NOT NULL);
        INSERT INTO bare SELECT i FROM generate_series(1, 150000) i;
        ANALYZE bare""")
    write(project, "SELECT id FROM bare", "batch_size = 100")
    project.run().expect(INVALID, "plan: each page reads")
    assert not db.has_journal()
    project.run("--force", "--limit", 100).expect(
        STOPPED, "warning: overridden by --force: plan: each page reads")
    project.run("--limit", 100).expect(INVALID).refuse("run 1 stopped")
    project.run("--force", "--limit", 100).expect(STOPPED, "resuming run 1")


def test_a_wasteful_run_is_warned_of_once(db, project):
    db.execute("""CREATE TABLE bare (id int NOT NULL);
        INSERT INTO bare SELECT i FROM generate_series(1, 90000) i;
        ANALYZE bare""")
    write(project, "SELECT id FROM bare", "batch_size = 2000, throttle_ms = 0")
    result = project.run().expect(DONE)
    assert result.err.count("warning: plan: each page reads") == 1


def test_pages_that_become_slow_are_looked_into(db, project):
    """Each row from the eighth page on takes its time."""
    db.execute("""CREATE TABLE t (id int PRIMARY KEY);
        INSERT INTO t SELECT i FROM generate_series(1, 100) i;
        ANALYZE t;
        CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql STABLE AS $$
            BEGIN IF i = 75 THEN PERFORM pg_sleep(1.5); END IF; RETURN i; END
            $$""")
    write(project, "SELECT id, slow(id) AS s FROM t",
          "batch_size = 10, throttle_ms = 0")
    result = project.run().expect(
        DONE, "warning: pages have become slow: the last one took 1.",
        "the next page's plan reads about")
    assert result.rows == 100 and "slow: " in result.err
