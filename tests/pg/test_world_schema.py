"""luamig test --schema: worlds whose tables a file declares."""

from harness.worlds import complaint, passes, spec, worlds


# -- the schema file ---------------------------------------------------------------

@spec("""
  local w = mock.new { tables = {
    accounts = {
      columns = { id = "int8", email = "varchar(20)", touched = "integer" },
      primary_key = { "id" }, not_null = { "email" }, unique = { { "email" } },
      rows = { { id = 7, email = "a", touched = 0 } },
    },
    notes = { rows = { { account = 7, body = "x" } } },
  } }
  assert.equal(0, w:rows("accounts")[1].touched)
  local result = w:run(once [[
    repo:insert("accounts", { email = "b" })
    repo:update("accounts", { id = 7 }, { email = "c" })
  ]])
  assert.equal("done", result.state, tostring(result.error))
  local accounts = w:rows "accounts"
  assert.same({ 7, "c", 1 }, { accounts[1].id, accounts[1].email, accounts[1].touched })
  assert.same({ 8, "b", 1 }, { accounts[2].id, accounts[2].email, accounts[2].touched })
  assert.equal("23503", w:run(once [[
    repo:insert("notes", { account = 99, body = "y" })]]).error.sqlstate)
""")
def test_a_table_of_the_schema_file_is_used_as_it_is(passes):
    """Identity and sequence go on behind the rows; triggers did not fire for
    those of the spec, and do for the script's; constraints hold."""


@spec("""
  mock.new { tables = { accounts = {
    columns = { id = "int4", email = "text", gone = "text" }, not_null = { "email" },
    primary_key = { "email" },
  } } }
""")
def test_a_declaration_that_the_schema_file_refutes_fails_the_spec(complaint):
    assert 'table "accounts": the schema file differs' in complaint
    assert 'column "id" is declared as integer, but it is bigint' in complaint
    assert 'it has no column "gone"' in complaint
    assert "primary_key is declared as (email), but it is (id)" in complaint


@spec("""
  local w = mock.new { tables = { accounts = {
    columns = { id = "int8", email = "varchar(20)", level = "int4" }, primary_key = { "id" },
    rows = { { id = 7, email = "a", level = 3 } },
  } } }
  assert.equal(3, w:rows("accounts")[1].level)
""")
def test_a_domain_is_declared_as_its_base_type(passes):
    pass


@spec("""
  local name = 'shop."odd ""name"'
  local w = mock.new { tables = { [name] = {
    columns = { id = "int8", mood = "mood", moods = "shop.feeling[]" },
    primary_key = { "id" }, rows = { { id = 1, mood = "glad" } },
  } } }
  local result = w:run(once(([[
    repo:update(%q, { id = 1 }, { mood = "sad", moods = { "sad" } })]]):format(name)))
  assert.equal("done", result.state, tostring(result.error))
  assert.equal("sad", w:rows(name)[1].mood)
""")
def test_schemas_and_types_that_are_not_there_are_made(passes):
    """As in the mock, values of such a type are strings."""


@spec("""
  local w = mock.new { tables = { t = {
    columns = { id = "int8", a = "inet", d = "interval", at = "time(3)" }, primary_key = { "id" },
    unique = { { "a" } }, rows = { { id = 1, a = "10.0.0.1/32", d = "90 min" } },
  } } }
  local result = w:run(once [[repo:update("t", { id = 1 }, { at = "12:00:00.12345" })]])
  assert.equal("done", result.state, tostring(result.error))
  local row = w:rows("t")[1]
  assert.same({ "10.0.0.1", "01:30:00", "12:00:00.123" }, { row.a, row.d, row.at })
""")
def test_a_type_that_the_mock_refuses_is_the_servers(passes):
    """As the mock says: "run the spec on PostgreSQL"."""


@spec("""
  mock.new { tables = { t = { columns = { id = "int8", n = "public.citext" } } } }
""")
def test_a_type_of_an_extension_that_is_not_there_is_not_made(complaint):
    """A domain over text would compare its values in another way."""
    assert 'type "public.citext" does not exist' in complaint


@spec("""
  mock.new { tables = { t = { columns = { id = "int8", n = "interger" } } } }
""")
def test_a_misspelt_type_fails_the_spec(complaint):
    assert ('table "t": type "interger" does not exist (did you mean "integer"?)'
            in complaint)


@spec("""
  mock.new { tables = { accounts = { rows = { { id = 1, email = ("x"):rep(21) } } } } }
""")
def test_rows_that_a_table_refuses_fail_the_spec(complaint):
    assert ('table "accounts": value too long for type character varying(20)'
            in complaint)


LOOK = r"""
  local LOOK = once [[
    run.log(repo:scalar "SELECT current_database()")
    run.log(repo:scalar [=[ SELECT concat_ws(' ', (SELECT string_agg(name || price, ' ') FROM plans),
      (SELECT count(*) FROM audit.entries), (SELECT count(*) FROM accounts), nextval('numbers'),
      nextval('audit.entries_id_seq'), pg_get_functiondef('touch'::regproc) ~ 'touched . 1',
      (SELECT count(*) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attnum > 0),
      (SELECT count(*) FROM pg_trigger WHERE tgname = 'touch' AND tgenabled = 'O'),
      (SELECT count(*) FROM pg_class WHERE relname IN ('more', 'extra')),
      (SELECT relrowsecurity FROM pg_class WHERE relname = 'notes'),
      obj_description('plans'::regclass)) ]=])
  ]]
  local function look()
    local w = mock.new { tables = { plans = {} } }
    assert.equal("done", w:run(LOOK).state)
    local database, state = w.log[2].message, w.log[4].message
    assert(not state:find "luamig", state)
    return database, state
  end
  local function after(damage)
    local w = mock.new { tables = { plans = {} } }
    local result = w:run(script(([[return { config = { allow_ddl = true },
      run = function(repo, run) run.log(repo:scalar "SELECT current_database()") %s end }]])
      :format(damage)))
    assert.equal("done", result.state, tostring(result.error))
    local database = w.log[2].message
    w = nil
    collectgarbage()
    collectgarbage()
    return database, look()
  end
  local FRESH = "free0 pro9 0 0 41 1 t 4 1 0 f"
"""


@spec(LOOK + """
  for _, damage in ipairs {
    [[repo:execute "INSERT INTO accounts (email) VALUES ('a')"]],
    [[repo:execute "INSERT INTO audit.entries (what) SELECT 'x' FROM generate_series(1, 20)"]],
    [[repo:query "SELECT nextval('numbers') FROM generate_series(1, 20)"]],
    [[repo:query "SELECT setval('numbers', 7, false)"]],
    [[repo:execute "CREATE TABLE audit.more (id serial, account bigint REFERENCES accounts)"
      repo:execute "CREATE VIEW extra AS SELECT * FROM audit.more"]],
  } do
    local made, used, state = after(damage)
    assert.equal(FRESH, state, damage)
    assert.equal(made, used, damage)
    collectgarbage()
  end
""")
def test_a_world_takes_over_the_tables_of_another_as_the_schema_file_left_them(passes):
    """Copying the template for each would take ten times as long."""


@spec(LOOK + """
  for _, damage in ipairs {
    [[repo:execute "UPDATE plans SET price = 10 WHERE name = 'pro'"]],
    [[repo:execute "DELETE FROM plans WHERE name = 'pro'"]],
    [[repo:execute "INSERT INTO plans VALUES ('gold', 99)"]],
    [[repo:execute "ALTER TABLE accounts DROP COLUMN touched"]],
    [[repo:execute "ALTER TABLE accounts DISABLE TRIGGER touch"]],
    [[repo:execute "ALTER TABLE notes ENABLE ROW LEVEL SECURITY"]],
    [[repo:execute "COMMENT ON TABLE plans IS 'changed'"]],
    [[repo:execute "DROP TABLE notes"]],
    [[repo:execute "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"]],
    [[repo:execute "CREATE TYPE extra AS ENUM ('a')"]],
  } do
    local made, used, state = after(damage)
    assert.equal(FRESH, state, damage)
    assert.not_equal(made, used, damage)
    collectgarbage()
  end
""")
def test_a_world_has_a_copy_of_its_own_where_another_left_more_than_rows(passes):
    pass
