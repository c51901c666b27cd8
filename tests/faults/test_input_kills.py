"""A run that reads a file is killed anywhere: each record is written once."""

import os
import random
import signal
import time

import pytest

from harness import inputs
from harness.cluster import Cluster
from harness.oracle import assert_nothing_left
from harness.project import DONE, Project
from harness.wait import wait_until

# Where luamig dies, and whether the run goes on without the file.
BEFORE = ["before_begin", "journal_before_commit:1", "journal_after_commit_sent:1",
          "input_block:1", "input_before_commit"]
AFTER = ["input_after_commit", "on_start_before_commit", "on_start_after_commit_sent",
         "on_start_after_commit", "after_page:2", "before_commit:2",
         "after_commit_sent:1", "after_commit_sent:3", "done_before_commit"]


def run_and_die(project, point):
    runner = project.start_run("--input", "u.csv", fault=f"{point}=kill")
    code = runner.process.wait(60)
    assert code == -signal.SIGKILL, f"{point}: {runner.result()}"


@pytest.fixture
def table(db, project):
    inputs.make_out(db)
    inputs.script(project, more="on_start = function() end,",
                  config="retries = 0")
    project.write("u.csv", inputs.csv_of(7)[0])


def finish(db, project, *options):
    wait_until(lambda: not db.runners(), "the old session to end")
    project.run(*options).expect(DONE)
    assert inputs.rows_of(db) == inputs.csv_of(7)[1]
    assert inputs.tables_of(db) == []
    assert_nothing_left(db)
    db.execute("TRUNCATE out; DROP SCHEMA luamig CASCADE")


def test_before_the_file_is_loaded(db, project, table):
    for point in BEFORE:
        run_and_die(project, point)
        finish(db, project, "--input", "u.csv")


def test_when_the_file_is_loaded_nobody_needs_it(db, project, table):
    path = os.path.join(project.path, "u.csv")
    for point in AFTER:
        run_and_die(project, point)
        os.rename(path, path + ".away")
        finish(db, project)
        os.rename(path + ".away", path)


@pytest.mark.parametrize("point", ["input_after_commit_sent",
                                   "done_after_commit_sent",
                                   "done_after_commit"])
def test_where_nobody_knows_what_a_commit_did(db, project, table, point):
    """The server may have it or not; the same command does what is left."""
    run_and_die(project, point)
    wait_until(lambda: not db.runners(), "the old session to end")
    project.run("--input", "u.csv").expect(DONE)
    assert inputs.rows_of(db) == inputs.csv_of(7)[1]
    inputs.script(project, name="scripts/next.lua", batch=1)
    project.luamig("run", "scripts/next.lua", "--input", "u.csv").expect(DONE)
    assert inputs.tables_of(db) == []


def test_a_connection_that_breaks_while_the_file_is_loaded(db, project):
    inputs.make_out(db)
    inputs.script(project, batch=1000)
    text, rows = inputs.csv_of(3000, 300)
    project.write("u.csv", text)
    runner = project.start_run("--input", "u.csv", fault="input_block:3=stop")
    runner.wait_frozen()
    for pid in db.runners():
        db.end_session(pid)
    runner.thaw()
    runner.wait().expect(DONE, "reconnect")
    assert inputs.rows_of(db) == rows
    assert inputs.tables_of(db) == []


def test_two_workers_are_killed_and_go_on_without_the_file(db, project):
    inputs.make_out(db)
    inputs.script(project, batch=20)
    text, rows = inputs.csv_of(4000)
    project.write("u.csv", text)
    for point in ("after_page:20", "after_commit_sent:70", "before_commit:40"):
        runner = project.start_run("--input", "u.csv", "--workers", "2",
                                   fault=f"{point}=kill")
        assert runner.process.wait(60) == -signal.SIGKILL, runner.result()
        wait_until(lambda: not db.runners(), "the old sessions to end")
    project.run("--workers", "2").expect(DONE)
    assert inputs.rows_of(db) == rows
    assert inputs.tables_of(db) == []


def test_kills_at_random_moments(db, project, record_property):
    seed = int(os.environ.get("LUAMIG_TEST_SEED") or time.time())
    record_property("seed", seed)
    print(f"LUAMIG_TEST_SEED={seed}")
    dice = random.Random(seed)
    inputs.make_out(db)
    inputs.script(project, batch=100, config="workers = 2")
    text, rows = inputs.csv_of(4000, 300)
    project.write("u.csv", text)
    for _ in range(8):
        runner = project.start_run("--input", "u.csv")
        time.sleep(dice.uniform(0.05, 0.9))
        runner.kill()
    project.run("--input", "u.csv").expect(DONE)
    assert inputs.rows_of(db) == rows
    assert inputs.tables_of(db) == []


@pytest.fixture
def crashing(tmp_path):
    """A server, a database and a project."""
    server = Cluster().start()
    database = server.make_database()
    folder = Project(tmp_path / "crashing", database.url)
    yield server, database, folder
    folder.close()
    server.remove()


@pytest.mark.long
def test_a_server_that_crashes(crashing):
    """While the file is loaded, and when it is, and batches are lost."""
    server, db, project = crashing
    inputs.make_out(db)
    inputs.script(project, batch=50)
    text, rows = inputs.csv_of(3000, 300)
    project.write("u.csv", text)
    runner = project.start_run("--input", "u.csv", fault="input_block:3=stop")
    runner.wait_frozen()
    db.close()
    server.crash()
    server.start()
    runner.thaw()
    wait_until(lambda: "is loaded" in runner.stderr(), "the load")
    runner.kill()
    server.keep_wal_in_memory()
    runner = project.start_run(fault="after_commit_sent:9=stop")
    runner.wait_frozen()
    db.close()
    server.crash_without_wal()
    server.start()
    runner.thaw()
    runner.wait().expect(DONE)
    assert inputs.rows_of(db) == rows
    assert inputs.tables_of(db) == []


def test_a_frozen_process_that_loads_loses_the_run_to_another(db, project):
    inputs.make_out(db)
    inputs.script(project, batch=1000)
    text, rows = inputs.csv_of(3000, 300)
    project.write("u.csv", text)
    env = {"LUAMIG_LEASE_MS": "500"}
    frozen = project.start_run("--input", "u.csv", fault="input_block:3=stop",
                               env=env)
    frozen.wait_frozen()
    for pid in db.runners():
        db.end_session(pid)
    wait_until(lambda: not db.runners(), "its sessions to end")
    project.run("--input", "u.csv", env=env).expect(DONE)
    frozen.thaw()
    assert frozen.wait().code != DONE or inputs.rows_of(db) == rows
    assert inputs.rows_of(db) == rows
    assert inputs.tables_of(db) == []
