"""Transactions of a run have the same settings on the nodes."""

import contextlib

import pytest

from harness.project import DONE, FAILED
from harness.wait import wait_until

pytestmark = pytest.mark.xdist_group("citus")

ODD = {"TimeZone": "Asia/Tokyo", "DateStyle": "German", "array_nulls": "off",
       "IntervalStyle": "sql_standard", "bytea_output": "escape",
       "extra_float_digits": "-3", "timezone_abbreviations": "India"}

TABLE = r"""
CREATE TABLE {0} (id int PRIMARY KEY, at timestamptz, span interval,
    real float8, raw bytea, words text[], said text);
INSERT INTO {0} SELECT n, timestamptz '2024-07-01 23:30+00' + n * interval '1 h',
    interval '-1 year 2 days 3 h', 0.1::float8 + 0.2, '\x00ff'
    FROM generate_series(1, 4) n"""

SCRIPT = """
local luamig = require "luamig"
return {
  config = { combine = COMBINE, batch_size = 2 },
  base_query = [[SELECT id, at::text || date_trunc('day', at) || span || real
    || raw::text AS said FROM TABLE]],
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("TABLE", { id = row.id },
        { said = row.said, words = luamig.array { luamig.NULL, "NULL" } })
      repo:execute("UPDATE TABLE SET at = '07/01/2024 12:00 IST' WHERE id = $1", row.id)
    end
  end,
}"""


@contextlib.contextmanager
def settings_of_nodes(citus, settings):
    def reload(node):
        node.execute("SELECT pg_reload_conf()")
    for node in citus.nodes:
        for name, value in settings.items():
            node.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        reload(node)
    try:
        for node in citus.nodes:
            wait_until(lambda: node.query("SHOW array_nulls") == [("off",)],
                       "the reload")
        yield
    finally:
        for node in citus.nodes:
            node.execute("ALTER SYSTEM RESET ALL")
            reload(node)


@pytest.mark.parametrize("combine", ["true", "false"])
def test_nodes_with_other_settings_change_no_value(citus, db, project, combine):
    for name in "t", "other":
        db.execute(TABLE.format(name))
        project.script(SCRIPT.replace("COMBINE", combine).replace(
            "TABLE", name), f"scripts/{name}.lua")
    db.rows("SELECT create_distributed_table('t', 'id')")
    with settings_of_nodes(citus, ODD):
        for name in "t", "other":
            project.run(script=f"scripts/{name}.lua").expect(DONE)
    rows = "SELECT id, at, span, real, raw, words, said FROM {} ORDER BY id"
    assert db.rows(rows.format("t")) == db.rows(rows.format("other"))


def test_a_row_that_is_locked_on_a_node_is_waited_for_as_long_as_config_says(
        db, project):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int); "
               "INSERT INTO t VALUES (1, 1)")
    db.rows("SELECT create_distributed_table('t', 'id')")
    project.script("""
        return {
          config = { lock_timeout_ms = 100, retries = 0 },
          base_query = "SELECT id FROM t",
          migrate = function(rows, repo)
            repo:update("t", { id = rows[1].id }, { n = 2 })
          end,
        }""")
    with db.connect() as other, other.cursor() as lock:
        lock.execute("BEGIN")
        lock.execute("UPDATE t SET n = 3 WHERE id = 1")
        project.run().expect(FAILED, "lock timeout", "55P03")
        lock.execute("ROLLBACK")


def test_a_batch_reads_a_distributed_table_and_writes_what_it_refers_to(
        db, project):
    """Citus refuses that in a transaction that has several connections to a
    node."""
    db.execute("CREATE TABLE kind (id int PRIMARY KEY, seen int NOT NULL);"
               "CREATE TABLE t (id int PRIMARY KEY, kind int REFERENCES kind);"
               "INSERT INTO kind SELECT n, 0 FROM generate_series(0, 9) n;"
               "INSERT INTO t SELECT n, n % 10 FROM generate_series(1, 50) n")
    db.rows("SELECT create_reference_table('kind')")
    db.rows("SELECT create_distributed_table('t', 'id')")
    project.script("""
        return {
          config = { batch_size = 10 },
          base_query = "SELECT id, kind FROM t",
          migrate = function(rows, repo)
            for _, row in ipairs(rows) do
              repo:execute("UPDATE kind SET seen = seen + 1 WHERE id = $1", row.kind)
            end
          end,
        }""")
    project.run().expect(DONE)
    assert db.column("SELECT seen FROM kind") == [5] * 10


def test_a_write_to_other_rows_of_the_same_shards_is_not_waited_for(db, project):
    """Nor is a worker kept waiting by another one."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n int); "
               "INSERT INTO t SELECT n, n FROM generate_series(1, 50) n")
    db.rows("SELECT create_distributed_table('t', 'id')")
    project.script("""
        return {
          config = { lock_timeout_ms = 300, retries = 0 },
          base_query = "SELECT id FROM t",
          migrate = function(rows, repo)
            for _, row in ipairs(rows) do
              repo:update("t", { id = row.id }, { n = 0 })
            end
          end,
        }""")
    with db.connect() as other, other.cursor() as lock:
        lock.execute("BEGIN")
        lock.execute("UPDATE t SET n = 3 WHERE n < 0")
        project.run().expect(DONE, "0 retries")
        lock.execute("ROLLBACK")
