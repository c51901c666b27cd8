"""A run without a terminal."""

import os
import re

import pytest

from harness.project import CANCELLED, DONE, FAILED, INVALID
from harness.wait import wait_until

SLEEPY = """return {
  config = { batch_size = 10, throttle_ms = 200 },
  base_query = "SELECT id FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = 1 })
    end
  end }"""


@pytest.fixture
def table(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t SELECT i, 0 FROM generate_series(1, 50) i")
    project.script(SLEEPY)
    return db


def detach(project, *options):
    """The process and the log file of a run that goes on."""
    result = project.run("--detach", *options).expect(DONE, "run 1 of scripts/x.lua")
    found = re.search(r"run 1 continues in process (\d+); its log: (\S+)\n",
                      result.out)
    assert found, result
    return int(found.group(1)), found.group(2)


def test_a_detached_run_goes_on_by_itself(table, project):
    process, log = detach(project)
    assert table.state() == "running"
    assert os.getsid(process) == process
    wait_until(lambda: table.state() == "done", "the run to end")
    wait_until(lambda: "run 1 done: 50 rows" in project.read(log), "the log")
    assert table.scalar("SELECT sum(n) FROM t") == 50


def test_a_detached_run_is_cancelled_from_elsewhere(table, project):
    _, log = detach(project, "--throttle-ms", 5000)
    project.luamig("cancel", 1).expect(DONE)
    wait_until(lambda: "run 1 cancelled by app" in project.read(log),
               "the log")
    project.run().expect(CANCELLED)


def test_detach_reports_a_failure_before_the_begin_at_once(table, project):
    project.script("return {")
    project.run("--detach").expect(INVALID, "x.lua")
    assert not os.listdir(os.path.join(project.path, ".luamig", "log"))


def test_a_run_that_is_done_is_reported_by_detach_too(table, project):
    project.run("--throttle-ms", 0).expect(DONE)
    project.run("--detach").expect(DONE, "is done already")


def test_a_log_that_cannot_be_written(table, project):
    project.write(".luamig", "a file where the folder should be")
    project.run("--detach").expect(FAILED, "could not create the log file")


def test_a_detached_run_reads_a_file_or_standard_input(table, project):
    project.script("""return { config = { throttle_ms = 0 },
        input = { format = "csv", columns = { id = "int", n = "int" } },
        migrate = function(rows, repo)
          for _, row in ipairs(rows) do
            repo:update("t", { id = row.id }, { n = row.n })
          end
        end }""")
    result = project.run("--detach", "--input", "-", stdin="id,n\n1,7\n2,8\n")
    result.expect(DONE, "run 1 continues in process")
    wait_until(lambda: table.state() == "done", "the run to end")
    assert table.scalar("SELECT sum(n) FROM t") == 15
