"""luamig test --pg: the worlds of luamig.mock on a server."""

import re
import subprocess

import pytest

from harness.project import DONE, TOP, binary, clean_environment
from harness.worlds import complaint, passes, spec, worlds


# -- running -----------------------------------------------------------------

@spec("""
  local w = world()
  assert.same({ state = "done", rows = 2, batches = 2, retries = 0, failures = 0 },
    w:run(script(WELCOME), { batch_size = 1 }))
  assert.equal("welcome done welcome", steps(w))
""")
def test_a_script_is_run_and_the_result_is_that_of_the_mock(passes):
    pass


@spec("""
  local path = script(WELCOME)
  local w = world()
  w:run(path)
  assert.equal("- done -", steps(world()))
  assert.same({ state = "done", rows = 0, batches = 0, retries = 0, failures = 0 },
    w:run(path))
""")
def test_worlds_share_nothing(passes):
    pass


@spec("""
  local w = world()
  local path = script(WELCOME)
  local function try(opts) opts.batch_size = 1; return w:run(path, opts) end
  assert.equal("killed", try({ kill = { batch = 1, call = 1 } }).state)
  assert.equal("- done -", steps(w))
  assert.equal("killed", try({ kill = { batch = 1 } }).state)
  assert.equal("welcome done -", steps(w))
  assert.same({ state = "done", rows = 1, batches = 1, retries = 0, failures = 0 }, try {})
  assert.equal("welcome done welcome", steps(w))
""")
def test_a_run_that_was_killed_is_resumed_at_once(passes):
    pass


@spec("""
  local w = world()
  local result = w:run(migrate [[
    pcall(repo.update, repo, "users", { id = 1 }, { step = "x" })
    repo:savepoint(function() error "x" end)
  ]], { kill = { batch = 1, call = 1 } })
  assert.equal("killed", result.state)
  assert.is_nil(result.error)
  assert.equal("- done -", steps(w))
""")
def test_a_script_cannot_swallow_being_killed(passes):
    pass


@spec("""
  local w = world()
  assert.equal("stopped", w:run(script(WELCOME), { limit = 1 }).state)
  assert.equal("welcome done -", steps(w))
""")
def test_a_limit_stops_the_run(passes):
    pass


@spec("""
  local w = world()
  local path = script [[return {
    args = { step = { type = "string", required = true },
             limit = { type = "integer", default = 5 } },
    base_query = function(args)
      return "SELECT id FROM users WHERE id < $1::int8", args.limit
    end,
    migrate = function(rows, repo, run)
      for _, row in ipairs(rows) do
        repo:update("users", { id = row.id }, { step = run.args.step })
      end
    end }]]
  w.base.where = function(row, args) return row.id < args.limit end
  assert.equal(2, w:run(path, { args = { step = "it's = x" } }).rows)
  assert.equal("it's = x it's = x -", steps(w))
  assert.equal(3, w:run(path, { args = { step = "all", limit = 99 } }).rows)
""")
def test_arguments_reach_the_script(passes):
    pass


@spec("""
  local w = world()
  local result = w:run(script [[return {
    config = { on_error = "quarantine" },
    base_query = "SELECT id FROM users WHERE step IS NULL",
    migrate = function(rows, repo)
      for _, user in ipairs(rows) do
        if user.id == 1 then error "odd" end
        repo:update("users", { id = user.id }, { step = "welcome" })
      end
    end }]])
  assert.equal("done_with_failures", result.state)
  assert.same({ 1, 1 }, { result.rows, result.failures })
  assert.equal("- done welcome", steps(w))
""")
def test_failed_rows_are_recorded(passes):
    pass


@spec("""
  local w = world()
  w:run(migrate [[
    repo:savepoint(function()
      repo:update("users", { id = 1 }, { step = "lost" })
      error "back"
    end)
    repo:update("users", { id = 1 }, { step = "x", email = luamig.NULL })
    repo:query("SELECT $1::int AS n, $2::text AS t", 7, luamig.NULL)
    run.log("said", { n = 1 })
  ]], { limit = 1 })
  local page, savepoint, lost, update, query, said = table.unpack(w.log)
  assert.same({ "page", "users", 1, 1, true, { 1 }, { 1 } },
    { page.verb, page.table, page.batch, page.attempt, page.committed, page.first, page.last })
  assert.same({ "savepoint", true }, { savepoint.verb, savepoint.committed })
  assert.same({ "update", false }, { lost.verb, lost.committed })
  assert.same({ "update", "users", { id = 1 }, { step = "x", email = luamig.NULL }, true },
    { update.verb, update.table, update.key, update.changes, update.committed })
  assert.matches("scripts/%d+.lua", update.file)
  assert.equal(7, update.line)
  assert.same({ "query", "SELECT $1::int AS n, $2::text AS t", { 7, n = 2 } },
    { query.verb, query.sql, query.params })
  assert.same({ "log", "said", { n = 1 } }, { said.verb, said.message, said.fields })
""")
def test_the_log_says_what_happened(passes):
    pass


@spec("""
  local w = mock.new { tables = { t = {
    columns = { id = "int4", price = "numeric", doc = "jsonb", list = "int4[]", gone = "text" },
    primary_key = { "id" },
    rows = { { id = 1, price = "1.50", doc = { a = { 1, luamig.json.null } }, list = { 3 } } },
  } } }
  local row = w:rows("t")[1]
  assert.equal("1.50", tostring(row.price))
  assert.is_true(luamig.decimal.is(row.price))
  assert.equal(luamig.json.null, row.doc.a[2])
  assert.equal(3, row.list[1])
  assert.is_nil(row.gone)
  assert.error_matches(function() return row.pirce end, "was not returned")
  assert.error_matches(function() w:rows "tt" end, 'table "tt" does not exist in this world')
""")
def test_rows_are_what_a_script_would_read(passes):
    pass


@spec("""
  local w = mock.new { tables = { t = { rows = {
    { id = 1, s = "x", f = 1.5, b = true, d = luamig.decimal "1.10" }, { id = 2 } } } } }
  local row = w:rows("t")[1]
  assert.same({ 1, "x", 1.5, true, "1.10" }, { row.id, row.s, row.f, row.b, tostring(row.d) })
  local ok, message = pcall(mock.new, { tables = { t = { rows = { { a = 1 }, { a = "x" } } } } })
  assert.is_false(ok)
  assert.matches('table "t": column "a" has values of type bigint and of type text', message)
""")
def test_columns_that_are_not_declared_have_the_type_of_their_values(passes):
    pass


# -- errors --------------------------------------------------------------------

@spec("""
  local w = world()
  local err = w:run(migrate [[
    repo:insert("users", { id = 11, email = "a" })
  ]]).error
  assert.same({ "23505", "users", "users_email_key" }, { err.sqlstate, err.table, err.constraint })
  assert.matches("already exists", err.detail)
  assert.matches("scripts/%d+.lua:3", err.where)
  err = w:run(once [[repo:insert("users", { email = "z" })]]).error
  assert.same({ "23502", "id" }, { err.sqlstate, err.column })
""")
def test_an_error_has_the_fields_of_the_mocks(passes):
    pass


@spec("""
  local w = world()
  w:fail { on = "commit", sqlstate = "40001" }
  w:fail { on = "page", sqlstate = "40P01" }
  local result = w:run(script(WELCOME))
  assert.same({ "done", 2 }, { result.state, result.retries })
  assert.equal("welcome done welcome", steps(w))
""")
def test_errors_that_pass_are_retried(passes):
    pass


@spec("""
  for _, on in ipairs { "page", "update", "commit" } do
    for _, sqlstate in ipairs { "57P01", "08006" } do
      local w = world()
      w:fail { on = on, sqlstate = sqlstate }
      assert.equal("done", w:run(script(WELCOME)).state)
      assert.equal("welcome done welcome", steps(w))
    end
  end
""")
def test_a_connection_that_breaks_is_made_again(passes):
    pass


@spec("""
  local w = world()
  w:fail { on = "update", nth = 2, sqlstate = "42501", message = "it's not for you" }
  local result = w:run(script(WELCOME))
  assert.same({ "failed", "42501", "it's not for you" },
    { result.state, result.error.sqlstate, result.error.message })
  assert.matches("scripts/%d+.lua:5", result.error.where)
  assert.equal("- done -", steps(w))
""")
def test_an_error_that_was_injected_is_the_servers(passes):
    pass


@spec("""
  local w = world()
  w:fail { on = "delete", sqlstate = "42501" }
  w:run(script(WELCOME))
""")
def test_an_error_that_was_not_reached_fails_the_spec(complaint):
    assert 'the run did not reach world:fail on "delete"' in complaint


# -- stubs ---------------------------------------------------------------------

COUNT = "SELECT count(*) AS n FROM users WHERE step = $1"


@spec(f"""
  local w = world()
  w:run(migrate [[run.log("n", {{ n = repo:scalar("{COUNT}", "done") }})]])
  assert.same({{ n = 1 }}, w.log[#w.log].fields)
""")
def test_sql_without_a_stub_is_run(passes):
    pass


@spec(f"""
  local w = world()
  w:stub("{COUNT}", {{ params = {{ "done" }}, rows = {{ {{ n = 1 }} }} }})
  w:stub("UPDATE users SET step = 'x' WHERE id > 0", {{ affected = 3 }})
  w:stub("SELECT 1 / 0", {{ error = {{ sqlstate = "22012", message = "division by zero" }} }})
  w:stub("SELECT id, step FROM users", {{ rows = {{
    {{ id = 2, step = "x" }}, {{ id = 10, step = "x" }}, {{ id = 1, step = "x" }} }} }})
  w:stub("SELECT email FROM users ORDER BY id", {{ columns = {{ "email" }}, rows = {{
    {{ email = "a" }}, {{ email = "b" }}, {{ email = "c" }} }} }})
  w:stub("SELECT NULL::int AS n, 'x' AS t", {{ columns = {{ "n", "t" }}, rows = {{ {{ t = "x" }} }} }})
  w:run(migrate [[
    repo:scalar("{COUNT}", "done")
    repo:execute "UPDATE users SET step = 'x' WHERE id > 0"
    repo:savepoint(function() repo:query "SELECT 1 / 0" end)
    repo:query "SELECT id, step FROM users"
    repo:query "SELECT email FROM users ORDER BY id"
    repo:one "SELECT NULL::int AS n, 'x' AS t"
  ]])
""")
def test_a_stub_that_is_true_is_silent(passes):
    pass


@spec(f"""
  local w = world()
  w:stub("{COUNT}", {{ rows = {{ {{ n = 2 }} }} }})
  w:run(migrate [[repo:one("{COUNT}", "done")]])
""")
def test_a_stub_with_another_value_fails_the_spec(complaint):
    assert "world_spec.lua:" in complaint
    assert f"a stub differs from the server's answer: {COUNT} with $1 = \"done\"" in complaint
    assert 'column "n": expected 2 (an integer), found 1 (an integer)' in complaint


@spec(f"""
  local w = world()
  w:stub("{COUNT}", function(_, tables) return {{ {{ n = #tables.users }} }} end)
  w:run(migrate [[repo:one("{COUNT}", "done")]])
""")
def test_a_function_that_answers_otherwise_than_the_server_fails_the_spec(complaint):
    assert f"a stub differs from the server's answer: {COUNT} with $1 = \"done\"" in complaint
    assert 'column "n": expected 3 (an integer), found 1 (an integer)' in complaint


SET = "UPDATE users SET step = 'x', email = email || '!' WHERE id = 2"


@spec(f"""
  local w = world()
  w:stub("{SET}", function(_, tables) tables.users[2].step = "x" return 1 end)
  w:run(migrate [[repo:execute("{SET}")]])
""")
def test_a_function_that_leaves_another_value_than_the_server_fails_the_spec(complaint):
    assert "a stub differs from the server's answer: UPDATE users SET" in complaint
    assert ('table "users": the row (id)=(2): column "email": expected "b", '
            'found "b!"') in complaint


@spec(f"""
  local w = world()
  w:stub("{SET}", function(_, tables)
    table.insert(tables.users, {{ id = 77, email = "z" }})
    return 1
  end)
  w:run(migrate [[repo:execute("{SET}")]])
""")
def test_a_function_that_changes_another_row_fails_the_spec(complaint):
    assert 'table "users": the row (id)=(2): column "email"' in complaint


@spec("""
  local w = world()
  local sql = "DELETE FROM users WHERE id > 1"
  w:stub(sql, function(_, tables) tables.users[3] = nil return 2 end)
  w:run(migrate(("repo:execute %q"):format(sql)))
""")
def test_a_function_that_forgets_to_delete_fails_the_spec(complaint):
    assert 'table "users": the server has no row email = "b", id = 2' in complaint


@spec("""
  local w = world()
  local sql = "INSERT INTO users (id) VALUES (5), (6)"
  w:stub(sql, function(_, tables) table.insert(tables.users, { id = 5 }) return 2 end)
  w:run(migrate(("repo:execute %q"):format(sql)))
""")
def test_a_function_that_forgets_to_insert_fails_the_spec(complaint):
    assert 'table "users": the server also has the row email = NULL, id = 6' in complaint


@spec("""
  world(nil, function(tables)
    return { { id = tables.users[1].id } }
  end):run(script(WELCOME))
""")
def test_a_base_that_computes_fewer_rows_fails_the_spec(complaint):
    assert "base is not the base query of" in complaint
    assert "the base query returns the row (id)=(10), which base does not give" in complaint


@spec("""
  world(nil, function() return { { id = 1, n = 1 }, { id = 10, n = 2 } } end):run(script(WELCOME))
""")
def test_a_base_that_computes_another_column_fails_the_spec(complaint):
    assert 'base gives column "n", which the base query does not return' in complaint


@spec("""
  local w = world()
  w:stub("SELECT sum(id) AS n FROM users", { rows = { { n = 13 } } })
  w:run(migrate [[repo:scalar "SELECT sum(id) AS n FROM users"]])
""")
def test_a_stub_with_another_type_fails_the_spec(complaint):
    assert "expected 13 (an integer), found the decimal 13" in complaint


@spec("""
  local w = world()
  w:stub("SELECT id FROM users", { rows = { { id = 1, step = "x" } } })
  w:run(migrate [[repo:query "SELECT id FROM users"]])
""")
def test_a_stub_with_another_column_fails_the_spec(complaint):
    assert 'expected column "step", found "id"' in complaint


@spec("""
  local w = world()
  w:stub("SELECT id FROM users", { rows = { { id = 1 }, { id = 2 } } })
  w:run(migrate [[repo:query "SELECT id FROM users"]])
""")
def test_a_stub_with_fewer_rows_fails_the_spec(complaint):
    assert "expected 2 rows, found 3" in complaint


@spec("""
  local w = world()
  w:stub("SELECT id FROM users", { rows = { { id = 1.5 }, { id = 3.5 }, { id = 10 } } })
  w:run(migrate [[repo:query "SELECT id FROM users"]])
""")
def test_a_stub_with_missing_rows_shows_an_existing_row(complaint):
    assert ("the server did not return row 1 of the stub: id = 1.5 (a float)\n"
            "  it returned: id = 1 (an integer)") in complaint


@spec("""
  local w = world()
  w:stub("SELECT id FROM users ORDER BY id", { rows = { { id = 2 }, { id = 1 }, { id = 10 } } })
  w:run(migrate [[repo:query "SELECT id FROM users ORDER BY id"]])
""")
def test_a_stub_with_another_order_fails_the_spec_where_there_is_one(complaint):
    assert 'row 1, column "id": expected 2 (an integer), found 1 (an integer)' in complaint


@spec("""
  local w = world()
  w:stub("DELETE FROM users WHERE id = 1", { affected = 2 })
  w:run(migrate [[repo:execute "DELETE FROM users WHERE id = 1"]])
""")
def test_a_stub_with_another_count_fails_the_spec(complaint):
    assert "expected 2 rows to be affected, found 1" in complaint


@spec("""
  local w = world()
  w:stub("SELECT 1 / 0", { error = { sqlstate = "22003", message = "out of range" } })
  w:run(migrate [[repo:savepoint(function() repo:query "SELECT 1 / 0" end)]])
""")
def test_a_stub_with_another_error_fails_the_spec(complaint):
    assert "expected SQLSTATE 22003, found 22012: division by zero" in complaint


@spec("""
  local w = world()
  w:stub("SELECT no FROM users", { rows = {} })
  w:run(migrate [[repo:savepoint(function() repo:query "SELECT no FROM users" end)]])
""")
def test_a_stub_for_sql_that_fails_fails_the_spec(complaint):
    assert 'found an error: 42703: column "no" does not exist' in complaint


@spec("""
  local w = world()
  w:stub("SELECT 5", { rows = {} })
  w:run(script(WELCOME))
""")
def test_a_stub_that_was_not_used_fails_the_spec(complaint):
    assert "the run used the stub 0 of 1 times: SELECT 5" in complaint


# -- base ------------------------------------------------------------------------

@spec("""
  world(nil, { from = "users", select = { "id" } }):run(script(WELCOME))
""")
def test_a_base_with_a_row_too_many_fails_the_spec(complaint):
    assert re.search(r"base is not the base query of scripts/\d+.lua: base gives the row "
                     r"\(id\)=\(2\), which the base query does not return", complaint)


@spec("""
  world(nil, { from = "users", where = function(row) return row.id == 1 end })
    :run(script(WELCOME))
""")
def test_a_base_without_a_row_fails_the_spec(complaint):
    assert ("the base query returns the row (id)=(10), which base does not give"
            in complaint)


@spec("""
  world(nil, { from = "users", select = { "id", "email" } }):run(script(WELCOME))
""")
def test_a_base_with_a_column_too_many_fails_the_spec(complaint):
    assert ('base.select gives column "email", which the base query does not return'
            in complaint)


NULL_OR_NOT = """
  world(nil, function(tables)
    return { { id = 1 }, { id = 2 }, { id = 10 } }
  end):run(migrate("", "SELECT id, %s AS nick FROM users"))
"""


@spec(NULL_OR_NOT % "NULL::text")
def test_the_rows_of_a_base_need_no_column_that_is_null(passes):
    pass


@spec(NULL_OR_NOT % "email")
def test_the_rows_of_a_base_that_lack_a_column_fail_the_spec(complaint):
    assert ('the base query returns column "nick", which base does not give'
            in complaint)


@spec("""
  world(nil, { from = "users" }):run(migrate("", "SELECT id, upper(email) AS email FROM users"))
""")
def test_a_base_with_another_value_fails_the_spec(complaint):
    assert ('in the row (id)=(1) base and the base query differ: column "email": expected "a", '
            'found "A"' in complaint)


# -- properties, and both worlds ------------------------------------------------------

@spec("""
  mock.assert_idempotent(script(WELCOME), world)
  mock.assert_resumable(script(WELCOME), world)
  mock.assert_batch_size_independent(script(WELCOME), world)
""")
def test_properties_hold_on_the_server(passes):
    pass


@spec("""
  mock.assert_resumable(script [[
    local count = 0
    return {
      config = { batch_size = 1 },
      base_query = "SELECT id FROM users WHERE step IS NULL",
      migrate = function(rows, repo)
        for _, user in ipairs(rows) do
          count = count + 1
          repo:update("users", { id = user.id }, { step = "no. " .. count })
        end
      end }]], world)
""")
def test_properties_fail_on_the_server_as_well(complaint):
    assert "is not resumable: killed after batch 1, keys (id) from (1) to (1)" in complaint
    assert 'users: the row (id)=(10): step is "no. 1", expected "no. 2"' in complaint


@spec("""
  local tables = { t = { columns = { id = "int8", s = "text" }, primary_key = { "id" },
    rows = { { id = 1, s = "a" }, { id = 2, s = "b" } } } }
  local path = script [[return { base_query = "SELECT * FROM t", migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { s = row.s:rep(row.id) })
    end
  end }]]
  local left = {}
  for i, kind in ipairs { mock, mock.pure } do
    local w = kind.new { tables = tables, base = { from = "t" } }
    left[i] = { w:run(path, { batch_size = 1 }), w:rows "t" }
  end
  assert.same(left[1], left[2])
  assert.equal("bb", left[1][2][2].s)
""")
def test_the_worlds_in_lua_are_at_hand_for_comparison(passes):
    pass


@spec("""
  for _ = 1, 60 do world() end
""")
def test_unused_worlds_make_room(passes):
    """The server has 100 connections, and each world has one."""


@pytest.mark.long
def test_the_mocks_own_specs_of_properties_pass_on_the_server():
    ended = subprocess.run(
        [binary(), "test", "--pg", "tests/lua/mock_properties_spec.lua"],
        cwd=TOP, env=clean_environment(), capture_output=True, text=True,
        timeout=500, check=False)

    assert ended.returncode == DONE, ended.stdout + ended.stderr
    assert "0 failures / 0 errors" in ended.stdout


@pytest.mark.long
def test_the_mocks_own_specs_of_runs_pass_on_the_server():
    ended = subprocess.run(
        [binary(), "test", "--pg", "--exclude-tags=mock",
         "tests/lua/mock_run_spec.lua"],
        cwd=TOP, env=clean_environment(), capture_output=True, text=True,
        timeout=500, check=False)

    assert ended.returncode == DONE, ended.stdout + ended.stderr
