"""Arguments that are declared secret: where they come from, and that nobody
but the script sees them."""

import json
import os
import re

import pytest

from harness.project import DONE, FAILED, FAILURES, INVALID, STOPPED, USAGE
from harness.wait import wait_until

TOKEN = "tok-9f3a-ßecret-77"
HINT = ("Give it with --arg-env token=VARIABLE, or --arg-file token=PATH (- is "
        "standard input).")
BY_ENV = ["--arg-env", "token=API_TOKEN"]
ENV = {"API_TOKEN": TOKEN}

SCRIPT = """return {
  args = { tenant = { type = "integer", default = 1 },
           token = { type = "string", secret = true, desc = "of the API" } },
  config = { batch_size = 10, throttle_ms = 0, %s },
  base_query = function(args)
    return "SELECT id, s FROM t WHERE $1::text IS NOT NULL", args.token
  end,
  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      %s
      repo:update("t", { id = row.id }, { n = #run.args.token })
    end
  end }"""


def write(project, body="", config=""):
    project.script(SCRIPT % (config, body))


@pytest.fixture
def table(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int, s text);"
               "INSERT INTO t SELECT i, 0 FROM generate_series(1, 50) i")
    write(project)
    return db


def assert_migrated(db, length=len(TOKEN.encode())):
    assert db.column("SELECT DISTINCT n FROM t") == [length]


def assert_journal_is_clean(db, *texts):
    """No table of the journal has the text, or what is made of it."""
    tables = db.column("SELECT oid::regclass::text FROM pg_class WHERE relkind"
                       " = 'r' AND relnamespace = 'luamig'::regnamespace",
                       user="postgres")
    assert "luamig.run" in tables
    kept = str([db.column(f"SELECT x::text FROM {name} x", user="postgres")
                for name in tables])
    for text in texts or (TOKEN,):
        assert text not in kept
        assert text.encode().hex() not in kept


def command_lines(project):
    """Of the processes that work in its folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(project.path):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found.append(file.read().decode(errors="replace"))
        except OSError:
            continue
    return found


def assert_on_no_command_line(project):
    lines = command_lines(project)
    assert [line for line in lines if "scripts/x.lua" in line]
    assert not [line for line in lines if TOKEN in line]


# -- where it comes from ------------------------------------------------------

def test_a_secret_comes_from_a_variable(table, project):
    project.run(*BY_ENV, env=ENV).expect(DONE).refuse(TOKEN)
    assert_migrated(table)
    assert_journal_is_clean(table)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_secret_comes_from_a_file_without_its_last_line_break(
        table, project, end):
    project.write("token", TOKEN + end)
    project.run("--arg-file", "token=token").expect(DONE)
    assert_migrated(table)


def test_only_one_line_break_is_cut(table, project):
    project.write("token", TOKEN + "\n\n")
    project.run("--arg-file", "token=token").expect(DONE)
    assert_migrated(table, len(TOKEN.encode()) + 1)


def test_a_secret_comes_from_standard_input(table, project):
    project.run("--arg-file", "token=-", stdin=TOKEN + "\n").expect(DONE)
    assert_migrated(table)


def test_a_secret_on_the_command_line_is_refused_and_the_hint_helps(
        table, project):
    result = project.run("--arg", f"token={TOKEN}").expect(
        USAGE, 'argument "token" is secret, but "ps" shows the command line', HINT)
    result.refuse(TOKEN)
    assert not table.has_journal()
    for option in re.findall(r"--arg-\w+ token=\w+", HINT):
        project.write("PATH", TOKEN)
        project.run(*option.split(), "--again",
                    env={"VARIABLE": TOKEN}).expect(DONE)
        assert_migrated(table)


@pytest.mark.parametrize("options, said", [
    ([], 'missing required argument "token"'),
    (["--arg-env", "token=NOT_THERE"], "variable NOT_THERE is not set"),
    (["--arg-env", "token=EMPTY"], 'argument "token": its value is empty'),
    (["--arg-file", "token=/no/such"], 'could not open "/no/such"'),
    (["--arg-file", "token=scripts"], 'could not read "scripts"'),
    (["--arg-file", "token=zero"], "contains a byte 0"),
    (["--arg-file", "token=big"], "larger than a megabyte"),
    (["--arg-file", "token=bytes"], "must be a string (valid UTF-8)"),
    (["--arg-file", "token=-"], "its value is empty"),
    (["--arg-file", "token"], "--arg-file takes NAME=PATH"),
    (["--arg-env", "=X"], "--arg-env takes NAME=VARIABLE"),
    ([*BY_ENV, *BY_ENV], 'argument "token" is given twice'),
    ([*BY_ENV, "--arg", "token=y"], 'argument "token" is given twice'),
    ([*BY_ENV, "--arg-env", "tokn=API_TOKEN"], 'unknown argument "tokn"'),
    ([*BY_ENV, "--arg-env", "tenant=API_TOKEN"],
     'argument "tenant" is not declared secret'),
    (["--arg-file", "token=-", "--arg-file", "tenant=-"],
     "only one argument can come from standard input"),
])
def test_what_gives_no_value_is_refused(table, project, options, said):
    project.write("zero", TOKEN + "\0")
    project.write("big", "x" * (1 << 20) + "x")
    project.write("bytes", TOKEN.encode() + b"\xff")
    stdin = TOKEN if options.count("--arg-file") == 2 else None
    result = project.run(*options, env={**ENV, "EMPTY": ""}, stdin=stdin)
    result.expect(USAGE, said).refuse(TOKEN)
    assert not table.has_journal()


def test_help_says_how_a_secret_is_given(table, project):
    project.run("--help").expect(
        DONE, "--arg-env token=VARIABLE or --arg-file token=PATH (secret)",
        "of the API", "--arg-file NAME=PATH")


# -- who sees it --------------------------------------------------------------

def test_no_process_has_it_on_its_command_line(table, project):
    project.write("token", TOKEN)
    runner = project.start_run("--arg-file", "token=token",
                               "--throttle-ms", 300)
    wait_until(lambda: table.has_journal() and table.progress() > 0,
               "the first batch")
    assert_on_no_command_line(project)
    shown = project.luamig("status", 1).expect(DONE).refuse(TOKEN)
    assert '{"tenant": 1}' in shown.out
    assert TOKEN not in json.dumps(project.status(), ensure_ascii=False)
    assert TOKEN not in str(table.column(
        "SELECT query FROM pg_stat_activity", user="postgres"))
    runner.wait().expect(DONE).refuse(TOKEN)
    assert_journal_is_clean(table)


@pytest.mark.parametrize("log", ["plain", "json"])
@pytest.mark.parametrize("body", [
    "error('no access with ' .. run.args.token)",
    "error({ message = run.args.token })",
    "repo:query('SELECT $1::int', run.args.token)",
    "repo:query('SELECT 1 / 0 -- ' .. run.args.token)",
    "repo:update('t', { id = run.args.token }, { n = 1 })",
    "repo:update('t', { id = 1 }, { n = run.args.token })",
    "repo[run.args.token](repo)",
    "repo:query(\"SELECT '\" .. run.args.token .. \"'::int\")",
    "repo:execute(\"INSERT INTO t (id, s) VALUES (1, '\" .. run.args.token"
    " .. \"')\")",
    "require('luamig.json').decode(run.args.token)",
])
def test_no_error_shows_it(table, project, body, log):
    write(project, body)
    result = project.run(*BY_ENV, "--log", log, env=ENV)
    assert result.code != DONE
    result.refuse(TOKEN)
    assert_journal_is_clean(table)
    project.luamig("status", 1).refuse(TOKEN)


def test_an_error_has_stars_for_it_in_log_and_journal(table, project):
    write(project, "error('no access with ' .. run.args.token .. '!')")
    project.run(*BY_ENV, env=ENV).expect(FAILED, "no access with ***!")
    assert "no access with ***!" in table.scalar("SELECT error FROM luamig.run")
    project.luamig("status", 1).expect(DONE, "no access with ***!")


@pytest.mark.parametrize("log", ["plain", "json"])
def test_what_the_script_logs_has_stars_for_it(table, project, log):
    write(project, "run.log('with ' .. run.args.token, { t = run.args.token })")
    project.run(*BY_ENV, "--log", log, env=ENV).expect(
        DONE, "with ***").refuse(TOKEN)


def test_a_file_with_tabs_is_not_shown_in_parts(table, project):
    project.write("token", '{\n\t"key":\t"x1y2z3"\n}\n')
    write(project, "run.log(run.args.token) error('bad ' .. run.args.token)")
    project.run("--arg-file", "token=token").expect(FAILED, "bad {").refuse(
        "x1y2z3")


def test_an_excerpt_of_sql_begins_before_the_secret(table, project):
    project.script(f"""return {{
      args = {{ token = {{ type = "string", secret = true }} }},
      base_query = function(args)
        return "SELECT id FROM t WHERE s = '" .. args.token .. "' ORDER BY id"
      end,
      migrate = function() end }}""")
    token = "x1y2z3" * 20
    for command in "run", "check":
        project.luamig(command, "scripts/x.lua", *BY_ENV,
                       env={"API_TOKEN": token}).expect(
            INVALID, "ORDER BY").refuse("x1y2z3")


def test_a_secret_that_looks_like_a_figure_breaks_no_json(table, project):
    """Nor does one that looks like a part of an escape."""
    for token in ("1000", "nseq", "rows"):
        table.execute("UPDATE t SET s = %s", f"a\n{token} 1000")
        env = {"API_TOKEN": token}
        for words in (["check", "scripts/x.lua", "--json"],
                      ["run", "scripts/x.lua", "--dry-run"]):
            said = json.loads(project.luamig(*words, "--batch-size", 1000,
                                             *BY_ENV, env=env).expect(DONE).out)
            assert said.get("rows", 50) == 50, said


def test_quotes_line_breaks_and_cuts_do_not_show_it(table, project):
    token = 'first "half" of it\nsecond\\half-of-it\n' + "x1y2z3" * 900
    project.write("token", token)
    write(project, "run.log('a', { t = run.args.token })"
                   "repo:query('SELECT $1::int', run.args.token)")
    for log in ("plain", "json"):
        project.run("--arg-file", "token=token", "--log", log).expect(
            FAILED).refuse("half", "y2z3x1y2")
    assert_journal_is_clean(table, "half", "y2z3x1y2")


def test_check_and_dry_run_do_not_show_it(table, project):
    table.execute("ALTER TABLE t ADD note text")
    write(project, "repo:update('t', { id = row.id },"
                   " { note = 'by ' .. run.args.token })")
    for options in (["-v"], ["--json"]):
        project.luamig("check", "scripts/x.lua", *options, *BY_ENV,
                       env=ENV).expect(DONE).refuse(TOKEN)
    for log in ("plain", "json"):
        project.run("--dry-run", "--log", log, *BY_ENV, env=ENV).expect(
            DONE, "by ***").refuse(TOKEN)
    project.luamig("check", "scripts/x.lua").expect(USAGE, HINT)
    project.run("--dry-run").expect(USAGE, HINT)


def test_recorded_rows_do_not_show_the_secret(table, project):
    table.execute(f"UPDATE t SET s = 'was {TOKEN}' WHERE id = 3")
    write(project, "if row.id == 3 then error('not ' .. run.args.token) end",
          'on_error = "quarantine", quarantine_rows = true')
    project.run(*BY_ENV, env=ENV).expect(FAILURES).refuse(TOKEN)
    assert_journal_is_clean(table)
    for options in ([], ["--json"]):
        project.luamig("failures", 1, *options).expect(
            FAILURES, "not ***", "was ***")

    project.luamig("failures", 1, "--retry").expect(USAGE, HINT)
    project.luamig("failures", 1, "--retry", *BY_ENV, env=ENV).expect(
        FAILURES, "row (id) = (3) has failed again").refuse(TOKEN)
    assert_journal_is_clean(table)
    write(project)
    project.luamig("failures", 1, "--retry", "--arg-file", "token=-",
                   stdin=TOKEN).expect(DONE, "1 row migrated")
    assert_migrated(table)


def test_a_detached_run_has_it_from_standard_input(table, project):
    write(project, "run.log(run.args.token)")
    result = project.run("--detach", "--throttle-ms", 300, "--arg-file",
                         "token=-", stdin=TOKEN).expect(DONE)
    log = re.search(r"its log: (\S+)\n", result.out).group(1)
    assert_on_no_command_line(project)
    wait_until(lambda: "run 1 done" in project.read(log), "the run to end")
    assert TOKEN not in project.read(log)
    assert "script: ***" in project.read(log)
    assert_migrated(table)
    for folder, _, names in os.walk(project.path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert TOKEN.encode() not in file.read(), name


# -- which run is meant -------------------------------------------------------

def test_a_run_goes_on_with_another_secret(table, project):
    project.run(*BY_ENV, "--limit", 20, env=ENV).expect(STOPPED)
    project.run("--limit", 20).expect(USAGE, "missing", HINT)
    project.run(*BY_ENV, env={"API_TOKEN": "another"}).expect(DONE, "resum")
    assert table.rows("SELECT n, count(*) FROM t GROUP BY n ORDER BY n") == [
        (len("another"), 30), (len(TOKEN.encode()), 20)]
    project.run(*BY_ENV, env=ENV).expect(DONE, "done already")
    assert table.rows("SELECT args, given FROM luamig.run") == [
        ({"tenant": 1}, {})]


def test_an_argument_that_becomes_secret_leaves_the_journal(table, project):
    secret = SCRIPT % ("", "")
    project.script(secret.replace("secret = true", "required = true"))
    project.run("--arg", f"token={TOKEN}", "--limit", 20).expect(STOPPED)
    project.script(secret)
    project.run(*BY_ENV, env={"API_TOKEN": "another"}).expect(
        INVALID, 'was begun with argument "token" in clear, which is secret '
        "now", "--adopt 1").refuse(TOKEN)
    project.run("--adopt", 1, *BY_ENV, env=ENV).expect(DONE)
    assert_migrated(table)
    assert_journal_is_clean(table)


@pytest.mark.parametrize("given", ["as it is", "NULL"])  # NULL: of 0.1
def test_a_run_that_is_done_stays_so_when_an_argument_becomes_secret(
        table, project, given):
    secret = SCRIPT % ("", "")
    project.script(secret.replace("secret = true", "required = true"))
    project.run("--arg", f"token={TOKEN}").expect(DONE)
    if given == "NULL":
        table.execute("UPDATE luamig.run SET given = NULL")
    project.script(secret)
    other = {"API_TOKEN": "another"}
    project.run(*BY_ENV, env=other).expect(
        DONE, "run 1 is done already", 'argument "token", which is secret now, '
        "in clear in the journal; --adopt 1").refuse(TOKEN)
    project.run("--adopt", 1, *BY_ENV, env=other).expect(
        DONE, "run 1 is done already").refuse(TOKEN)
    assert_journal_is_clean(table)
    project.run(*BY_ENV, env=other).expect(
        DONE, "run 1 is done already").refuse("in clear")
    assert_migrated(table)


def test_a_run_beside_one_that_has_a_secret_in_clear_does_not_show_it(
        table, project):
    secret = SCRIPT % ("", "")
    project.script(secret.replace("secret = true", "required = true"))
    project.run("--arg", f"token={TOKEN}", "--limit", 20).expect(STOPPED)
    project.script(secret)
    project.run("--again", *BY_ENV, env={"API_TOKEN": "another"}).expect(
        DONE, 'run 1 of scripts/x.lua {"tenant": 1}, with other arguments',
        "run 2 done").refuse(TOKEN)


def test_all_repos_get_it_from_one_standard_input(table, project):
    project.write("luamig.lua", "return { repos = { default = os.getenv 'A',"
                                " other = os.getenv 'B' } }")
    project.luamig("run", "scripts/x.lua", "--all-repos", "--arg-file",
                   "token=-", stdin=TOKEN, url=False,
                   env={"A": project.url, "B": project.url}).expect(
        DONE, "done already").refuse(TOKEN)
    assert_migrated(table)
