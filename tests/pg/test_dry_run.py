"""--dry-run does the work, tells what it did, and leaves the database as it
was."""

import json
import os

import pytest

from harness.oracle import assert_nothing_left
from harness.project import DONE, TOP


def dry(project, *arguments, code=DONE, **options):
    """The report of a dry run."""
    result = project.run("--dry-run", *arguments, **options).expect(code)
    return json.loads(result.out)


def counts(report):
    return {table["table"]: (table["inserted"], table["updated"],
                             table["deleted"])
            for table in report["tables"]}


def samples(report, table):
    return [(row["key"], row["before"], row["after"])
            for row in report["samples"] if row["table"] == table]


@pytest.fixture
def readings(db, project):
    """The example raise_temperatures, with 200 readings."""
    path = os.path.join(TOP, "scripts", "raise_temperatures.lua")
    with open(path, encoding="utf-8") as file:
        project.script(file.read())
    db.execute("CREATE TABLE readings (id bigint PRIMARY KEY, "
               "taken_at timestamptz, temperature float8);"
               "INSERT INTO readings SELECT n, "
               "'2024-03-01'::timestamptz - n * interval '1 day', "
               "nullif(n, 70) FROM generate_series(1, 200) n; "
               "ANALYZE readings")
    return project


def test_the_report_says_what_a_run_would_change(db, readings):
    report = dry(readings, "--batch-size", 50, "--throttle-ms", 0)
    print(json.dumps(report, indent=1))
    assert report["state"] == "done"
