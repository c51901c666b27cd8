"""Which run does a command mean? The script's, wherever one stands and however
one writes its path; and no other."""

import os
import shutil

import pytest

from harness import old_journal
from harness.project import (BUSY, CANCELLED, DONE, FAILED, FAILURES, INVALID,
                             STOPPED, USAGE)
from harness.wait import wait_until

SCRIPT = """
return {{ {fields} config = {{ batch_size = 10, throttle_ms = 0, {config} }},
  base_query = {query},
  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      repo:execute("UPDATE {table} SET n = n + {step} WHERE id = $1", row.id)
    end
  end,
}}
"""


def script(table="heat", step=10, fields="", config="", query=None):
    query = query or f'"SELECT id FROM {table}"'
    return SCRIPT.format(table=table, step=step, fields=fields, config=config,
                         query=query)


def make(db, *tables, rows=40):
    for table in tables:
        db.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, "
                   "n int NOT NULL DEFAULT 0); "
                   f"INSERT INTO {table} SELECT generate_series(1, {rows})")


def sums(db, table="heat"):
    return db.column(f"SELECT DISTINCT n FROM {table} ORDER BY n")


@pytest.fixture
def heat(db):
    make(db, "heat")
    return db


class Tree:
    """Folders without a project, of the test's own."""

    def __init__(self, project, top):
        self.project, self.top = project, str(top)

    def path(self, name=""):
        return os.path.join(self.top, name)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def folder(self, name):
        os.makedirs(self.path(name), exist_ok=True)
        return self.path(name)

    def luamig(self, *words, cwd="", **more):
        return self.project.luamig(*words, cwd=self.path(cwd), **more)

    def start(self, *words, cwd="", **more):
        return self.project.start(*words, cwd=self.path(cwd), **more)

    def runs(self, db):
        return db.rows("SELECT id, script, state FROM luamig.run ORDER BY id")


@pytest.fixture
def tree(project, tmp_path_factory):
    return Tree(project, tmp_path_factory.mktemp("tree"))


def link(tree, name, target):
    os.makedirs(os.path.dirname(tree.path(name)), exist_ok=True)
    os.symlink(tree.path(target), tree.path(name))


# -- one script is one run -------------------------------------------------------


def ways_without_project(tree):
    """Ten folders and what the script is called from each."""
    path = tree.write("x/a/heat.lua", script())
    for folder in ("x/b", "y/z", "x/a/deep"):
        tree.folder(folder)
    link(tree, "links/heat.lua", "x/a/heat.lua")
    link(tree, "links/folder", "x/a")
    return path, [
        ("/", path), ("", "x/a/heat.lua"), ("x", "a/heat.lua"),
        ("x", "./a/heat.lua"), ("x/a", "heat.lua"), ("x/a", "heat"),
        ("x/a", "./heat"), ("x/b", "../a/heat.lua"),
        ("x/a/deep", "../heat"), ("y/z", "../../x/a/../a/heat.lua"),
        ("y", path[:-len(".lua")]), ("links", "heat.lua"),
        ("links/folder", "heat.lua"), ("", "links/folder/heat.lua"),
        ("/tmp", tree.path("links/heat.lua"))]


def ways_in_project(tree):
    tree.write("p/luamig.lua", "return {}")
    tree.write("p/scripts/heat.lua", script())
    for folder in ("p/lib/deep", "p/scripts/more", "q"):
        tree.folder(folder)
    link(tree, "q/current", "p")
    link(tree, "q/heat.lua", "p/scripts/heat.lua")
    return "scripts/heat.lua", [
        ("/", tree.path("p/scripts/heat.lua")), ("p", "scripts/heat.lua"),
        ("p", "heat"), ("p", "heat.lua"), ("p", "scripts/heat"),
        ("p/scripts", "heat.lua"), ("p/scripts", "heat"),
        ("p/scripts/more", "../heat.lua"), ("p/lib/deep", "heat"),
        ("p/lib", "../scripts/heat.lua"), ("", "p/scripts/heat.lua"),
        ("q", "current/scripts/heat.lua"), ("q/current", "heat"),
        ("q/current/scripts", "heat.lua"), ("q", "heat.lua"), ("q", "heat")]


@pytest.mark.parametrize("ways", [ways_without_project, ways_in_project])
def test_one_script_is_one_run_from_everywhere(heat, tree, ways):
    name, places = ways(tree)
    for cwd, word in places:
        result = tree.luamig("run", word, "--limit", 2, cwd=cwd)
        result.expect(STOPPED, f"of {name} on")
    assert tree.runs(heat) == [(1, name, "stopped")]
    assert heat.progress() == 2 * len(places)
    assert sums(heat) == [0, 10]


@pytest.mark.long
@pytest.mark.parametrize("ways", [ways_without_project, ways_in_project])
def test_every_command_finds_the_run_by_every_way_to_the_script(
        heat, tree, ways):
    name, places = ways(tree)
    slow = script(config="health = false").replace(
        "throttle_ms = 0", "throttle_ms = 60000")
    tree.write("x/a/heat.lua" if name.startswith("/") else
               "p/scripts/heat.lua", slow)
    runner = tree.start("run", places[0][1], cwd=places[0][0])
    wait_until(lambda: heat.progress("batches") > 0, "a batch")
    for cwd, word in places:
        tree.luamig("status", word, cwd=cwd).expect(DONE, "  running  ", name)
        tree.luamig("failures", word, cwd=cwd).expect(DONE, "run 1 of")
        tree.luamig("set", word, "target_ms=100", cwd=cwd).expect(
            DONE, "run 1 has its new settings")
    for cwd, word in places[::7]:
        tree.luamig("run", word, cwd=cwd).expect(BUSY, "run 1 is already")
    for (cwd, word), (cwd2, word2) in list(zip(places, reversed(places)))[::2]:
        tree.luamig("pause", word, cwd=cwd).expect(DONE, "run 1 is paused")
        tree.luamig("resume", word2, cwd=cwd2).expect(DONE, "run 1 continues")
    watchers = [tree.start(verb, word, cwd=cwd) for (cwd, word), verb
                in zip(places, ["watch", "wait"] * len(places))]
    tree.luamig("set", places[1][1], "throttle_ms=0", cwd=places[1][0])
    for watcher in watchers:
        watcher.wait().expect(DONE, "run 1 done")
    runner.wait().expect(DONE)
    for cwd, word in places:
        tree.luamig("run", word, cwd=cwd).expect(DONE, "run 1 is done already")
        tree.luamig("cancel", word, cwd=cwd).expect(FAILED, "has ended")
    for cwd, word in places[::4]:
        tree.luamig("check", word, cwd=cwd).expect(DONE)
    assert sums(heat) == [10]


def test_two_scripts_of_one_basename_are_two(db, tree):
    make(db, "one", "two", "three")
    tree.write("x/a/heat.lua", script("one"))
    tree.write("x/b/heat.lua", script("two", 20))
    tree.write("p/.git/HEAD", "")
    tree.write("p/scripts/heat.lua", script("three", 30))
    for cwd in ("x/a", "x/b", "p/scripts"):
        tree.luamig("run", "heat.lua", "--limit", 10, cwd=cwd).expect(STOPPED)
    for cwd in ("x/b", "p/scripts", "x/a"):
        tree.luamig("run", "heat.lua", cwd=cwd).expect(DONE, "40 rows")
        tree.luamig("run", "heat.lua", cwd=cwd).expect(DONE, "done already")
    assert [run[1] for run in tree.runs(db)] == [
        tree.path("x/a/heat.lua"), tree.path("x/b/heat.lua"),
        "scripts/heat.lua"]
    assert (sums(db, "one"), sums(db, "two"), sums(db, "three")) == (
        [10], [20], [30])
    tree.luamig("status", "heat.lua", cwd="x/b").expect(
        DONE, tree.path("x/b/heat.lua")).refuse(tree.path("x/a/heat.lua"))


def test_two_copies_of_one_script_are_two(heat, tree):
    for folder in ("x/a", "x/b"):
        tree.write(folder + "/heat.lua", script())
        tree.luamig("run", "heat.lua", cwd=folder).expect(DONE, "40 rows")
    assert sums(heat) == [20]


def test_another_checkout_of_the_project_goes_on(heat, tree):
    for release in ("releases/42", "releases/43"):
        tree.write(release + "/luamig.lua", "return {}")
        tree.write(release + "/scripts/heat.lua", script())
    link(tree, "current", "releases/42")
    tree.luamig("run", "current/scripts/heat.lua", "--limit", 10).expect(
        STOPPED)
    os.remove(tree.path("current"))
    link(tree, "current", "releases/43")
    tree.luamig("status", "current/scripts/heat.lua").expect(DONE, "stopped")
    shutil.rmtree(tree.path("releases/42"))
    tree.luamig("run", "heat", cwd="current").expect(
        DONE, "resuming run 1", "40 rows")
    assert sums(heat) == [10]


def test_another_checkout_with_another_text_is_named(heat, tree):
    for release, step in (("releases/42", 10), ("releases/43", 20)):
        tree.write(release + "/luamig.lua", "return {}")
        tree.write(release + "/scripts/heat.lua", script(step=step))
    tree.luamig("run", "releases/42/scripts/heat.lua", "--limit", 10).expect(
        STOPPED)
    tree.luamig("run", "releases/43/scripts/heat.lua").expect(
        DONE, "run 1 was begun by " + tree.path("releases/42/scripts/heat.lua"),
        "and this is " + tree.path("releases/43/scripts/heat.lua"),
        "the script has changed")
    assert sums(heat) == [10, 20]


def test_folders_that_are_called_scripts_are_not_taken_for_one_project(
        db, tree):
    make(db, "one", "two")
    tree.write("a/scripts/heat.lua", script("one"))
    tree.write("b/scripts/heat.lua", script("two"))
    tree.luamig("run", "a/scripts/heat.lua").expect(
        DONE, "of scripts/heat.lua")
    tree.luamig("run", "b/scripts/heat.lua").expect(
        INVALID, "was begun by another script", tree.path("a/scripts/heat.lua"),
        tree.path("b/scripts/heat.lua"))
    assert sums(db, "two") == [0]
    tree.luamig("run", "b/scripts/heat.lua", "--again").expect(
        DONE, "run 2 done: 40 rows")
    assert (sums(db, "one"), sums(db, "two")) == ([10], [10])


def test_a_script_that_is_gone_is_found_by_its_name(heat, tree):
    tree.write("p/luamig.lua", "return {}")
    path = tree.write("p/scripts/heat.lua", script())
    tree.write("x/heat.lua", script())
    tree.luamig("run", path, "--limit", 10).expect(STOPPED)
    tree.luamig("run", "x/heat.lua", "--limit", 10).expect(STOPPED)
    os.remove(path)
    os.remove(tree.path("x/heat.lua"))
    for cwd, word in [("p", "scripts/heat.lua"), ("p", "heat"),
                      ("p/scripts", "heat.lua"), ("", path),
                      ("", "p/scripts/heat"), ("x", "scripts/heat.lua")]:
        tree.luamig("status", word, cwd=cwd).expect(
            DONE, "scripts/heat.lua").refuse(tree.path("x/heat.lua"))
    for cwd, word in [("x", "heat.lua"), ("/", tree.path("x/heat.lua")),
                      ("p", "../x/heat")]:
        tree.luamig("set", word, "batch_size=5", cwd=cwd).expect(
            DONE, "run 2 has")
    tree.luamig("cancel", "../x/heat.lua", cwd="p").expect(DONE, "run 2 is")


# -- names ------------------------------------------------------------------------


def test_a_script_with_a_name_is_found_by_its_path(heat, tree):
    named = script(fields='name = "warm up",')
    tree.write("x/heat.lua", named)
    tree.luamig("run", "x/heat.lua", "--limit", 10).expect(STOPPED, "warm up")
    for word in ("heat.lua", "warm up", "./heat", tree.path("x/heat.lua")):
        tree.luamig("status", word, cwd="x").expect(DONE, "warm up")
        tree.luamig("set", word, "batch_size=5", cwd="x").expect(DONE, "run 1")
    os.rename(tree.path("x"), tree.path("y"))
    tree.luamig("run", "y/heat.lua").expect(DONE, "resuming run 1")
    assert sums(heat) == [10]


def test_the_hint_of_resume_names_the_scripts_file(heat, tree):
    path = tree.write("x/heat.lua", script(fields='name = "warm up",'))
    tree.luamig("run", path, "--limit", 10).expect(STOPPED)
    tree.luamig("resume", 1).expect(FAILED, "is gone", f"luamig run {path}\n")
    tree.luamig("run", path).expect(DONE)


@pytest.mark.parametrize("state", ["unfinished", "done"])
def test_a_run_is_not_continued_by_another_file_of_its_name(
        heat, tree, state):
    tree.write("a.lua", script(fields='name = "warm up",'))
    tree.write("b.lua", script(fields='name = "warm up",', step=20))
    limit = ("--limit", 10) if state == "unfinished" else ()
    tree.luamig("run", "a.lua", *limit)
    before = sums(heat)
    refused = tree.luamig("run", "b.lua").expect(
        INVALID, "run 1 of warm up", "was begun by another script",
        tree.path("a.lua"), tree.path("b.lua"), "--adopt 1")
    assert sums(heat) == before
    if state == "done":
        tree.luamig("run", "b.lua", "--adopt", 1).expect(DONE, "done already")
        tree.luamig("run", "b.lua").expect(DONE, "done already")
        tree.luamig("run", "b.lua", "--again").expect(DONE, "run 2 done")
        assert sums(heat) == [30]
    else:
        assert "--restart" in refused.err
        tree.luamig("run", "b.lua", "--adopt", 1, "--limit", 10).expect(
            STOPPED, "resuming run 1", "the script has changed")
        tree.luamig("run", "b.lua").expect(DONE, "40 rows")
        assert sums(heat) == [10, 20]
        tree.luamig("run", "a.lua").expect(INVALID, "another script")


def test_restart_begins_with_the_file_at_hand(heat, tree):
    tree.write("a.lua", script(fields='name = "warm up",'))
    tree.write("b.lua", script(fields='name = "warm up",', step=20))
    tree.luamig("run", "a.lua", "--limit", 10)
    tree.luamig("run", "b.lua").expect(INVALID)
    tree.luamig("run", "b.lua", "--restart").expect(
        DONE, "run 1 is abandoned", "run 2 done: 40 rows")
    assert sums(heat) == [20, 30]


@pytest.mark.parametrize("state", ["unfinished", "done"])
def test_a_moved_script_is_not_taken_for_a_new_one(heat, tree, state):
    tree.write("p/luamig.lua", "return {}")
    tree.write("p/scripts/heat.lua", script())
    limit = ("--limit", 10) if state == "unfinished" else ()
    tree.luamig("run", "heat", *limit, cwd="p")
    os.makedirs(tree.path("p/scripts/old"))
    os.rename(tree.path("p/scripts/heat.lua"),
              tree.path("p/scripts/old/heat.lua"))
    tree.luamig("run", "old/heat", cwd="p").expect(
        INVALID, "run 1 of scripts/heat.lua", "may belong to this script",
        "its file is gone", "--adopt 1", "--again")
    tree.luamig("run", "old/heat", "--adopt", 1, cwd="p").expect(DONE)
    tree.luamig("run", "old/heat", cwd="p").expect(DONE, "done already")
    assert sums(heat) == [10]
    assert tree.runs(heat) == [(1, "scripts/old/heat.lua", "done")]


@pytest.mark.parametrize("old, new", [
    ("x/app/heat.lua", "x/opt/heat.lua"),  # as mounted in two containers
    ("p/scripts/heat.lua", "p/scripts/old/heat.lua")])
def test_an_unfinished_script_that_was_moved_and_edited_is_named(
        heat, tree, old, new):
    tree.write("p/luamig.lua", "return {}")
    tree.write(old, script())
    tree.luamig("run", old, "--limit", 10).expect(STOPPED)
    os.remove(tree.path(old))
    tree.write(new, script(step=20))
    tree.luamig("run", new).expect(
        INVALID, "run 1 of", "may belong to this script",
        "its file had the same name, and is gone", "--adopt 1", "--again")
    tree.luamig("run", new, "--adopt", 1).expect(DONE, "40 rows")
    assert sums(heat) == [10, 20]


@pytest.mark.parametrize("old, new, limit", [
    ("x/app/heat.lua", "x/opt/other.lua", 10),  # another name
    ("p/a/heat.lua", "q/b/heat.lua", 10),       # another project
    ("p/a/heat.lua", "x/heat.lua", 10),
    ("p/2024/heat.lua", "p/2025/heat.lua", 100)])  # it is done
def test_a_new_script_is_not_taken_for_one_that_is_gone(
        heat, tree, old, new, limit):
    for root in "pq":
        tree.write(root + "/luamig.lua", "return {}")
    tree.write(old, script())
    tree.luamig("run", old, "--limit", limit)
    os.remove(tree.path(old))
    tree.write(new, script(step=20))
    tree.luamig("run", new, "--limit", 10).expect(STOPPED, "run 2")


@pytest.mark.parametrize("limit, said", [(10, "resuming run 1"),
                                         (100, "done already")])
def test_the_same_file_in_capitals_is_the_same_script(heat, tree, limit, said):
    """As where names of files are the same in small letters and capitals."""
    tree.write("p/luamig.lua", "return {}")
    tree.write("p/scripts/heat.lua", script())
    tree.luamig("run", "heat", "--limit", limit, cwd="p")
    os.link(tree.path("p/scripts/heat.lua"), tree.path("p/scripts/Heat.lua"))
    tree.luamig("run", "Heat", cwd="p").expect(
        DONE, said, "which is called scripts/Heat.lua now")
    assert sums(heat) == [10]


def test_a_renamed_script_does_not_silently_begin_another_run(
        heat, tree):
    tree.write("heat.lua", script(fields='name = "first",'))
    tree.luamig("run", "heat.lua", "--limit", 10).expect(STOPPED)
    tree.write("heat.lua", script(fields='name = "second",'))
    tree.luamig("run", "heat.lua").expect(
        INVALID, "run 1 of first", "begun by the same file", "--adopt 1")
    tree.luamig("run", "heat.lua", "--adopt", 1).expect(DONE, "40 rows")
    assert sums(heat) == [10]


@pytest.mark.parametrize("marker", ["luamig.lua", ".git/HEAD", ".luamig/log/x"])
def test_a_folder_that_became_a_project_goes_on(heat, tree, marker):
    tree.write("x/heat.lua", script())
    tree.luamig("run", "x/heat.lua", "--limit", 10).expect(STOPPED)
    tree.write("x/" + marker, "return {}")
    tree.luamig("run", "x/heat.lua", "--limit", 10).expect(
        STOPPED, "belongs to this script, which is called heat.lua now",
        "resuming run 1")
    if marker == "luamig.lua":
        os.remove(tree.path("x/luamig.lua"))
    else:
        shutil.rmtree(tree.path("x/" + marker.split("/")[0]))
    tree.luamig("run", "x/heat.lua").expect(
        DONE, f"which is called {tree.path('x/heat.lua')} now", "40 rows")
    tree.luamig("run", "x/heat.lua").expect(DONE, "done already")
    assert sums(heat) == [10]


def test_adopt_names_a_run_that_is_there(heat, tree):
    tree.write("heat.lua", script())
    tree.luamig("run", "heat.lua", "--limit", 10).expect(STOPPED)
    tree.luamig("run", "heat.lua", "--adopt", 7).expect(
        USAGE, "there is no run 7")
    tree.luamig("run", "heat.lua", "--adopt", 1, "--restart").expect(USAGE)
    tree.luamig("cancel", "heat.lua").expect(DONE)
    tree.luamig("run", "heat.lua", "--adopt", 1).expect(CANCELLED)


# -- another script of the same name --------------------------------------------

ASIDE = 'on_error = "quarantine"'
A, B = "x/a/scripts/heat.lua", "x/b/scripts/heat.lua"


@pytest.fixture
def unfinished(heat, tree):
    """Run 1 is of a; b is another script, and both are "scripts/heat.lua"."""
    tree.write(A, script())
    tree.write(B, script(step=20))
    tree.luamig("run", A, "--limit", 10).expect(STOPPED, "scripts/heat.lua")
    return heat


@pytest.mark.parametrize("command", [
    ("cancel",), ("pause",), ("resume",), ("watch",), ("wait",),
    ("failures",), ("set", "batch_size=5")], ids=lambda words: words[0])
@pytest.mark.parametrize("word, cwd", [
    (B, ""), ("heat", "x/b"), ("scripts/heat.lua", "x/b")])
def test_a_command_that_names_a_script_does_nothing_to_another_one_of_its_name(
        unfinished, tree, command, word, cwd):
    verb, *rest = command
    tree.luamig(verb, word, *rest, cwd=cwd).expect(
        FAILED, tree.path(B) + " has no run", "Run 1 has the same name",
        "another script began it: " + tree.path(A), "give its number")
    assert tree.runs(unfinished) == [(1, "scripts/heat.lua", "stopped")]
    assert not unfinished.scalar("SELECT count(*) FROM luamig.request")


def test_two_scripts_with_one_name_have_runs_of_their_own(heat, tree):
    tree.write(A, script())
    tree.write(B, script(step=20))
    tree.luamig("run", B).expect(DONE)
    tree.luamig("status", "heat", cwd="x/a").expect(DONE, "no runs are recorded")
    tree.luamig("run", A, "--again", "--limit", 10).expect(STOPPED)
    tree.luamig("status", "heat", cwd="x/b").expect(DONE, "done").refuse(
        "stopped")
    tree.luamig("cancel", "heat", cwd="x/b").expect(FAILED, "run 1", "has ended")
    tree.luamig("cancel", "heat", cwd="x/a").expect(DONE, "run 2 is cancelled")


def test_a_run_is_found_by_a_copy_of_its_script_and_by_its_number(
        unfinished, tree):
    tree.write(B, script())
    tree.luamig("set", "heat", "batch_size=5", cwd="x/b").expect(DONE, "run 1")
    tree.write(B, script(step=20))
    tree.luamig("cancel", 1, cwd="x/b").expect(DONE, "run 1 is cancelled")


@pytest.fixture
def failed(heat, tree):
    """As unfinished, but one row of a's run was set aside."""
    heat.execute("ALTER TABLE heat ADD CONSTRAINT c CHECK (id <> 7 OR n < 10)")
    tree.write(A, script(config=ASIDE))
    tree.write(B, script(step=2, config=ASIDE))
    tree.luamig("run", A).expect(FAILURES)
    return heat


def the_row(db):
    return db.scalar("SELECT n FROM heat WHERE id = 7")


def test_failed_rows_are_not_retried_by_another_script_of_the_name(
        failed, tree):
    for words, told in [
            (("heat",), "has no run"),
            ((1, "--script", B), "was begun by another script")]:
        tree.luamig("failures", *words, "--retry",
                    cwd="x/b" if words == ("heat",) else "").expect(
            INVALID if "--script" in words else FAILED, told, tree.path(A),
            tree.path(B))
    assert the_row(failed) == 0


def test_a_run_is_retried_by_the_file_that_began_it_wherever_one_stands(
        failed, tree):
    """Which may have been mended meanwhile."""
    tree.write(A, script(step=3, config=ASIDE))
    tree.luamig("failures", 1, "--retry", cwd="x/b").expect(
        DONE, "the script of run 1 is " + tree.path(A), "1 row migrated")
    assert the_row(failed) == 3


def test_a_script_that_was_moved_and_mended_is_adopted_for_a_retry(
        failed, tree):
    os.remove(tree.path(A))
    tree.luamig("failures", 1, "--retry", cwd="x/b").expect(
        INVALID, '"luamig run" with this script and --adopt 1 says so')
    tree.luamig("run", B, "--adopt", 1).expect(FAILURES, "done already")
    tree.luamig("failures", 1, "--retry").expect(
        DONE, "the script of run 1 is " + tree.path(B))
    assert the_row(failed) == 2


def test_failed_rows_of_a_script_that_is_called_otherwise_now(failed, tree):
    tree.write(A, script(fields='name = "warm up",', step=3, config=ASIDE))
    tree.luamig("failures", A, "--retry").expect(
        INVALID, "run 1 is of scripts/heat.lua, not of warm up",
        '"luamig run" with it and --adopt 1 says so first')
    tree.luamig("run", A, "--adopt", 1).expect(FAILURES, "done already")
    tree.luamig("failures", A, "--retry").expect(DONE, "1 row migrated")


def test_failed_rows_are_retried_in_another_checkout_of_the_project(
        heat, tree):
    heat.execute("ALTER TABLE heat ADD CHECK (id <> 7 OR n < 10)")
    for release, step in ((1, 10), (2, 5)):
        tree.write(f"{release}/luamig.lua", "return {}")
        tree.write(f"{release}/scripts/heat.lua", script(step=step,
                                                         config=ASIDE))
    tree.luamig("run", "1/scripts/heat.lua").expect(FAILURES)
    tree.luamig("failures", "heat", "--retry", cwd="2").expect(
        DONE, "run 1 was begun by " + tree.path("1/scripts/heat.lua"),
        "1 row migrated")
    assert the_row(heat) == 5


def test_failed_rows_are_retried_when_the_folder_has_become_a_project(
        failed, tree):
    tree.write("x/a/luamig.lua", "return {}")
    tree.write("x/a/scripts/heat.lua", script(step=3, config=ASIDE))
    shutil.move(tree.path("x/a/luamig.lua"), tree.path("x/a/scripts"))
    tree.luamig("failures", "heat", "--retry", cwd="x/a/scripts").expect(
        DONE, "1 row migrated")


# -- an adopt that is refused ----------------------------------------------------


@pytest.mark.parametrize("other, why", [
    (script(config='key = { "id", "n" }', query='"SELECT id, n FROM heat"'),
     "the key was (id) when run 1 began"),
    (script("other"), "came from public.heat when run 1 began"),
    (script(config="follow_new = true"), "config.follow_new was false")])
def test_an_adopt_that_is_refused_leaves_the_run_to_its_script(
        heat, tree, other, why):
    make(heat, "other")
    tree.write("a.lua", script())
    tree.write("b.lua", other)
    tree.luamig("run", "a.lua", "--limit", 10).expect(STOPPED)
    tree.luamig("run", "b.lua", "--adopt", 1).expect(INVALID, why)
    assert tree.runs(heat) == [(1, tree.path("a.lua"), "stopped")]
    tree.luamig("run", "a.lua").expect(DONE, "resuming run 1")
    assert (sums(heat), sums(heat, "other")) == ([10], [0])


def test_a_live_run_is_not_adopted(heat, tree):
    tree.write("a.lua", script())
    tree.write("b.lua", script(step=20))
    runner = tree.start("run", "a.lua", fault="after_migrate:2=stop")
    runner.wait_frozen()
    tree.luamig("run", "b.lua", "--adopt", 1).expect(BUSY)
    tree.luamig("run", "a.lua").expect(BUSY, "run 1 is already running")
    runner.thaw()
    runner.wait().expect(DONE)
    assert tree.runs(heat) == [(1, tree.path("a.lua"), "done")]
    assert sums(heat) == [10]


def test_a_run_is_not_adopted_beside_one_of_the_scripts_own(heat, tree):
    tree.write("a.lua", script())
    tree.write("b.lua", script(step=20))
    for name in ("a.lua", "b.lua"):
        tree.luamig("run", name, "--limit", 10).expect(STOPPED)
    tree.luamig("run", "b.lua", "--adopt", 1).expect(
        USAGE, "has an unfinished run of its own")
    assert [run[1:] for run in tree.runs(heat)] == [
        (tree.path("a.lua"), "stopped"), (tree.path("b.lua"), "stopped")]


# -- runs of luamig 0.1, which called a script by the folder where it was run ------


@pytest.fixture
def old(heat, tree, project):
    old_journal.install(project, heat)

    def add(name, source, **more):
        heat.execute("UPDATE heat SET n = 10 WHERE id <= 10")
        more = {"cursor": ["10"], "bound": ["40"], "rows": 10, "batches": 1,
                **more}
        return old_journal.add_run(heat, name, source, **more)
    return add


@pytest.mark.parametrize("name", ["heat.lua", "a/heat.lua", "x/a/heat.lua"])
def test_an_old_run_goes_on_under_the_scripts_name(old, heat, tree, name):
    path = tree.write("x/a/heat.lua", script())
    old(name, script())
    tree.luamig("run", "heat.lua", "--limit", 10, cwd="x/a").expect(
        STOPPED, f"run 1 of {name} belongs to this script, "
                 f"which is called {path} now",
        "resuming run 1")
    tree.luamig("status", "a/heat.lua", cwd="x").expect(DONE, path)
    tree.luamig("run", path).expect(DONE, "resuming run 1", "40 rows")
    assert sums(heat) == [10]


def test_an_old_run_that_is_done_counts(old, heat, tree):
    path = tree.write("x/a/heat.lua", script())
    old("a/heat.lua", script(), state="done")
    tree.luamig("run", "heat.lua", cwd="x/a").expect(DONE, "done already")
    assert tree.runs(heat) == [(1, path, "done")]


def test_an_old_run_is_not_taken_by_another_script_of_its_name(
        old, heat, tree):
    make(heat, "other")
    tree.write("x/a/heat.lua", script())
    tree.write("x/b/heat.lua", script("other", 20))
    old("heat.lua", script())
    tree.luamig("run", "x/b/heat.lua").expect(
        INVALID, "run 1 of heat.lua, which is stopped, may belong to this script",
        "its text was different", "--adopt 1", "--again")
    assert sums(heat, "other") == [0]
    tree.luamig("run", "x/a/heat.lua").expect(DONE, "resuming run 1")
    tree.luamig("run", "x/b/heat.lua").expect(DONE, "run 2 done: 40 rows")
    assert (sums(heat), sums(heat, "other")) == ([10], [20])


def test_an_old_run_of_a_project_goes_on(old, heat, tree):
    tree.write("p/luamig.lua", "return {}")
    tree.write("p/scripts/heat.lua", script())
    old("scripts/heat.lua", script())
    tree.luamig("run", "heat", cwd="p/scripts").expect(
        DONE, "resuming run 1", "40 rows")
    assert sums(heat) == [10]


def test_a_look_at_an_old_run_finds_it_by_path_once_upgraded(
        old, heat, tree):
    old("a/heat.lua", script())
    path = tree.write("x/a/heat.lua", script())
    other = tree.write("x/b/heat.lua", script(step=1))
    tree.luamig("run", other).expect(DONE)  # upgrades the journal
    tree.luamig("status", path).expect(DONE, "a/heat.lua", "stopped")
    tree.luamig("cancel", "heat.lua", cwd="x/a").expect(DONE, "run 1 is")
