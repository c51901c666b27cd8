"""What tests of --dry-run share. `untouched` and `readings` are fixtures."""

import json
import os

import pytest

from harness.oracle import assert_nothing_left
from harness.project import DONE, TOP


def dry(project, *arguments, code=DONE, **options):
    """The report of a dry run."""
    return report_of(project.run("--dry-run", *arguments, **options), code)


def report_of(result, code=DONE):
    return json.loads(result.expect(code).out)


def counts(report):
    """By table: rows inserted, updated, deleted."""
    return {table["table"]: (table["inserted"], table["updated"],
                             table["deleted"])
            for table in report["tables"]}


def samples(report, table):
    return [(row["key"], row["before"], row["after"])
            for row in report["samples"] if row["table"] == table]


def residue(report):
    return [(item["what"], item["name"], item["before"], item["after"])
            for item in report["not_rolled_back"]]


@pytest.fixture
def untouched(db):
    """At the end of the test, the database is what it was at the beginning of
    the dry run, where the test calls this."""
    before = []
    yield lambda: before.append(db.contents())
    assert before, "the test has not said what it begins with"
    assert db.contents() == before[0]
    assert_nothing_left(db)


@pytest.fixture
def readings(db, project):
    """The example raise_temperatures, with 139 readings that it changes."""
    path = os.path.join(TOP, "scripts", "raise_temperatures.lua")
    with open(path, encoding="utf-8") as file:
        project.script(file.read())
    db.execute("CREATE TABLE readings (id bigint PRIMARY KEY, "
               "taken_at timestamptz, temperature float8);"
               "INSERT INTO readings SELECT n, "
               "'2024-03-01'::timestamptz - n * interval '1 day', "
               "nullif(n, 70) FROM generate_series(1, 200) n;"
               "ANALYZE readings")
    return project


def users(db, count=100, more=""):
    db.execute(f"CREATE TABLE users (id int PRIMARY KEY, name text {more});"
               "INSERT INTO users (id, name) SELECT n, 'user ' || n "
               f"FROM generate_series(1, {int(count)}) n;"
               "ANALYZE users")


def script(migrate, config="throttle_ms = 0", base="SELECT id FROM users",
           more=""):
    return f"""return {{
      config = {{ {config} }},
      base_query = [[{base}]],
      {more}
      migrate = function(rows, repo, run) {migrate} end,
    }}"""


EACH = "for _, row in ipairs(rows) do {} end"
RENAME = EACH.format(
    'repo:update("users", { id = row.id }, { name = "x" .. row.id })')
