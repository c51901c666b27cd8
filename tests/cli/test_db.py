"""The embedded database: there when it is asked for, gone when it is not."""

import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from harness.project import DONE, STOPPED, UNREACHABLE, Project
from harness.wait import wait_until

FILL = """return { config = { allow_ddl = true }, run = function(repo)
  repo:execute("CREATE TABLE IF NOT EXISTS users (id int PRIMARY KEY, step text)")
  repo:execute("INSERT INTO users SELECT generate_series(1, 25)")
end }"""

WELCOME = """return {
  config = { batch_size = 10, throttle_ms = 0 },
  base_query = "SELECT id FROM users WHERE step IS NULL",
  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { step = "welcome" })
    end
  end,
}"""


@pytest.fixture
def folder():
    """A folder that every user may enter, unlike pytest's own."""
    path = tempfile.mkdtemp(prefix="luamig-db-", dir="/tmp")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def remove(project):
    """The server, its home (which may lie elsewhere) and what else runs."""
    project.close()
    project.luamig("db", "stop")
    shutil.rmtree(home(project), ignore_errors=True)


@pytest.fixture
def embedded(folder):
    project = Project(folder)
    project.script(FILL, "scripts/fill.lua")
    project.script(WELCOME)
    yield project
    remove(project)


def home(project):
    return os.path.realpath(os.path.join(project.path, ".luamig", "pg"))


def servers(project):
    """Processes of PostgreSQL that live in the project's folder."""
    listing = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], check=True,
                             capture_output=True, text=True).stdout
    return [line for line in listing.splitlines()
            if "postgres" in line and home(project) in line]


def test_a_migration_on_the_embedded_database_from_nothing_to_done(embedded):
    fill = ("--db", "embedded")
    embedded.run(*fill, script="scripts/fill.lua").expect(DONE)
    assert embedded.run(*fill).expect(DONE).rows == 25
    embedded.run(*fill).expect(DONE, "done already")
    assert embedded.run(*fill, "--again").expect(DONE).rows == 0
    assert [run["state"] for run in embedded.status(*fill)] == ["done"] * 3
    assert servers(embedded) == []


@pytest.mark.versions
def test_start_url_and_stop(embedded):
    embedded.luamig("db", "url").expect(UNREACHABLE, "luamig db start")
    url = embedded.luamig("db", "start").expect(DONE).out.strip()
    assert servers(embedded)
    assert embedded.luamig("db", "url").expect(DONE).out.strip() == url
    assert embedded.luamig("db", "start").expect(DONE).out.strip() == url

    embedded.run("--db", url, script="scripts/fill.lua").expect(DONE)
    embedded.run("--db", "embedded").expect(DONE)

    assert servers(embedded), "a started server stays"
    embedded.luamig("db", "stop").expect(DONE)
    assert servers(embedded) == []
    embedded.luamig("db", "stop").expect(DONE)


def test_psql_on_the_embedded_database(embedded):
    embedded.run("--db", "embedded", script="scripts/fill.lua").expect(DONE)
    out = embedded.luamig("db", "psql", "-Atc",
                          "SELECT count(*) FROM users").expect(DONE).out
    assert out.strip() == "25"
    wait_until(lambda: servers(embedded) == [], "the server to go")


def test_the_server_goes_when_its_luamig_is_killed(embedded):
    embedded.run("--db", "embedded", script="scripts/fill.lua").expect(DONE)
    runner = embedded.start_run("--db", "embedded",
                                fault="after_migrate:2=stop")
    runner.wait_frozen()
    assert servers(embedded)

    assert runner.kill()

    wait_until(lambda: servers(embedded) == [], "the server to go")
    embedded.run("--db", "embedded").expect(DONE)


def test_control_c_reaches_the_run_and_not_its_server(embedded):
    embedded.run("--db", "embedded", script="scripts/fill.lua").expect(DONE)
    runner = embedded.start_run("--db", "embedded",
                                fault="after_migrate:1=stop")
    runner.wait_frozen()
    os.killpg(runner.pid, signal.SIGINT)
    runner.thaw()
    runner.wait().expect(STOPPED)
    embedded.run("--db", "embedded").expect(DONE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can shut others out")
def test_a_project_that_the_servers_user_may_not_enter(folder):
    os.chmod(folder, 0o700)
    project = Project(os.path.join(folder, "project"))
    project.script(FILL, "scripts/fill.lua")
    fill = ("--db", "embedded")
    try:
        project.run(*fill, script="scripts/fill.lua").expect(DONE)
        project.run(*fill, script="scripts/fill.lua").expect(
            DONE, "done already")
    finally:
        remove(project)


def test_what_to_install_when_there_is_no_server(embedded):
    result = embedded.run("--db", "embedded", script="scripts/fill.lua",
                          env={"LUAMIG_PG_BIN": "/nonexistent"})
    result.expect(UNREACHABLE, re.compile("install|LUAMIG_PG_BIN"))


def test_two_runs_share_one_embedded_server(embedded):
    embedded.run("--db", "embedded", script="scripts/fill.lua").expect(DONE)
    first = embedded.start_run("--db", "embedded",
                               fault="after_migrate:1=stop")
    first.wait_frozen()
    embedded.script(WELCOME.replace("return {", 'return { name = "other",'),
                    "scripts/other.lua")
    second = embedded.start("status", "--db", "embedded").wait()
    second.expect(DONE, "running")
    assert servers(embedded), "the first still uses it"
    first.thaw()
    first.wait().expect(DONE)
    assert servers(embedded) == []
