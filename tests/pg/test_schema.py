"""luamig schema --lua: tables of a database as a spec declares them."""

import os

import pytest

from harness.project import DONE, FAILED


@pytest.mark.versions
def test_schema_prints_a_table_as_a_spec_declares_it(db, project):
    assert os.path.isabs(project.path)
    db.execute('CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, '
               'price numeric(10,2), "end" timestamptz, "odd name" int[]);'
               "CREATE UNIQUE INDEX ON users (email, price);"
               "CREATE UNIQUE INDEX ON users (price) WHERE price > 0")

    printed = project.luamig("schema", "--lua", "users").expect(DONE)

    assert printed.out == """users = {
  columns = {
    id = "bigint",
    email = "text",
    price = "numeric(10,2)",
    ["end"] = "timestamp with time zone",
    ["odd name"] = "integer[]",
  },
  primary_key = { "id" },
  not_null = { "email" },
  unique = { { "email", "price" } },
},
"""


@pytest.mark.versions
def test_schema_prints_what_tables_have_to_do_with_each_other(db, project):
    db.execute("""
        CREATE SCHEMA shop;
        CREATE DOMAIN mail AS varchar(50) CHECK (VALUE ~ '@');
        CREATE DOMAIN contact AS mail NOT NULL;
        CREATE TABLE shop."a ""b" (id serial PRIMARY KEY);
        CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            mail contact, b int REFERENCES shop."a ""b" ON DELETE CASCADE,
            other int REFERENCES shop."a ""b")""")

    printed = project.luamig("schema", "--lua", "users", 'shop."a ""b"')

    assert printed.expect(DONE).out == r"""users = {
  columns = {
    id = "bigserial",
    mail = "character varying(50)",
    b = "integer",
    other = "integer",
  },
  primary_key = { "id" },
  foreign_keys = {
    { columns = { "b" }, references = "shop.\"a \"\"b\"", to = { "id" }, on_delete = "cascade" },
    { columns = { "other" }, references = "shop.\"a \"\"b\"", to = { "id" } },
  },
},
["shop.\"a \"\"b\""] = {
  columns = {
    id = "serial",
  },
  primary_key = { "id" },
},
"""


def test_schema_knows_the_nearest_name(db, project):
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY)")

    project.luamig("schema", "--lua", "user").expect(
        FAILED, 'table "user" does not exist', 'Did you mean "users"?')
