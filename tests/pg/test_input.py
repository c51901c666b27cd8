"""Scripts that read a file: luamig run --input."""

import gzip
import hashlib
import json
import os
import random
import re
import signal
import threading
import time

import pytest

from harness import inputs, postgres
from harness.cluster import Database
from harness.inputs import csv_of, make_out, rows_of, script, tables_of
from harness.project import (BUSY, CANCELLED, DONE, FAILED, FAILURES, INVALID,
                             STOPPED, USAGE, Project)
from harness.wait import wait_until


@pytest.fixture(autouse=True)
def out(db):
    make_out(db)


@pytest.mark.versions
def test_a_file_is_read_once_with_the_lines_of_its_records(db, project):
    script(project)
    project.write("users.csv", "\ufeffemail,id\r\n"
                  "\"a,\"\"b\"\"\r\nc\",1\r\n\r\n,2\r\n\"\",3\r\n\\.,4\r\n")
    result = project.run("--input", "users.csv")
    result.expect(DONE, "users.csv is loaded: 4 records", "run 1 done: 4 rows")
    assert rows_of(db) == [(2, 1, 'a,"b"\r\nc'), (5, 2, None), (6, 3, ""),
                           (7, 4, "\\.")]
    assert tables_of(db) == []

    # The same content is the same run, whatever the file is called.
    project.write("again.csv", open(os.path.join(project.path, "users.csv"),
                                    "rb").read())
    project.run("--input", "again.csv").expect(DONE, "done already")
    project.run().expect(USAGE, "scripts/x.lua reads a file, and none is given",
                         "--input FILE")
    project.write("more.csv", "id,email\n5,e\n")
    project.run("--input", "more.csv").expect(DONE, "run 2 done: 1 row")
    assert rows_of(db)[0] == (2, 1, 'a,"b"\r\nc')
    assert len(rows_of(db)) == 5

    shown = project.status()
    assert [run["args"] for run in shown] == [{"--input": "more.csv"},
                                              {"--input": "users.csv"}]
    digest = hashlib.sha256(b"id,email\n5,e\n").hexdigest()
    assert shown[0]["given"] == {"--input": digest}
    assert db.rows("SELECT name, sha256, bytes, rows FROM luamig.input"
                   " WHERE run_id = 2") == [("more.csv", digest, 13, 1)]


WRONG = [
    ("id,email\n1,a\n\"2\",\"b\n\nb\"\nx,c\n",
     'u.csv, line 6, column "id": invalid input syntax for type bigint: "x"'),
    ("id,email\n1,a\n2,way too long\n",
     'u.csv, line 3, column "email": value too long for type character'
     " varying(5)"),
    ("id,email\n1\n", "u.csv, line 2: the record has 1 field"),
    ("id,mail\n1,a\n", 'u.csv, line 1: input.columns has no column "mail"'),
    ("id;email\n1;a\n", 'set input.delimiter = ";"'),
    ("id\temail\n1\ta\n", 'set input.delimiter = "\\t"'),
    ("id,email\n1,a\n".encode("utf-16"), 'UTF-16: set input.encoding = "UTF-16"'),
    (gzip.compress(b"id,email\n" * 9), "gunzip -c FILE | luamig run"),
    ("id,email\n1,\"a\n2,b\n", "u.csv, line 2"),
]


@pytest.mark.versions
def test_a_file_that_is_wrong_is_not_loaded(db, project):
    script(project, 'format = "csv", columns = { id = "bigint",'
           ' email = "varchar(5)" }', more="on_start = function(repo) "
           "repo:insert('out', { line = 0 }) end,")
    for text, shown in WRONG:
        project.write("u.csv", text)
        result = project.run("--input", "u.csv").expect(
            FAILED, shown, "Nothing of the file is loaded")
        result.refuse("the same command resumes it")
    assert rows_of(db) == [] and tables_of(db) == []
    assert {run["state"] for run in project.status()} == {"cancelled"}

    # The same file again fails again; once it fits, it is run.
    project.run("--input", "u.csv").expect(FAILED, "a quote is opened")
    project.write("u.csv", WRONG[1][0])
    script(project)
    project.run("--input", "u.csv").expect(DONE, "done: 2 rows")
    assert rows_of(db) == [(2, 1, "a"), (3, 2, "way too long")]


def test_a_constraint_of_a_domain_names_the_line(db, project):
    db.execute("CREATE DOMAIN whole AS bigint CHECK (VALUE > 1)")
    script(project, 'format = "csv", columns = { id = "whole", email = "text" }')
    project.write("u.csv", "id,email\n2,a\n\n1,b\n")
    project.run("--input", "u.csv").expect(
        FAILED, re.compile('u.csv, line 4.*violates check constraint'))


def test_a_run_that_is_cancelled_or_restarted_loses_its_table(db, project):
    script(project)
    project.write("a.csv", csv_of(5)[0])
    project.run("--input", "a.csv", "--limit", "2").expect(STOPPED)
    project.luamig("cancel", "1").expect(DONE)
    assert tables_of(db) == []
    project.run("--input", "a.csv").expect(CANCELLED)
    project.run("--restart").expect(USAGE, "none is given")
    project.run("--restart", "--input", "a.csv", "--limit", "2").expect(STOPPED)
    project.run("--restart", "--input", "a.csv", "--limit", "2").expect(STOPPED)
    assert tables_of(db) == ["input_3"]
    project.run("--restart", "--input", "a.csv").expect(DONE, "run 4 done")
    assert tables_of(db) == []
    assert db.scalar("SELECT count(*) FROM out") == 11


@pytest.mark.versions
def test_failed_rows_are_known_by_their_line_and_tried_again(db, project):
    db.execute("ALTER TABLE out ADD CONSTRAINT odd CHECK (id <> 3)")
    script(project, config='on_error = "quarantine"')
    project.write("u.csv", csv_of(5)[0])
    project.run("--input", "u.csv").expect(FAILURES, "failed rows: 1")
    assert tables_of(db) == ["input_1"]
    project.luamig("failures", "1").expect(FAILURES, "(line) = (4)")
    os.remove(os.path.join(project.path, "u.csv"))
    project.luamig("failures", "1", "--retry").expect(FAILURES, "1 failed row")
    assert tables_of(db) == ["input_1"]
    db.execute("ALTER TABLE luamig.input_1 RENAME TO kept")
    project.luamig("failures", "1", "--retry").expect(
        FAILED, "which has u.csv, is gone", '"luamig run" with --restart and --input'
        " loads the file again for a new run. That also migrates the rows which run"
        " 1 has done.")
    db.execute("ALTER TABLE luamig.kept RENAME TO input_1")
    db.execute("ALTER TABLE out DROP CONSTRAINT odd")
    project.luamig("failures", "1", "--retry").expect(DONE, "1 row migrated")
    assert rows_of(db) == csv_of(5)[1]
    assert tables_of(db) == []


def test_a_pipe_is_read_to_its_end(db, project):
    script(project, inputs.JSONL)
    text = '{"id": 1, "email": "a"}\n{"email": "b"}\n'
    project.run("--input", "-", stdin=text).expect(
        DONE, "standard input is loaded: 2 records")
    pipe = os.path.join(project.path, "pipe")
    os.mkfifo(pipe)
    runner = project.start_run("--input", "pipe")

    def feed():
        with open(pipe, "w", encoding="utf-8") as stream:
            stream.write(text + '{"id": 3}')
    feeder = threading.Thread(target=feed)
    feeder.start()
    runner.wait().expect(DONE, "pipe is loaded: 3 records")
    feeder.join()
    assert len(rows_of(db)) == 5
    project.run("--input", "none.csv").expect(
        USAGE, "cannot read none.csv: No such file")
    project.run("--input", ".").expect(USAGE, "it is a folder")


def freeze_while_loading(project, *options):
    runner = project.start_run(*options, fault="input_block:2=stop")
    runner.wait_frozen()
    return runner


def test_loading_is_a_state_and_a_load_that_is_killed_begins_anew(db, project):
    script(project, batch=1000)
    text, rows = csv_of(3000, 300)
    project.write("u.csv", text)
    runner = freeze_while_loading(project, "--input", "u.csv")
    assert project.status()[0]["state"] == "loading"
    assert tables_of(db) == []
    assert runner.kill()
    wait_until(lambda: not db.runners(), "the session to end")
    assert project.status()[0]["live"] is False
    project.luamig("status").expect(DONE, "interrupted")
    project.run().expect(USAGE, "run 1 has not loaded u.csv yet",
                         "Give the file once more")
    project.run("--input", "u.csv").expect(DONE, "run 1 done: 3,000 rows")
    assert rows_of(db) == rows


@pytest.mark.parametrize("how", ["signal", "pause", "cancel"])
def test_a_load_ends_at_once_when_it_is_asked_to(db, project, how):
    script(project)
    project.write("u.csv", csv_of(20000, 300)[0])
    runner = freeze_while_loading(project, "--input", "u.csv")
    if how == "signal":
        runner.signal(signal.SIGINT)
    else:
        command = project.start(how, "1")
        wait_until(lambda: db.scalar("SELECT count(*) FROM luamig.request"),
                   "the request")
    runner.thaw()
    if how == "pause":
        command.wait().expect(DONE, "run 1 is paused")
        runner.signal(signal.SIGINT)
    result = runner.wait()
    assert result.code == {"cancel": CANCELLED}.get(how, STOPPED), result
    assert tables_of(db) == [] and rows_of(db) == []


def write_at(path, place, text):
    with open(path, "r+", encoding="utf-8") as file:
        file.seek(place)
        file.write(text)


def test_a_file_that_changes_while_it_is_read_is_not_loaded(db, project):
    script(project)
    path = os.path.join(project.path, project.write("u.csv", csv_of(3000, 300)[0]))
    for change in (lambda: os.truncate(path, 700_000),
                   lambda: open(path, "a", encoding="utf-8").write("1,a\n"),
                   lambda: write_at(path, 800_000, "7")):
        runner = freeze_while_loading(project, "--input", "u.csv")
        change()
        runner.thaw()
        runner.wait().expect(FAILED, "u.csv: the file has changed while luamig"
                             " read it", "Nothing of the file is loaded",
                             "is cancelled: its file is not loaded")
        project.write("u.csv", csv_of(3000, 300)[0])
    assert tables_of(db) == [] and rows_of(db) == []


def test_a_dry_run_and_a_check_leave_nothing(db, project):
    script(project)
    project.write("u.csv", csv_of(5)[0])
    project.write("bad.csv", "id,email\n1,a\nx,b\n")
    project.run("--dry-run").expect(USAGE, "none is given")
    project.run("--dry-run", "--input", "u.csv").expect(DONE, '"u1@x"')
    project.run("--dry-run", "--input", "bad.csv").expect(
        FAILED, 'bad.csv, line 3, column "id"')
    project.luamig("check", "scripts/x.lua").expect(
        DONE, "the script reads a file, and none is given")
    project.luamig("check", "scripts/x.lua", "--input", "u.csv").expect(
        DONE, "u.csv: 5 records", "(line bigint) is NOT NULL and unique")
    project.luamig("check", "scripts/x.lua", "--input", "bad.csv").expect(
        INVALID, 'bad.csv, line 3, column "id"')
    assert not db.has_journal() and rows_of(db) == []


def test_a_base_query_of_its_own_joins_the_file(db, project):
    db.execute("CREATE TABLE users (id bigint PRIMARY KEY, email text UNIQUE);"
               "INSERT INTO users SELECT n, 'u' || n || '@x'"
               " FROM generate_series(100, 200, 2) n")
    script(project, 'format = "csv", columns = { email = "text" }',
           config='on_error = "quarantine"', more="""
        base_query = function(args, input)
          return "SELECT i.line, u.id, i.email FROM " .. input
            .. " i JOIN users u USING (email) WHERE i.line > $1", 3
        end,""")
    project.write("u.csv", "email\nu100@x\nu101@x\nu102@x\nu104@x\n")
    project.run("--input", "u.csv", "--limit", "1").expect(STOPPED)
    project.run("--workers", "2").expect(DONE, "done: 2 rows")
    assert rows_of(db) == [(4, 102, "u102@x"), (5, 104, "u104@x")]


def test_on_start_may_make_a_table_that_the_file_is_joined_with(db, project):
    script(project, config="allow_ddl = true", more="""
        base_query = function(args, input)
          return "SELECT line, id, email FROM " .. input .. " JOIN made USING (id)"
        end,
        on_start = function(repo)
          repo:execute("CREATE TABLE made AS SELECT generate_series(2, 3)::int8 AS id")
        end,""")
    project.write("u.csv", csv_of(4)[0])
    project.run("--input", "u.csv", "--limit", "1").expect(STOPPED)
    project.run().expect(DONE, "done: 2 rows")
    assert rows_of(db) == csv_of(4)[1][1:3]


@pytest.mark.parametrize("type_name, shown", [
    ("bigserial", 'column "email" cannot be of type bigserial'),
    ("nosuch", 'type "nosuch" does not exist'),
    ("own", 'column "email" cannot be of type public.own'),
    ("own[]", 'column "email" cannot be of type public.own[]'),
    ("record", 'column "email" cannot be of type record'),
    ("nosuch.own", 'column "email" cannot be of type nosuch.own: schema'),
    ("numeric(2", "syntax error"), ("text; DROP", "must be a type"),
    ("point", None), ("numeric(4,1)", None), ("colour", None),
])
def test_types_are_those_of_the_server(db, project, type_name, shown):
    db.execute("CREATE TYPE own AS (a int); CREATE TYPE colour AS ENUM ('(1,2)')")
    script(project, 'format = "csv", columns = { id = "bigint",'
           f' email = "{type_name}" }}', body='repo:insert("out", { id = row.id })')
    project.write("u.csv", 'id,email\n1,\n2,"(1,2)"\n'
                  if type_name in ("point", "colour") else "id,email\n1,\n")
    check = project.luamig("check", "scripts/x.lua", "--input", "u.csv")
    result = project.run("--input", "u.csv")
    if shown:
        check.expect(INVALID, shown)
        result.expect(INVALID, shown)
        assert not db.has_journal()
    else:
        check.expect(DONE)
        result.expect(DONE)


JSON_VALUES = {
    "n": ("numeric", ["123456789012345678901234567890.5", "1e400", "-0", "1.50"]),
    "f": ("float8", ["-0", "1e-320", "0.1"]),
    "j": ("jsonb", ['{"a": [1, {"b": null}], "é": "\\ud83d\\ude00"}', "[]", '"x"',
                    "1e400", "true"]),
    "r": ("json", ['{"a":1,"a":2}', "[1,  2]"]),
    "t": ("text", ['"a\\tb\\n\\\\\\"\\u00e9"', "17", "true", '""']),
    "a": ("text[]", ['["x", null, "a,\\"b"]', "[]", '[["1"],["2"]]']),
    "b": ("boolean", ["true", "false"]),
    "y": ("bytea", ['"\\\\x00ff"']),
    "d": ("timestamptz", ['"2024-02-30T00:00:00Z"', '"2024-02-29T00:00:00+01:00"']),
}


def test_values_of_json_are_those_that_the_server_reads(db, project):
    """Each by itself, as the server casts the text of the value."""
    columns = ", ".join(f'{name} = "{kind}"' for name, (kind, _)
                        in JSON_VALUES.items())
    db.execute("DROP TABLE out; CREATE TABLE out (line bigint, "
               + ", ".join(f"{name} {kind}" for name, (kind, _)
                           in JSON_VALUES.items()) + ")")
    names = list(JSON_VALUES)
    script(project, f'format = "jsonl", columns = {{ {columns} }}', batch=100,
           body='repo:insert("out", { line = row.line, ' + ", ".join(
               f"{name} = row.{name}" for name in names if name != "r") + " })")
    wanted, lines = [], []
    for name, (kind, values) in JSON_VALUES.items():
        for value in values:
            if "02-30" in value or name == "r":
                continue
            lines.append(f'{{"{name}": {value}}}')
            plain = json.loads(value) if value[0] == '"' and kind != "jsonb" \
                else value
            if kind == "text[]":
                plain = db.scalar("SELECT CASE WHEN jsonb_typeof(x -> 0) = 'array'"
                                  " THEN '{{1},{2}}' ELSE (SELECT coalesce("
                                  "array_agg(e), '{}') FROM"
                                  " jsonb_array_elements_text(x) e)::text END"
                                  " FROM (SELECT %s::jsonb x) s", value)
            wanted.append((name, db.scalar(f"SELECT (%s::{kind})::text", plain)))
    project.write("u.jsonl", "\n".join(lines) + "\n")
    project.run("--input", "u.jsonl").expect(DONE)
    found = []
    for line, (name, _) in enumerate(wanted, 1):
        found.append((name, db.scalar(
            f"SELECT {name}::text FROM out WHERE line = %s", line)))
    assert found == wanted
    project.write("u.jsonl", '{"n": 1}\n{"d": "2024-02-30T00:00:00Z"}\n')
    project.run("--input", "u.jsonl").expect(
        FAILED, 'u.jsonl, line 2, column "d": date/time field value out of range')


def written_as_csv(dice, texts, null):
    """With quotes where they must be, and sometimes where they may be."""
    lines, line, found = ["id,email\r\n"], 2, []
    for number, text in enumerate(texts):
        field = null if text is None else '"' + text.replace('"', '""') + '"'
        if text and text != null and not re.search('[",\r\n]', text) \
                and dice.random() < .5:
            field = text
        end = dice.choice(["\n", "\r\n", "\r"])
        lines.append(f"{number},{field}{end}")
        found.append((line, number, text))
        line += 1 + len(re.findall("\r\n|\n|\r", text or ""))
        if dice.random() < .1:
            lines.append(end)
            line += 1
    return "".join(lines), found


def written_as_json(dice, texts, null):
    lines = [json.dumps({"id": n, "email": text}, ensure_ascii=dice.random() < .5)
             for n, text in enumerate(texts)]
    return "\n".join(lines), [(n + 1, n, t) for n, t in enumerate(texts)]


@pytest.mark.parametrize("kind, null", [("csv", ""), ("csv", "N"), ("jsonl", "")])
def test_any_text_is_read_as_it_was_written(db, project, record_property, kind, null):
    seed = int(os.environ.get("LUAMIG_TEST_SEED") or time.time())
    record_property("seed", seed)
    print(f"LUAMIG_TEST_SEED={seed}")
    dice = random.Random(seed)
    letters = 'aN,;"\\\n\r\t .é日\U0001f600\x01\x7f{}'
    texts = [None if dice.random() < .1 else "".join(
        dice.choice(letters) for _ in range(dice.choice([0, 1, 2, 5, 40])))
        for _ in range(1500)]
    write = written_as_csv if kind == "csv" else written_as_json
    text, wanted = write(dice, texts, null)
    script(project, (inputs.CSV if kind == "csv" else inputs.JSONL)
           + (f', null = "{null}"' if null else ""), batch=1000)
    project.write("u.file", text)
    project.run("--input", "u.file").expect(DONE)
    assert rows_of(db) == wanted


def test_other_encodings(db, project):
    script(project, inputs.CSV + ', encoding = "WIN1252"')
    project.write("u.csv", "id,email\n1,é€\n".encode("cp1252"))
    project.run("--input", "u.csv").expect(DONE)
    assert rows_of(db) == [(2, 1, "é€")]
    script(project)
    project.run("--input", "u.csv", "--again").expect(
        FAILED, 'u.csv, line 2, column "email": invalid byte sequence')


def test_a_character_that_the_database_lacks_has_its_line(cluster, tmp_path):
    cluster.execute("CREATE DATABASE enc_input OWNER app TEMPLATE template0"
                    " ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    latin = Database(cluster, "enc_input")
    folder = Project(tmp_path / "latin", latin.url)
    try:
        make_out(latin)
        script(folder)
        folder.write("ü.csv", "id,email\n1,é\n2,€\n")
        folder.run("--input", "ü.csv").expect(
            FAILED, "ü.csv, line 3", 'has no equivalent in encoding "LATIN1"')
        folder.write("日.csv", "id,email\n1,é\n")
        folder.run("--input", "日.csv").expect(DONE)
        assert rows_of(latin) == [(2, 1, "é")]
    finally:
        folder.close()
        latin.drop()


def test_a_load_may_take_longer_than_any_limit(db, project):
    """Those of the role, of the script, and the lease."""
    db.execute("CREATE DOMAIN slow AS text CHECK (pg_sleep(0.05) IS NOT NULL)")
    db.admin(f'ALTER DATABASE "{db.name}" SET statement_timeout = 700;'
             f'ALTER DATABASE "{db.name}" SET idle_in_transaction_session_timeout = 700')
    script(project, 'format = "csv", columns = { id = "bigint", email = "slow" }',
           config="statement_timeout_ms = 500", batch=100)
    text, rows = csv_of(100)
    project.write("u.csv", text)
    env = {"LUAMIG_LEASE_MS": "400"}
    first = project.start_run("--input", "u.csv", env=env)
    wait_until(lambda: "loading u.csv" in first.stderr(), "the load")
    wait_until(lambda: db.rows("SELECT 1 FROM luamig.worker WHERE kept_until >"
                               " clock_timestamp()"), "the lease to be kept")
    project.run("--input", "u.csv", env=env).expect(BUSY, "already running")
    first.wait().expect(DONE)
    assert rows_of(db) == rows

    # It is interrupted where it is.
    project.write("u.csv", text + "7,\n")
    second = project.start_run("--input", "u.csv", env=env)
    wait_until(lambda: "loading u.csv" in second.stderr(), "the load")
    project.luamig("cancel", "2", "--now").expect(DONE)
    second.wait().expect(CANCELLED)
    assert tables_of(db) == [] and len(rows_of(db)) == 100


def test_records_of_several_lines_are_read_in_files_of_any_size(db, project):
    """The load ends no COPY, and no block, in the middle of a record."""
    script(project)
    long = "\\" * (1 << 19)  # COPY takes two bytes for each
    project.write("u.csv", "email,id\n" + "".join(
        f'{long},"\n{n}\n"\n' for n in range(18)))
    project.luamig("check", "scripts/x.lua", "--input", "u.csv").expect(
        DONE, "u.csv: 18 records")


def test_a_run_begins_after_the_line_that_it_is_told(db, project):
    script(project, config="start_after = 3")
    project.write("u.csv", csv_of(4)[0])
    project.run("--input", "u.csv").expect(DONE, "done: 2 rows")
    assert rows_of(db) == csv_of(4)[1][2:]


def test_each_repo_gets_the_same_file(db, db_of, project):
    other = db_of(postgres.major())
    make_out(other)
    project.write("luamig.lua", f"""return {{ repos = {{
        default = "{db.url}", other = "{other.url}" }} }}""")
    script(project)
    project.luamig("run", "scripts/x.lua", "--all-repos", "--input", "-",
                   url=False, stdin=csv_of(3)[0]).expect(DONE)
    assert rows_of(db) == rows_of(other) == csv_of(3)[1]


@pytest.mark.versions
def test_several_workers_share_a_file(db, project):
    script(project, batch=50)
    text, rows = csv_of(3000)
    project.write("u.csv", text)
    project.run("--input", "u.csv", "--workers", "2").expect(DONE)
    assert rows_of(db) == rows
    assert tables_of(db) == []


def test_a_process_joins_while_the_file_is_loaded(db, project):
    script(project, batch=50, config="throttle_ms = 1")
    text, rows = csv_of(3000, 300)
    project.write("u.csv", text)
    leader = freeze_while_loading(project, "--input", "u.csv")
    helper = project.start_run("--join")
    wait_until(lambda: "joining run 1" in helper.stderr(), "the helper")
    leader.thaw()
    leader.wait().expect(DONE)
    helper.wait().expect(DONE)
    assert rows_of(db) == rows


def test_input_is_for_scripts_that_read_a_file(db, project):
    project.script('return { base_query = "SELECT line AS id FROM out",'
                   " migrate = function() end }")
    project.write("u.csv", "id\n")
    project.run("--input", "u.csv").expect(USAGE, "reads no file")
    project.run("--input", "u.csv", "--input", "u.csv").expect(
        USAGE, "--input is given twice")
    project.luamig("check", "scripts/x.lua", "--input", "u.csv").expect(
        USAGE, "reads no file")


@pytest.mark.skipif("LUAMIG_TEST_HUGE" not in os.environ,
                    reason="a million lines; set LUAMIG_TEST_HUGE")
def test_a_million_lines_take_no_memory(db, project):
    script(project, batch=10000,
           body='repo:insert("out", { line = row.line, id = row.id })')
    with open(os.path.join(project.path, "u.csv"), "w", encoding="utf-8") as file:
        file.write("id,email\n")
        for n in range(1_000_000):
            file.write(f"{n},\"{'x' * (n % 200)}\n\"\n")
    runner = project.start_run("--input", "u.csv")
    peak = 0
    while runner.alive:
        try:
            with open(f"/proc/{runner.pid}/status", encoding="ascii") as status:
                found = re.search(r"VmHWM:\s+(\d+)", status.read())
                peak = max(peak, int(found[1]) if found else 0)
        except (FileNotFoundError, ProcessLookupError):
            break
        if db.scalar("SELECT count(*) FROM pg_class WHERE relname = 'input_1'"):
            break
    assert 0 < peak < 100_000, peak
    runner.wait(600).expect(DONE, "1,000,000 records")
    assert db.rows("SELECT count(*), min(line), max(line) FROM out") == [
        (1_000_000, 2, 2_000_000)]
