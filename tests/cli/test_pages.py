"""docs/scripting.md and docs/testing.md: each of their examples is run.

Scripts and specs of the pages become a project, whose specs pass in both
worlds. Pieces of a script are put into one; pages/*_spec.lua say what they do.
Commands are typed, and what the pages show of their output is what they print.
"""

import glob
import http.server
import json
import os
import re
import shlex
import subprocess
import threading

import pytest

from harness import statements
from harness.pages import Page
from harness.project import (DONE, FAILED, INVALID, TOP, Result, binary,
                             clean_environment)

SCRIPTING, TESTING = Page("scripting.md"), Page("testing.md")
FILES = {**SCRIPTING.files, **TESTING.files}
LOWER, LOWER_SPEC = "scripts/lower_emails.lua", "spec/lower_emails_spec.lua"


def in_migrate(start, table="users", row="user"):
    return f"""local luamig = require "luamig"
return {{
  base_query = "SELECT * FROM {table}",
  migrate = function(rows, repo, run)
    for _, {row} in ipairs(rows) do
{SCRIPTING.block(start)}
    end
  end,
}}
"""


# Scripts that pieces of the pages become.
PIECES = {
    "null": in_migrate('repo:update("users", { id = user.id }, { nick'),
    "decimals": in_migrate("local gross", "orders", "order"),
    "rounding": in_migrate("local share", "orders", "order"),
    "documents": in_migrate("local doc"),
    "statements": in_migrate("local orders"),
    "reads": in_migrate("local plan = repo:get"),
    "keyed": in_migrate('repo:update("users", { id = user.id }, { email'),
    "inserts": in_migrate("repo:insert("),
    "old_values": in_migrate('repo:update("plans"', "plans", "plan"),
    "returning": in_migrate("local handles"),
    "matching": in_migrate('repo:update_all("orders", { status = "closed"'),
    "conditions": in_migrate('repo:update_all("orders", { status = "late"'),
    "ranges": f"""return {{
  config = {{ batch_size = 2 }},
  base_query = "SELECT id FROM orders",
  migrate_range = function(range, repo)
{SCRIPTING.block("local where, params")}
  end,
}}
""",
    "every_row": in_migrate('repo:execute(luamig.ALL, "UPDATE'),
    "arguments": f"""return {{
  {SCRIPTING.block("args = {")}
  base_query = "SELECT id FROM users",
  migrate = function(_, _, run)
    local given = run.args
    run.log("given", {{ tenant = given.tenant, factor = given.factor,
                        loud = given.loud, label = given.label }})
  end,
}}""",
}
DECLARATION = TESTING.block("orders = {")
PARTIAL = TESTING.block("memberships = {")
ASSERTION = TESTING.block("mock.assert_rows")
DIFFERENCE = TESTING.block("spec/lower_emails_spec.lua:40: the rows")


@pytest.fixture
def pages(project):
    """A project with all that the pages have."""
    for name, text in FILES.items():
        project.write(name, text)
    for name, text in PIECES.items():
        project.write(f"scripts/{name}.lua", text)
    for path in glob.glob(os.path.join(TOP, "tests/cli/pages/*.lua")):
        folder = "spec" if path.endswith("_spec.lua") else "scripts"
        with open(path, encoding="utf-8") as text:
            project.write(f"{folder}/{os.path.basename(path)}", text.read())
    project.write("spec/orders.lua", f"return {{ {DECLARATION}, {PARTIAL} }}")
    project.write("spec/rows.lua",
                  f"local mock, luamig, world = ... {ASSERTION}")
    project.write("spec/shown.txt", DIFFERENCE)
    return project


def users(db, count):
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY, "
               "email text NOT NULL UNIQUE)")
    db.execute("INSERT INTO users SELECT n, 'USER' || n "
               f"FROM generate_series(1, {count}) n")
    db.execute("ANALYZE users")


def masked(text):
    """Without times and speeds, and without the breaks of lines."""
    text = re.sub(r"\b[\d.,]+(m?s| rows/s| seconds)\b", "#", text)
    return " ".join(text.split())


def assert_shown(text, result):
    """What a page shows is in the output."""
    assert masked(text) in masked(result.out + result.err), (text, result)


def shell(project, commands, **env):
    """What a shell makes of the commands of a block."""
    path = f"{os.path.dirname(binary())}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", commands], cwd=project.path, timeout=120,
        env={**clean_environment(), "PATH": path, **env}, check=False,
        capture_output=True, text=True)
    return Result([commands], done.returncode, done.stdout, done.stderr)


# -- the pages as a whole ----------------------------------------------------


def test_no_example_is_left_out(pages):
    assert SCRIPTING.not_asked_for() + TESTING.not_asked_for() == []
    specs = "".join(pages.read(f"spec/{name}") for name in os.listdir(
        os.path.join(pages.path, "spec")))
    unused = [name for name in os.listdir(os.path.join(pages.path, "scripts"))
              if not re.search(rf'"(scripts/)?{name[:-4]}(\.lua)?"', specs)]
    assert unused == []


def anchors(path):
    """A page's headings and named places, as links name them."""
    with open(path, encoding="utf-8") as page:
        text = re.sub(r"^```.*?^```", "", page.read(), flags=re.M | re.S)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", text, re.M)} | set(
                re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("name", ["README.md", "src/ARCHITECTURE.md", *sorted(
    f"docs/{name}" for name in os.listdir(os.path.join(TOP, "docs")))])
def test_links_lead_somewhere(name):
    here = os.path.join(TOP, name)
    with open(here, encoding="utf-8") as page:
        links = re.findall(r"\]\(((?!http)[^)#]*)(?:#([^)]*))?\)", page.read())

    for path, anchor in links:
        there = os.path.join(os.path.dirname(here), path) if path else here
        assert os.path.exists(there), path
        assert not anchor or anchor in anchors(there), f"{path}#{anchor}"


@pytest.mark.parametrize("world, pending", [("--exclude-tags=pg", 1), ("--pg", 0)])
def test_scripts_and_pieces_do_what_the_pages_say(pages, world, pending):
    pages.luamig("test", world, url=False).expect(DONE, re.compile(
        rf"\d\d successes / 0 failures / 0 errors / {pending} pend"))


# -- what is shown: scripts --------------------------------------------------

RUN = SCRIPTING.block("luamig run scripts/lower_emails.lua")
RAN = SCRIPTING.block("run 1 done")
PAGE_QUERY = SCRIPTING.block("SELECT page.")
INDEX = SCRIPTING.block("CREATE INDEX")


def test_a_script_is_run_and_its_pages_are_read_as_shown(db, pages):
    users(db, 2000)
    db.execute(INDEX.replace("CONCURRENTLY ", ""))
    statements.record(db)
    url = re.search(r"postgresql:\S+", RUN)[0]

    assert_shown(RAN, shell(pages, RUN.replace(url, shlex.quote(db.url))))

    assert masked(PAGE_QUERY) in [masked(sql) for sql in statements.of(db)]


class Payments(http.server.BaseHTTPRequestHandler):
    """A service that is away the first time."""
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = self.server.asked
        asked.append((self.headers["Idempotency-Key"], json.loads(body)))
        self.send_response(503 if len(asked) == 1 else 200)
        self.end_headers()
        self.wfile.write(b'{"id": "c%d"}' % len(asked))

    def log_message(self, *_):
        pass


def test_a_service_is_asked_as_shown(db, pages):
    db.execute("""
        CREATE TABLE accounts (
            id int PRIMARY KEY, customer text, fee int, charge text);
        INSERT INTO accounts VALUES (1, 'a "b" \\ é', 5), (2, 'bo', 7)""")
    server = http.server.HTTPServer(("127.0.0.1", 0), Payments)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()

    pages.run(script="scripts/charge_fees.lua", env={
        "PAYMENTS_URL": f"http://127.0.0.1:{server.server_port}/"}).expect(
            DONE, "the payment service answers 503; waiting", "1 retry")
    server.shutdown()

    keys = [key for key, _ in server.asked]
    assert keys[0] == keys[1] != keys[2]
    assert server.asked[0][1] == {"customer": 'a "b" \\ é', "fee": 5}
    assert db.column("SELECT charge FROM accounts ORDER BY id") == ["c2", "c3"]


UNJUDGED = in_migrate('repo:execute(luamig.ALL, "DELETE FROM sessions')


@pytest.mark.parametrize("version", [17])
def test_sql_with_unknown_grammar_runs_if_it_is_allowed(project_of, version):
    project = project_of(version)
    project.db.execute("""
        CREATE TABLE users (id int PRIMARY KEY);
        INSERT INTO users VALUES (1);
        CREATE TABLE sessions (hits int);
        INSERT INTO sessions VALUES (999), (1000)""")
    project.write("scripts/unjudged.lua", UNJUDGED)

    project.run(script="scripts/unjudged.lua").expect(DONE)

    assert project.db.rows("SELECT hits FROM sessions") == [(1000,)]


WITH_ARG = SCRIPTING.block("luamig run scripts/close_orders.lua")


def test_arguments_come_from_the_command_line(db, pages):
    db.execute("""
        CREATE TABLE orders (
            id int PRIMARY KEY, status text, ordered_on date);
        INSERT INTO orders
        VALUES (1, 'open', '2024-01-30'), (2, 'open', '2024-01-31')""")

    shell(pages, WITH_ARG, LUAMIG_DATABASE_URL=db.url).expect(DONE)

    assert db.rows("SELECT id FROM orders WHERE status = 'closed'") == [(1,)]


IMPORT = SCRIPTING.block("luamig run scripts/import_users.lua")


def test_a_file_is_read_as_shown(db, pages):
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY, email text, nick text);"
               "INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    pages.write("users.csv", "nick,id,email\n,2,bea@x\n\"\",3,c@x\n")

    shell(pages, IMPORT, LUAMIG_DATABASE_URL=db.url).expect(DONE)

    assert db.rows("SELECT * FROM users ORDER BY id") == [
        (1, "a", None), (2, "bea@x", None)]


LOGGED = SCRIPTING.block("luamig: script: moved")


def test_what_a_script_logs_is_printed_as_shown(db, pages):
    db.execute("CREATE TABLE projects (id int, template text, module text)")
    db.execute("INSERT INTO projects SELECT n, 'trybetunes' "
               "FROM generate_series(1, 2) n")

    result = pages.run(script="scripts/fix_module.lua").expect(DONE)

    assert_shown(LOGGED, result)


def mistaken(project, right, wrong):
    """The page's first script with a mistake in it."""
    assert right in FILES[LOWER], right
    return project.write(LOWER, FILES[LOWER].replace(right, wrong, 1))


@pytest.mark.parametrize("right, wrong, code, shown", [
    ("migrate", "migrat", INVALID,
     SCRIPTING.block("luamig: error: scripts/lower_emails.lua:7")),
    ("user.email", "user.emial", FAILED,
     SCRIPTING.block("luamig: error: scripts/lower_emails.lua:9")),
    ("id = user.id", "id = user.id / 2", FAILED,
     SCRIPTING.block("luamig: error: row id = 0.5")),
], ids=["a field", "a column", "a type"])
def test_mistakes_are_printed_as_shown(db, pages, right, wrong, code, shown):
    users(db, 3)

    result = pages.run(script=mistaken(pages, right, wrong)).expect(code)

    assert_shown(shown, result)


DUPLICATE = SCRIPTING.block("luamig: error: duplicate key")


def test_an_error_of_the_server_is_printed_as_shown(db, pages):
    users(db, 1500)
    db.execute("INSERT INTO users VALUES (2000, 'user1200')")
    shown = DUPLICATE.replace("a@example.org", "user1200")

    assert_shown(shown, pages.run(script=LOWER).expect(FAILED))


# -- what is shown: specs ----------------------------------------------------

BOTH = TESTING.block("luamig test           #")
SOME = TESTING.block("luamig test spec/")
PLAIN = TESTING.block("LUA_PATH=")
SYNOPSIS = TESTING.block("luamig test [--pg]")


def test_the_commands_that_run_specs_are_as_shown(project):
    for name in (LOWER, LOWER_SPEC):
        project.write(name, FILES[name])

    shell(project, BOTH).expect(
        DONE, re.compile("0 failures.*0 failures", re.S))
    shell(project, SOME.replace("luamig test --coverage", "#")).expect(
        DONE, "ok 1 - ", "1 success /")
    assert project.exists("report.xml")
    shell(project, PLAIN).expect(DONE, "0 failures / 0 errors")
    assert SYNOPSIS.strip().lower() in project.luamig(
        "help", "test", url=False).out.lower()


DECLARE = TESTING.block("luamig schema --lua users")
DECLARED = TESTING.block("users = {")


def test_a_table_is_declared_as_shown(db, pages):
    db.execute("""CREATE TABLE users (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        email text NOT NULL, onboarding_step text,
        created_at timestamptz NOT NULL)""")

    command = DECLARE.replace("embedded", shlex.quote(db.url))

    assert shell(pages, command).expect(DONE).out == DECLARED


BASE = TESTING.block("spec/lower_emails_spec.lua:27: base is not")
STUB = TESTING.block("spec/count_orders_spec.lua")
FUNCTION = TESTING.block("spec/settle_orders_spec.lua:")
DEPENDENT = TESTING.block("scripts/sum_orders.lua depends on")
SCHEMA = TESTING.block("pg_dump")
OTHERWISE = TESTING.block("spec/accounts_spec.lua:5")


@pytest.mark.parametrize("script, right, wrong, shown", [
    ("lower_emails",
     "where = function(row) return row.email ~= row.email:lower() end,", "",
     BASE),
    ("count_orders", "count = 2", "count = 3", STUB),
    ("settle_orders", "order.total - order.refunded", "order.total", FUNCTION),
], ids=["a base", "a stub", "a function"])
def test_lies_of_a_spec_are_found_as_shown(
        project, script, right, wrong, shown):
    name = f"spec/{script}_spec.lua"
    assert right in FILES[name], right
    project.write(f"scripts/{script}.lua", FILES[f"scripts/{script}.lua"])
    project.write(name, FILES[name].replace(right, wrong, 1))

    result = project.luamig("test", "--pg", url=False).expect(FAILED)

    assert_shown(shown, result)


def test_what_depends_on_other_workers_is_told_as_shown(project):
    script, spec = "scripts/sum_orders.lua", "spec/sum_orders_spec.lua"
    project.write(script, FILES[script])
    project.write(spec, FILES[spec].replace("has_error", "has_no_error"))

    result = project.luamig("test", url=False).expect(FAILED)

    assert_shown(DEPENDENT, result)


def test_a_schema_file_is_created_and_compared_with_the_spec_as_shown(db, project):
    db.execute("CREATE TABLE accounts (id bigint PRIMARY KEY, name text)")
    project.write("spec/accounts_spec.lua", """\
local mock = require "luamig.mock"

it("has accounts", function()
  local columns = { id = "integer", name = "text" }
  mock.new { tables = { accounts = { columns = columns } } }
end)
""")

    result = shell(project, SCHEMA, DATABASE_URL=db.url).expect(FAILED)

    assert_shown(OTHERWISE, result)
