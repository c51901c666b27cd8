"""Combined writes of values of many types, on a distributed table."""

import pytest

from harness.project import DONE

pytestmark = pytest.mark.xdist_group("citus")

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS text CHECK (length(VALUE) < 20);"""
COLUMNS = {"d": "jsonb", "l": "text[]", "m": "mood", "p": "pair", "s": "short",
           "at": "timestamptz", "num": "numeric(12, 2)", "raw": "bytea", "u": "uuid",
           "flag": "boolean", "c": "character(3)", "span": "interval", "x": "varchar(9)"}
VALUES = """'{"a": [1, null]}', '{NULL,"NULL","a,b"}', 'glad', '(1,"x ""y")', 'it''s',
    '2024-07-01 23:30+02', 12.50, '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    true, 'ab', '1 mon -2 days', E'\\\\ "q"'"""
SCRIPT = """
return {{
  base_query = "SELECT * FROM source",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:insert("copy", row)
      repo:insert("kept", row, {{ on_conflict = {{ columns = {{ "id" }},
        update = {{ {names} }} }} }})
      local odd, others = {{}}, {{}} -- an array and a composite are cast
      for name, value in pairs(row) do
        local values = (name == "l" or name == "p") and odd or others
        if name ~= "id" then values[name] = value end
      end
      if next(odd) then
        repo:update("target", {{ id = row.id }}, others)
        repo:update("target", {{ id = row.id }}, odd)
      end
    end
  end,
}}"""


def test_values_of_many_types(db, project):
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    db.execute(TYPES)
    for table in "source", "copy", "target", "kept":
        db.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, {columns})")
        db.rows(f"SELECT create_distributed_table('{table}', 'id')")
    db.execute(f"INSERT INTO source SELECT n, {VALUES} FROM generate_series(1, 20) n;"
               "INSERT INTO source SELECT n FROM generate_series(21, 40) n;"
               "INSERT INTO target SELECT n FROM generate_series(1, 40) n;"
               "INSERT INTO kept SELECT n FROM generate_series(1, 30) n")
    project.script(SCRIPT.format(names=", ".join(f'"{name}"' for name in COLUMNS)))
    project.run().expect(DONE)
    every = "SELECT {0}::text FROM {0} ORDER BY id"
    expected = db.rows(every.format("source"))
    for table in "copy", "target", "kept":
        assert db.rows(every.format(table)) == expected, table
    db.execute("DROP TABLE source, copy, target, kept;"
               "DROP TYPE mood, pair; DROP DOMAIN short")
