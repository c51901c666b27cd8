"""Writes that a trigger, a rule or a policy takes over."""

import pytest

from harness.project import DONE, FAILED

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO t SELECT g FROM generate_series(1, 10) g;
CREATE TABLE arch (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, gone bool DEFAULT false);
CREATE TABLE other (LIKE arch INCLUDING ALL);
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_ARGV[0]::int % 2 = 0 THEN RETURN NULL; END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN CASE WHEN OLD.id % 2 = 0 THEN NULL ELSE OLD END; END IF;
  RETURN CASE WHEN NEW.id % 2 = 0 THEN NULL ELSE NEW END; END $$;
"""


def script(body, config=""):
    return f"""return {{
      config = {{ batch_size = 4, throttle_ms = 0, {config} }},
      base_query = "SELECT id FROM t",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do {body} end
      end }}"""


@pytest.fixture
def tables(db):
    db.execute(TABLES)
    return db


MOVE = 'repo:insert("arch", { id = row.id, n = 1 }) repo:delete("t", { id = row.id })'

# What swallows an insert, and how the message names it.
SWALLOWERS = {
    "a BEFORE trigger": (
        "CREATE TRIGGER keep_out BEFORE INSERT ON arch FOR EACH ROW "
        "EXECUTE FUNCTION swallow(1)", 'trigger "keep_out" of "arch"'),
    "a rule that does nothing": (
        "CREATE RULE nowhere AS ON INSERT TO arch DO INSTEAD NOTHING",
        'rule "nowhere" of "arch"'),
    "a rule with a condition": (
        "CREATE RULE odd_only AS ON INSERT TO arch WHERE new.id % 2 = 0 DO INSTEAD NOTHING",
        'rule "odd_only" of "arch"'),
    "a rule that updates instead": (
        "CREATE RULE up AS ON INSERT TO arch DO INSTEAD UPDATE other SET n = 1",
        'rule "up" of "arch"'),
    "a trigger of a partition": (
        "DROP TABLE arch; CREATE TABLE arch (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);"
        "CREATE TABLE part1 PARTITION OF arch FOR VALUES FROM (0) TO (3);"
        "CREATE TABLE part2 PARTITION OF arch FOR VALUES FROM (3) TO (99);"
        "CREATE TRIGGER deep BEFORE INSERT ON part2 FOR EACH ROW EXECUTE FUNCTION swallow(2)",
        'trigger "deep" of "part2"'),
    "an INSTEAD OF trigger of a view": (
        "ALTER TABLE arch RENAME TO a; CREATE VIEW arch AS SELECT * FROM a;"
        "CREATE TRIGGER view_in INSTEAD OF INSERT ON arch FOR EACH ROW "
        "EXECUTE FUNCTION swallow(2)", 'trigger "view_in" of "arch"'),
    "a trigger below a view": (
        "ALTER TABLE arch RENAME TO a; CREATE VIEW arch AS SELECT id, n FROM a;"
        "CREATE TRIGGER below BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION swallow(1)",
        'trigger "below" of "a"'),
    "rows that go to a child": (
        "CREATE TABLE child () INHERITS (arch); CREATE FUNCTION route() RETURNS trigger "
        "LANGUAGE plpgsql AS $$ BEGIN INSERT INTO child VALUES (NEW.*); RETURN NULL; END $$;"
        "CREATE TRIGGER route BEFORE INSERT ON arch FOR EACH ROW EXECUTE FUNCTION route()",
        'trigger "route" of "arch"'),
}


@pytest.mark.parametrize("config", ["", "combine = false", 'combine = "always"'])
@pytest.mark.parametrize("way", SWALLOWERS)
def test_an_insert_that_inserts_nothing_fails_and_names_who_took_it(tables, project, way, config):
    sql, name = SWALLOWERS[way]
    tables.execute(sql)
    project.script(script(MOVE, config))
    project.run().expect(FAILED, 'insert into "arch" wrote no row', "because of " + name,
                         "scripts/x.lua:5", 'missing = "ignore"')
    assert tables.scalar("SELECT count(*) FROM t") == 10, "nothing is lost"


@pytest.mark.parametrize("config", ["", "combine = false", 'combine = "always"'])
@pytest.mark.parametrize("way", SWALLOWERS)
def test_an_insert_may_be_allowed_to_insert_nothing(tables, project, way, config):
    tables.execute(SWALLOWERS[way][0])
    project.script(script('repo:insert("arch", { id = row.id, n = 1 }, { missing = "ignore" })',
                          config))
    project.run().expect(DONE)


CALLS = {
    "insert_all": 'repo:insert_all("arch", { { id = row.id }, { id = row.id + 100 } })',
    "insert over a conflict": """repo:insert("arch", { id = row.id },
      { on_conflict = { columns = { "id" }, update = { "n" } } })""",
    "asked for its count": 'local _ = repo:insert("arch", { id = row.id }).affected',
    "in a savepoint": """local ok, err = repo:savepoint(function()
      repo:insert("arch", { id = row.id }) end) if not ok then error(err) end""",
    "before raw SQL": 'repo:insert("arch", { id = row.id }) repo:query("SELECT 1")',
}


@pytest.mark.parametrize("config", ["", "combine = false", 'combine = "always"'])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_that_inserts_is_held_to_its_count(tables, project, call, config):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    project.script(script(CALLS[call], config))
    project.run().expect(FAILED, 'because of trigger "keep_out" of "arch"')
    assert tables.scalar("SELECT count(*) FROM arch") == 0


def test_a_savepoint_catches_an_insert_that_inserts_nothing(tables, project):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    project.script(script("""
      local ok, err = repo:savepoint(function() repo:insert("arch", { id = row.id }) end)
      if not ok then
        assert(err.sqlstate == "P0002" and err.kind == "script", tostring(err))
        repo:insert("other", { id = row.id })
      end"""))
    project.run().expect(DONE)
    assert tables.column("SELECT id FROM arch ORDER BY id") == [1, 3, 5, 7, 9]
    assert tables.column("SELECT id FROM other ORDER BY id") == [2, 4, 6, 8, 10]


def test_on_conflict_nothing_may_insert_nothing(tables, project):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    project.script(script("""
      assert(repo:insert("arch", { id = row.id }, { on_conflict = "nothing" }).affected
             == row.id % 2)"""))
    project.run().expect(DONE)


CALLBACKS = {
    "on_start": "on_start = function(repo) repo:insert('arch', { id = 2 }) end,",
    "on_complete": "on_complete = function(repo) repo:insert('arch', { id = 2 }) end,",
}


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_callback_that_inserts_nothing_fails(tables, project, callback):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    project.script("return { base_query = 'SELECT id FROM t', migrate = function() end, "
                   + CALLBACKS[callback] + " }")
    project.run().expect(FAILED, 'because of trigger "keep_out" of "arch"')


def test_a_one_shot_that_inserts_nothing_fails(tables, project):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    project.script("return { run = function(repo) repo:insert('arch', { id = 2 }) end }")
    project.run().expect(FAILED, 'because of trigger "keep_out" of "arch"')


def test_a_dry_run_shows_an_insert_that_inserts_nothing(tables, project):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    for config in "", "combine = false", 'combine = "always"':
        project.script(script(MOVE, config))
        result = project.run("--dry-run")
        assert result.code != DONE, result
        result.expect(result.code, 'because of trigger "keep_out" of "arch"')


def test_rows_with_a_swallowed_insert_are_recorded_and_retried(tables, project):
    tables.execute(SWALLOWERS["a BEFORE trigger"][0])
    project.script(script(MOVE, 'on_error = "quarantine"'))
    project.run().expect(7)
    assert tables.column("SELECT id FROM t ORDER BY id") == [2, 4, 6, 8, 10]
    project.luamig("failures", "scripts/x.lua", "--retry").expect(
        7, 'because of trigger "keep_out" of "arch"')
    tables.execute("DROP TRIGGER keep_out ON arch")
    project.luamig("failures", "scripts/x.lua", "--retry").expect(DONE)
    assert tables.scalar("SELECT count(*) FROM arch") == 10


# -- updates and deletes -----------------------------------------------------------

KEEPERS = {
    "a trigger that suppresses redundant updates": (
        "CREATE TRIGGER same BEFORE UPDATE ON t FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        'repo:update("t", { id = row.id }, { n = 0 })',
        'update of "t" did not happen for the row with id = 1, because of trigger "same" of "t"'),
    "a soft delete by a trigger": (
        "ALTER TABLE t ADD gone bool; CREATE FUNCTION soft() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN UPDATE t SET gone = true WHERE id = OLD.id; RETURN NULL; END $$;"
        "CREATE TRIGGER soft BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION soft()",
        'repo:delete("t", { id = row.id })',
        'delete of "t" did not happen for the row with id = 1, because of trigger "soft" of "t"'),
    "a soft delete by a rule": (
        "ALTER TABLE t ADD gone bool; CREATE RULE soft AS ON DELETE TO t DO INSTEAD "
        "UPDATE t SET gone = true WHERE id = old.id", 'repo:delete("t", { id = row.id })',
        'delete of "t" did not happen for the row with id = 1, because of rule "soft" of "t"'),
    "a view whose trigger deletes softly": (
        "ALTER TABLE t ADD gone bool NOT NULL DEFAULT false; "
        "CREATE VIEW v AS SELECT id FROM t WHERE NOT gone; CREATE FUNCTION soft() RETURNS trigger "
        "LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET gone = true WHERE id = OLD.id; "
        "RETURN NULL; END $$; CREATE TRIGGER soft INSTEAD OF DELETE ON v FOR EACH ROW "
        "EXECUTE FUNCTION soft()", 'repo:delete("v", { id = row.id })',
        'delete of "v" matched no row with id = 1, because of trigger "soft" of "v", or'),
    "a partition that rows move away from": (
        "CREATE TABLE p (id int, n int) PARTITION BY RANGE (n);"
        "CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (5);"
        "CREATE TABLE p9 PARTITION OF p FOR VALUES FROM (5) TO (99);"
        "INSERT INTO p SELECT id, 0 FROM t; CREATE TRIGGER stay BEFORE DELETE ON p0 FOR EACH ROW "
        "EXECUTE FUNCTION swallow(2)", 'repo:update("p", { id = row.id }, { n = 9 })',
        'update of "p" did not happen for the row with id = 1, because of trigger "stay" of "p0"'),
}


@pytest.mark.parametrize("config", ["", "combine = false", 'combine = "always"'])
@pytest.mark.parametrize("way", KEEPERS)
def test_a_row_that_is_still_there_is_not_said_to_be_gone(tables, project, way, config):
    sql, body, message = KEEPERS[way]
    tables.execute(sql)
    project.script(script(body, config))
    project.run().expect(FAILED, message).refuse("may be gone")


def test_a_row_that_is_gone_is_not_blamed_on_a_harmless_trigger(tables, project):
    tables.execute("""
      CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RETURN NEW; END $$;
      CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()""")
    project.script(script('repo:update("t", { id = row.id + 100 }, { n = 1 })'))
    project.run().expect(FAILED, 'update of "t" matched no row with id = 101',
                         "may be gone").refuse("touch")


def test_a_policy_that_keeps_a_row_from_being_changed_is_named(tables, project):
    tables.execute("""
      ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
      CREATE POLICY see ON t FOR SELECT USING (true);
      CREATE POLICY change ON t FOR UPDATE USING (id > 5)""")
    project.script(script('repo:update("t", { id = row.id }, { n = 1 })', "row_security = true"))
    project.run().expect(FAILED, 'did not happen for the row with id = 1, because of row security of "t"')


@pytest.mark.parametrize("config", ["", "combine = false"])
def test_a_row_that_a_trigger_loses_between_partitions_is_not_said_to_be_gone(
        tables, project, config):
    """With { missing = "ignore" } the update would delete it."""
    tables.execute("""
      CREATE TABLE p (id int, n int) PARTITION BY RANGE (n);
      CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (5);
      CREATE TABLE p9 PARTITION OF p FOR VALUES FROM (5) TO (99);
      INSERT INTO p SELECT id, 0 FROM t; CREATE TRIGGER lost BEFORE INSERT ON p9 FOR EACH ROW
      EXECUTE FUNCTION swallow(2)""")
    project.script(script('repo:update("p", { id = row.id }, { n = 9 })', config))
    project.run().expect(FAILED, 'update of "p" matched no row with id = 1, because of trigger '
                         '"lost" of "p9", or because there is no such row').refuse("may be gone")


def test_a_policy_that_hides_a_row_is_named(tables, project):
    tables.execute("""
      CREATE TABLE keys AS SELECT id FROM t; ALTER TABLE keys ADD PRIMARY KEY (id);
      ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
      CREATE POLICY above ON t USING (id > 5)""")
    project.script(script('repo:update("t", { id = row.id }, { n = 1 })', "row_security = true")
                   .replace("FROM t", "FROM keys"))
    project.run().expect(FAILED, 'matched no row with id = 1, because of row security of '
                         '"t", or because there is no such row').refuse("may be gone")


def test_a_rule_that_writes_two_rows_is_no_insert_of_one(tables, project):
    tables.execute("CREATE RULE twice AS ON INSERT TO arch DO INSTEAD INSERT INTO other "
                   "SELECT new.id + g FROM generate_series(0, 100, 50) g")
    project.script(script('repo:insert("arch", { id = row.id })'))
    project.run().expect(FAILED, "wrote 3 rows, not one", 'rule "twice" of "arch"')
