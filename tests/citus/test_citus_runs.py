"""What a run does, on distributed, reference and local tables."""

import json

import pytest

from harness.oracle import assert_nothing_left
from harness.project import CANCELLED, DONE, FAILED, FAILURES, STOPPED
from harness.wait import wait_until

pytestmark = pytest.mark.xdist_group("citus")

KINDS = {"distributed": "SELECT create_distributed_table('t', 'id')",
         "by tenant": "SELECT create_distributed_table('t', 'tenant')",
         "reference": "SELECT create_reference_table('t')",
         "local": "SELECT 1"}

SCRIPT = """
return {{
  config = {{ batch_size = 10, on_error = "quarantine", key = {{ {key} }} }},
  base_query = "SELECT tenant, id, n FROM t",
  {body}
}}"""

UPDATE = """
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { tenant = row.tenant, id = row.id }, { n = row.n + 100 })
    end
  end,"""

RANGE = """
  migrate_range = function(range, repo)
    local where, params = range:where()
    repo:execute("UPDATE t SET n = n + 100 WHERE " .. where, table.unpack(params))
  end,"""

EACH = """
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:insert("log", { id = row.id, n = row.n },
        { on_conflict = { columns = { "id" }, update = { "n" } } })
      repo:savepoint(function() repo:insert("log", { id = row.id, n = 0 }) end)
      local old = repo:scalar("SELECT n FROM log WHERE id = $1", row.id)
      repo:delete("gone", { id = row.id })
      repo:update("t", { tenant = row.tenant, id = row.id }, { n = old + 100 })
    end
  end,"""


@pytest.fixture(params=KINDS)
def kind(db, request):
    key = "id" if request.param == "distributed" else "tenant, id"
    db.execute(f"CREATE TABLE t (tenant int, id int, n int CHECK (n <> 107), "
               f"PRIMARY KEY ({key}))")
    db.rows(KINDS[request.param])
    db.execute("INSERT INTO t SELECT n % 3, n, n FROM generate_series(1, 25) n")
    return request.param


def script(body, kind):
    key = '"id"' if kind == "distributed" else '"tenant", "id"'
    return SCRIPT.format(key=key, body=body)


def wrong(db):
    return db.rows("SELECT * FROM t WHERE n <> id + 100 AND id <> 7")


@pytest.mark.parametrize("body", [UPDATE, RANGE], ids=["rows", "range"])
def test_a_row_that_fails_is_recorded_and_tried_again(db, project, kind, body):
    project.script(script(body, kind))
    project.run("--limit", 13).expect(STOPPED)
    project.run().expect(FAILURES, "failed rows: 1")
    assert wrong(db) == []
    assert db.column("SELECT n FROM t WHERE id = 7") == [7]
    db.execute("ALTER TABLE t DROP CONSTRAINT t_n_check")
    project.luamig("failures", 1, "--retry").expect(DONE)
    assert db.column("SELECT n FROM t WHERE id = 7") == [107]
    assert project.status()[0]["state"] == "done"
    assert_nothing_left(db)


def test_each_way_to_write(db, project, kind):
    db.execute("CREATE TABLE log (id int PRIMARY KEY, n int NOT NULL);"
               "CREATE TABLE gone (id int PRIMARY KEY);"
               "INSERT INTO gone SELECT generate_series(1, 25)")
    if kind != "local":
        db.rows("SELECT create_distributed_table('log', 'id')")
        db.rows("SELECT create_reference_table('gone')")
    project.script(script(EACH, kind))
    project.run().expect(FAILURES, "failed rows: 1")
    assert wrong(db) == []
    assert db.rows("SELECT id FROM log WHERE n <> id") == []
    assert db.column("SELECT id FROM gone") == [7]


def test_a_dry_run_changes_nothing(db, project, kind):
    db.execute("ALTER TABLE t DROP CONSTRAINT t_n_check")
    project.script(script(UPDATE, kind))
    report = json.loads(project.run("--dry-run").expect(DONE).out)
    assert (report["rows"], report["batches"]) == (25, 3), report
    assert db.column("SELECT sum(n - id) FROM t") == [0]


def test_a_run_is_cancelled(db, project, kind):
    project.script(script(UPDATE, kind).replace(
        "batch_size = 10", "batch_size = 1, throttle_ms = 200"))
    run = project.start_run()
    wait_until(db.progress, "a row")
    project.luamig("cancel", 1).expect(DONE)
    run.wait().expect(CANCELLED)


def test_the_distribution_column_cannot_be_changed(db, project):
    db.execute("CREATE TABLE t (id int, tenant int NOT NULL, n int, "
               "PRIMARY KEY (tenant, id)); INSERT INTO t VALUES (1, 1, 1)")
    db.rows(KINDS["by tenant"])
    project.script("""
        return {
          config = { key = "id", assume_unique = true },
          base_query = "SELECT id FROM t WHERE id IS NOT NULL",
          migrate = function(rows, repo)
            repo:update("t", { id = rows[1].id }, { tenant = 2 })
          end,
        }""")
    project.run().expect(FAILED, "partition", "0A000",
                                 "Delete the row and insert it")
