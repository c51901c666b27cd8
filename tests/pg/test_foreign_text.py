"""Text that others have written, in every place that prints it: it cannot move
the cursor, look like luamig's own lines, or hide.

NASTY goes into every name, value, message and journal column that a foreign
hand can reach. What luamig then prints is read as bytes."""

import json
import re
import subprocess

import pytest

from harness.project import DONE, FAILED, FAILURES
from harness.terminal import at_a_terminal

FORGED = "run 1 done: 9 rows"
NASTY = ("x\x1b[2K\x1b]0;title\x07\r\n" + FORGED + "\nluamig: error: forged"
         "\n\u202eb\u2066c\u200fd\u061ce\u009bf\u0085g\u2028h\ufeffi\x7fj\x08")
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f"
                 "\u2028-\u202e\u2060-\u206f\ufeff\udc80-\udcff]")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + text.replace("'", "''") + "'"


# Names of 63 bytes at most.
TABLE = "t\x1b[31m\r\nrun 1 done: 9 rows\u202e\x07"
COLUMN = "c\x1b[2K\n" + FORGED + "\u2066\u009b"
CONSTRAINT = "k\nluamig: error: forged\x1b\u200f"
ROLE = "r\x1b[1m\nrun 1 done: 9 rows\u202e"


def lua(text):
    """A Lua literal of the text, byte by byte."""
    return '"' + "".join(f"\\x{b:02x}" for b in text.encode()) + '"'


def assert_harmless(text, coloured=False):
    """Nothing raw, no line that looks like one of luamig's own."""
    if coloured:
        text = re.sub("\x1b\\[[0-9;]*m|\r?\x1b\\[K|\r(?=\n)", "", text)
    found = RAW.search(text)
    assert not found, f"{found.group()!r} in\n{text!r}"
    lines = text.splitlines()
    assert not [line for line in lines
                if re.match(FORGED + "|luamig: error: forged|luamig: run 1 done"
                            ": 9", line)], text


def printed(project, *arguments, codes=None, **options):
    """All that a command prints, as text in which wrong bytes are seen."""
    runner = project.start(*arguments, **options)
    code = runner.process.wait(60)
    texts = []
    for stream in (runner._out, runner._err):
        with open(f"/proc/self/fd/{stream.fileno()}", "rb") as again:
            texts.append(again.read().decode("utf-8", "surrogateescape"))
    assert "Sanitizer" not in texts[1], texts[1]
    if codes is not None:
        assert code in codes, (code, texts)
    for text in texts:
        assert_harmless(text)
    return texts


@pytest.fixture
def poisoned(db, project):
    """A table whose names and values are NASTY, and a script that tells of
    each row and fails at the second."""
    db.execute(f"""
        CREATE TABLE {quoted(TABLE)} (id int PRIMARY KEY, {quoted(COLUMN)} text,
            CONSTRAINT {quoted(CONSTRAINT)}
            CHECK (id <> 2 OR {quoted(COLUMN)} <> 'new'));
        INSERT INTO {quoted(TABLE)} SELECT i, {literal(NASTY)} || i
        FROM generate_series(1, 3) i""")
    project.script(f"""return {{
  config = {{ batch_size = 1, on_error = "quarantine", throttle_ms = 0 }},
  base_query = {lua(f"SELECT id, {quoted(COLUMN)} FROM {quoted(TABLE)}")},
  migrate = function(rows, repo, run)
    run.log("row " .. rows[1][{lua(COLUMN)}])
    run.log("\\xff\\xfe")
    repo:update({lua(quoted(TABLE))}, {{ id = rows[1].id }}, {{ [{lua(COLUMN)}] = "new" }})
  end,
}}""")
    return project


LOOKS = [
    ("status",), ("status", "1"), ("status", "--json"), ("status", "x"),
    ("failures", "1"), ("failures", "1", "--json"), ("watch", "1"),
    ("wait", "1"), ("pause", "1"), ("set", "1", "batch_size=5"),
    ("cancel", "1"), ("failures", "1", "--retry"), ("check",),
]


def test_a_run_over_hostile_names_and_values(poisoned):
    for arguments in (["--dry-run"], ["--dry-run", "--log", "json"], [], ["--again"]):
        printed(poisoned, "run", "scripts/x.lua", *arguments,
                codes=[DONE, FAILED, FAILURES])
    for arguments in (["check", "scripts/x.lua"],
                      ["check", "scripts/x.lua", "--json"],
                      ["check", "scripts/x.lua", "--verbose"], *LOOKS):
        printed(poisoned, *arguments)


def test_json_stays_json_and_means_the_same(poisoned):
    out, err = printed(poisoned, "run", "scripts/x.lua", "--log", "json")
    messages = [json.loads(line) for line in err.splitlines()]
    told = [m["message"] for m in messages if NASTY in m.get("message", "")]
    assert len(told) >= 3, err
    out, _ = printed(poisoned, "failures", "1", "--json")
    assert CONSTRAINT in json.loads(out)[0]["message"], out


@pytest.mark.parametrize("statement", [
    "RAISE EXCEPTION USING MESSAGE = {0}, DETAIL = {0}, HINT = {0}",
    "RAISE EXCEPTION USING MESSAGE = {0}, CONSTRAINT = {0}, ERRCODE = '23514'",
    "RAISE WARNING USING MESSAGE = {0}, DETAIL = {0}; RETURN NEW",
    "RAISE EXCEPTION USING MESSAGE = {0}, ERRCODE = 'LM999'",
])
def test_what_the_server_says_of_a_row(db, poisoned, statement):
    db.execute(f"""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {statement.format(literal(NASTY))}; RETURN NEW; END $$;
        CREATE TRIGGER {quoted(COLUMN[:20])} BEFORE UPDATE ON {quoted(TABLE)}
        FOR EACH ROW EXECUTE FUNCTION f()""")
    printed(poisoned, "run", "scripts/x.lua", "-v")
    printed(poisoned, "run", "scripts/x.lua", "--dry-run")
    for arguments in (("status", "1"), ("failures", "1")):
        printed(poisoned, *arguments)


@pytest.mark.parametrize("code", [
    "error({0})", "error({{ message = {0} }})", "error(\"\\xff\\x9b\")",
    "repo:execute({0})", "repo:update({0}, {{ id = 1 }}, {{ n = 1 }})",
    "repo:execute(\"SELECT $1::int\", {0})", "local x = rows[{0}]",
    "luamig.nothing[{0}] = 1", "repo:insert(\"t\", {{ [{0}] = 1 }})",
    "load({0}, \"=\" .. {0})()", "warn(\"@on\") warn({0})",
])
def test_what_a_script_says(poisoned, code):
    source = poisoned.read("scripts/x.lua")
    poisoned.script(source.replace(
        'run.log("\\xff\\xfe")', code.format(lua(NASTY)))
        .replace("quarantine", "stop"))
    printed(poisoned, "run", "scripts/x.lua", codes=[FAILED, 3])
    printed(poisoned, "status", "1")


@pytest.mark.parametrize("name", [
    f"scripts/a\x1b[2K\n{FORGED}\u202e.lua", "scripts/\udcff\udc9b.lua",
    "scripts/b\rluamig: error: forged\n.lua"])
def test_a_script_of_a_hostile_name(db, project, name):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    text = "return { base_query = 'SELECT id FROM t', migrate = f }"
    with open(f"{project.path}/{name}".encode("utf-8", "surrogateescape"),
              "w", encoding="utf-8") as file:
        file.write(text.replace("migrate = f", "migrate = function() end"))
    for command in ("run", "check", "status", "pause", "failures", "watch"):
        printed(project, command, name)
    printed(project, "run", name + "x")
    printed(project, "status")
    printed(project, "status", "--json")
    printed(project, "run", "scripts/none.lua")


def test_arguments_of_a_command(db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    project.script("""return {
  args = { a = { type = "string", default = "b" }, n = { type = "integer", default = 1 } },
  base_query = "SELECT id FROM t", migrate = function() end }""")
    for arguments in ((f"a={NASTY}",), (f"n={NASTY}",), (f"{NASTY}=1",)):
        printed(project, "run", "scripts/x.lua", "--arg", *arguments)
    for arguments in ((NASTY,), ("run", NASTY), ("run", "--" + NASTY),
                      ("status", NASTY), ("set", "1", NASTY),
                      ("help", NASTY), ("new", NASTY),
                      ("new", "x", "--table", NASTY),
                      ("run", "scripts/x.lua", "--repo", NASTY),
                      ("run", "scripts/x.lua", "--help"),
                      ("schema", "--lua", NASTY), ("status",)):
        printed(project, *arguments)
    printed(project, "check", "--db", f"postgres:///{FORGED}\x1b\n",
            url=False)


@pytest.mark.long
def test_any_text_in_the_journal_is_printed_safely(db, poisoned):
    """Whoever may write there may write anything."""
    printed(poisoned, "run", "scripts/x.lua")
    for table in ("run", "failure", "request", "progress"):
        columns = db.column(f"""SELECT quote_ident(attname)
            FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid
            WHERE attrelid = 'luamig.{table}'::regclass AND attnum > 0
            AND NOT attisdropped AND typname IN ('text', '_text', 'jsonb')
            AND attname NOT IN ('state', 'verb', 'resolution', 'sqlstate')""")
        if table == "request":
            db.execute("INSERT INTO luamig.request (run_id, verb)"
                       " VALUES (1, 'pause')")
        for column in columns:
            kind = db.column("SELECT typname FROM pg_attribute a JOIN pg_type"
                             f" t ON t.oid = atttypid WHERE attrelid ="
                             f" 'luamig.{table}'::regclass AND"
                             f" quote_ident(attname) = {literal(column)}")[0]
            value = {"text": literal(NASTY),
                     "_text": f"ARRAY[{literal(NASTY)}]",
                     "jsonb": f"jsonb_build_object({literal(NASTY)},"
                              f" {literal(NASTY)})"}[kind]
            try:
                db.execute(f"UPDATE luamig.{table} SET {column} = {value}")
            except Exception:  # pylint: disable=broad-except
                continue  # a constraint keeps it out
            for arguments in LOOKS[:6]:
                printed(poisoned, *arguments)
    for arguments in LOOKS:
        printed(poisoned, *arguments)


def test_requests_and_runs_of_a_role_with_a_hostile_name(db, poisoned):
    db.cluster.connect(db.name, "postgres").cursor().execute(
        f"CREATE ROLE {quoted(ROLE)} SUPERUSER LOGIN")
    printed(poisoned, "run", "scripts/x.lua", "--limit", "1")
    link = db.cluster.connect(db.name, "postgres")
    link.cursor().execute(
        f"SET SESSION AUTHORIZATION {quoted(ROLE)};"
        "INSERT INTO luamig.request (run_id, verb, host)"
        f" VALUES (1, 'pause', {literal(NASTY)})")
    printed(poisoned, "status", "1")
    printed(poisoned, "run", "scripts/x.lua")
    printed(poisoned, "status")
    link.close()


def test_a_new_script_for_a_hostile_table_is_lua_and_nothing_else(
        db, poisoned):
    db.execute(f"""COMMENT ON TABLE {quoted(TABLE)} IS {literal(NASTY)};
        CREATE TABLE "]] os.execute('touch pwned') --[[" (
            id int PRIMARY KEY, "]] .. os.execute('touch pwned') .. [[" text,
            "'""\\]=]" text)""")
    for number, table in enumerate((quoted(TABLE),
                                    "\"]] os.execute('touch pwned') --[[\"")):
        printed(poisoned, "new", f"n{number}", "--table", table)
        printed(poisoned, "schema", "--lua", table)
        for name in (f"scripts/n{number}.lua",
                     f"spec/n{number}_spec.lua", ):
            if poisoned.exists(name):
                text = poisoned.read(name)
                assert not RAW.search(text), text
                subprocess.run(["lua5.4", "-e", "assert(loadfile("
                                f"'{poisoned.path}/{name}', 't'))"], check=True)
    assert not poisoned.exists("pwned")


def test_at_a_terminal(poisoned):
    for arguments in (("run", "scripts/x.lua"), ("status",), ("status", "1"),
                      ("failures", "1"), ("watch", "1"),
                      ("check", "scripts/x.lua")):
        _, shown = at_a_terminal(poisoned, *arguments, "--db", poisoned.url)
        assert_harmless(shown, coloured=True)
