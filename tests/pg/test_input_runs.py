"""Which run a file belongs to, who may read its table, and when that goes."""

import os

import pytest

from harness.inputs import CSV, csv_of, make_out, rows_of, script, tables_of
from harness.project import DONE, FAILED, INVALID, STOPPED, UNREACHABLE, USAGE


@pytest.fixture(autouse=True)
def out(db):
    make_out(db)


def test_any_host_resumes_a_run_without_the_file(db, project):
    script(project)
    for name, count in (("a.csv", 5), ("b.csv", 3)):
        project.write(name, csv_of(count)[0])
    project.run("--input", "a.csv", "--limit", "2").expect(STOPPED)
    os.remove(os.path.join(project.path, "a.csv"))
    project.run("--limit", "2").expect(STOPPED, "resuming run 1")
    project.run("--input", "b.csv", "--limit", "1").expect(
        STOPPED, 'run 1 of scripts/x.lua {"--input": "a.csv"}, with other')
    assert tables_of(db) == ["input_1", "input_2"]
    project.luamig("cancel", "scripts/x.lua").expect(
        FAILED, 'They are 2 {"--input": "b.csv"}, 1 {"--input": "a.csv"}.')
    project.run().expect(USAGE, "several unfinished runs",
                         "run 2 reads b.csv (stopped), run 1 reads a.csv"
                         " (stopped)", "--adopt RUN")
    project.run("--adopt", "2").expect(DONE, "run 2 done: 3 rows")
    project.run().expect(DONE, "run 1 done: 5 rows")
    assert rows_of(db) == sorted(csv_of(5)[1] + csv_of(3)[1])
    assert tables_of(db) == []


def test_a_run_is_adopted_with_its_own_file_only(db, project):
    script(project)
    for name, count in (("a.csv", 5), ("b.csv", 3), ("c.csv", 5)):
        project.write(name, csv_of(count)[0])
    project.run("--input", "a.csv", "--limit", "2").expect(STOPPED)
    kept = db.rows("SELECT r.args, i FROM luamig.run r, luamig.input i")
    project.run("--input", "b.csv", "--adopt", "1").expect(
        USAGE, "run 1 reads a.csv, and b.csv has another content",
        "To continue that run, give its own file, or leave --input out. Without"
        " --adopt, b.csv is another run.")
    assert db.rows("SELECT r.args, i FROM luamig.run r, luamig.input i") == kept
    project.run("--input", "c.csv", "--adopt", "1", "--limit", "1").expect(STOPPED)
    project.run("--adopt", "1").expect(DONE, "run 1 done: 5 rows")
    project.run("--input", "b.csv", "--adopt", "1").expect(USAGE, "a.csv")
    project.run("--input", "b.csv").expect(DONE, "run 2 done: 3 rows")
    assert rows_of(db) == sorted(csv_of(5)[1] + csv_of(3)[1])


def test_a_table_that_somebody_reads_keeps_no_other(db, project):
    script(project)
    for count in (3, 4, 5):
        project.write("u.csv", csv_of(count)[0])
        project.run("--input", "u.csv", "--limit", "1").expect(STOPPED)
    db.execute("UPDATE luamig.run SET state = 'cancelled'")
    reader = db.connect()
    reader.autocommit = False
    reader.cursor().execute("SELECT FROM luamig.input_1")
    drop = "SET lock_timeout = 50; SELECT luamig.drop_inputs()"
    db.execute(drop)
    assert tables_of(db) == ["input_1"]
    reader.close()
    db.execute(drop)
    assert tables_of(db) == []


def test_a_script_that_stops_reading_its_file_says_so(db, project):
    script(project)
    project.write("u.csv", csv_of(3)[0])
    project.run("--input", "u.csv", "--limit", "1").expect(STOPPED)
    db.execute("CREATE TABLE t (line int PRIMARY KEY)")
    project.script('return { config = { key = "line" }, base_query ='
                   ' "SELECT line FROM t", migrate = function() end }')
    project.run().expect(
        INVALID, "run 1 of scripts/x.lua is unfinished and reads u.csv, and the"
        " script reads no file now", "Change the script back to continue that run;"
        " --again begins another run at the first row.")
    project.run("--adopt", "1").expect(INVALID, "the script reads no file now")
    project.run("--again").expect(DONE, "run 2 done")
    script(project)
    project.run().expect(DONE, "run 1 done: 3 rows")


def test_a_column_that_comes_after_the_load_is_named(db, project):
    script(project)
    project.write("u.csv", csv_of(3)[0])
    project.run("--input", "u.csv", "--limit", "1").expect(STOPPED)
    script(project, CSV.replace("email", 'zz = "text", email'))
    for more in ((), ("--input", "u.csv")):
        project.run(*more).expect(
            INVALID, "input.columns was without zz when run 1 loaded its file",
            "Change it back to continue that run. --restart with --input loads")
    script(project)
    project.run().expect(DONE, "run 1 done: 3 rows")


def test_a_run_that_began_without_a_file_does_not_read_one(db, project):
    db.execute("CREATE TABLE t (line int PRIMARY KEY);"
               "INSERT INTO t VALUES (1), (2), (3)")
    old = ('return { config = { batch_size = 1, key = "line" }, base_query ='
           ' "SELECT line FROM t", migrate = function() end }')
    project.script(old)
    project.run("--limit", "1").expect(STOPPED)
    script(project, body="")
    project.write("a.csv", csv_of(2)[0])
    for more in ((), ("--input", "a.csv")):
        project.run("--adopt", "1", *more).expect(
            INVALID, "run 1 was begun without a file, and the script reads one"
            " now", "Change the script back to continue that run, or begin another"
            " one: --input FILE without --adopt.")
    project.run("--adopt", "7").expect(USAGE, "there is no run 7")
    project.run("--input", "a.csv").expect(DONE, "run 2 done: 2 rows")
    project.script(old)
    project.run().expect(DONE, "run 1 done: 3 rows")


@pytest.fixture
def roles(db):
    """Two that run migrations, and one that may look at them."""
    for role in ("migrator", "other", "looker"):
        db.admin(f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN"
                 " duplicate_object THEN NULL; END $$")
    db.admin("GRANT ALL ON out TO migrator, other")
    yield
    db.close()
    db.admin("DROP OWNED BY migrator, other, looker")


@pytest.mark.versions
def test_roles_that_may_look_at_runs_do_not_read_the_file(db, project, roles):
    sql = project.luamig("journal", "--sql", url=False).out
    for role in ("migrator", "other"):
        sql += project.luamig("journal", "--sql", "--grant", role, url=False).out
    db.execute(sql + "GRANT USAGE ON SCHEMA luamig TO looker;"
               "GRANT SELECT ON luamig.run, luamig.progress, luamig.input,"
               " luamig.version, luamig.range, luamig.worker, luamig.failure,"
               " luamig.request TO looker;"
               "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO looker, PUBLIC")
    script(project)
    project.write("u.csv", csv_of(5)[0])
    project.url = db.cluster.url(db.name, user="migrator")
    project.run("--input", "u.csv", "--limit", "2").expect(STOPPED)
    project.url = db.cluster.url(db.name, user="looker")
    project.luamig("status").expect(DONE, "u.csv")
    for sql in ("SELECT * FROM luamig.input_1", "SELECT luamig.drop_inputs()",
                "SELECT luamig.open_input(1, 'looker')",
                "SELECT luamig.make_input(1, '{a}', '{25}', '{-1}', 'looker')"):
        with pytest.raises(Exception, match="permission denied"):
            db.execute(sql, user="looker")
    with pytest.raises(Exception, match="no rows|no file"):
        db.execute("SELECT luamig.open_input(1, 'public')", user="migrator")
    with pytest.raises(Exception, match="no file to load"):
        db.execute("SELECT luamig.make_input(1, '{a}', '{25}', '{-1}', 'other')",
                   user="migrator")
    project.url = db.cluster.url(db.name, user="other")
    project.run().expect(DONE, "run 1 done: 5 rows")
    assert tables_of(db) == []
    assert db.scalar("SELECT count(*) FROM out") == 5


@pytest.mark.versions
def test_the_owner_of_the_journal_needs_the_types_of_the_file(db, project, roles):
    db.admin("GRANT CREATE ON DATABASE {0} TO other; ALTER DATABASE {0} OWNER TO"
             " other".format(db.name))
    for grant in ((), ("--grant", "migrator")):
        db.execute(project.luamig("journal", "--sql", *grant, url=False).out,
                   user="other")
    db.admin("CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO migrator;"
             "CREATE TYPE app.mood AS ENUM ('a'); REVOKE USAGE ON TYPE app.mood"
             " FROM PUBLIC; GRANT USAGE ON TYPE app.mood TO migrator")
    script(project, 'format = "csv", columns = { id = "bigint", email ='
           ' "app.mood[]" }', body="")
    project.write("u.csv", "id,email\n1,{a}\n")
    project.url = db.cluster.url(db.name, user="migrator")
    for grant in ("GRANT USAGE ON TYPE app.mood TO other;",
                  "GRANT USAGE ON SCHEMA app TO other;"):
        for command in ("check", "run"):
            project.luamig(command, "scripts/x.lua", "--input", "u.csv").expect(
                INVALID if command == "check" else UNREACHABLE,
                'role "other", which owns luamig\'s tables, may not use type'
                ' app.mood of column "email" in input.columns', grant)
        db.admin(grant)
    project.run("--input", "u.csv").expect(DONE, "run 1 done")


@pytest.mark.versions
def test_a_journal_is_upgraded_in_the_middle_of_a_run(db, project, roles):
    """Its roles may then read files, too."""
    ddl = project.luamig("journal", "--sql", url=False).out
    last = 'INSERT INTO "luamig".version (version) VALUES (5);\n'
    grants = project.luamig("journal", "--sql", "--grant", "migrator",
                            url=False).out.replace(', "luamig".input', "")
    db.execute(ddl[:ddl.index(last) + len(last)] + "COMMIT;")
    db.execute(grants)
    db.execute("CREATE TABLE t (id int PRIMARY KEY);"
               "INSERT INTO t SELECT generate_series(1, 10)")
    project.script("""return { config = { batch_size = 2, throttle_ms = 0 },
        base_query = "SELECT id FROM t",
        migrate = function(rows, repo) for _, row in ipairs(rows) do
          repo:insert("out", { id = row.id }) end end }""", "scripts/t.lua")
    # Half of it is done, as the older luamig would have it.
    db.execute("""
        INSERT INTO luamig.run (script, args, given, sha256, config, state, version)
        VALUES ('scripts/t.lua', '{}', '{}', 'x', '{}', 'stopped', '0.1.0');
        INSERT INTO luamig.progress (run_id, key_columns, bound, host, pid, started,
            rows, batches, ranges)
        VALUES (1, '{id}', '{10}', 'old', 1, true, 6, 3, 1);
        INSERT INTO luamig.range (run_id, cursor, upper) VALUES (1, '{6}', '{10}')""")
    project.luamig("run", "scripts/t.lua").expect(DONE, "run 1 done: 10 rows")
    assert db.column("SELECT id FROM out ORDER BY 1") == [7, 8, 9, 10]
    script(project)
    project.write("u.csv", csv_of(2)[0])
    project.url = db.cluster.url(db.name, user="migrator")
    project.run("--input", "u.csv").expect(DONE)
    assert tables_of(db) == []
