"""The scripts in scripts/ do on a server what their specs say they do."""

import os

import pytest

from harness.project import DONE, TOP


@pytest.fixture
def example(project):
    def copy(name):
        path = os.path.join(TOP, "scripts", name)
        with open(path, encoding="utf-8") as file:
            project.script(file.read())
        return project
    return copy


def test_onboarding(db, example):
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY, email text, "
               "onboarding_step text);"
               "INSERT INTO users SELECT n, n::text, "
               "CASE WHEN n % 3 = 0 THEN 'done' END "
               "FROM generate_series(1, 2500) n")

    assert example("onboarding.lua").run("--throttle-ms", 0).expect(
        DONE, "still matching: 0 rows").rows == 1667

    assert db.rows("SELECT onboarding_step, count(*) FROM users "
                   "GROUP BY 1 ORDER BY 1") == [("done", 833),
                                                ("welcome", 1667)]


def test_fix_trybetunes_module(db, example):
    db.execute("CREATE TABLE projects (id int PRIMARY KEY, template text, "
               "module text);"
               "INSERT INTO projects VALUES (1, 'trybetunes', 'x'), "
               "(2, 'other', 'x'), (3, 'trybetunes', NULL), (4, NULL, 'x')")

    example("fix_trybetunes_module.lua").run().expect(DONE)

    assert db.column("SELECT module FROM projects ORDER BY id") == [
        "frontend", "x", "frontend", "x"]


def test_raise_temperatures(db, example):
    db.execute("CREATE TABLE readings (id bigint PRIMARY KEY, "
               "taken_at timestamptz, temperature float8);"
               "INSERT INTO readings SELECT n, "
               "'2024-03-01'::timestamptz - n * interval '1 day', "
               "nullif(n, 70) FROM generate_series(1, 200) n")
    project = example("raise_temperatures.lua")

    assert project.run("--arg", "before=2024-02-01").expect(DONE).rows == 170
    project.run("--arg", "before=2024-02-01").expect(DONE, "done already")

    assert db.column("""
        SELECT id FROM readings WHERE temperature IS DISTINCT FROM
        CASE WHEN id <> 70 THEN id END
        + CASE WHEN taken_at < '2024-02-01' THEN 10 ELSE 0 END""") == []
