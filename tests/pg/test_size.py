"""Batches whose size follows a target time."""

from statistics import median

import pytest

from harness.project import DONE, STOPPED

# A batch waits for each of its rows, and writes down how many there were.
WAIT = """
return {{
  config = {{ throttle_ms = 0, {config} }},
  base_query = "SELECT id, wait_ms FROM t",
  migrate = function(rows, repo)
    local wait_ms = 0
    for _, row in ipairs(rows) do
      wait_ms = wait_ms + row.wait_ms
    end
    repo:query("SELECT pg_sleep($1::float8 / 1000)", wait_ms)
    repo:insert("batch", {{ first = rows[1].id, last = rows[#rows].id }})
  end,
}}
"""


@pytest.fixture
def table(db):
    """Rows that are dear in the middle: ten times as dear. There are more of
    them than the batch that comes upon them can have."""
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, wait_ms float8);
        CREATE TABLE batch (first int PRIMARY KEY, last int);
        INSERT INTO t SELECT i,
            CASE WHEN i > 4000 AND i <= 5200 THEN 3 ELSE 0.3 END
            FROM generate_series(1, 10000) i""")
    return db


def sizes(db, first, last):
    """Of the batches that lie between two keys."""
    return db.column("SELECT last - first + 1 FROM batch WHERE first >= %s "
                     "AND last <= %s ORDER BY first", first, last)


def test_batches_shrink_while_rows_are_dear_and_grow_back(table, project):
    project.script(WAIT.format(config="batch_size = 10000, target_ms = 150"))
    project.run().expect(DONE, "10,000 rows")
    before, dear, after = (sizes(table, 2000, 4000), sizes(table, 4001, 5200),
                           sizes(table, 5201, 9900))
    assert len(dear) > 4, dear
    # A busy machine makes some of them smaller, but not half.
    assert median(dear) * 4 < median(before), (before, dear)
    assert max(after) > median(dear) * 4, (dear, after)
    for size, grown in zip(after, after[1:]):
        assert grown <= size * 1.5 + 1, after


def test_the_option_outweighs_the_script(table, project):
    project.script(WAIT.format(config="batch_size = 10000, target_ms = 100"))
    project.run("--target-ms", 100000, "--limit", 2500).expect(STOPPED)
    assert sizes(table, 1, 2500) == [1000, 1500]


def test_without_a_target_every_batch_is_full(table, project):
    table.execute("UPDATE t SET wait_ms = wait_ms / 20")
    project.script(WAIT.format(config="batch_size = 4000"))
    project.run().expect(DONE)
    assert sizes(table, 1, 10000) == [4000, 4000, 2000]
