"""Workers share keys of every kind, in one process and in two: each row is
written once, each failed row recorded once."""

import pytest

from harness.oracle import assert_nothing_left
from harness.project import FAILURES, STOPPED
from harness.wait import wait_until

# Per kind: the columns of the key with their types, and the values of row n.
KINDS = {
    "bigint with gaps": (["k bigint"], "n::bigint * n * 1000 + n"),
    "uuid": (["k uuid"], "md5(n::text)::uuid"),
    "composite": (["j text", "k int"], "'g' || n % 7, n / 7"),
    "text under ICU": (
        ['k text COLLATE caseless'],
        "(ARRAY['a', 'A', 'ä', 'Ö', 'ß', 'ss', 'z', '-', ' ', '10', '9'])"
        "[1 + n % 11] || md5(n::text) || chr(200 + n % 300)"),
    "numeric": (["k numeric"],
                "CASE n WHEN 1 THEN 'NaN' ELSE (n - 1000.5) / 7.0"
                " * 10::numeric ^ (n % 20) END"),
    "timestamptz with equal prefixes": (
        ["k timestamptz"],
        "'2024-03-31 02:00:00+01'::timestamptz + n / 800 * interval '1 s'"
        " + n % 800 * interval '1 us'"),
}

TABLE = """
CREATE COLLATION caseless
    (provider = icu, locale = 'de-u-ks-level2', deterministic = false);
CREATE TABLE t ({columns}, fate text NOT NULL, n bigint NOT NULL,
    done boolean, PRIMARY KEY ({key}));
INSERT INTO t SELECT {values}, CASE WHEN n % {every} > 0 THEN 'left out'
    WHEN n / {every} % 30 = 0 THEN 'refused' ELSE 'written' END, n
    FROM generate_series(1, {rows}) n;
ANALYZE t;
CREATE TABLE written (n bigint);
CREATE TABLE marks (mark text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO written VALUES (NEW.n); RETURN NULL; END';
CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
"""

SCRIPT = """
return {{
  config = {{ batch_size = {batch}, throttle_ms = 10, on_error = "quarantine",
    key = {{ {names} }} }},
  base_query = "SELECT {key}, fate FROM t WHERE fate <> 'left out'",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      if row.fate == "refused" then error("refused") end
      repo:update("t", {{ {pairs} }}, {{ done = true }})
    end
  end,
  on_start = function(repo) repo:insert("marks", {{ mark = "started" }}) end,
  on_complete = function(repo)
    repo:insert("marks", {{ mark = "completed" }})
  end,
}}
"""


def prepare(db, project, kind, rows, every, batch):
    columns, values = KINDS[kind]
    names = [column.split()[0] for column in columns]
    key = ", ".join(names)
    db.execute(TABLE.format(columns=", ".join(columns), key=key, every=every,
                            values=values, rows=rows))
    project.script(SCRIPT.format(
        batch=batch, key=key, names=", ".join(f'"{name}"' for name in names),
        pairs=", ".join(f"{name} = row.{name}" for name in names)))


def share(db, project, part):
    """Four workers of one process do a part, three and two of two processes
    the rest."""
    project.run("--workers", 4, "--limit", part).expect(STOPPED)
    assert db.scalar("SELECT count(*) FROM written") == part
    first = project.start_run("--workers", 3)
    wait_until(lambda: db.state() == "running", "the first")
    second = project.start_run("--workers", 2, "--join")
    wait_until(lambda: not second.alive or db.scalar(
        "SELECT count(*) FROM luamig.range g JOIN luamig.worker w"
        " ON w.id = g.worker WHERE w.pid = %s", second.pid, user="postgres"),
        "keys for the second")
    project.luamig("set", 1, "throttle_ms=0")
    first.wait().expect(FAILURES)
    second.wait().expect(FAILURES, "joining run 1")


def assert_each_once(db):
    """Nothing else was written, and the journal has no range left."""
    wrong = db.rows(
        "SELECT t.n, t.fate, count(w.n) FROM t LEFT JOIN written w ON w.n = t.n"
        " GROUP BY t.n, t.fate HAVING count(w.n) <> (fate = 'written')::int"
        " LIMIT 5")
    assert not wrong, f"(n, fate, writes) of wrong rows: {wrong}"
    due = db.scalar("SELECT count(*) FROM t WHERE fate = 'refused'")
    assert db.rows("SELECT count(*), count(DISTINCT key) FROM luamig.failure",
                   user="postgres") == [(due, due)]
    assert db.progress("failures") == due
    assert db.rows("SELECT * FROM luamig.range", user="postgres") == []
    assert db.column("SELECT mark FROM marks ORDER BY mark") == [
        "completed", "started"]
    assert_nothing_left(db)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_write_each_row_once_by_a_key_of_any_kind(db, project, kind):
    prepare(db, project, kind, rows=800, every=1, batch=10)
    share(db, project, 300)
    assert_each_once(db)


def test_workers_write_each_row_once_where_one_of_10000_matches(db, project):
    prepare(db, project, "bigint with gaps", rows=350_000, every=10_000,
            batch=1)
    share(db, project, 15)
    assert_each_once(db)
