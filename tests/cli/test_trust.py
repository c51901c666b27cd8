"""Whose luamig.lua, .env and marks of a project root are obeyed: one's own, and
those of root. Others are refused before they are read."""

import os

import pytest

from harness.project import DONE, INVALID

STRANGER = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0,
                                reason="only root gives files away")

PLANTED = 'os.execute("touch " .. os.getenv("PROOF")) return {}'
SCRIPT = 'return { run = function(repo) repo:execute("SELECT 1") end }'


@pytest.fixture
def shared(project):
    """A folder of everybody's, such as /tmp, and one of ours below it."""
    os.mkdir(os.path.join(project.path, "mine"))
    os.chmod(project.path, 0o1777)
    project.env["PROOF"] = os.path.join(project.path, "proof")
    return project


def plant(project, name, text="", owner=STRANGER):
    project.write(name, text)
    os.chown(os.path.join(project.path, name), owner, owner)


def assert_refused(project, name, *command, why="belongs to another user"):
    result = project.luamig(*command).expect(
        INVALID, f"{project.path}/{name} {why}",
        f"LUAMIG_TRUST={project.path}")
    assert not project.exists("proof"), result
    return result


@pytest.mark.parametrize("command", [
    ["status"], ["run", "scripts/x.lua"], ["check", "scripts/x.lua"],
    ["new", "--table", "t", "y"], ["pause", "x"], ["failures", 1]],
    ids=lambda command: command[0])
def test_a_planted_project_file_is_not_run(shared, command):
    shared.script(SCRIPT)
    plant(shared, "luamig.lua", PLANTED)
    assert_refused(shared, "luamig.lua", *command)


def test_nor_one_in_a_folder_above(shared):
    plant(shared, "luamig.lua", PLANTED)
    shared.path, top = os.path.join(shared.path, "mine"), shared.path
    shared.luamig("status", url=False).expect(
        INVALID, f"{top}/luamig.lua belongs to another user")
    assert not os.path.exists(os.path.join(top, "proof"))


def test_a_planted_env_sets_nothing(shared):
    plant(shared, ".env", "PGOPTIONS='-c role=nobody'\n")
    assert_refused(shared, ".env", "status")


@pytest.mark.parametrize("mark", [".git", ".luamig"])
def test_a_planted_mark_makes_no_root(shared, mark):
    """Modules and scripts would be looked for below it."""
    shared.script(SCRIPT)
    os.mkdir(os.path.join(shared.path, mark))
    os.chown(os.path.join(shared.path, mark), STRANGER, STRANGER)
    assert_refused(shared, mark, "run", "x")


def test_no_modules_are_put_into_a_planted_folder(shared):
    """Its owner could change them, and LUA_PATH would name it."""
    os.mkdir(os.path.join(shared.path, ".luamig"))
    os.chown(os.path.join(shared.path, ".luamig"), STRANGER, STRANGER)
    shared.url = None
    assert_refused(shared, ".luamig", "lua-path")
    assert os.listdir(os.path.join(shared.path, ".luamig")) == []
    shared.luamig("lua-path", env={"LUAMIG_TRUST": shared.path}).expect(
        DONE, "/.luamig/lua-")


def test_nor_for_a_script_that_is_named_from_elsewhere(shared, tmp_path_factory):
    plant(shared, "luamig.lua", PLANTED)
    shared.script(SCRIPT, "mine/x.lua")
    path, shared.path = shared.path, str(tmp_path_factory.mktemp("cwd"))
    shared.luamig("run", f"{path}/mine/x.lua").expect(
        INVALID, f"{path}/luamig.lua belongs to another user")
    assert not os.path.exists(f"{path}/proof")


def test_a_link_of_another_user_is_refused(shared):
    shared.write("mine/other.lua", PLANTED)
    link = os.path.join(shared.path, "luamig.lua")
    os.symlink("mine/other.lua", link)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert_refused(shared, "luamig.lua", "status")


def test_a_file_that_everybody_may_write_to(shared):
    shared.write("luamig.lua", PLANTED)
    os.chmod(os.path.join(shared.path, "luamig.lua"), 0o666)
    assert_refused(shared, "luamig.lua", "status",
                   why="can be written by everybody")


def test_the_hint_is_followed(shared):
    shared.script(SCRIPT)
    plant(shared, "luamig.lua", "return {}")
    assert_refused(shared, "luamig.lua", "run", "x")
    shared.env["LUAMIG_TRUST"] = shared.path
    shared.luamig("run", "x").expect(DONE)


@pytest.mark.parametrize("value, code", [
    ("/nowhere:{path}", DONE), ("{path}/", DONE), ("*", DONE),
    ("/nowhere", INVALID), ("", INVALID), ("{path}/mine", INVALID)])
def test_what_may_be_trusted(shared, value, code):
    shared.script(SCRIPT)
    plant(shared, "luamig.lua", "return {}")
    shared.env["LUAMIG_TRUST"] = value.format(path=shared.path)
    shared.luamig("run", "x").expect(code)


def test_env_cannot_trust_itself(shared):
    plant(shared, ".env", "LUAMIG_TRUST=*\n")
    assert_refused(shared, ".env", "status")


def test_under_sudo_the_files_of_the_caller_will_do(shared):
    shared.script(SCRIPT)
    plant(shared, "luamig.lua", "return {}")
    shared.env["SUDO_UID"] = str(STRANGER)
    shared.luamig("run", "x").expect(DONE)
    shared.env["SUDO_UID"] = "1"
    assert_refused(shared, "luamig.lua", "run", "x")


def test_ones_own_project_in_a_shared_folder(shared):
    shared.script(SCRIPT)
    shared.write("luamig.lua", "return {}")
    shared.luamig("run", "x").expect(DONE)


@pytest.mark.parametrize("arguments", [[], ["{}/mine"]], ids=["", "elsewhere"])
def test_a_planted_busted_is_not_run(shared, arguments):
    plant(shared, ".busted", PLANTED)
    shared.write("mine/a_spec.lua", "it('works', function() end)")
    command = ["test", *[a.format(shared.path) for a in arguments]]
    assert_refused(shared, ".busted", *command)
    os.chown(os.path.join(shared.path, ".busted"), 0, 0)
    shared.luamig(*command, url=False)
    assert shared.exists("proof")


@pytest.mark.parametrize("who", ["x.lua", "luamig.lua"])
@pytest.mark.parametrize("name", ["extra.lua", "extra/init.lua"])
def test_no_module_is_found_in_the_working_directory(shared, who, name):
    plant(shared, "mine/up/" + name, PLANTED)
    for file, text in ("luamig.lua", "return {}"), ("x.lua", SCRIPT):
        ask = 'pcall(require, "extra") ' if file == who else ""
        shared.write("mine/" + file, ask + text)
    up = os.path.join(shared.path, "mine/up")
    shared.run(script="../x.lua", cwd=up).expect(DONE)
    assert not shared.exists("proof")
    shared.run("--again", script="../x.lua", cwd=up,
               env={"LUA_PATH": "./?.lua;./?/init.lua"}).expect(DONE)
    assert shared.exists("proof")
