"""A run that reads a file, into and beside distributed tables."""

import pytest

from harness import inputs
from harness.oracle import assert_nothing_left
from harness.project import DONE, STOPPED

pytestmark = pytest.mark.xdist_group("citus")


def test_a_file_is_loaded_on_the_coordinator_and_joined(db, project):
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY, email text)")
    db.rows("SELECT create_distributed_table('users', 'id')")
    db.execute("INSERT INTO users SELECT n, 'old' FROM generate_series(1, 60) n")
    inputs.script(project, batch=10, more="""
        base_query = function(args, input)
          return "SELECT i.line, u.id, i.email FROM " .. input
            .. " i JOIN users u USING (id)"
        end,""", body='repo:update("users", { id = row.id }, { email = row.email })')
    project.write("u.csv", inputs.csv_of(50)[0])
    project.run("--input", "u.csv", "--limit", "20").expect(STOPPED)
    project.run("--workers", "2").expect(DONE, "done: 50 rows")
    assert db.scalar("SELECT count(*) FROM users"
                     " WHERE email = 'u' || id || '@x'") == 50
    assert inputs.tables_of(db) == []
    assert_nothing_left(db)
