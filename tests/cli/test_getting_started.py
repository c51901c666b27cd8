"""docs/getting-started.md, typed by somebody who believes it."""

import os
import re
import subprocess

from harness.pages import Page
from harness.project import DONE, clean_environment

PAGE = Page("getting-started.md")


def busted(project):
    path = project.luamig("lua-path", url=False).expect(DONE).out.strip()
    done = subprocess.run(
        ["busted"], cwd=project.path, timeout=120, check=False,
        env={**clean_environment(), "LUA_PATH": path},
        capture_output=True, text=True)
    return done.stdout + done.stderr


def edit_spec(project):
    """Puts the page's two pieces where the generated spec has its own."""
    spec = project.read("spec/fill_names_spec.lua")
    for piece, pattern in (
            (PAGE.block("rows = {"), r"^ {8}rows = \{\n.*?^ {8}\},\n"),
            (PAGE.block('it("does what it is for"'),
             r'^  it\("does what it is for".*?^  end\)\n')):
        spec, count = re.subn(pattern, lambda _, text=piece: text, spec,
                              flags=re.M | re.S)
        assert count == 1, pattern
    project.write("spec/fill_names_spec.lua", spec)


def test_the_ten_minutes(db, project):
    os.rmdir(os.path.join(project.path, "scripts"))
    assert PAGE.block("created scripts/\n") in project.luamig(
        "init", url=False).expect(DONE).out
    db.execute(re.search(r"^CREATE TABLE.*?;\n(?=END$)", PAGE.text,
                         re.M | re.S).group())
    assert project.luamig("new", "fill_names", "--table", "users").expect(
        DONE).out == PAGE.block("created scripts/fill_names.lua")
    assert "3 successes / 0 failures / 0 errors" in busted(project)

    project.write("scripts/fill_names.lua", PAGE.block("-- Gives every user"))
    edit_spec(project)
    assert PAGE.block("Failure -> ") in busted(project)
    project.write("scripts/fill_names.lua",
                  PAGE.block("-- Gives every user").replace("emial", "email"))
    assert "3 successes / 0 failures / 0 errors" in busted(project)

    project.luamig("check", "scripts/fill_names.lua").expect(
        DONE, "each page reads about 1,001 rows to return 1,000")
    project.run(script="scripts/fill_names.lua").expect(
        DONE, "run 1 done: 10,000 rows, 10 batches", "still matching: 0 rows")
    again = project.run(script="scripts/fill_names.lua").expect(DONE)
    assert again.out == PAGE.block("run 1 is done already")
    assert db.rows("SELECT * FROM users ORDER BY id LIMIT 2") == [
        (1, "user1@example.org", "user1"), (2, "user2@example.org", "user2")]
