"""Databases whose encoding lacks characters that a script's errors have."""

import os

import pytest

from harness.cluster import Database
from harness.project import DONE, FAILED, FAILURES, STOPPED, Project

# What "boom é €" becomes, and what is always shown.
ENCODINGS = {
    "LATIN1": "boom é \\u20ac 日".replace("日", "\\u65e5"),
    "WIN1252": "boom é \\u20ac \\u65e5",
    "EUC_JP": "boom \\u00e9 \\u20ac \\u65e5",
    "KOI8R": "boom \\u00e9 \\u20ac \\u65e5",
    "SQL_ASCII": "boom é € 日",
    "UTF8": "boom é € 日",
}

SCRIPT = """return {
  config = { batch_size = 4, throttle_ms = 0, CONFIG },
  base_query = "SELECT id FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      if row.id == 3 and not io.open("go") then error("boom é € 日", 0) end
      repo:update("t", { id = row.id }, { n = 1 })
    end
  end }"""


@pytest.fixture(params=ENCODINGS)
def encoded(request, cluster, tmp_path):
    """(database, project, what the journal is to hold)"""
    name = f"enc_{request.param.lower()}_{abs(hash(str(tmp_path))) % 10 ** 9}"
    cluster.execute(f"CREATE DATABASE {name} OWNER app TEMPLATE template0 "
                    f"ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C'")
    db = Database(cluster, name)
    db.execute("SET client_encoding = 'UTF8'" if request.param != "SQL_ASCII" else "SELECT 1")
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int); "
               "INSERT INTO t SELECT g FROM generate_series(1, 6) g")
    project = Project(tmp_path, db.url)
    yield db, project, ENCODINGS[request.param]
    project.close()
    db.drop()


def test_a_failed_run_is_recorded_whatever_its_error_says(encoded):
    db, project, text = encoded
    project.script(SCRIPT.replace("CONFIG", ""))
    project.run().expect(FAILED, "boom é € 日").refuse("22P05", "could not record")
    assert db.rows("SELECT state FROM luamig.run") == [("failed",)]
    assert project.status()[0]["error"] == text
    project.write("go", "")
    project.run().expect(DONE)


def test_failed_rows_are_recorded_with_any_text_of_their_error(encoded):
    db, project, text = encoded
    project.script(SCRIPT.replace("CONFIG", 'on_error = "quarantine", quarantine_rows = true'))
    project.run().expect(FAILURES).refuse("22P05")
    shown = project.luamig("failures", "scripts/x.lua").expect(FAILURES).out
    assert text in shown, shown
    project.luamig("failures", "scripts/x.lua", "--retry").expect(FAILURES)
    project.write("go", "")
    project.luamig("failures", "scripts/x.lua", "--retry").expect(DONE)
    assert db.scalar("SELECT count(*) FROM t WHERE n = 1") == 6


@pytest.mark.parametrize("folder", ["home/用户".encode(), b"home/\xff"])
def test_a_script_runs_wherever_it_lies(encoded, folder):
    db, project, _ = encoded
    here = os.path.join(project.path, os.fsdecode(folder))
    project.write(here + "/x.lua", SCRIPT.replace("CONFIG", "").replace(
        "not io.open", "io.open"))
    for words, code, said in [(["--limit", 4], STOPPED, "run 1"),
                              ([], DONE, "resuming run 1"),
                              ([], DONE, "run 1 is done already")]:
        project.run(*words, script="x.lua", cwd=here).expect(code, said)
    project.luamig("status", "x.lua", cwd=here).expect(DONE, "done")
    project.luamig("cancel", "x.lua", cwd=here).expect(
        FAILED, "run 1", "has ended")
    assert db.scalar("SELECT count(*) FROM t WHERE n = 1") == 6


def test_arguments_that_do_not_fit_are_refused_with_their_reason(encoded):
    db, project, _ = encoded
    project.script("""return { args = { who = { type = "string" } },
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do
          repo:update("t", { id = row.id }, { n = 1 })
        end
      end }""")
    result = project.run("--arg", "who=5 日")
    if db.scalar("SHOW server_encoding") not in ("LATIN1", "WIN1252", "KOI8R"):
        result.expect(DONE)
        return
    result.expect(FAILED, "the arguments cannot be recorded: ", "22P05",
                  "In the arguments, use only characters").refuse("statement:")
    project.run("--arg", "who=5 yen").expect(DONE)
