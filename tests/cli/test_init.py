"""luamig init, types and lua-path: a folder to begin in, an editor that knows
luamig, and plain busted that finds its modules."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness.project import (DONE, FAILED, UNREACHABLE, USAGE, Project, binary,
                             clean_environment)

FILES = ["luamig.lua", ".busted", ".luacheckrc", ".luarc.json", ".gitignore"]
SPEC = """
it("finds luamig", function()
  assert.equal("5.4", _VERSION:match "%d.%d")
  assert.matches("%d+%.%d+", require("luamig").version)
  assert.is_function(require("luamig.mock").new)
end)
"""


@pytest.fixture
def empty(tmp_path):
    """An empty folder, and no database."""
    project = Project(tmp_path)
    os.rmdir(tmp_path / "scripts")
    yield project
    project.close()


def run(project, *command, env=None):
    """A program other than luamig."""
    done = subprocess.run(command, cwd=project.path, timeout=120,
                          env={**clean_environment(), **(env or {})},
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def contents(project):
    found = {}
    for folder, _, names in os.walk(project.path):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, project.path)] = file.read()
    return found


def lines(result):
    """What init says of each file: created or kept."""
    return {name: word for word, name in
            re.findall(r"^(created|kept) +([^\s;]+)", result.out, re.M)}


# -- init --------------------------------------------------------------------


def test_an_empty_folder_becomes_a_project(empty):
    result = empty.luamig("init").expect(DONE)

    said = lines(result)
    for name in ["scripts/", "spec/", ".luamig/types/", *FILES]:
        assert said[name] == "created", result
        assert empty.exists(name)
    assert "luamig new" in result.out and "luamig run" in result.out


def test_a_project_stays_as_it_is(empty):
    empty.luamig("init").expect(DONE)
    before = contents(empty)

    result = empty.luamig("init").expect(DONE).refuse("created", "add to it")

    assert set(lines(result).values()) == {"kept"}
    assert contents(empty) == before


def test_existing_files_are_kept_and_their_missing_lines_are_printed(empty):
    old = {".gitignore": "*.log\n.env*\n", "luamig.lua": "return {}\n",
           ".luarc.json": '{"runtime.version": "Lua 5.4"}\n',
           ".luacheckrc": 'std = "lua54"\n', ".busted": "return {}\n"}
    for name, text in old.items():
        empty.write(name, text)

    result = empty.luamig("init").expect(DONE)

    for name, text in old.items():
        assert empty.read(name) == text
        assert lines(result)[name] == "kept"
    for lack in (".luamig/\n", '"workspace.library": [".luamig/types"]',
                 'std = "lua54+busted"', 'lua = "lua5.4"',
                 'exclude_files = { ".luamig" }'):
        assert lack in result.out, result
    result.refuse(".env\n", 'files["scripts"]', "luamig.lua;")


def test_a_gitignore_that_ignores_the_folder_is_complete(empty):
    empty.write(".gitignore", "/.luamig\r\n  .env  \r\n")
    empty.luamig("init").expect(DONE).refuse("add to it")


def test_a_dangling_link_is_not_written_through(empty):
    os.symlink("elsewhere.lua", os.path.join(empty.path, "luamig.lua"))
    result = empty.luamig("init").expect(DONE)
    assert lines(result)["luamig.lua"] == "kept"
    assert not empty.exists("elsewhere.lua")


def test_a_folder_that_is_not_there_is_made(empty):
    empty.luamig("init", "jobs/db").expect(DONE, "jobs/db")
    assert empty.exists("jobs/db/luamig.lua")
    assert empty.exists("jobs/db/.luamig/types/luamig/mock.lua")
    assert not empty.exists("luamig.lua")


def test_a_file_where_a_folder_belongs_is_in_the_way(empty):
    empty.write("scripts", "not a folder")
    empty.luamig("init").expect(FAILED, "could not create folder", "scripts")
    assert empty.read("scripts") == "not a folder"


@pytest.mark.parametrize("arguments", [("a", "b"), ("--force",), ("",)])
def test_init_takes_a_folder_and_nothing_else(empty, arguments):
    empty.luamig("init", *arguments).expect(USAGE, "luamig help init")
    assert os.listdir(empty.path) == []


def test_what_init_writes_is_understood_by_those_who_read_it(empty):
    empty.luamig("init").expect(DONE)
    empty.write("spec/a_spec.lua", SPEC)

    library = json.loads(empty.read(".luarc.json"))["workspace.library"]
    assert empty.exists(library[0] + "/luamig.lua")
    code, out = run(empty, "luacheck", ".")
    assert code == 0, out
    code, out = run(empty, "git", "init", "-q")
    assert code == 0, out
    empty.write(".env", "SECRET=1\n")
    ignored = run(empty, "git", "status", "--porcelain", "-uall")[1]
    assert ".luamig" not in ignored and ".env" not in ignored
    assert "luamig.lua" in ignored


@pytest.mark.parametrize("variable, said", [
    ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/shop"}, "DATABASE_URL"),
    ({"PGHOST": "127.0.0.1", "PGPORT": "1"}, "PGHOST"),
])
def test_the_project_file_leaves_the_database_to_the_environment(
        empty, variable, said):
    empty.luamig("init").expect(DONE)
    result = empty.luamig("check", env=variable).expect(UNREACHABLE)
    assert re.search(rf"^source +.*{said}", result.out, re.M), result


def test_an_error_says_why_a_folder_cannot_be_created(empty):
    # Nobody, not even root, makes folders there.
    empty.luamig("init", "/sys/luamig").expect(
        FAILED, 'could not create folder "/sys/luamig"').refuse("No such file")


def test_plain_busted_takes_a_filter_of_two_words(empty):
    empty.luamig("init").expect(DONE)
    empty.write("spec/a_spec.lua",
                'it("two words", function() end)\nit("one", function() end)')
    code, out = run(empty, "lua5.4", shutil.which("busted"), "-o", "TAP",
                    "--filter=two words")
    assert code == 0 and "ok 1 - two words\n1..1" in out, out


def test_globals_in_scripts_are_found_by_luacheck(empty):
    empty.luamig("init").expect(DONE)
    empty.write("scripts/a.lua", "counter = 1\nit('x')\nreturn {}\n")
    code, out = run(empty, "luacheck", "scripts")
    assert code != 0
    plain = re.sub(r"\x1b\[\d*m", "", out)
    assert "global variable counter" in plain
    assert "undefined variable it" in plain


# -- types -------------------------------------------------------------------


def test_the_types_are_printed_as_lua(empty):
    result = empty.luamig("types").expect(
        DONE, "---@meta luamig\n", "---@meta luamig.mock\n",
        "---@class luamig.Config")
    empty.write("types.lua", result.out)
    assert run(empty, "luac5.4", "-p", "types.lua")[0] == 0


def test_the_types_are_written_as_files(empty):
    empty.luamig("types", "some/where").expect(DONE)
    for name in ("some/where/luamig.lua", "some/where/luamig/mock.lua"):
        assert empty.read(name).startswith("---@meta luamig")
    empty.luamig("types", "a", "b").expect(USAGE)


def test_types_of_another_version_are_replaced(empty):
    empty.luamig("init").expect(DONE)
    types = empty.read(".luamig/types/luamig.lua")
    empty.write(".luamig/types/luamig.lua", types + "-- older\n")
    empty.luamig("init").expect(DONE)
    assert empty.read(".luamig/types/luamig.lua") == types


# -- lua-path ----------------------------------------------------------------


def lua_path(project, **options):
    result = project.luamig("lua-path", **options).expect(DONE)
    assert result.out.count("\n") == 1
    return result.out.strip()


def test_plain_busted_finds_the_modules(empty):
    empty.luamig("init").expect(DONE)
    empty.write("spec/a_spec.lua", SPEC)

    code, out = run(empty, "busted", env={"LUA_PATH": lua_path(empty)})

    assert code == 0 and "1 success" in out, out


def test_the_same_specs_run_in_luamigs_interpreter(empty):
    empty.luamig("init").expect(DONE)
    empty.write("spec/a_spec.lua", SPEC + """
it("is luamig's own Lua", function()
  assert.is_function(package.preload["luamig"])
end)
""")
    code, out = run(empty, binary(), "lua", "/usr/bin/busted")
    assert code == 0 and "2 successes" in out, out


def test_a_project_file_is_not_taken_for_the_module(empty):
    empty.luamig("init").expect(DONE)
    code, out = run(empty, "lua5.4", "-e", "print(require('luamig').version)",
                    env={"LUA_PATH": lua_path(empty)})
    assert code == 0 and re.match(r"\d", out), out


def test_the_modules_of_a_project_serve_its_subfolders(empty):
    empty.luamig("init").expect(DONE)
    path = lua_path(empty)
    empty.write("spec/deep/x.lua", "")
    result = Project(os.path.join(empty.path, "spec")).luamig("lua-path")
    assert result.expect(DONE).out.strip() == path


def test_existing_entries_of_lua_path_stay(empty):
    path = lua_path(empty, env={"LUA_PATH": "mine/?.lua"})
    assert path.endswith("/?/init.lua;mine/?.lua")
    assert lua_path(empty).endswith(";;")


def test_modules_of_another_build_are_replaced(empty):
    folder = lua_path(empty).partition("/?.lua")[0]
    module = os.path.join(folder, "luamig", "mock.lua")
    with open(module, encoding="utf-8") as file:
        mock = file.read()
    with open(module, "w", encoding="utf-8") as file:
        file.write("return {}")
    lua_path(empty)
    with open(module, encoding="utf-8") as file:
        assert file.read() == mock


def test_a_variable_that_hides_lua_path_is_warned_of(empty):
    empty.luamig("lua-path", env={"LUA_PATH_5_4": "mine/?.lua"}).expect(
        DONE, "warning: LUA_PATH_5_4", ";mine/?.lua\n")


def test_a_folder_that_no_path_can_name_is_refused(tmp_path):
    project = Project(tmp_path / "odd;name")
    project.luamig("lua-path").expect(FAILED, '";" or "?"')
