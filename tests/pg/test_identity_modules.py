"""A run is of the modules that its script loads, too: one that was edited
between two halves of the run is named."""

import os
import shutil

import pytest

from harness.project import DONE, STOPPED

SCRIPT = """
{head}
return {{ config = {{ batch_size = 10, throttle_ms = 0 }}, {fields}
  base_query = "SELECT id FROM t",
  migrate = function(rows, repo, run)
    {body}
    for _, row in ipairs(rows) do
      repo:execute("UPDATE t SET n = n + $2 WHERE id = $1", row.id, rule)
    end
  end,
}}
"""


def script(head="", body="", fields=""):
    return SCRIPT.format(head=head, body=body, fields=fields)


@pytest.fixture
def rows(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); "
               "INSERT INTO t SELECT generate_series(1, 40)")
    project.write("luamig.lua", "return {}")
    project.write("lib/rule.lua", "return 10")
    return db


LOADERS = {
    "required": script(head='local rule = require "lib.rule"'),
    "lazily": script(body='local rule = require "lib.rule"'),
    "dofile": script(head='local rule = dofile "lib/rule.lua"'),
    "loadfile": script(body='local rule = loadfile("lib/rule.lua")()'),
    "through another": script(head='local rule = require "lib.outer"'),
    "in on_start": script(
        head="local rule", fields='on_start = function() '
        'rule = require "lib.rule" end,', body="rule = rule or 10"),
}


@pytest.mark.parametrize("how", LOADERS)
def test_a_module_was_edited_between_two_halves(rows, project, how):
    project.write("lib/outer.lua", 'return require "lib.rule"')
    project.script(LOADERS[how])
    project.run("--limit", 10).expect(STOPPED).refuse("has changed")
    project.run("--limit", 10).expect(STOPPED, "resuming").refuse("has changed")
    project.write("lib/rule.lua", "return 10 -- and a word")
    project.run("--limit", 10).expect(
        STOPPED, "warning: lib/rule.lua has changed since run 1 began; the "
                 "rows that are left are migrated with the new version").refuse(
        "the script has changed")
    project.run().expect(DONE, "40 rows")
    assert rows.column("SELECT DISTINCT n FROM t") == [10]


def test_a_module_was_edited_after_the_run(rows, project):
    project.script(LOADERS["required"])
    project.run().expect(DONE)
    project.run().expect(DONE, "done already").refuse("has changed")
    project.write("lib/rule.lua", "return 20")
    project.run().expect(DONE, "lib/rule.lua has changed since run 1, which is "
                               "done; --again runs the new version")


def test_a_module_that_is_gone_is_named(rows, project):
    project.script(LOADERS["lazily"])
    project.run("--limit", 10).expect(STOPPED)
    project.write("lib/rule/init.lua", "return 10")
    project.luamig("run", "scripts/x.lua", "--limit", 10).expect(STOPPED)

    os.remove(project.path + "/lib/rule.lua")
    project.run().expect(DONE, "lib/rule.lua has changed since run 1 began")


def test_a_kill_does_not_make_it_forget(rows, project):
    project.script(LOADERS["lazily"])
    runner = project.start_run(fault="before_commit:2=kill")
    runner.process.wait(60)
    project.write("lib/rule.lua", "return 20")
    project.run().expect(DONE, "lib/rule.lua has changed since run 1 began")
    assert rows.column("SELECT DISTINCT n FROM t ORDER BY n") == [10, 20]


def test_luamigs_own_modules_do_not_count(rows, project):
    project.script(script(head='local luamig = require "luamig"\n'
                               'local cjson = require "cjson"\n'
                               'local rule = 10'))
    project.run().expect(DONE)
    assert rows.scalar("SELECT modules FROM luamig.run") == {}


def test_another_checkout_has_the_same_modules(rows, project, tmp_path):

    project.script(LOADERS["required"])
    project.run("--limit", 10).expect(STOPPED)
    shutil.copytree(project.path, tmp_path / "copy")
    project.luamig("run", "scripts/x.lua", cwd=str(tmp_path / "copy")).expect(
        DONE, "resuming run 1").refuse("has changed")
