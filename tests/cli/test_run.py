"""The commands as people use them: run, run again, stop, resume, look."""

import json
import re

import pytest

from harness.cluster import GUARDED, PASSWORD
from harness.project import DONE, FAILED, STOPPED, UNREACHABLE

USERS = """
CREATE TABLE users (id int PRIMARY KEY, email text, step text);
INSERT INTO users SELECT n, 'u' || n || '@example.org' FROM
    generate_series(1, 25) n;
"""

ONBOARDING = """
return {
  config = { batch_size = 10, throttle_ms = 0 },
  base_query = "SELECT id, email FROM users WHERE step IS NULL",
  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { step = "welcome" })
    end
  end,
}
"""

BY_TENANT = """
return {
  args = {
    tenant = { type = "integer", required = true, desc = "whose users" },
    step = { type = "string", default = "welcome", desc = "what to set" },
  },
  config = { batch_size = 10, throttle_ms = 0 },
  base_query = function(args)
    return "SELECT id FROM users WHERE id % 5 = $1 AND step IS NULL",
           args.tenant
  end,
  migrate = function(rows, repo, run)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { step = run.args.step })
    end
  end,
}
"""


@pytest.fixture
def users(db):
    db.execute(USERS)
    return db


def welcomed(db):
    return db.scalar("SELECT count(*) FROM users WHERE step = 'welcome'")


# -- run, and run again ----------------------------------------------------


def test_a_run_changes_every_row_and_says_so(users, project):
    project.script(ONBOARDING)

    result = project.run().expect(
        DONE, "still matching: 0 rows",
        re.compile(r"^run 1 done: 25 rows, 3 batches, [\d.]+ ?m?s, "
                   r"[\d,]+ rows/s, 0 retries", re.M))

    assert welcomed(users) == 25
    assert "done" in result.out and "done: 25" not in result.err


def test_a_finished_run_is_not_repeated(users, project):
    project.script(ONBOARDING)
    project.run().expect(DONE)
    users.execute("UPDATE users SET step = NULL WHERE id = 7")
    before = users.rows("SELECT xmin, * FROM users ORDER BY id")

    project.run().expect(
        DONE, re.compile(r"^run 1 is done already: 25 rows", re.M), "--again")

    assert users.rows("SELECT xmin, * FROM users ORDER BY id") == before
    assert users.scalar("SELECT count(*) FROM luamig.run") == 1


def test_again_does_what_has_come_since(users, project):
    project.script(ONBOARDING)
    project.run().expect(DONE)

    assert project.run("--again").expect(DONE).rows == 0
    users.execute("INSERT INTO users VALUES (26, 'late')")
    assert project.run("--again").expect(DONE).rows == 1

    assert welcomed(users) == 26
    assert [run["run"] for run in sorted(
        project.status(), key=lambda run: run["run"])] == [1, 2, 3]


def test_a_repeatable_script_needs_no_again(users, project):
    project.script(ONBOARDING.replace("throttle_ms = 0",
                                      "throttle_ms = 0, repeatable = true"))
    project.run().expect(DONE)
    users.execute("INSERT INTO users VALUES (26, 'late')")
    assert project.run().expect(DONE).rows == 1


def test_a_limit_stops_and_the_same_command_goes_on(users, project):
    project.script(ONBOARDING)

    project.run("--limit", 15).expect(STOPPED)
    assert welcomed(users) == 15
    assert users.state() == "stopped"

    project.run().expect(DONE)
    assert welcomed(users) == 25
    assert users.progress() == 25


def test_a_limit_that_is_never_reached_changes_nothing(users, project):
    project.script(ONBOARDING)
    project.run("--limit", 100).expect(DONE)
    assert welcomed(users) == 25


def test_the_last_row_of_a_limit_may_be_the_last_row_of_all(users, project):
    project.script(ONBOARDING)
    result = project.run("--limit", 25)
    assert result.code in (DONE, STOPPED), result
    project.run().expect(DONE)
    assert welcomed(users) == 25


def test_a_script_may_change_before_it_goes_on(users, project):
    project.script(ONBOARDING)
    project.run("--limit", 10).expect(STOPPED)

    project.script(ONBOARDING.replace('"welcome"', '"hello"'))
    project.run().expect(DONE, "changed")

    assert users.rows("SELECT step, count(*) FROM users GROUP BY 1 "
                      "ORDER BY 1") == [("hello", 15), ("welcome", 10)]


def test_a_changed_key_is_refused(users, project):
    project.script(ONBOARDING)
    project.run("--limit", 10).expect(STOPPED)
    users.execute("ALTER TABLE users ALTER email SET NOT NULL, "
                  "ADD UNIQUE (email)")

    project.script(ONBOARDING.replace("throttle_ms = 0",
                                      'throttle_ms = 0, key = "email"'))
    result = project.run()

    assert result.code not in (DONE, STOPPED), result
    result.expect(result.code, "key", "--restart")
    assert welcomed(users) == 10


def test_restart_abandons_what_was_begun_and_says_what_it_wrote(
        users, project):
    users.execute("ALTER TABLE users ADD visits int NOT NULL DEFAULT 0")
    project.script("""return {
      config = { batch_size = 10, throttle_ms = 0 },
      base_query = "SELECT id, visits FROM users",
      migrate = function(rows, repo)
        for _, u in ipairs(rows) do
          repo:update("users", { id = u.id }, { visits = u.visits + 1 })
        end
      end }""")
    project.run("--limit", 10).expect(STOPPED)

    project.run("--restart").expect(DONE, re.compile(r"\b10 rows"))

    assert users.rows("SELECT visits, count(*) FROM users GROUP BY 1 "
                      "ORDER BY 1") == [(1, 15), (2, 10)]
    states = users.column("SELECT state FROM luamig.run ORDER BY id")
    assert states == ["cancelled", "done"]


def test_batch_size_and_throttle_of_the_command_line_win(users, project):
    project.script(ONBOARDING.replace("throttle_ms = 0",
                                      "throttle_ms = 60000"))
    project.run("--batch-size", 4, "--throttle-ms", 0).expect(DONE)
    assert users.progress("batches") == 7


def test_each_set_of_arguments_is_a_run_of_its_own(users, project):
    project.script(BY_TENANT)

    assert project.run("--arg", "tenant=1").expect(DONE).rows == 5
    assert project.run("--arg", "tenant=2").expect(DONE).rows == 5
    project.run("--arg", "tenant=1").expect(DONE, "done already")
    project.run("--arg", "tenant=1", "--arg", "step=welcome").expect(
        DONE, "done already")

    assert welcomed(users) == 10
    assert sorted(run["args"]["tenant"] for run in project.status()) == [1, 2]


def test_a_script_goes_by_its_path_or_by_its_name(users, project):
    project.script(ONBOARDING, "scripts/deep/one.lua")
    project.script(ONBOARDING.replace("return {", 'return { name = "two",'),
                   "scripts/two.lua")

    project.run(script="scripts/deep/one.lua").expect(DONE)
    project.run(script="./scripts/deep/../deep/one.lua").expect(
        DONE, "done already")
    project.run(script="scripts/two.lua").expect(DONE)

    assert [run["script"] for run in project.status()] in (
        ["scripts/deep/one.lua", "two"], ["two", "scripts/deep/one.lua"])


def test_the_journal_may_have_another_name(users, project):
    project.script(ONBOARDING)
    project.run("--journal-schema", "My Books").expect(DONE)
    project.run("--journal-schema", "My Books").expect(DONE, "done already")
    assert users.scalar('SELECT count(*) FROM "My Books".run') == 1
    assert not users.has_journal()


@pytest.mark.parametrize("schema", ["x$$y", "$luamig$", 'a "b" $luamig$'])
def test_the_journals_name_may_hold_anything(users, project, schema):
    project.script(ONBOARDING)
    project.run("--journal-schema", schema).expect(DONE)
    project.run("--journal-schema", schema).expect(DONE, "done already")
    assert users.scalar("SELECT count(*) FROM pg_proc WHERE pronamespace = "
                        "(SELECT oid FROM pg_namespace WHERE nspname = %s)",
                        schema) == 14
    project.script("""return { input = { format = "csv", columns = { a = "text" } },
        migrate = function() end }""", "scripts/file.lua")
    project.write("a.csv", "a\n1\n")
    project.luamig("run", "scripts/file.lua", "--input", "a.csv",
                   "--journal-schema", schema).expect(DONE)


def test_arguments_may_be_long(users, project):
    """Longer than an index entry may be, and of little repetition."""
    word = " ".join(f"{n * 2654435761 % 2**32:08x}" for n in range(3000))
    project.script('''return {
      args = { word = { type = "string", required = true } },
      config = { batch_size = 5, throttle_ms = 0 },
      base_query = "SELECT id FROM users",
      migrate = function() end }''')
    project.run("--arg", f"word={word}", "--limit", 5).expect(STOPPED)
    project.run("--arg", f"word={word}").expect(DONE, "resum")
    project.run("--arg", f"word={word}").expect(DONE, "done already")
    project.run("--arg", f"word={word}!").expect(DONE).refuse("done already")
    assert users.column("SELECT length(args ->> 'word') FROM luamig.run "
                        "ORDER BY id") == [len(word), len(word) + 1]


@pytest.mark.parametrize("variable", ["LUAMIG_DATABASE_URL", "DATABASE_URL",
                                      "PG*"])
def test_the_environment_may_name_the_database(users, project, variable):
    project.script(ONBOARDING)
    host = users.cluster.dir
    uri = f"postgresql://app@/{users.name}?host={host}"
    env = {variable: uri}
    if variable == "PG*":
        env = {"PGHOST": host, "PGUSER": "app", "PGDATABASE": users.name}
    project.run(url=False, env=env).expect(DONE)
    assert welcomed(users) == 25


def test_the_named_database_wins_over_the_environment(users, project):
    project.script(ONBOARDING)
    wrong = "host=/nonexistent"
    project.run(env={"LUAMIG_DATABASE_URL": wrong, "DATABASE_URL": wrong,
                     "PGHOST": "/nonexistent"}).expect(DONE)
    project.run(url=False, env={"LUAMIG_DATABASE_URL": project.url,
                                "DATABASE_URL": wrong}).expect(
        DONE, "done already")


# -- one-shots and callbacks -----------------------------------------------


def test_a_one_shot_runs_once(users, project):
    project.script("""return { run = function(repo)
      repo:update_all("users", { step = "welcome" }, "id <= $1", 5)
    end }""")
    project.run().expect(DONE)
    users.execute("UPDATE users SET step = NULL")
    project.run().expect(DONE, "done already")
    assert welcomed(users) == 0
    project.run("--again").expect(DONE)
    assert welcomed(users) == 5


def test_a_one_shot_that_fails_leaves_nothing(users, project):
    project.script("""return { run = function(repo)
      repo:update_all("users", { step = "welcome" }, "id <= $1", 5)
      error("not now")
    end }""")
    project.run().expect(FAILED, "not now", "scripts/x.lua:3")
    assert welcomed(users) == 0


CALLBACKS = """
local function note(text)
  local f = io.open("calls", "a") f:write(text, "\\n") f:close()
end
return {
  config = { batch_size = 10, throttle_ms = 0 },
  base_query = "SELECT id FROM users WHERE step IS NULL",
  on_start = function(repo, run)
    note("start") repo:insert("marks", { mark = "start" }) end,
  migrate = function(rows, repo, run)
    note("batch " .. run.batch .. " attempt " .. run.attempt)
    if FAIL then error("as told") end
    for _, u in ipairs(rows) do
      repo:update("users", { id = u.id }, { step = "welcome" })
    end
  end,
  on_complete = function(repo, run)
    note("complete")
    repo:insert("marks", { mark = "welcomed " .. repo:scalar(
      "SELECT count(*) FROM users WHERE step IS NOT NULL") })
  end,
  on_stop = function(run, reason) note("stop: " .. tostring(reason)) end,
}
"""


@pytest.fixture
def marks(users):
    users.execute("CREATE TABLE marks (mark text)")
    return users


def test_callbacks_come_in_their_order(marks, project):
    project.script(CALLBACKS.replace("if FAIL", "if false"))
    project.run().expect(DONE)
    assert project.read("calls").splitlines() == [
        "start", "batch 1 attempt 1", "batch 2 attempt 1",
        "batch 3 attempt 1", "complete"]
    assert marks.column("SELECT mark FROM marks") == ["start", "welcomed 25"]


def test_on_stop_gets_the_reason_and_on_complete_runs_at_the_end(
        marks, project):
    project.script(CALLBACKS.replace("if FAIL", "if false"))
    project.run("--limit", 10).expect(STOPPED)
    calls = project.read("calls").splitlines()
    assert calls[:2] == ["start", "batch 1 attempt 1"]
    assert len(calls) == 3 and re.match(r"stop: \w+", calls[2])
    assert calls[2] != "stop: nil"

    project.run().expect(DONE)
    assert project.read("calls").splitlines()[3:] == [
        "batch 2 attempt 1", "batch 3 attempt 1", "complete"]
    assert marks.column("SELECT mark FROM marks") == ["start", "welcomed 25"]


def test_on_stop_is_called_after_an_error(marks, project):
    project.script(CALLBACKS.replace("if FAIL", "if true"))
    project.run().expect(FAILED, "as told")
    calls = project.read("calls").splitlines()
    assert calls[:2] == ["start", "batch 1 attempt 1"]
    assert re.match(r"stop: \w+", calls[-1]) and calls[-1] != "stop: nil"


def test_a_callback_that_fails_leaves_nothing_and_is_called_again(
        marks, project):
    project.script(CALLBACKS.replace("if FAIL", "if false").replace(
        '{ mark = "start" })', '{ mark = "start" }) '
        'if not io.open("go") then error("not yet") end'))
    project.run().expect(FAILED, "not yet", "scripts/x.lua:9")
    assert marks.column("SELECT mark FROM marks") == []
    assert welcomed(marks) == 0

    project.write("go", "")
    project.run().expect(DONE)
    assert marks.column("SELECT mark FROM marks") == ["start", "welcomed 25"]


def test_rows_that_on_start_adds_are_migrated(users, project):
    project.script(ONBOARDING.replace("return {", """return {
      on_start = function(repo)
        repo:insert("users", { id = 1000, email = "added" })
      end,"""))
    assert project.run().expect(DONE).rows == 26
    assert welcomed(users) == 26


def test_run_knows_its_script_its_arguments_and_its_number(users, project):
    project.script("""return {
      args = { n = { type = "integer", default = 3 } },
      run = function(repo, run)
        repo:update("users", { id = 1 }, { step = string.format(
          "%s %d %s %s", run.script, run.id, run.args.n, run.dry_run) })
        run.log("a note", { rows = 1 })
      end }""")
    project.run().expect(DONE, "a note")
    assert users.scalar("SELECT step FROM users WHERE id = 1") == (
        "scripts/x.lua 1 3 false")


def test_requires_that_is_met(users, project):
    project.script(ONBOARDING.replace("return {",
                                      'return { requires = "luamig >= 0.1",'))
    project.run().expect(DONE)


def test_modules_beside_the_script_in_lib_and_in_the_project_root(
        users, project):
    project.write("scripts/beside.lua", "return 'beside'")
    project.write("scripts/lib/below.lua", "return 'below'")
    project.write("rooted.lua", "return 'rooted'")
    project.write("scripts/lib/pkg/init.lua", "return 'pkg'")
    project.script("""
      local words = { require "beside", require "below", require "rooted",
                      require "pkg", require("cjson").encode({ 1 }) }
      return { run = function(repo)
        repo:update("users", { id = 1 }, { step = table.concat(words, " ") })
      end }""")
    project.run().expect(DONE)
    assert users.scalar("SELECT step FROM users WHERE id = 1") == (
        "beside below rooted pkg [1]")


# -- help, status, new, version --------------------------------------------


def test_a_script_shows_its_arguments(project):
    project.script(BY_TENANT)
    result = project.luamig("run", "scripts/x.lua", "--help", url=False)
    result.expect(DONE, "tenant", "integer", "required", "whose users",
                  "step", "welcome", "what to set")
    assert "tenant" in result.out


@pytest.mark.parametrize("command", ["run", "status", "journal", "new", "db",
                                     "lua", "version"])
def test_every_command_explains_itself(project, command):
    by_option = project.luamig(command, "--help", url=False).expect(DONE)
    by_command = project.luamig("help", command, url=False).expect(DONE)
    assert by_option.out == by_command.out != ""
    assert f"luamig {command}" in by_option.out


def test_help_names_the_commands(project):
    out = project.luamig("help", url=False).expect(DONE).out
    for command in ("run", "status", "journal", "new", "db", "lua"):
        assert re.search(rf"^\s*(luamig )?{command}\b", out, re.M), out


def test_version(project):
    for word in ("version", "--version"):
        out = project.luamig(word, url=False).expect(DONE).out
        assert re.match(r"luamig \d+\.\d+", out)


def test_status_of_a_database_that_has_never_seen_luamig(users, project):
    assert project.status() == []
    project.luamig("status").expect(DONE)
    assert not users.has_journal()


def test_status_shows_every_run(users, project):
    project.script(ONBOARDING)
    project.run("--limit", 10).expect(STOPPED)
    project.script(BY_TENANT, "scripts/y.lua")
    project.run("--arg", "tenant=3", script="scripts/y.lua").expect(DONE)

    x, y = (project.status(f"scripts/{name}.lua")[0] for name in "xy")

    assert len(project.status()) == 2
    assert project.status(2) == [y]
    assert (x["run"], x["script"], x["args"], x["state"]) == (
        1, "scripts/x.lua", {}, "stopped")
    assert (x["rows"], x["batches"], x["retries"], x["live"]) == (
        10, 1, 0, False)
    assert (x["cursor"], x["bound"]) == (["10"], ["25"])
    assert x["started_at"] and x["error"] is None and x["sqlstate"] is None
    assert (y["args"], y["state"], y["rows"]) == (
        {"tenant": 3, "step": "welcome"}, "done", 3)
    assert y["finished_at"]

    out = project.luamig("status").expect(DONE).out
    for word in ("scripts/x.lua", "scripts/y.lua", "stopped", "done"):
        assert word in out, out


def test_status_shows_a_running_run_and_a_dead_one(users, project):
    project.script(ONBOARDING)
    runner = project.start_run(fault="after_migrate:2=stop")
    runner.wait_frozen()
    alive = project.status()[0]
    runner.kill()
    dead = project.status()[0]

    assert (alive["state"], alive["live"]) == ("running", True)
    assert (dead["state"], dead["live"]) == ("running", False)


def test_status_shows_why_a_run_failed(users, project):
    project.script("return { run = function(repo) "
                   "repo:query('SELECT 1/0') end }")
    project.run().expect(FAILED)

    run = project.status()[0]
    assert (run["state"], run["sqlstate"]) == ("failed", "22012")
    assert "division by zero" in run["error"]
    assert "division by zero" in project.luamig("status", 1).expect(DONE).out


def test_status_of_a_run_that_is_not_there(users, project):
    project.script(ONBOARDING)
    project.run().expect(DONE)
    result = project.luamig("status", 99)
    result.expect(result.code, "99").refuse("no runs are recorded")


def test_the_interpreter_has_luamigs_modules(project):
    project.write("say.lua", 'local l = require "luamig"\n'
                  'print(l.version, require("cjson").encode({ ... }))')
    out = project.luamig("lua", "say.lua", "a", "b", url=False).expect(
        DONE).out
    assert re.match(r'\d+\.\d+\S*\s+\["a","b"\]', out)


# -- the journal and its roles ---------------------------------------------


def test_two_roles_share_a_journal_that_neither_could_make(users, project):
    users.admin("ALTER SCHEMA public OWNER TO postgres")
    users.admin(f'ALTER DATABASE "{users.name}" OWNER TO postgres')
    users.execute(f"GRANT ALL ON users TO {GUARDED}")
    for grant in ([], ["--grant", "app"], ["--grant", GUARDED]):
        users.admin(project.luamig("journal", "--sql", *grant,
                                   url=False).expect(DONE).out)
    theirs = users.cluster.url(users.name, user=GUARDED, password=PASSWORD)
    project.script(ONBOARDING)

    project.run("--limit", 10).expect(STOPPED)
    project.run(url=theirs).expect(DONE)
    project.run("--again").expect(DONE)

    assert welcomed(users) == 25
    assert len(project.status(url=theirs)) == 2


def test_a_journal_without_its_rows_says_what_it_may_come_of(users, project):
    project.script(ONBOARDING)
    project.run("--limit", 5).expect(STOPPED)
    users.admin("DELETE FROM luamig.version")

    project.run().expect(UNREACHABLE, "restore of the schema alone",
                         'DROP SCHEMA "luamig" CASCADE')
    users.admin("DROP SCHEMA luamig CASCADE")
    project.run().expect(DONE)


def test_a_role_that_may_not_upgrade_the_journal_gets_a_hint(
        users, project):
    users.admin("ALTER SCHEMA public OWNER TO postgres")
    users.admin(f'ALTER DATABASE "{users.name}" OWNER TO postgres')

    def sql(*arguments):
        return project.luamig("journal", "--sql", *arguments,
                              url=False).expect(DONE).out
    upgrade = sql("--from", 2)
    begin, steps = re.match(r"(BEGIN;\nSET LOCAL .*\n)(?s:(.*))", upgrade).groups()
    whole = sql()
    assert whole.startswith(begin) and whole.endswith(steps)
    users.admin(whole.removesuffix(steps) + "COMMIT;\n")
    users.admin("GRANT USAGE ON SCHEMA luamig TO app;"
                "GRANT SELECT ON luamig.version TO app")
    project.script(ONBOARDING)

    project.run().expect(UNREACHABLE, "luamig journal --sql --from 2",
                         "luamig journal --sql --grant")
    users.admin(upgrade)
    users.admin(sql("--grant", "app"))
    project.run().expect(DONE)


def test_the_journals_sql_may_name_another_schema(users, project):
    sql = project.luamig("journal", "--sql", "--journal-schema", "Books",
                         url=False).expect(DONE).out
    users.admin(sql)
    assert users.scalar("""SELECT to_regclass('"Books".run') IS NOT NULL""",
                        user="postgres")
    assert not users.has_journal()


def test_every_table_of_the_journal_has_a_primary_key(users, project):
    project.script(ONBOARDING)
    project.run().expect(DONE)
    assert users.column("""
        SELECT relname FROM pg_class c WHERE relkind = 'r'
        AND relnamespace = 'luamig'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)
        """) == []


def test_a_run_leaves_no_session_behind(users, project):
    project.script(ONBOARDING)
    project.run().expect(DONE)
    assert users.runners() == []
    assert users.scalar("SELECT count(*) FROM pg_locks WHERE locktype = "
                        "'advisory'") == 0


def test_the_output_is_for_people_and_json_is_for_machines(users, project):
    project.script(ONBOARDING)
    result = project.run().expect(DONE)
    assert "\x1b" not in result.out + result.err
    assert "\r" not in result.out + result.err
    json.loads(project.luamig("status", "--json").out)
