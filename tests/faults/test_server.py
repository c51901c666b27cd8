"""What servers do to a run: restarts, failovers, shortages, lost replies. Each
test ends with the oracle."""

import os
import signal
import subprocess
import tempfile

import psycopg2
import pytest

from harness import readings
from harness.cluster import Cluster
from harness.oracle import assert_once
from harness.project import DONE, Project
from harness.proxy import TO_CLIENT, TO_SERVER
from harness.wait import wait_until

STRIDE = int(os.environ.get("LUAMIG_TEST_STRIDE") or 23)


def through(proxy, db):
    return db.cluster.url(db.name, host=proxy.host)


@pytest.fixture
def own(tmp_path):
    """Makes servers of this test's own; the last word is (server, database,
    project)."""
    made = []

    def make(**settings):
        server = Cluster(**settings).start()
        db = server.make_database()
        project = Project(tmp_path, db.url)
        made.append((project, server))
        return server, db, project
    yield make
    for project, server in made:
        project.close()
        server.remove()


def batches(db, runner, count):
    """Waits for so many more batches."""
    goal = db.progress("batches") + count
    wait_until(lambda: not runner.alive or db.progress("batches") >= goal,
               f"{count} batches")
    assert runner.alive, f"ended too early:\n{runner.result()}"


# -- restarts --------------------------------------------------------------


def kill_a_server_process(server, db):
    """As the kernel does when memory is short: every session ends, and the
    server recovers by itself."""
    pid = db.runners()[0]
    os.kill(pid, signal.SIGKILL)


def restart(how):
    def do(server, db):
        server.stop(how)
        server.start()
    return do


def test_a_paused_run_outlives_a_restart_of_the_server(own):
    server, db, project = own()
    readings.create(db, 400)
    project.script(readings.script(batch=50))
    project.env["LUAMIG_LEASE_MS"] = "1000"
    runner = project.start_run("--throttle-ms", 100)
    batches(db, runner, 1)
    project.luamig("pause", 1).expect(DONE)
    server.stop()
    server.start()
    db.execute("SELECT pg_sleep(1)")
    wait_until(lambda: project.status()[0]["live"], "the run to be held again")
    assert db.state() == "paused"
    project.luamig("resume", 1).expect(DONE)
    runner.wait().expect(DONE)
    assert_once(db)


@pytest.mark.parametrize("fault", [
    pytest.param(restart(signal.SIGINT), id="fast shutdown"),
    pytest.param(restart(signal.SIGQUIT), id="immediate shutdown"),
    pytest.param(kill_a_server_process, id="a server process killed")])
def test_a_server_that_goes_down_in_the_middle_of_a_batch(own, fault):
    server, db, project = own()
    readings.create(db, 400)
    project.script(readings.script(batch=50))
    runner = project.start_run(fault="after_flush:3=stop")
    runner.wait_frozen()
    fault(server, db)
    runner.thaw()
    runner.wait().expect(DONE, "reconnected")
    assert_once(db)


# -- failovers -------------------------------------------------------------


@pytest.mark.parametrize("old_primary", ["is read-only", "is gone"])
def test_a_standby_is_promoted_in_the_middle_of_a_run(own, old_primary):
    server, db, project = own()
    readings.create(db, 600)
    project.script(readings.script(batch=50))
    standby = server.standby().start()
    both = (f"host={server.dir},{standby.dir} port=5432 user=app "
            f"dbname={db.name} target_session_attrs=read-write")
    try:
        runner = project.start_run(url=both, fault="after_migrate:4=stop")
        runner.wait_frozen()
        server.wait_caught_up(standby)
        standby.promote()
        if old_primary == "is gone":
            server.crash()
        else:
            server.execute(
                "ALTER SYSTEM SET default_transaction_read_only = on")
            server.execute("SELECT pg_reload_conf()")
            wait_until(lambda: server.query(
                "SHOW default_transaction_read_only") == [("on",)],
                "the server to be read-only")
        runner.thaw()
        runner.wait().expect(DONE, "reconnected")
        new = standby.database(db.name)
        assert_once(new)
        if old_primary == "is read-only":
            # The batch in flight was begun before and may end there; none
            # that comes later may.
            assert db.progress("batches") <= 4
    finally:
        standby.remove()


# -- shortages -------------------------------------------------------------


def all_connections(db):
    taken = []
    while True:
        try:
            taken.append(db.connect())
        except psycopg2.OperationalError:
            return taken


def test_connections_that_are_all_taken_are_waited_for(own):
    server, db, project = own(max_connections="8",
                              superuser_reserved_connections="3")
    readings.create(db, 400)
    db.scalar("SELECT 1")
    project.script(readings.script(batch=50))
    runner = project.start_run("-v", fault="after_commit:2=stop")
    runner.wait_frozen()
    db.end_session(db.runners()[0])
    others = all_connections(db)
    runner.thaw()
    wait_until(lambda: not runner.alive or "too many" in runner.stderr()
               or "remaining connection slots" in runner.stderr(),
               "the refusal")
    for other in others:
        other.close()
    runner.wait().expect(DONE, "reconnected")
    assert_once(db)


@pytest.fixture
def small_disk():
    """A file system of a few megabytes, where the server's user may go."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounting a small tmpfs")
    place = tempfile.mkdtemp(prefix="luamig-disk-", dir="/tmp")
    os.chmod(place, 0o755)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o",
                              "size=8m,mode=0777", "tmpfs", place])
    if mounted.returncode != 0:
        os.rmdir(place)
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
    os.rmdir(place)


def test_a_disk_that_is_full_is_waited_for(own, small_disk):
    server, db, project = own()
    os.mkdir(f"{small_disk}/space", 0o777)
    subprocess.run(["chown", "postgres", f"{small_disk}/space"], check=True)
    server.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}/space'")
    server.execute("GRANT CREATE ON TABLESPACE small TO app")
    readings.create(db, 2000)
    db.execute("CREATE TABLE copies (id bigint, text text) TABLESPACE small;"
               "ALTER TABLE copies ALTER text SET STORAGE EXTERNAL")
    project.script(readings.script(batch=100, migrate="""
      for _, row in ipairs(rows) do
        repo:insert("copies", { id = row.id, text = string.rep("x", 1500) })
      end""" + readings.ROW_BY_ROW))
    with open(f"{small_disk}/ballast", "wb") as ballast:
        ballast.write(bytes(6 << 20))
    runner = project.start_run()
    wait_until(lambda: not runner.alive or "; waiting" in runner.stderr(),
               "the disk to be full")
    assert runner.alive, runner.result()
    os.remove(f"{small_disk}/ballast")
    runner.wait().expect(DONE, "53100", "No space left on device")
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM copies") == [
        (2000, 2000)]
    assert_once(db)


# -- lost bytes ------------------------------------------------------------


class Cutter:
    """A rule for the proxy. In each connection it lets the claim (of two
    transactions: the run, and what its cursor stands on) and one batch
    pass; of the next batch's conversation, it cuts after the bytes that are
    due in one direction. done is set once a batch was shorter than that."""

    def __init__(self, direction, start, stride):
        self._direction, self._due, self._stride = direction, start, stride
        self.done = False
        self.cuts = 0
        self._begins = self._seen = 0

    def __call__(self, direction, data, passed):
        if direction == TO_SERVER and passed == 0:
            self._begins = self._seen = 0
        begins = data.count(b"BEGIN ISO") if direction == TO_SERVER else 0
        self._begins += begins
        if self._begins >= 5:
            self.done = True
        if self._begins < 4 or self.done or direction != self._direction:
            return None
        self._seen += len(data)
        if self._seen <= self._due:
            return None
        keep = len(data) - (self._seen - self._due)
        self._due += self._stride
        self._begins = -100  # until the next connection
        self.cuts += 1
        return keep


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_conversation_cut_after_each_of_its_bytes(
        db, project, proxy, direction):
    """Every STRIDE-th byte of one batch's conversation, beginning anywhere;
    LUAMIG_TEST_STRIDE=1 means every byte."""
    readings.create(db, 20_000)
    project.script(readings.script(batch=4))
    cutter = proxy.rule = Cutter(direction, os.getpid() % STRIDE, STRIDE)
    runner = project.start_run(url=through(proxy, db))
    wait_until(lambda: cutter.done or not runner.alive, "all cuts",
               timeout=170 if STRIDE > 1 else 3600)
    assert cutter.done, runner.result()
    runner.signal(signal.SIGTERM)
    runner.wait()
    assert cutter.cuts >= 300 // STRIDE
    proxy.rule = None
    project.script(readings.script(batch=1000))
    project.run().expect(DONE)
    assert_once(db)


def test_only_the_reply_to_commit_is_lost(db, project, proxy):
    """The answers before it arrive, and the batch is committed."""
    readings.create(db, 400)
    project.script(readings.script(batch=20))
    state = {"replies": 0}

    def drop_the_reply(direction, data, _):
        place = data.find(b"COMMIT\0") if direction == TO_CLIENT else -1
        if place < 0:
            return None
        state["replies"] += 1
        return place - 5 if state["replies"] % 5 == 0 else None
    proxy.rule = drop_the_reply
    result = project.run(url=through(proxy, db)).expect(
        DONE, "the interrupted commit has succeeded")
    assert proxy.cuts >= 3, result
    assert_once(db)


def test_the_monitor_leaves_the_last_connection_to_the_run(own):
    """One of both is lost, and then there is room for one."""
    server, db, project = own()
    readings.create(db, 400)
    project.script(readings.script(batch=20))
    runner = project.start_run("--throttle-ms", 100)
    batches(db, runner, 1)
    wait_until(lambda: db.scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE"
        " 'luamig monitor%%'"), "the monitor")
    db.close()
    server.execute("ALTER ROLE app CONNECTION LIMIT 1")
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                   " WHERE application_name LIKE 'luamig: %'")
    runner.wait().expect(DONE, "reconnected")
    server.execute("ALTER ROLE app CONNECTION LIMIT -1")
    assert_once(db)
