"""docs/recipes.md: what each script makes of a table is what SQL makes of it, with
one worker and with three, also where it was killed; and its spec passes in both
worlds."""

import glob
import http.server
import os
import signal
import subprocess
import threading

import pytest

from harness.project import DONE, TOP, binary, clean_environment
from harness.recipes import CUSTOMERS, NEW, OLD, PAGE, RECIPES

SPECS = os.path.join(TOP, "tests", "recipes")
PROJECT = 'return { repos = { old_shop = os.getenv "OLD_SHOP_URL" } }'
NAMES = sorted(name[len("scripts/"):-len(".lua")] for name in PAGE.files)


class Avatars(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({"/gone": 404, "/secret": 403}.get(self.path, 200))
        self.end_headers()
        self.wfile.write(b"avatar " + self.path.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(name="folder")
def fixture_folder(project):
    """A project with the scripts of the page, and what they need besides."""
    for name, text in PAGE.files.items():
        project.write(name, text)
    project.write("customers.csv", CUSTOMERS)
    project.write("luamig.lua", PROJECT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Avatars) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        project.env.update(
            OLD_KEY=OLD, NEW_KEY=NEW,
            AVATARS_URL=f"http://127.0.0.1:{server.server_port}")
        yield project
        server.shutdown()


def test_each_recipe_has_tables_and_a_spec():
    assert sorted(RECIPES) == NAMES
    assert sorted(os.path.basename(path)[:-len("_spec.lua")]
                  for path in glob.glob(SPECS + "/*_spec.lua")) == NAMES
    for name in NAMES:
        assert f"[{name}](#" in PAGE.text


def run(project, name, *more, **options):
    return project.run(
        "--throttle-ms", "0", *more,
        *RECIPES[name].args, script=f"scripts/{name}.lua", **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_are_what_sql_makes_of_them(cluster, db, folder, name):
    """In the beginning one worker, killed in its second batch; then three."""
    recipe = RECIPES[name]
    db.execute(recipe.tables())
    other = cluster.make_database()
    if recipe.source:
        other.execute(recipe.source)
    folder.env["OLD_SHOP_URL"] = other.url
    assert run(folder, name, "--batch-size", "97",
               fault="before_commit:2=kill").code == -signal.SIGKILL
    ended = run(folder, name, "--batch-size", "97", "--workers", "3")
    ended.expect(DONE, "still matching: %d row" % recipe.left
                 if recipe.left is not None else "run 1 done")
    if recipe.source:
        other.execute("DROP TABLE products")
    other.execute(recipe.tables())
    other.execute(recipe.plain)
    for query in recipe.shows:
        assert db.rows(query) == other.rows(query)
        assert len(db.rows(query)) > 10
    other.drop()


@pytest.mark.parametrize("world", [[], ["--pg"]], ids=["mock", "pg"])
def test_the_specs_pass(folder, world):
    done = subprocess.run(
        [binary(), "test", *world, SPECS], cwd=folder.path, check=False,
        capture_output=True, text=True, timeout=500,
        env={**clean_environment(), **folder.env})
    assert done.returncode == DONE, done.stdout + done.stderr
    assert " / 0 failures / 0 errors / 0 pending" in done.stdout


def test_the_loop_over_tenants_goes_on_where_it_was(db, folder):
    db.execute(RECIPES["close_tickets"].tables())
    loop = ["sh", "-c", PAGE.block("for tenant in 1 2 3")]
    environment = {
        **clean_environment(), "LUAMIG_DATABASE_URL": db.url,
        "PATH": os.path.dirname(binary()) + ":" + os.environ["PATH"]}
    for _ in range(2):
        subprocess.run(loop, cwd=folder.path, check=True, timeout=100,
                       capture_output=True, env=environment)
    assert db.column("SELECT DISTINCT tenant_id FROM tickets WHERE open"
                     " ORDER BY 1") == [0, 4]


def test_nothing_of_the_page_is_left_out():
    for command in ("ALTER TABLE events", "for tenant in 1 2 3"):
        PAGE.block(command)
    for name in ("rotate_secrets", "close_customers"):
        assert PAGE.block(f"luamig run scripts/{name}.lua").split()[3:] == [
            *RECIPES[name].args]
    assert not PAGE.not_asked_for()
