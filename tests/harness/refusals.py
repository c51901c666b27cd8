"""What tests of refusals and signals share: a table of 20 rows, which is the
fixture `table`, and a script over it."""

import pytest


TABLE = """
CREATE TABLE t (id int PRIMARY KEY, name text, nick text UNIQUE);
INSERT INTO t SELECT n, 'n' || n FROM generate_series(1, 20) n;
"""

WHOLE = """return {{
  config = {{ batch_size = 5, throttle_ms = 0{config} }},
  base_query = [[{query}]],
  migrate = function(rows, repo, run)
    {migrate}
  end,
}}"""

RENAME = """for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { name = "new" })
    end"""


def whole(query="SELECT id, name FROM t", migrate=RENAME, config=""):
    return WHOLE.format(query=query, migrate=migrate,
                        config=config and ", " + config)


@pytest.fixture
def table(db):
    db.execute(TABLE)
    return db


def assert_unchanged(db):
    assert db.scalar("SELECT count(*) FROM t WHERE name = 'n' || id") == 20
