"""What somebody who is new to Lua, or to the project, is told."""

import pytest

from harness.project import DONE, FAILED, INVALID


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("name, near", [
    ("fill_nmaes", "scripts/fill_names.lua"),
    ("fill_nmaes.lua", "scripts/fill_names.lua"),
    ("scripts/fil_names.lua", "scripts/fill_names.lua"),
    ("clean-up", "scripts/clean_up.lua")])
def test_a_script_that_is_not_found_names_the_nearest(
        project, command, name, near):
    project.script("return { run = function() end }", "scripts/fill_names.lua")
    project.script("return { run = function() end }", "scripts/clean_up.lua")
    result = project.luamig(command, name).expect(
        INVALID, "could not open script", f'Did you mean "{near}"?',
        "scripts has: clean_up.lua, fill_names.lua.")
    assert "No such file" in result.out + result.err
    project.luamig(command, near).expect(DONE)  # the hint, followed


def test_a_script_with_another_name_altogether_gets_the_list(project):
    for i in range(14):
        project.script("return { run = function() end }", f"scripts/s{i}.lua")
    project.luamig("run", "welcome_everybody").expect(
        INVALID, "scripts has: s0.lua", "and 2 more.").refuse("Did you mean")


def test_a_project_without_scripts_gets_a_hint(project):
    project.luamig("run", "x").expect(INVALID, "There is no script in scripts",
                                      "luamig new NAME")
    project.luamig("new", "x", url=False).expect(DONE)
    project.luamig("run", "x").expect(INVALID, "my_table")


def test_the_folder_of_scripts_is_the_one_of_the_project_file(project):
    project.write("luamig.lua", 'return { scripts = "db" }')
    project.script("return { run = function() end }", "db/welcome.lua")
    project.luamig("run", "welcom").expect(
        INVALID, 'Did you mean "db/welcome.lua"?')


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_sign_of_another_language_has_a_hint(project, command):
    project.script("return { run = function(repo)\n  if 1 != 2 then end\n"
                   "end }")
    project.luamig(command, "x").expect(
        INVALID, "scripts/x.lua:2: 'then' expected near '!'", "Lua writes ~=")
    project.script("return { run = function(repo)\n  if 1 ~= 2 then end\n"
                   "end }")
    project.luamig(command, "x").expect(DONE)


def test_a_method_with_a_dot_is_told_as_in_the_mock(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t VALUES (1, NULL)")
    text = "return { run = function(repo)\n  repo%sinsert('t', { id = 2 })\nend }"
    project.script(text % ".")
    project.run().expect(
        FAILED, "scripts/x.lua:2: call repo:insert(...) with a colon")
    project.script(text % ":")
    project.run().expect(DONE)


def test_null_in_a_sum_has_a_hint(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int);"
               "INSERT INTO t VALUES (1, NULL)")
    text = """return { base_query = "SELECT id, n FROM t",
      migrate = function(rows, repo)
        repo:update("t", { id = 1 }, { n = %s + 1 })
      end }"""
    project.script(text % "rows[1].n")
    project.run().expect(FAILED, "scripts/x.lua:3: attempt to perform "
                         "arithmetic on a nil value (field 'n')",
                         "A column that is NULL reads nil", "(n or 0)")
    project.script(text % "(rows[1].n or 0)")
    project.run().expect(DONE)
    assert db.scalar("SELECT n FROM t") == 1


def test_a_script_that_returns_nothing_has_a_hint(project):
    project.script("local M = { run = function() end }")
    project.run().expect(INVALID, "must return a table, it returned nothing",
                         "Write return { ... } as its last statement")
