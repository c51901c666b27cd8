"""What luamig refuses, what it says, and how it exits. A refusal changes
nothing."""

import re

import pytest

from harness.project import DONE, FAILED, INVALID, USAGE
from harness.refusals import RENAME, assert_unchanged, table, whole


# -- scripts that are none -------------------------------------------------


def test_a_script_that_is_not_there(table, project):
    project.run(script="scripts/nope.lua").expect(INVALID, "scripts/nope.lua")


def test_a_script_that_is_not_lua(table, project):
    project.script("return {\n  base_query = = 1\n}")
    project.run().expect(INVALID, "scripts/x.lua:2")


def test_a_script_of_bytecode(table, project):
    project.script(b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n" + b"\x00" * 50)
    project.run().expect(INVALID, "scripts/x.lua")


@pytest.mark.parametrize("text", ["", "return 5", "return nil",
                                  "return function() end"])
def test_a_script_that_returns_no_table(table, project, text):
    project.script(text)
    project.run().expect(INVALID, "scripts/x.lua", "table")


def test_a_script_that_fails_while_it_is_loaded(table, project):
    project.script("local x = 1\nerror('not today')")
    project.run().expect(INVALID, "scripts/x.lua:2", "not today")


REFUSED_SCRIPTS = {
    "neither migrate nor run": (
        "return { base_query = 'SELECT id FROM t' }", ["migrate"]),
    "migrate without base_query": (
        "return { migrate = function() end }", ["base_query"]),
    "both forms": (
        "return { base_query = 'SELECT id FROM t', migrate = function() end, "
        "run = function() end }", ["run"]),
    "an unknown field": (
        "return { base_qerry = 'SELECT id FROM t', migrate = function() end }",
        ["base_qerry", "base_query"]),
    "an unknown key of config": (
        whole(config="batchsize = 7"), ["batchsize", "batch_size"]),
    "an unknown key of an argument": (
        "return { args = { n = { typ = 'integer' } }, "
        "run = function() end }", ["typ", "type"]),
    "a function where a text belongs": (
        "return { name = function() end, run = function() end }",
        ["name", "string"]),
    "a text where a function belongs": (
        "return { base_query = 'SELECT id FROM t', migrate = 'x' }",
        ["migrate", "function"]),
    "a text for a number": (
        whole().replace("batch_size = 5", "batch_size = 'x'"),
        ["batch_size", "integer"]),
    "no rows in a batch": (
        whole().replace("batch_size = 5", "batch_size = 0"), ["batch_size"]),
    "half a row in a batch": (
        whole().replace("batch_size = 5", "batch_size = 2.5"),
        ["batch_size"]),
    "a negative pause": (
        whole().replace("throttle_ms = 0", "throttle_ms = -1"),
        ["throttle_ms"]),
    "an unknown isolation": (
        whole(config="isolation = 'snapshot'"),
        ["isolation", "repeatable read"]),
    "an empty key": (whole(config="key = {}"), ["key"]),
    "an unknown type of argument": (
        "return { args = { n = { type = 'int' } }, run = function() end }",
        ["int", "integer"]),
    "a version that is not there yet": (
        "return { requires = 'luamig >= 99.0', run = function() end }",
        ["99.0", "requires"]),
    "a requirement that says nothing": (
        "return { requires = 'newest', run = function() end }",
        ["requires", "newest"]),
    "an accidental global": (
        "helper = 1\nreturn { run = function() end }",
        ["scripts/x.lua:1", "helper"]),
    "a misspelt global": (
        "local x = stirng.rep('x', 2)\nreturn { run = function() end }",
        ["scripts/x.lua:1", "stirng"]),
}


@pytest.mark.parametrize("why", REFUSED_SCRIPTS)
def test_a_script_is_refused_before_anything_connects(project, why):
    text, words = REFUSED_SCRIPTS[why]
    project.script(text)
    result = project.run(url="host=/nonexistent dbname=none")
    result.expect(INVALID, *words).refuse("errors.lua")


def test_os_exit_is_gone(table, project):
    project.script("return { run = function() os.exit(0) end }")
    project.run().expect(FAILED, "scripts/x.lua:1")
    assert table.state() == "failed"


@pytest.mark.parametrize("library", ["os", "require('os')", "package.loaded.os"])
def test_os_setlocale_is_gone(table, project, library):
    project.script("return { run = function() " + library + ".setlocale('C') end }")
    project.run().expect(FAILED, "scripts/x.lua:1")


# -- base queries and keys -------------------------------------------------


REFUSED_QUERIES = {
    "no key": ("SELECT name FROM t", "", ["id"]),
    "another key": ("SELECT id FROM t", "key = 'nubmer'", ["nubmer"]),
    "half of the key": ("SELECT id FROM t", "key = { 'id', 'name' }",
                        ["name"]),
    "an order": ("SELECT id FROM t ORDER BY id", "", ["ORDER BY"]),
    "an order after a comment": ("SELECT id FROM t -- x\nORDER BY 1 ;", "",
                                 ["ORDER BY"]),
    "a limit": ("SELECT id FROM t LIMIT 5", "", ["LIMIT"]),
    "an offset": ("SELECT id FROM t OFFSET 5", "", ["OFFSET"]),
    "a fetch": ("SELECT id FROM t FETCH FIRST 5 ROWS ONLY", "", ["LIMIT"]),
    "a lock": ("SELECT id FROM t FOR UPDATE", "", ["FOR UPDATE"]),
    "the same name twice": ("SELECT id, name, nick AS name FROM t", "",
                            ["name"]),
    "the key twice": ("SELECT id, id FROM t", "", ["id"]),
    "a key that may be null": ("SELECT id, nick FROM t", "key = 'nick'",
                               ["nick", "NULL"]),
    "a key from the far side of a join": (
        "SELECT b.id FROM t a LEFT JOIN t b ON b.id = a.id + 1", "",
        ["id", "NULL"]),
    "two statements": ("SELECT id FROM t; DELETE FROM t", "", []),
    "no query": ("UPDATE t SET name = 'x' RETURNING id", "", ["SELECT"]),
    "a query that writes": (
        "WITH x AS (DELETE FROM t RETURNING id) SELECT id FROM x", "", []),
    "into": ("SELECT id INTO u FROM t", "", ["INTO"]),
    "no sense": ("SELEKT id FROM t", "", ["SELEKT"]),
    "a table that is not there": ("SELECT id FROM missing", "", ["missing"]),
    "nothing": ("", "", ["base_query"]),
}


@pytest.mark.parametrize("why", REFUSED_QUERIES)
def test_a_base_query_is_refused(table, project, why):
    query, config, words = REFUSED_QUERIES[why]
    project.script(whole(query, config=config))
    project.run().expect(INVALID, *words)
    assert_unchanged(table)


TWICE = "two rows of the base query have the same key"


@pytest.mark.parametrize("place,ids", [
    ("within a page", "1, 2, 2, 3, 4, 5, 6"),
    ("across pages", "1, 2, 3, 4, 5, 5, 6"),
    ("at the end", "1, 2, 3, 4, 5, 6, 6"),
])
def test_a_key_that_comes_twice(db, project, place, ids):
    db.execute("CREATE TABLE d (id int NOT NULL, name text)")
    db.execute(f"INSERT INTO d SELECT unnest(ARRAY[{ids}])")
    twice = max(ids.split(", "), key=ids.split(", ").count)
    project.script(whole("SELECT id FROM d",
                         'repo:execute("UPDATE d SET name = \'new\' '
                         'WHERE id <= $1", rows[#rows].id)'))

    project.run().expect(FAILED, TWICE,
                         re.compile(rf"\b{twice}\b"))

    assert db.scalar("SELECT count(*) FROM d WHERE name = 'new' "
                     "AND id >= %s", int(twice)) == 0


@pytest.mark.parametrize("first", [2, 5])
def test_a_key_that_comes_twice_by_the_rules_of_citext(db, project, first):
    """Within a page and across pages of five."""
    db.admin("CREATE EXTENSION citext")
    db.execute("CREATE TABLE d (k citext NOT NULL, nr int)")
    keys = [f"{chr(97 + n)}x" for n in range(8)]
    keys[first] = keys[first - 1].upper()
    db.execute("INSERT INTO d SELECT k, n FROM unnest(%s::text[]) "
               "WITH ORDINALITY u(k, n)", keys)
    project.script(whole("SELECT k, nr FROM d", "", "key = 'k'"))

    project.run().expect(FAILED, TWICE,
                         re.compile(keys[first], re.I))


def test_a_unique_citext_key_is_fine(db, project):
    db.admin("CREATE EXTENSION citext")
    db.execute("CREATE TABLE d (k citext PRIMARY KEY);"
               "INSERT INTO d VALUES ('a'), ('B'), ('c'), ('D'), ('e'), ('F')")
    project.script(whole("SELECT k FROM d", "", "key = 'k'"))
    assert project.run().expect(DONE).rows == 6


def test_a_partial_unique_index_proves_nothing(db, project):
    db.execute("CREATE TABLE d (id int NOT NULL, ok bool);"
               "CREATE UNIQUE INDEX ON d (id) WHERE ok;"
               "INSERT INTO d VALUES (1, true), (1, false), (2, true)")
    project.script(whole("SELECT id FROM d", ""))
    project.run().expect(FAILED, TWICE)


# -- the command line ------------------------------------------------------


WITH_ARGS = """return {
  args = { tenant = { type = "integer", required = true, desc = "whose" },
           factor = { type = "number", default = 1.5 },
           dry = { type = "boolean", default = false } },
  run = function() end,
}"""


@pytest.mark.parametrize("arguments,words", [
    ([], ["tenant"]),
    (["--arg", "tenant=five"], ["tenant", "integer", "five"]),
    (["--arg", "tenant=5.5"], ["tenant", "integer"]),
    (["--arg", "tenant=99999999999999999999"], ["tenant"]),
    (["--arg", "tenant="], ["tenant"]),
    (["--arg", "tenant"], ["tenant", "="]),
    (["--arg", "tenant=5", "--arg", "tennant=5"], ["tennant", "tenant"]),
    (["--arg", "tenant=5", "--arg", "tenant=6"], ["tenant"]),
    (["--arg", "tenant=5", "--arg", "factor=x"], ["factor", "number"]),
    (["--arg", "tenant=5", "--arg", "dry=maybe"], ["dry", "true or false"]),
])
def test_arguments_that_do_not_fit(table, project, arguments, words):
    project.script(WITH_ARGS)
    project.run(*arguments).expect(USAGE, *words).refuse("errors.lua")
    assert not table.has_journal()


@pytest.mark.parametrize("arguments,words", [
    (["run"], ["script", "luamig help run"]),
    (["run", "scripts/x.lua", "scripts/y.lua"], ["scripts/y.lua"]),
    (["run", "scripts/x.lua", "--agian"], ["--agian", "luamig help run"]),
    (["run", "scripts/x.lua", "--batch-size"], ["--batch-size"]),
    (["run", "scripts/x.lua", "--batch-size", "0"], ["--batch-size"]),
    (["run", "scripts/x.lua", "--batch-size", "many"], ["--batch-size"]),
    (["run", "scripts/x.lua", "--limit", "-1"], ["--limit"]),
    (["run", "scripts/x.lua", "--throttle-ms", "1s"], ["--throttle-ms"]),
    (["rnu", "scripts/x.lua"], ["rnu", "run"]),
    (["status", "--jsno"], ["--jsno", "luamig help status"]),
    (["db", "begin"], ["begin"]),
])
def test_a_command_line_that_makes_no_sense(table, project, arguments, words):
    project.script(whole())
    project.luamig(*arguments).expect(USAGE, *words)
    assert_unchanged(table)


def test_without_a_command_the_error_names_help(project):
    project.luamig(url=False).expect(USAGE, "luamig help")


# -- what migrate may not do -----------------------------------------------


FAILING = {
    "an update that matches no row": (
        'repo:update("t", { id = rows[1].id + 100 }, { name = "new" })',
        ["101", "scripts/x.lua:5"]),
    "an update that matches two rows": (
        'repo:update("t", { name = "twin" }, { name = "new" })',
        ["twin", "scripts/x.lua:5"]),
    "a delete that matches no row": (
        'repo:delete("t", { id = -7 })', ["-7", "scripts/x.lua:5"]),
    "no where": ('repo:update_all("t", { name = "new" })',
                 ["scripts/x.lua:5", "luamig.ALL"]),
    "nil for a where": ('repo:update_all("t", { name = "new" }, nil)',
                        ["scripts/x.lua:5", "luamig.ALL"]),
    "an empty table for a where": (
        'repo:delete_all("t", {})', ["scripts/x.lua:5", "luamig.ALL"]),
    "an empty text for a where": (
        'repo:delete_all("t", "")', ["scripts/x.lua:5", "luamig.ALL"]),
    "an empty key": ('repo:update("t", {}, { name = "new" })',
                     ["scripts/x.lua:5"]),
    "nil in the key": ('repo:update("t", { id = nil }, { name = "new" })',
                       ["scripts/x.lua:5"]),
    "no changes": ('repo:update("t", { id = 1 }, {})', ["scripts/x.lua:5"]),
    "BEGIN": ('repo:execute("BEGIN")', ["scripts/x.lua:5", "BEGIN"]),
    "COMMIT": ('repo:execute("COMMIT")', ["scripts/x.lua:5", "COMMIT"]),
    "rollback": ('repo:execute("/* x */ rollback")', ["scripts/x.lua:5"]),
    "a savepoint in SQL": ('repo:execute("SAVEPOINT a")',
                           ["scripts/x.lua:5"]),
    "prepare transaction": ('repo:execute("PREPARE TRANSACTION \'x\'")',
                            ["scripts/x.lua:5"]),
    "a setting of the session": (
        'repo:execute("SET search_path = public")',
        ["scripts/x.lua:5", "must not change the session", "SET LOCAL"]),
    "a transaction's mode": ('repo:execute("SET TRANSACTION READ ONLY")',
                             ["scripts/x.lua:5", "transactions"]),
    "two statements in one": (
        'repo:execute("DELETE FROM t WHERE id = 1; COMMIT")',
        ["scripts/x.lua:5"]),
    "the key changed": ('repo:update("t", { id = 1 }, { id = 100 })',
                        ["scripts/x.lua:5", "id", "key"]),
    "a typo in a column": ('local x = rows[1].nmae',
                           ["scripts/x.lua:5", "nmae"]),
    "a column that the query did not return": ('local x = rows[1].nick',
                                               ["scripts/x.lua:5", "nick"]),
    "a global": ("counter = 1", ["scripts/x.lua:5", "counter"]),
    "an unknown global": ("local x = conter + 1",
                          ["scripts/x.lua:5", "conter"]),
    "error with a table": ("error({})", ["scripts/x.lua:5", "table"]),
    "error with nil": ("error(nil)", ["nil"]),
    "error with a number": ("error(42)", ["42"]),
    "error with a text": ('error("no such luck")',
                          ["scripts/x.lua:5", "no such luck"]),
    "error of Lua": ("local x = nil + 1", ["scripts/x.lua:5", "arithmetic"]),
    "a stack overflow": ("local function f() return 1 + f() end f()",
                         ["stack overflow"]),
    "an unknown table": (
        'repo:update("tt", { id = 1 }, { name = "x" })',
        ["tt", "42P01", "scripts/x.lua:5"]),
    "an unknown column": (
        'repo:update("t", { id = 1 }, { nmae = "x" })',
        ["nmae", "scripts/x.lua:5"]),
    "SQL that is wrong": ('repo:query("SELECT * FORM t")',
                          ["42601", "scripts/x.lua:5", "SELECT * FORM t"]),
    "a duplicate of the database": (
        'repo:insert("t", { id = rows[1].id, name = "new" })',
        ["23505", "t_pkey", "scripts/x.lua:5"]),
    "a database error swallowed": (
        'pcall(repo.query, repo, "SELECT 1/0")', ["22012", "SELECT 1/0"]),
    "a database error swallowed, then more": (
        'pcall(repo.query, repo, "SELECT 1/0") repo:query("SELECT 1")',
        ["22012", "scripts/x.lua:5"]),
    "a float for an integer": (
        'repo:insert("t", { id = 100.5, name = "new" })', ["scripts/x.lua:5"]),
    "a text with a NUL byte": (
        'repo:update("t", { id = 1 }, { name = "a\\0b" })',
        ["scripts/x.lua:5", "name"]),
    "a text that is not UTF-8": (
        'repo:update("t", { id = 1 }, { name = "a\\xff" })',
        ["scripts/x.lua:5", "UTF-8"]),
    "a function for a value": (
        'repo:update("t", { id = 1 }, { name = print })',
        ["scripts/x.lua:5", "function", "name"]),
    "two rows for one": ('repo:one("SELECT id FROM t")',
                         ["scripts/x.lua:5", "row"]),
    "too few parameters": ('repo:query("SELECT $1::int + $2::int", 1)',
                           ["scripts/x.lua:5"]),
    "too many parameters": ('repo:query("SELECT $1::int", 1, 2)',
                            ["scripts/x.lua:5"]),
    "a dot for a colon": ('repo.query("SELECT 1")', ["scripts/x.lua:5"]),
}


@pytest.mark.parametrize("what", FAILING)
def test_a_batch_fails_and_changes_nothing(table, project, what):
    migrate, words = FAILING[what]
    table.execute("INSERT INTO t VALUES (101 + 1, 'twin'), (101 + 2, 'twin')")
    first = 'repo:execute("UPDATE t SET name = name || $1 WHERE id < 9", "!")'
    project.script(whole(migrate=f"{first} {migrate}"))

    project.run().expect(FAILED, *words)

    assert_unchanged(table)
    assert table.state() == "failed"
    assert project.status()[0]["error"]


def test_a_failed_run_resumes_where_it_failed(table, project):
    project.script(whole(migrate=RENAME + "\n    if rows[1].id > 10 then "
                         'error("not these") end'))
    project.run().expect(FAILED, "not these")
    assert table.progress() == 10

    project.script(whole())
    project.run().expect(DONE)

    assert table.scalar("SELECT count(*) FROM t WHERE name = 'new'") == 20


def test_an_error_points_into_the_script_and_the_library_it_called(
        table, project):
    project.write("scripts/lib/helper.lua",
                  "local M = {}\nfunction M.go(row)\n  return row.id .. {}\n"
                  "end\nreturn M\n")
    project.script('local helper = require "helper"\n'
                   + whole(migrate="helper.go(rows[1])"))
    project.run().expect(FAILED, "helper.lua:3", "scripts/x.lua:6")


def test_a_repo_kept_past_its_batch(table, project):
    project.script("local kept\n" + whole(
        migrate='if kept then kept:query("SELECT 1") end kept = repo'))
    project.run().expect(FAILED, "scripts/x.lua:6")
    assert table.progress() == 5
