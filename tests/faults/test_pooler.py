"""luamig through PgBouncer, in session and in transaction mode."""

import json
import re
import signal

import pytest

from harness import inputs, readings
from harness.cluster import Cluster
from harness.oracle import assert_nothing_left, assert_once
from harness.pooler import Pooler
from harness.project import BUSY, DONE, STOPPED, UNREACHABLE, Project
from harness.proxy import TO_CLIENT, Proxy
from harness.wait import wait_until

SHORT_LEASE = {"LUAMIG_LEASE_MS": "1500"}
LEASE_IS_OVER = "SELECT max(lease_until) < clock_timestamp() FROM luamig.worker"


@pytest.fixture(params=["session", "transaction"])
def pooler(request, cluster):
    between = Pooler(cluster, request.param)
    yield between
    between.close()


@pytest.fixture
def shared(cluster):
    """One server connection for all clients: whatever a client leaves in its
    session, the next one finds."""
    between = Pooler(cluster, "transaction", size=1)
    yield between
    between.close()


@pytest.fixture
def forgetful(tmp_path):
    """A server that can lose what nobody waits for, a pooler before it, a
    database and a project."""
    server = Cluster().start()
    between = Pooler(server, "transaction")
    db = server.make_database()
    project = Project(tmp_path, db.url)
    yield server, between, db, project
    project.close()
    between.close()
    server.remove()


def through(pooler, db):
    return pooler.url(db.name)


def test_a_run_through_a_pooler_says_so_and_writes_each_row_once(
        db, project, pooler):
    readings.create(db, 1000)
    project.script(readings.script(batch=100))
    runner = project.start_run(url=through(pooler, db),
                               fault="after_commit:2=stop")
    runner.wait_frozen()
    assert db.rows("SELECT backend_pid, backend_start FROM luamig.worker",
                   user="postgres") == [(0, None)]
    runner.thaw()
    result = runner.wait().expect(DONE)
    assert result.err.count("is behind a connection pooler") == 1
    assert_once(db, pooled=True)


def test_a_dry_run_through_a_pooler_leaves_nothing(db, project, pooler):
    readings.create(db, 1000)
    project.script(readings.script(batch=100))
    before = db.rows("SELECT * FROM readings ORDER BY 1")
    result = project.run("--dry-run", url=through(pooler, db)).expect(DONE)
    report = json.loads(result.out)
    assert (report["rows"], report["batches"]) == (1000, 10)
    assert [table["updated"] for table in report["tables"]
            if table["table"] == "public.readings"] == [1000]
    assert db.rows("SELECT * FROM readings ORDER BY 1") == before
    assert not db.has_journal()
    assert_nothing_left(db, pooled=True)


def test_no_pooler_is_seen_where_there_is_none(db, project):
    readings.create(db, 10)
    project.script(readings.script(batch=100))
    runner = project.start_run(fault="after_commit:1=stop")
    runner.wait_frozen()
    assert db.scalar("SELECT backend_pid FROM luamig.worker",
                     user="postgres") > 0
    runner.thaw()
    runner.wait().expect(DONE).refuse("pooler")


def test_others_use_the_same_server_connections_meanwhile(db, project, shared):
    """Two runs and a neighbour take turns on one server connection."""
    readings.create(db, 1000)
    project.script(readings.script(batch=50, throttle=5))
    project.script("""return { base_query = "SELECT id FROM twin",
      config = { batch_size = 50, throttle_ms = 5 },
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("twin", { id = row.id }, { n = 1 })
          repo:query("SELECT $1::int + " .. row.id % 7, 1)
        end
      end }""", "scripts/twin.lua")
    db.execute("CREATE TABLE twin AS SELECT id, 0 AS n FROM readings;"
               "ALTER TABLE twin ADD PRIMARY KEY (id)")
    neighbour = shared.connect(db.name).cursor()
    pair = [project.start("run", f"scripts/{name}.lua",
                          url=through(shared, db)) for name in ("x", "twin")]
    while any(runner.alive for runner in pair):
        neighbour.execute("SET search_path = pg_catalog; RESET search_path")
    for runner in pair:
        runner.wait().expect(DONE).refuse("already exists", "does not exist")
    assert db.scalar("SELECT count(*) FROM twin WHERE n <> 1") == 0
    assert db.column("SELECT state FROM luamig.run", user="postgres") == (
        ["done", "done"])
    readings.assert_each_once(db)
    assert_nothing_left(db, pooled=True)


LEAKS = ["search_path = pg_catalog, elsewhere",
         "default_transaction_read_only = on", "statement_timeout = 100",
         "DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'",
         "bytea_output = 'escape'", "row_security = off",
         "default_transaction_isolation = serializable", "role = nobody_there"]


def test_settings_that_another_client_has_left_do_no_harm(db, project, shared):
    """elsewhere.readings is what the script would write to, were it not for
    its own search_path."""
    readings.create(db, 300)
    db.admin("CREATE ROLE nobody_there; GRANT nobody_there TO app")
    db.admin("CREATE SCHEMA elsewhere AUTHORIZATION app")
    db.execute("CREATE TABLE elsewhere.readings (LIKE readings INCLUDING ALL);"
               "INSERT INTO elsewhere.readings SELECT * FROM readings")
    project.script(readings.script(batch=50, migrate="""
      repo:query("SELECT pg_sleep(0.2)")"""
                                   + readings.ROW_BY_ROW))
    neighbour = shared.connect(db.name).cursor()

    def leak():
        for setting in LEAKS:
            neighbour.execute(f"SET {setting}")
    try:
        leak()
        runner = project.start_run(url=through(shared, db),
                                   fault="after_commit:2=stop")
        runner.wait_frozen()
        neighbour.execute("RESET role")
        leak()
        runner.thaw()
        runner.wait().expect(DONE)
    finally:
        neighbour.execute("RESET ALL; RESET role")
        db.admin("DROP OWNED BY nobody_there; DROP ROLE nobody_there")
    assert db.scalar(
        "SELECT count(*) FROM elsewhere.readings WHERE writes > 0") == 0
    assert_once(db, pooled=True)


def test_a_living_runner_behind_a_pooler_keeps_its_run(db, project, pooler):
    """Also when another client has taken over its server process."""
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    first = project.start_run(url=through(pooler, db),
                              fault="after_commit:1=stop")
    first.wait_frozen()
    others = [project.start_run(url=url)
              for url in (through(pooler, db), db.url)]
    for other in others:
        other.wait().expect(BUSY, "already running",
                            "through a connection pooler")
    first.thaw()
    first.wait().expect(DONE)
    assert_once(db, pooled=True)


def test_a_runner_recognises_its_run_after_the_answer_to_its_begin_was_lost(
        db, project, pooler):
    """Nobody sees behind a pooler that the first attempt's process is gone."""
    readings.create(db, 200)
    project.script(readings.script(batch=100, config="health = false"))
    proxy = Proxy(pooler)

    def lose_the_reply(direction, data, _):
        place = data.find(b"COMMIT\0") if direction == TO_CLIENT else -1
        return 0 if place >= 0 and not proxy.cuts else None
    try:
        runner = project.start_run(
            url=db.cluster.url(db.name, host=proxy.host),
            fault="journal_before_commit:2=stop")
        runner.wait_frozen()
        proxy.rule = lose_the_reply
        runner.thaw()
        runner.wait().expect(DONE, "reconnected")
    finally:
        proxy.close()
    assert db.scalar("SELECT count(*) FROM luamig.run", user="postgres") == 1
    assert_once(db, pooled=True)


@pytest.mark.parametrize("point", ["after_flush:2", "after_commit_sent:2"])
def test_a_killed_runner_behind_a_pooler_is_followed_when_its_lease_has_ended(
        db, project, pooler, point):
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    bystander = pooler.connect(db.name).cursor()
    first = project.start_run(url=through(pooler, db), fault=f"{point}=kill",
                              env=SHORT_LEASE)
    first.process.wait(60)
    codes = set()

    def followed():
        result = project.run(url=through(pooler, db))
        codes.add(result.code)
        return result.code == DONE
    wait_until(followed, "the lease to end")

    assert codes <= {BUSY, DONE}
    bystander.execute("SELECT 1")  # nobody has ended a process of the pool
    assert_once(db, pooled=True)


def test_a_second_signal_cancels_a_statement_behind_a_pooler(
        db, project, pooler):
    readings.create(db, 10)
    project.script(readings.script(batch=10, migrate="""
      repo:query("SELECT pg_sleep(60)")"""))
    runner = project.start_run(url=through(pooler, db))
    wait_until(lambda: db.cluster.query(
        "SELECT FROM pg_stat_activity WHERE datname = %s AND"
        " wait_event = 'PgSleep'", db.name), "the statement")
    runner.signal(signal.SIGINT)
    runner.signal(signal.SIGTERM)  # two of a kind could arrive as one
    runner.wait().expect(STOPPED)
    assert_nothing_left(db, pooled=True)
    project.script(readings.script(batch=10))
    project.run(url=through(pooler, db)).expect(DONE)
    assert_once(db, pooled=True)


def test_a_server_that_crashes_behind_a_pooler(db, project, pooler):
    """The pooler reports the loss in its own words."""
    readings.create(db, 2000)
    project.script(readings.script(batch=20, throttle=5))
    runner = project.start_run(url=through(pooler, db))
    for _ in range(3):
        before = db.progress()
        wait_until(lambda: not runner.alive or db.progress() > before,
                   "a batch")
        db.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                 " WHERE datname = %s AND application_name LIKE 'luamig%%'",
                 db.name)
    runner.wait().expect(DONE)
    assert_once(db, pooled=True)


@pytest.mark.parametrize("point", [
    pytest.param("after_commit:4", id="between two batches"),
    pytest.param("before_commit:4", id="in a batch"),
    pytest.param("done_before_commit:1", id="at the end")])
def test_a_server_that_loses_batches_behind_a_pooler(forgetful, point):
    """The client's connection lives on: only the journal tells."""
    server, between, db, project = forgetful
    readings.create(db, 250)
    project.script(readings.script(batch=50))
    server.keep_wal_in_memory()
    runner = project.start_run(url=through(between, db),
                               fault=f"{point}=stop")
    runner.wait_frozen()
    server.crash_without_wal()
    server.start()
    runner.thaw()
    result = runner.wait().expect(DONE)
    assert len(re.findall(r"server lost [1-9]\d* acknowledged batches",
                          result.err)) == 1
    assert_once(db, pooled=True)


def test_a_transaction_that_holds_a_run_behind_a_pooler_is_found_by_the_hint(
        db, project, shared):
    """Its server process is nobody's by name."""
    readings.create(db, 300)
    project.script(readings.script(batch=100))
    runner = project.start_run(url=through(shared, db), env=SHORT_LEASE,
                               fault="after_flush:2=stop")
    runner.wait_frozen()
    wait_until(lambda: db.scalar(LEASE_IS_OVER, user="postgres"),
               "the lease to end")
    held = project.run(env={"LUAMIG_FAULT_PATIENCE_MS": "100"}).expect(
        BUSY, "is still open behind a connection pooler")
    begins = re.search(r'application_name begins with "(.*?)"', held.err)
    db.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
             " starts_with(application_name, %s)", begins.group(1))
    project.run().expect(DONE, "resuming run 1")
    runner.thaw()
    runner.wait().expect(BUSY, "taken over")
    assert_once(db, pooled=True)


def test_a_resumed_run_whose_batches_are_lost_behind_a_pooler_goes_on(
        forgetful):
    """It does not fall back into the pause that it was found in."""
    server, between, db, project = forgetful
    readings.create(db, 500)
    project.script(readings.script(batch=50, throttle=500))
    paused = project.start_run(url=through(between, db), env=SHORT_LEASE)
    wait_until(lambda: db.progress("batches") > 0, "a batch")
    project.luamig("pause", 1).expect(DONE, "run 1 is paused")
    paused.kill()
    wait_until(lambda: db.scalar(LEASE_IS_OVER, user="postgres"),
               "the lease to end")
    server.keep_wal_in_memory()
    runner = project.start_run("--throttle-ms", 0,
                               url=through(between, db), env=SHORT_LEASE,
                               fault="after_commit:3=stop")
    runner.wait_frozen()
    server.crash_without_wal()
    server.start()
    runner.thaw()
    runner.wait().expect(DONE, "is paused; asking it to continue",
                         "acknowledged batches")
    assert_once(db, pooled=True)


def test_a_file_is_loaded_through_a_pooler(db, project, pooler):
    inputs.make_out(db)
    inputs.script(project, batch=100)
    text, rows = inputs.csv_of(1000)
    project.write("u.csv", text)
    url = through(pooler, db)
    project.run("--input", "u.csv", "--workers", "2", url=url).expect(DONE)
    assert inputs.rows_of(db) == rows
    assert inputs.tables_of(db) == []
    project.run("--input", "u.csv", "--dry-run", url=url).expect(
        UNREACHABLE, "on a connection of its own")
