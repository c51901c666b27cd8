"""What tests of combined writes share: a one-shot that makes a few writes, and
the statements that the server executed for them. `run` is a fixture."""

import re

import pytest

from harness import statements
from harness.project import DONE

SCRIPT = """
local luamig = require "luamig"
return {{ config = {{ combine = {combine}{config} }}, run = function(repo, run)
  local function say(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    run.log(table.concat(words, " "))
  end
{body}
end }}
"""
FIRST_LINE = 9  # of the body, in scripts/x.lua

T = """CREATE TABLE t (id int PRIMARY KEY, n int, s text);
       INSERT INTO t SELECT i, i, 's' || i FROM generate_series(1, 9) i;"""
THREE = {
    "UPDATE": "for i = 1, 3 do repo:update('t', {id = i}, {n = 7}) end",
    "INSERT": "for i = 11, 13 do repo:insert('t', {id = i, n = 7}) end",
    "DELETE": "for i = 1, 3 do repo:delete('t', {id = i}) end",
}
NOISY = """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;"""


@pytest.fixture
def run(db, project):
    """Runs a one-shot over a schema; returns the statements that were
    combined."""
    statements.record(db)

    def run_it(schema, body, combine="true", code=DONE, words=(), config=""):
        if schema:
            db.execute(schema)
        before = len(statements.combined(db))
        project.script(SCRIPT.format(body=body.lstrip("\n"), combine=combine,
                                     config=config))
        run_it.result = project.run("--again").expect(code, *words)
        run_it.said = re.findall(r"^luamig: script: (.*)", run_it.result.err,
                                 re.M)
        return statements.combined(db)[before:]
    return run_it


def line(number):
    """How an error names a line of the body, the first being 1."""
    return f"at: scripts/x.lua:{FIRST_LINE - 1 + number}\n"
