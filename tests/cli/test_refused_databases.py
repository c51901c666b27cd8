"""Databases that luamig refuses or that refuse it; no password is shown."""

import os
import re
import subprocess

import pytest

from harness.cluster import GUARDED, PASSWORD, Cluster
from harness.project import DONE, UNREACHABLE, USAGE, Project
from harness.refusals import assert_unchanged, table, whole
from harness.wait import wait_until


def test_no_database_is_named(project):
    project.script(whole())
    project.run(url=False).expect(USAGE, "--db embedded")


@pytest.mark.parametrize("url", [
    "host=/nonexistent dbname=none connect_timeout=2",
    "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2",
])
def test_a_server_that_does_not_answer(project, url):
    project.script(whole())
    project.run(url=url).expect(UNREACHABLE).refuse("--db embedded")


def test_a_database_that_is_not_there(cluster, project):
    project.script(whole())
    project.run(url=cluster.url("missing")).expect(UNREACHABLE, "missing")


def test_a_malformed_url_is_refused(project):
    project.script(whole())
    result = project.run(url="postgresql://u:s3cret@[::1/x")
    assert result.code in (USAGE, UNREACHABLE), result
    result.refuse("s3cret")


MISREAD = {
    "an @": "postgresql://user:p@ssS3CRET@nosuchhost.invalid/db",
    "an @ and a port": "postgres://user:p@S3CRET@127.0.0.1:1/db",
    "two of them": "postgresql://user:p@ss@S3CRET@127.0.0.1/db",
    "an @ and a host in the query": "postgresql://u:p@S3CRET@/db?host=/tmp",
    "a slash": "postgresql://user:pa/S3CRET@127.0.0.1/db",
    "a slash after digits": "postgresql://user:12/S3CRET@127.0.0.1:1/db",
    "an @, then a slash": "postgresql://user:p@ss/S3CRET@127.0.0.1/db",
    "an @, then a colon": "postgresql://user:p@ss:S3CRET@127.0.0.1/db",
    "an @, then a comma": "postgresql://user:p@ss,S3CRET@127.0.0.1/db",
    "a slash in the name": "postgresql://us/er:S3CRET@127.0.0.1/db",
}


@pytest.mark.parametrize("why", MISREAD)
@pytest.mark.parametrize("command", ["run", "status"])
def test_a_password_that_is_not_escaped_is_not_shown(project, why, command):
    project.script(whole())
    arguments = ["run", "scripts/x.lua"] if command == "run" else ["status"]
    result = project.luamig(*arguments, url=MISREAD[why])
    result.expect(UNREACHABLE, "a character that must be escaped", "%40")
    result.refuse("S3CRET", "127.0.0.1", "p@ss")


@pytest.mark.parametrize("url", [
    "postgresql://user:S3CRET/db", "postgresql://user:S3CRET",
    "postgresql://user:p@ss?S3CRET@127.0.0.1/db",
    "postgresql://user:p@[S3CRET@127.0.0.1/db",
    "host=127.0.0.1 port=1 password=a S3CRET",
    "host=127.0.0.1 port=1 password='S3CRET"])
def test_a_password_in_the_wrong_place_is_not_shown(project, url):
    project.script(whole())
    project.run(url=url).expect(UNREACHABLE).refuse("S3CRET")


@pytest.mark.parametrize("url", [
    "postgresql://app@/a%40b?host={host}", "postgresql://app@{host}/a%40b",
    "postgresql:///a%40b?host={host}&user=app",
    "postgresql://app:x%40y%2Fz@{host}/a%40b",
    "host={plain} user=app dbname=a@b"])
def test_an_escaped_character_is_fine(cluster, project, url):
    project.script(whole())
    project.run(url=url.format(host=cluster.dir.replace("/", "%2F"),
                               plain=cluster.dir)).expect(
        UNREACHABLE, 'database "a@b" does not exist')


def test_a_password_is_blotted_out_of_what_libpq_says(table, project):
    """libpq does not quote passwords, but this one is among its words."""
    project.script(whole())
    url = table.cluster.url(table.name, user=GUARDED,
                            password="authentication")
    project.run(url=url).expect(UNREACHABLE, "password *** failed for user")


def test_a_password_that_is_the_users_name_does_not_hide_the_reason(
        table, project):
    project.script(whole())
    url = table.cluster.url(table.name, user=GUARDED, password=GUARDED)
    project.run(url=url).expect(UNREACHABLE, f'user "{GUARDED}"')


@pytest.mark.parametrize("form", ["conninfo", "uri", "PGPASSWORD"])
def test_a_wrong_password_is_shown_nowhere(table, project, form):
    wrong, env = "wr0ng-s3cret", {}
    host = table.cluster.dir
    if form == "conninfo":
        url = table.cluster.url(table.name, user=GUARDED, password=wrong)
    elif form == "uri":
        url = (f"postgresql://{GUARDED}:{wrong}@/{table.name}"
               f"?host={host.replace('/', '%2F')}")
    else:
        url = table.cluster.url(table.name, user=GUARDED)
        env = {"PGPASSWORD": wrong}
    project.script(whole())

    project.run(url=url, env=env).expect(UNREACHABLE, GUARDED).refuse(wrong)


def test_a_right_password_is_shown_nowhere_either(table, project):
    table.execute(f"GRANT ALL ON t TO {GUARDED}")
    table.admin(f'GRANT CREATE ON DATABASE "{table.name}" TO {GUARDED}')
    url = (f"postgresql://{GUARDED}:{PASSWORD}@/{table.name}"
           f"?host={table.cluster.dir.replace('/', '%2F')}")
    project.script(whole().replace("throttle_ms = 0", "throttle_ms = 300"))

    runner = project.start_run(url=False, env={"LUAMIG_DATABASE_URL": url})
    wait_until(lambda: table.progress() > 0, "the first batch")
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(runner.pid)],
                           capture_output=True, text=True, check=False).stdout
    assert PASSWORD not in shown
    runner.wait().expect(DONE).refuse(PASSWORD)

    project.status(url=url)
    journal = table.rows("SELECT r::text, p::text FROM luamig.run r, "
                         "luamig.progress p", user="postgres")
    assert PASSWORD not in str(journal)


def test_a_password_on_the_command_line_is_hidden_from_ps(table, project):
    table.execute(f"GRANT ALL ON t TO {GUARDED}")
    table.admin(f'GRANT CREATE ON DATABASE "{table.name}" TO {GUARDED}')
    project.script(whole().replace("throttle_ms = 0", "throttle_ms = 300"))
    url = table.cluster.url(table.name, user=GUARDED, password=PASSWORD)

    runner = project.start_run("--db", url, url=False)
    wait_until(lambda: table.progress() > 0, "the first batch")
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(runner.pid)],
                           capture_output=True, text=True, check=False).stdout

    assert "run" in shown and PASSWORD not in shown
    runner.wait().expect(DONE)


@pytest.mark.parametrize("url", [
    "{uri}&password=S3CRET", "{uri}&sslpassword=x&password=S3CRET",
    "{uri}&%70assword=S3CRET", "{conninfo} password = S3CRET",
    "{conninfo} password='S3&CRET'", "{conninfo} password=S&3CRET",
    "{conninfo} passfile=/S3CRET"])
@pytest.mark.parametrize("option", ["--db", "--db="])
def test_no_part_of_a_url_is_shown_by_ps(table, project, url, option):
    uri = (f"postgresql://app@/{table.name}"
           f"?host={table.cluster.dir.replace('/', '%2F')}")
    url = url.format(uri=uri, conninfo=table.url)
    project.script(whole())
    arguments = [option + url] if option.endswith("=") else [option, url]
    runner = project.start_run(*arguments, url=False,
                               fault="after_page:1=stop")
    runner.wait_frozen()

    with open(f"/proc/{runner.pid}/cmdline", encoding="utf-8") as file:
        shown = file.read()
    runner.thaw()

    assert "scripts/x.lua" in shown
    assert "CRET" not in shown and "host" not in shown
    runner.wait().expect(DONE)


def test_a_database_that_is_read_only(table, project):
    table.set("default_transaction_read_only", "on")
    project.script(whole())
    project.run().expect(UNREACHABLE, re.compile("read[- ]only"))
    assert not table.has_journal()


def test_a_server_in_recovery(tmp_path):
    server = Cluster()
    open(os.path.join(server.data, "standby.signal"), "w").close()
    try:
        server.start()
        project = Project(tmp_path, server.url("postgres"))
        project.script(whole())
        project.run().expect(UNREACHABLE, re.compile("recovery|standby"))
    finally:
        server.remove()


def test_a_role_that_may_not_create_the_schema(table, project):
    table.admin(f'REVOKE ALL ON DATABASE "{table.name}" FROM {GUARDED}')
    table.execute(f"GRANT SELECT ON t TO {GUARDED}")
    url = table.cluster.url(table.name, user=GUARDED, password=PASSWORD)
    project.script(whole())

    project.run(url=url).expect(UNREACHABLE, "luamig", "luamig journal --sql")

    assert_unchanged(table)
