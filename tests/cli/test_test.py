"""luamig test: busted in the interpreter that scripts run in."""

import glob
import os
import re
import signal
import subprocess
import tempfile
import xml.etree.ElementTree as xml

import pytest

from harness.project import (DONE, FAILED, INVALID, UNREACHABLE, USAGE,
                             Project, binary, clean_environment)
from harness.wait import wait_until

PASSING = """
local mock = require "luamig.mock"
describe("a script", function()
  it("passes #quick", function() assert.is_function(mock.new) end)
  it("passes as well", function() assert.equal(1, 1) end)
end)
"""
FAILING = """
it("fails", function() assert.equal(1, 2) end)
"""


@pytest.fixture
def folder(tmp_path):
    project = Project(tmp_path)
    yield project
    project.close()


def test_without_arguments_the_specs_below_spec_are_run(folder):
    folder.write("spec/deep/a_spec.lua", PASSING)
    folder.write("spec/not_a_test.lua", FAILING)

    folder.luamig("test", url=False).expect(DONE, "2 successes / 0 failures")


def test_a_spec_that_fails_is_shown_and_exits_1(folder):
    folder.write("spec/a_spec.lua", PASSING)
    folder.write("spec/b_spec.lua", FAILING)

    folder.luamig("test", url=False).expect(
        FAILED, "2 successes / 1 failure", "spec/b_spec.lua @ 2")


def test_files_tags_and_filters_are_busteds(folder):
    folder.write("spec/a_spec.lua", PASSING)
    folder.write("spec/b_spec.lua", FAILING)

    folder.luamig("test", "spec/a_spec.lua", url=False).expect(
        DONE, "2 successes")
    folder.luamig("test", "--tags=quick", url=False).expect(
        DONE, "1 success / 0 failures")
    folder.luamig("test", "--filter=as well", url=False).expect(
        DONE, "1 success / 0 failures")


def test_tap_and_junit_are_busteds(folder):
    folder.write("spec/a_spec.lua", PASSING)
    folder.write("spec/b_spec.lua", FAILING)

    folder.luamig("test", "-o", "TAP", url=False).expect(
        FAILED, "ok 1 - a script passes #quick", "not ok 3 - fails", "1..3")
    folder.luamig("test", "-o", "junit", "-Xoutput", "report.xml",
                  url=False).expect(FAILED)
    report = xml.fromstring(folder.read("report.xml"))
    assert len(report.findall(".//testcase")) == 3
    assert len(report.findall(".//failure")) == 1


def test_a_file_busted_is_obeyed_but_for_its_interpreter(folder):
    folder.write(".busted", """return { _all = {
      ROOT = { "checks" }, pattern = "_check", lua = "no-such-lua" } }""")
    folder.write("checks/a_check.lua", PASSING)
    folder.write("spec/b_spec.lua", FAILING)

    folder.luamig("test", url=False).expect(DONE, "2 successes / 0 failures")


def test_arguments_after_two_dashes_go_to_busted(folder):
    folder.luamig("test", "--", "--version", url=False).expect(
        DONE, re.compile(r"^2\.\d", re.M))
    folder.luamig("test", "--help", url=False).expect(
        DONE, "usage: luamig test", "--schema FILE")


def test_without_busted_it_says_what_to_install(folder):
    folder.luamig("test", url=False, env={"LUA_PATH": "/nowhere/?.lua"}).expect(
        USAGE, "could not load busted", "apt-get install lua-busted")


def test_coverage_without_luacov_says_so(folder):
    folder.write("spec/a_spec.lua", PASSING)
    if glob.glob("/usr/share/lua/5.4/luacov*"):
        pytest.skip("luacov is installed")

    ended = subprocess.run(
        [binary(), "test", "--coverage"], cwd=folder.path, check=False,
        env=clean_environment(), capture_output=True, text=True, timeout=60)

    assert ended.returncode == FAILED
    assert "LuaCov not found" in ended.stderr


@pytest.mark.parametrize("arguments, text", [
    (["--schema"], 'option "--schema" needs a value'),
    (["spec", "--pg"], 'option "--pg" must come before'),
    (["-o", "TAP", "--schema=x.sql"], "must come before busted's arguments"),
])
def test_own_options_come_first_and_complete(folder, arguments, text):
    folder.luamig("test", *arguments, url=False).expect(USAGE, text)


def test_the_specs_of_the_examples_pass(folder):
    top = os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__))))
    ended = subprocess.run(
        [binary(), "test", "tests/lua/onboarding_spec.lua",
         "tests/lua/fix_trybetunes_module_spec.lua",
         "tests/lua/raise_temperatures_spec.lua"],
        cwd=top, env=clean_environment(), capture_output=True, text=True,
        timeout=120, check=False)

    assert ended.returncode == DONE, ended.stdout + ended.stderr
    assert "0 failures / 0 errors" in ended.stdout


# -- the server of --pg ------------------------------------------------------

WAITS = """
it("waits", function()
  local world = require("luamig.mock").new { tables = {} }
  io.open("started", "w"):close()
  while not io.open "goes_on" do end
end)
"""


@pytest.fixture
def scratch():
    """A folder for the throw-away servers, which any user may enter."""
    with tempfile.TemporaryDirectory(prefix="luamig-", dir="/tmp") as path:
        os.chmod(path, 0o755)
        yield path


def test_the_server_is_gone_with_the_specs(folder, scratch):
    folder.write("spec/a_spec.lua", PASSING + """
      it("has a world", function()
        mock.new { tables = { t = { rows = { { id = 1 } } } } }
      end)""")

    folder.luamig("test", "--pg", url=False, env={"TMPDIR": scratch}).expect(
        DONE, "3 successes")

    assert os.listdir(scratch) == []


def test_the_server_is_gone_when_a_spec_has_failed(folder, scratch):
    folder.write("spec/a_spec.lua", FAILING)

    folder.luamig("test", "--pg", url=False, env={"TMPDIR": scratch}).expect(
        FAILED, "1 failure")

    assert os.listdir(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_server_is_gone_after_a_signal(folder, scratch, number):
    folder.write("spec/a_spec.lua", WAITS)
    runner = folder.start("test", "--pg", url=False, env={"TMPDIR": scratch})
    wait_until(lambda: folder.exists("started"), "the spec to start", 120)

    runner.signal(number)
    runner.process.wait(60)

    wait_until(lambda: os.listdir(scratch) == [], "the server to go", 60)


def test_a_schema_file_with_an_error_is_shown(folder, scratch):
    folder.write("spec/a_spec.lua", PASSING)
    folder.write("schema.sql", "CREATE TABLE t (id int);\nCREATE TABEL u;\n")

    folder.luamig("test", "--schema", "schema.sql", url=False,
                  env={"TMPDIR": scratch}).expect(
        INVALID, 'could not load "schema.sql"', "schema.sql:2: ERROR:",
        "TABEL")

    assert os.listdir(scratch) == []


def test_a_schema_file_with_owners_says_how_to_leave_them_out(folder, scratch):
    folder.write("spec/a_spec.lua", PASSING)
    folder.write("schema.sql", "CREATE TABLE t (id int);\n"
                               "ALTER TABLE t OWNER TO deploy;\n")

    folder.luamig("test", "--schema", "schema.sql", url=False,
                  env={"TMPDIR": scratch}).expect(
        INVALID, 'role "deploy" does not exist', "--no-owner --no-privileges")


def test_a_schema_file_may_come_from_a_database_where_luamig_has_run(
        folder, db, scratch):
    db.admin(folder.luamig("journal", "--sql", url=False).expect(DONE).out)
    folder.write("spec/a_spec.lua", PASSING)
    folder.write("schema.sql", db.dump("--schema-only", "--no-owner",
                                       "--no-privileges"))

    folder.luamig("test", "--schema", "schema.sql", url=False,
                  env={"TMPDIR": scratch}).expect(DONE, "2 successes")


def test_without_server_programs_it_says_what_to_install(folder, scratch):
    folder.luamig("test", "--pg", url=False,
                  env={"TMPDIR": scratch, "LUAMIG_PG_BIN": scratch}).expect(
        UNREACHABLE, "no PostgreSQL server programs were found")

    assert os.listdir(scratch) == []
