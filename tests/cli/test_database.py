"""Which database a command works on, what it says when none is to be had, and
that no password is ever printed."""

import json
import os
import signal

import pytest

from harness.cluster import GUARDED, PASSWORD
from harness.project import (DONE, FAILED, INVALID, STOPPED, UNREACHABLE,
                             USAGE)
from harness.wait import wait_until

MARK = 'return {{ {config} run = function(repo) {body} end }}'
NOWHERE = "host=/nonexistent"


def script(repo=None, body=""):
    """A one-shot; where it ran, there is a journal."""
    config = f"config = {{ repo = '{repo}' }}," if repo else ""
    return MARK.format(config=config, body=body)


@pytest.fixture
def other(cluster):
    database = cluster.make_database()
    yield database
    database.drop()


@pytest.fixture
def place(project):
    """A project with a script, and no database named by the command."""
    project.url = None
    project.script(script())
    return project


def lua(repos="", more=""):
    """A project file; repos are lines of Lua."""
    return f"return {{ repos = {{ {repos} }}, {more} }}"


def repo(name, url):
    return f'{name} = "{url}",'


def secret_url(db, user=GUARDED, password=PASSWORD):
    host = db.cluster.dir.replace("/", "%2F")
    return f"postgresql://{user}:{password}@/{db.name}?host={host}"


# -- who decides ---------------------------------------------------------------


def test_each_way_to_name_a_database_outweighs_those_after_it(
        db, other, place):
    """Each way in turn names the right database, and all after it a wrong
    one."""
    wrong = {"LUAMIG_DATABASE_URL": NOWHERE, "DATABASE_URL": NOWHERE,
             "PGHOST": "/nonexistent"}
    place.write("luamig.lua", lua(repo("default", NOWHERE)))
    place.run(url=db.url, env=wrong).expect(DONE)

    env = {**wrong, "LUAMIG_DATABASE_URL": db.url}
    place.run(env=env).expect(DONE, "done already")

    place.write("luamig.lua", lua(repo("default", db.url)))
    del env["LUAMIG_DATABASE_URL"]
    place.run(env=env).expect(DONE, "done already")

    os.remove(os.path.join(place.path, "luamig.lua"))
    place.run(env={**env, "DATABASE_URL": db.url}).expect(
        DONE, "done already")

    place.run(env={"PGHOST": db.cluster.dir, "PGUSER": "app",
                   "PGDATABASE": db.name}).expect(DONE, "done already")
    place.run().expect(USAGE, "no database is named", "--db", "luamig.lua")


def test_an_empty_pghost_or_database_url_is_an_error(place):
    """libpq would take the database of the user's own name."""
    for url in ("", " "):
        place.run("--db", url).expect(USAGE, "--db is empty", "variable")
    for name in ("PGHOST", "PGDATABASE", "DATABASE_URL"):
        place.run(env={name: ""}).expect(USAGE, "no database is named")
    place.run(env={"DATABASE_URL": " "}).expect(USAGE, "no database is named")


def test_a_url_in_pgdatabase_is_not_shown(place):
    result = place.luamig("check", env={
        "PGDATABASE": f"postgres://app:{PASSWORD}@db/shop"})
    result.expect(UNREACHABLE, "name of the database is a URL", "DATABASE_URL")
    assert PASSWORD not in result.out + result.err


def test_a_named_repo_outweighs_the_variables(db, other, place):
    place.write("luamig.lua", lua(repo("default", NOWHERE)
                                  + repo("analytics", other.url)))
    place.run("--repo", "analytics",
              env={"LUAMIG_DATABASE_URL": NOWHERE}).expect(DONE)
    assert other.has_journal() and not db.has_journal()


def test_a_script_that_names_a_repo_is_taken_at_its_word(db, other, place):
    place.script(script(repo="analytics"))
    place.write("luamig.lua", lua(repo("default", db.url)
                                  + repo("analytics", other.url)))

    place.run(env={"LUAMIG_DATABASE_URL": db.url}).expect(
        DONE, "LUAMIG_DATABASE_URL is not used", '"analytics"')
    place.run().expect(DONE, "done already").refuse("not used")
    assert other.has_journal() and not db.has_journal()


def test_a_script_with_a_repo_runs_elsewhere_only_with_an_option(
        db, other, place):
    place.script(script(repo="analytics"))
    place.run(env={"DATABASE_URL": db.url}).expect(
        USAGE, 'repo "analytics" is unknown: there is no luamig.lua')
    place.write("luamig.lua", lua(repo("default", db.url)))
    place.run().expect(USAGE, 'no repo "analytics"', '"default"')
    assert not db.has_journal()

    place.run(url=db.url).expect(DONE, 'is for repo "analytics"',
                                 "--db overrides")
    place.run("--repo", "default").expect(DONE, "done already",
                                          "--repo overrides")


def test_every_command_that_looks_into_a_journal_takes_a_repo(
        db, other, place):
    place.write("luamig.lua", lua(repo("default", db.url)
                                  + repo("analytics", other.url)))
    place.run("--repo", "analytics").expect(DONE)
    chosen = ("--repo", "analytics")

    assert len(place.status(*chosen)) == 1
    assert place.status() == []
    place.luamig("watch", 1, *chosen).expect(DONE)
    place.luamig("wait", 1, *chosen).expect(DONE)
    place.luamig("failures", 1, *chosen).expect(DONE, "no failed rows")
    for verb in ("pause", "resume", "cancel"):
        place.luamig(verb, 1, *chosen).expect(FAILED, "has ended")
    place.luamig("set", 1, "batch_size=5", *chosen).expect(FAILED,
                                                           "has ended")
    place.luamig("status", *chosen, url=db.url).expect(
        USAGE, "--db and --repo")


def test_an_incident_does_not_wait_for_a_broken_project_file(db, place):
    place.run(url=db.url).expect(DONE)
    place.write("luamig.lua", "return {{")
    assert len(place.status(url=db.url)) == 1
    place.luamig("status").expect(INVALID, "luamig.lua:1")


# -- .env ----------------------------------------------------------------------


def test_a_file_env_names_the_database_and_holds_the_password(db, place):
    db.admin(f'GRANT CREATE ON DATABASE "{db.name}" TO {GUARDED}')
    place.script(script(body='print(os.getenv("GREETING"))'))
    url = db.cluster.url(db.name, user=GUARDED)
    place.write(".env", f'# of this project\nexport DATABASE_URL="{url}"\r\n'
                f"PGPASSWORD='{PASSWORD}'\nGREETING=hello # you\n")

    result = place.run().expect(DONE, "hello").refuse(PASSWORD, "you")
    assert result.out.startswith("hello\n")
    place.luamig("check", "--db").expect(
        DONE, "DATABASE_URL from .env", "PGPASSWORD from .env").refuse(
            PASSWORD)


def test_the_environment_outweighs_the_file_env(db, place):
    place.write(".env", f"DATABASE_URL={NOWHERE}\n")
    place.run(env={"DATABASE_URL": db.url}).expect(DONE)
    place.run().expect(UNREACHABLE, "/nonexistent")


def test_a_file_env_of_the_root_counts_in_folders_below(db, place):
    place.write("luamig.lua", 'return { repos = { default = '
                'os.getenv "SHOP_URL" } }')
    place.write(".env", f"SHOP_URL={db.url}\n")
    place.run().expect(DONE)
    place.path = os.path.join(place.path, "scripts")
    assert place.status()[0]["script"] == "scripts/x.lua"
    place.luamig("run", "x").expect(DONE, "done already")


@pytest.mark.parametrize("text, line", [
    ("A=1\nS3CRET\n", 2), ("A='S3CRET\n", 1), ("S3 CRET=1", 1),
    ("A=1\nB=\"S3\"CRET\n", 2), ("export S3CRET", 1), ("A=S3\0CRET", 1)])
def test_a_broken_line_of_the_file_env_is_named_and_not_shown(
        db, place, text, line):
    place.write(".env", text)
    for command in (["run", "scripts/x.lua"], ["status"], ["check"]):
        place.luamig(*command, url=db.url).expect(
            INVALID, f".env:{line}: ", "NAME=VALUE").refuse("CRET")


# -- luamig.lua ----------------------------------------------------------------

BROKEN_FILES = {
    "no Lua": ("return {\n  repos = = 1 }", ["luamig.lua:2"]),
    "a text that does not end": (
        'return { repos = {\n  default = "postgresql://a:S3CRET@h/d } }',
        ["luamig.lua:2", "unfinished string"]),
    "no table": ("return 'S3CRET'", ["must return a table", "a string"]),
    "it raises": ("local x = 1\nerror('not today')",
                  ["luamig.lua:2", "not today"]),
    "a global that is not there": (
        "return { repos = { default = PGURL } }",
        ["luamig.lua:1", '"PGURL" is not defined']),
    "an unknown field": ("return { repo = {} }",
                         ["luamig.lua:1", '"repo"', 'Did you mean "repos"?']),
    "a setting in the wrong place": (
        "return { batch_size = 5 }", ["batch_size", "is a field of defaults"]),
    "repos that are no table": (
        "return { repos = 'S3CRET' }", ['"repos" must be a table']),
    "repos without names": (
        'return { repos = { "postgresql://a:S3CRET@h/d" } }',
        ["names and URLs"]),
    "a repo that is a number": (
        "return { repos = { default = 5432 } }",
        ["luamig.lua:1", "repos.default must be a URL or a table"]),
    "an unknown field of a repo": (
        'return { repos = { default = { ulr = "S3CRET" } } }',
        ["repos.default", 'Did you mean "url"?']),
    "a URL that is a table": (
        'return { repos = { default = { url = { "S3CRET" } } } }',
        ["repos.default.url must be a URL", "a table"]),
    "replicas that are no list": (
        'return { repos = { default = { replicas = "S3CRET" } } }',
        ["repos.default.replicas must be a list"]),
    "a replica that is empty": (
        'return { repos = { default = { replicas = { "" } } } }',
        ["repos.default.replicas[1] is empty"]),
    "scripts that is no path": (
        "return { scripts = {} }", ['"scripts" must be the path']),
    "a misspelt default": (
        "return { defaults = { batchsize = 5 } }",
        ["luamig.lua:1", "batchsize", 'Did you mean "batch_size"?']),
    "a default of a wrong type": (
        "return { defaults = {\n  batch_size = 'x' } }",
        ["luamig.lua:2", "defaults.batch_size must be an integer"]),
    "a threshold that is none": (
        "return { defaults = { health = { vacuums = -1 } } }",
        ["defaults.health.vacuums must be a number"]),
    "a default repo": (
        "return { defaults = { repo = 'x' } }",
        ["luamig.lua:1", "repo cannot have a default"]),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_broken_project_file_is_refused(db, place, name):
    text, expected = BROKEN_FILES[name]
    place.write("luamig.lua", text)
    place.run(url=db.url).expect(INVALID, *expected).refuse("S3CRET")
    assert not db.has_journal()


def test_a_repo_with_an_unset_variable_is_an_error_only_if_it_is_used(
        db, place):
    """Nothing else steps in for it."""
    place.write("luamig.lua", lua(f"""
        default = os.getenv "NOT_SET", empty = "",
        nothing = {{ url = os.getenv "NOT_SET" }}, good = "{db.url}" """))
    env = {"DATABASE_URL": db.url}
    place.run(env=env).expect(USAGE, 'no repo "default"', '"good"',
                              "os.getenv")
    place.luamig("status", env=env).expect(USAGE, 'no repo "default"')
    for name in ("empty", "nothing"):
        place.run("--repo", name, env=env).expect(
            USAGE, f'repo "{name}" of luamig.lua has no URL', "set")
    assert not db.has_journal()
    place.run("--repo", "good").expect(DONE)


def test_a_project_file_without_repos_names_no_database(db, place):
    place.write("luamig.lua", "return { scripts = 'scripts' }")
    place.run(env={"DATABASE_URL": db.url}).expect(DONE)


def test_an_unknown_repo_is_compared_with_the_known_ones(db, place):
    place.write("luamig.lua", lua(repo("default", db.url)
                                  + repo("analytics", db.url)))
    place.run("--repo", "analitics").expect(
        USAGE, 'no repo "analitics"', 'Did you mean "analytics"?',
        '"default", "analytics"')
    place.run("--repo", "zzz").expect(USAGE, '"default", "analytics"')
    place.run("--repo").expect(USAGE, "needs a value")


def test_a_repo_may_be_the_embedded_database(place):
    place.write("luamig.lua", lua(repo("default", "embedded")))
    place.luamig("check", env={"LUAMIG_PG_BIN": "/nonexistent"}).expect(
        UNREACHABLE, "/nonexistent")


def test_defaults_of_the_project_yield_to_the_scripts_config(db, place):
    place.write("luamig.lua", lua(repo("default", db.url), """defaults = {
        batch_size = 7, throttle_ms = 3, key = { "a", "b" },
        health = { vacuums = 9, batch_ms = false } }"""))
    place.script("""return {
        config = { throttle_ms = 5, health = { batch_ms = 77 } },
        run = function() end }""")
    place.run("--batch-size", 8).expect(DONE)
    config = db.scalar("SELECT config FROM luamig.run")
    assert (config["batch_size"], config["throttle_ms"]) == (8, 5)
    assert config["key"] == ["a", "b"]
    health = config["health"]
    assert (health["vacuums"], health["batch_ms"]) == (9, 77)
    assert health["snapshot_age_s"] == 1800


def test_scripts_are_found_and_made_in_the_folder_of_the_project(db, place):
    place.write("luamig.lua", lua(repo("default", db.url),
                                  'scripts = "db/backfills"'))
    place.luamig("new", "fill").expect(DONE, "db/backfills/fill.lua",
                                       "spec/fill_spec.lua")
    assert "db/backfills/fill.lua" in place.read("spec/fill_spec.lua")
    place.write("db/backfills/fill.lua", script())
    place.run(script="fill").expect(DONE)
    place.run(script="fill.lua").expect(DONE, "done already")
    place.run(script="db/backfills/fill.lua").expect(DONE, "done already")
    assert place.status()[0]["script"] == "db/backfills/fill.lua"
    place.run(script="nope").expect(INVALID, '"nope"')


# -- all repos -----------------------------------------------------------------


def table_of(result):
    """The lines of the summary: {repo: [run, state, rows, exit code]}."""
    lines = result.out.rsplit("\n\n", 1)[1].splitlines()
    assert lines[0].split() == ["repo", "run", "state", "rows", "exit", "code"]
    return {line.split()[0]: line.replace("not run", "not-run").split()[1:]
            for line in lines[1:]}


def test_all_repos_are_migrated_in_turn(db, other, place):
    place.write("luamig.lua", lua(
        repo("zebra", other.url) + repo("away", NOWHERE)
        + repo("default", db.url)))
    place.script("""
        local calls = 0
        return { run = function(repo)
          calls = calls + 1
          assert(calls == 1)
        end }""")
    result = place.run("--all-repos").expect(UNREACHABLE, "/nonexistent")
    table = table_of(result)
    assert list(table) == ["default", "away", "zebra"]
    assert table["default"] == ["1", "done", "0", "0"]
    assert table["away"] == ["-", "refused", "-", "4"]
    assert table["zebra"] == ["1", "done", "0", "0"]
    assert result.out.index('repo "default"') < result.out.index(
        'repo "away"') < result.out.index('repo "zebra"')


def test_the_worst_end_is_that_of_all_repos(db, other, place):
    place.write("luamig.lua", lua(repo("default", db.url)
                                  + repo("other", other.url)))
    place.script(script(body=f"""
        if repo:one("SELECT current_database() AS name").name == "{db.name}"
        then error "not here" end"""))
    table = table_of(place.run("--all-repos").expect(FAILED, "not here"))
    assert table["default"][1:] == ["failed", "0", "1"]
    assert table["other"][1:] == ["done", "0", "0"]


def test_a_signal_leaves_out_the_repos_that_remain(db, other, place):
    place.write("luamig.lua", lua(repo("default", db.url)
                                  + repo("other", other.url)))
    db.execute("CREATE TABLE t (id int PRIMARY KEY);"
               "INSERT INTO t SELECT generate_series(1, 1000)")
    place.script("""return {
        config = { batch_size = 1, throttle_ms = 100 },
        base_query = "SELECT id FROM t", migrate = function() end }""")
    runner = place.start_run("--all-repos")
    wait_until(lambda: db.progress() > 0, "the first batch")
    runner.signal(signal.SIGINT)
    table = table_of(runner.wait().expect(STOPPED, "stopped (SIGINT)"))
    assert table["default"][1] == "stopped"
    assert table["other"] == ["-", "not-run", "-", "-"]
    assert not other.has_journal()


@pytest.mark.parametrize("more", [("--repo", "default"), ("--detach",),
                                  ("--db", "embedded")])
def test_all_repos_goes_with_nothing_that_names_one(place, more):
    place.write("luamig.lua", lua(repo("default", NOWHERE)))
    place.run("--all-repos", *more).expect(USAGE, "--all-repos")


def test_all_repos_needs_a_file_that_names_some(place):
    place.run("--all-repos").expect(
        USAGE, "needs a luamig.lua that names repos")
    place.write("luamig.lua", "return { repos = {} }")
    place.run("--all-repos").expect(
        USAGE, "needs a luamig.lua that names repos")


# -- URLs ----------------------------------------------------------------------

WRONG_URLS = {
    "of Prisma": ("postgresql://app:S3CRET@h/d?schema=public",
                  ['"schema" of Prisma', "options=-csearch_path%3D"]),
    "of Rails": ("postgresql://app:S3CRET@h/d?pool=5",
                 ['parameter "pool"', "no pool"]),
    "of SQLAlchemy": ("postgresql+psycopg2://app:S3CRET@h/d",
                      ["SQLAlchemy", "postgresql://"]),
    "of JDBC": ("jdbc:postgresql://h/d?user=app&password=S3CRET", ["JDBC"]),
    "of MySQL": ("mysql://app:S3CRET@h/d", ["MySQL", "PostgreSQL databases"]),
    "in capitals": ("POSTGRES://app:S3CRET@h/d", ["capital letters"]),
    "without a slash": ("postgresql:/app:S3CRET@h/d", ["two slashes"]),
    "with an @ in the password": ("postgresql://app:p@S3CRET@h/d", ["%40"]),
    "with a % in the password": ("postgresql://app:100%S3CRET@h/d", ["%25"]),
    "with a password that has a blank": (
        "host=h password=two S3CRET", ["single quotes"]),
}


@pytest.mark.parametrize("name", WRONG_URLS)
@pytest.mark.parametrize("way", ["--db", "DATABASE_URL", "luamig.lua"])
def test_a_wrong_url_is_explained_and_its_place_named(place, name, way):
    url, expected = WRONG_URLS[name]
    if way == "luamig.lua":
        place.write("luamig.lua", lua(repo("default", url)))
        result, source = place.run(), 'repo "default" of luamig.lua'
    else:
        env = {way: url} if way == "DATABASE_URL" else {}
        result = place.run(url=url if way == "--db" else None, env=env)
        source = way
    result.expect(UNREACHABLE, f"The URL comes from {source}.", *expected)
    result.refuse("S3CRET")


def test_a_wrong_url_of_a_replica_is_found_before_the_run(db, place):
    place.write("luamig.lua", lua(f"""default = {{ url = "{db.url}",
        replicas = {{ "{db.url}", "mysql://a:S3CRET@h/d" }} }}"""))
    place.run().expect(UNREACHABLE, "MySQL", "replica 2 of repo").refuse(
        "S3CRET")
    assert not db.has_journal()


def test_ssl_true_is_taken_for_sslmode_require(db, place):
    host = db.cluster.dir.replace("/", "%2F")
    result = place.luamig("check", "--json", "--db",
                          f"postgresql://app@/{db.name}?host={host}&ssl=true")
    assert json.loads(result.expect(DONE).out)["sslmode"] == "require"


# -- what libpq does by itself -------------------------------------------------


def grant(db):
    db.admin(f'GRANT CREATE ON DATABASE "{db.name}" TO {GUARDED}')


def test_the_password_may_be_in_a_password_file(db, place):
    grant(db)
    name = place.write("pass", f"*:*:{db.name}:{GUARDED}:{PASSWORD}\n")
    path = os.path.join(place.path, name)
    os.chmod(path, 0o600)
    url = db.cluster.url(db.name, user=GUARDED)
    place.run(url=url, env={"PGPASSFILE": path}).expect(DONE)
    place.run(url=f"{url} passfile={path}").expect(DONE, "done already")
    place.luamig("check", "--db", url, env={"PGPASSFILE": path}).expect(
        DONE, "the password file").refuse(PASSWORD)

    place.write("pass", f"*:*:*:{GUARDED}:wr0ng-s3cret\n")
    os.chmod(path, 0o600)
    place.run(url=url, env={"PGPASSFILE": path}).expect(
        UNREACHABLE, "authentication failed").refuse("s3cret")


def test_a_service_may_name_the_database(db, place):
    grant(db)
    name = place.write("services", f"""[shop]
host={db.cluster.dir}
dbname={db.name}
user={GUARDED}
password={PASSWORD}
""")
    env = {"PGSERVICEFILE": os.path.join(place.path, name)}
    place.run(env={**env, "PGSERVICE": "shop"}).expect(DONE)
    place.run(url="service=shop", env=env).expect(DONE, "done already")
    for url, more in (("service=shop", {}), (None, {"PGSERVICE": "shop"})):
        result = place.luamig("check", "--json", url=url,
                              env={**env, **more}).expect(DONE)
        result.refuse(PASSWORD)
        shown = json.loads(result.out)
        assert shown["service"] == "shop" and shown["database"] == db.name
        assert shown["password"] == "the service file"
    place.run(url="service=shoe", env=env).expect(UNREACHABLE, "shoe")


def test_the_first_host_that_fits_is_used(db, place):
    url = (f"host=/nonexistent,{db.cluster.dir} dbname={db.name} user=app "
           "target_session_attrs=read-write")
    place.run(url=url).expect(DONE)
    shown = json.loads(place.luamig("check", "--json", "--db", url).out)
    assert shown["host"] == f"/nonexistent,{db.cluster.dir}"
    assert shown["connected"] == f"{db.cluster.dir}:5432/{db.name}"

    db.set("default_transaction_read_only", "on")
    place.run("--again", url=url).expect(UNREACHABLE, "read-only")


# -- luamig check --------------------------------------------------------------


def test_check_shows_the_way_to_the_database_and_what_is_there(db, place):
    place.write("luamig.lua", lua(repo("analytics", secret_url(db))))
    result = place.luamig("check", "--repo", "analytics", "--json").expect(
        DONE).refuse(PASSWORD)
    shown = json.loads(result.out)
    version = shown.pop("server_version")
    assert version.split(".")[0].isdigit()
    host = db.cluster.dir
    assert shown == {
        "source": 'repo "analytics" of luamig.lua', "service": None,
        "host": host, "port": "5432", "database": db.name, "user": GUARDED,
        "sslmode": "prefer", "password": "the URL",
        "connected": f"{host}:5432/{db.name}", "standby": False,
        "read_only": False, "role": GUARDED, "encryption": None,
        "pooler": False}
    plain = place.luamig("check", "--repo", "analytics").expect(
        DONE, 'repo "analytics" of luamig.lua', "the URL", version)
    plain.refuse(PASSWORD)
    assert not db.has_journal()


def test_check_shows_the_way_also_where_it_leads_nowhere(place):
    url = "postgresql://app:S3CRET@127.0.0.1:1/shop"
    result = place.luamig("check", "--db", env={"DATABASE_URL": url})
    result.expect(UNREACHABLE, "DATABASE_URL", "127.0.0.1", "the URL",
                  "could not connect").refuse("S3CRET")


def test_check_takes_options_and_no_more(place):
    place.luamig("check", "--jsn").expect(USAGE, "--json")
    place.luamig("check", "--repo").expect(USAGE, "needs a value")
    place.luamig("check", "--db").expect(USAGE, "no database is named")
