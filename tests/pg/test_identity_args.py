"""A run is known by the arguments that were given; a default that nobody set
is not one of them."""

import pytest

from harness import old_journal
from harness.project import DONE, INVALID, STOPPED, USAGE

SCRIPT = """
return {{ args = {{ {args} }}, config = {{ batch_size = 10, throttle_ms = 0 }},
  base_query = "SELECT id FROM heat",
  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      repo:execute("UPDATE heat SET n = n + 10, seen = seen || $2 "
        .. "WHERE id = $1", row.id, {seen})
    end
  end,
}}
"""
NUMBER = 'n = { type = "integer", default = %d }'


def script(args="", seen='""'):
    return SCRIPT.format(args=args, seen=seen)


@pytest.fixture
def heat(db):
    db.execute("""
        CREATE TABLE heat (id int PRIMARY KEY, n int NOT NULL DEFAULT 0,
                           seen text NOT NULL DEFAULT '');
        INSERT INTO heat SELECT generate_series(1, 40)""")
    return db


def sums(db):
    return db.column("SELECT DISTINCT n FROM heat ORDER BY n")


def stop(project, *words):
    project.run(*words, "--limit", 10).expect(STOPPED, "run 1")


# -- edits between stop and resume ------------------------------------------------


@pytest.mark.parametrize("added", [
    'dry = { type = "boolean", default = false }',
    'label = { type = "string" }',
    'n = { type = "number", default = 2.50 }'])
def test_an_optional_argument_was_added(heat, project, added):
    project.script(script())
    stop(project)
    project.script(script(added))
    project.run().expect(DONE, "resuming run 1", "40 rows")
    project.run().expect(DONE, "run 1 is done already")
    assert sums(heat) == [10]


def test_an_argument_was_added_beside_one_that_was_given(heat, project):
    tenant = 'tenant = { type = "integer", required = true }'
    project.script(script(tenant))
    stop(project, "--arg", "tenant=5")
    project.script(script(tenant + ', dry = { type = "boolean", '
                                   'default = false }'))
    project.run("--arg", "tenant=5", "--limit", 10).expect(
        STOPPED, "resuming run 1")
    project.run("--arg", "dry=false", "--arg", "tenant=005").expect(
        DONE, "resuming run 1")
    assert sums(heat) == [10]


@pytest.mark.parametrize("declared, one, other", [
    (NUMBER % 5, "n=5", "n=+05"),
    ('n = { type = "number" }', "n=1", "n=1.0"),
    ('n = { type = "number" }', "n=1e3", "n=1000"),
    ('b = { type = "boolean", default = true }', "b=true", "b=true")])
def test_one_value_is_one_run_however_it_is_written(
        heat, project, declared, one, other):
    project.script(script(declared))
    stop(project, "--arg", one)
    project.run("--arg", other).expect(DONE, "resuming run 1")
    assert sums(heat) == [10]


def test_a_default_that_is_given_is_the_same_run(heat, project):
    project.script(script(NUMBER % 5))
    stop(project)
    project.run("--arg", "n=5", "--limit", 10).expect(STOPPED, "resuming run 1")
    project.run().expect(DONE, "resuming run 1")
    project.run("--arg", "n=5").expect(DONE, "run 1 is done already")
    project.run().expect(DONE, "run 1 is done already")
    assert sums(heat) == [10]


def test_a_default_was_changed(heat, project):
    project.script(script(NUMBER % 5, "tostring(run.args.n)"))
    stop(project)
    project.script(script(NUMBER % 7, "tostring(run.args.n)"))
    project.run().expect(INVALID, 'argument "n" was 5 in run 1',
                         "its default is 7 now", "--arg n=5", "--restart")
    assert sums(heat) == [0, 10]
    project.run("--arg", "n=5").expect(DONE, "resuming run 1", "40 rows")
    assert heat.column("SELECT DISTINCT seen FROM heat") == ["5"]
    project.run().expect(INVALID, 'argument "n" was 5 in run 1, which is done',
                         "--again")
    project.run("--arg", "n=5").expect(DONE, "run 1 is done already")
    project.run("--again").expect(DONE, "run 2 done: 40 rows")
    assert heat.column("SELECT DISTINCT seen FROM heat") == ["57"]
    project.run().expect(DONE, "run 2 is done already")


def test_a_default_was_changed_and_the_run_is_begun_anew(heat, project):
    project.script(script(NUMBER % 5, "tostring(run.args.n)"))
    stop(project)
    project.script(script(NUMBER % 7, "tostring(run.args.n)"))
    project.run("--restart").expect(DONE, "run 1 is abandoned", "run 2 done")
    assert heat.column("SELECT DISTINCT seen FROM heat ORDER BY 1") == [
        "57", "7"]


def test_an_argument_with_a_default_was_removed(heat, project):
    project.script(script(NUMBER % 5))
    stop(project)
    project.script(script())
    project.run().expect(DONE, "resuming run 1", "the script has changed")
    assert sums(heat) == [10]


GIVEN = 'tenant = { type = "integer", required = true }'


@pytest.mark.parametrize("after, words, why", [
    ("", (), 'was begun with argument "tenant" = 5, which the script does not '
             'declare any more'),
    ('customer = { type = "integer" }', ("--arg", "customer=5"),
     'argument "tenant" = 5, which the script does not declare any more'),
    ('tenant = { type = "boolean" }', ("--arg", "tenant=true"),
     'argument "tenant" = 5, which the script declares with another type'),
    ('tenant = { type = "string" }', ("--arg", "tenant=five"),
     'argument "tenant" = 5, which the script declares with another type'),
    (GIVEN + ', region = { type = "string", required = true }',
     ("--arg", "tenant=5", "--arg", "region=eu"),
     'was begun without argument "region", which is required now')])
def test_a_run_that_cannot_be_asked_for_any_more_is_named(
        heat, project, after, words, why):
    project.script(script(GIVEN))
    stop(project, "--arg", "tenant=5")
    project.script(script(after))
    project.run(*words).expect(INVALID, "run 1 of scripts/x.lua is unfinished",
                               why, "--adopt 1", "--again")
    assert sums(heat) == [0, 10]
    project.run(*words, "--adopt", 1, "--limit", 10).expect(
        STOPPED, "resuming run 1")
    project.run(*words).expect(DONE, "resuming run 1")
    assert sums(heat) == [10]


def test_another_run_may_be_begun_all_the_same(heat, project):
    project.script(script(GIVEN))
    stop(project, "--arg", "tenant=5")
    project.script(script())
    project.run("--again").expect(DONE, "run 2 done: 40 rows")
    project.run().expect(DONE, "run 2 is done already")
    assert sums(heat) == [10, 20]


def test_a_type_was_changed_and_the_text_is_the_same(heat, project):
    project.script(script(GIVEN))
    stop(project, "--arg", "tenant=5")
    project.script(script('tenant = { type = "string", required = true }'))
    project.run("--arg", "tenant=5").expect(
        DONE, "resuming run 1", "the script has changed")
    assert sums(heat) == [10]


def test_a_value_that_no_longer_fits_its_type_is_refused(heat, project):
    project.script(script('n = { type = "number" }'))
    stop(project, "--arg", "n=1.5")
    project.script(script('n = { type = "integer" }'))
    project.run("--arg", "n=1.5").expect(USAGE, 'argument "n" must be an integer')
    assert sums(heat) == [0, 10]


def test_an_unfinished_run_with_other_arguments_is_named_first(heat, project):
    project.script(script(GIVEN))
    stop(project, "--arg", "tenant=5")
    result = project.run("--arg", "tenant=6").expect(
        DONE, 'run 1 of scripts/x.lua {"tenant": 5}, with other arguments, is '
              "unfinished (stopped)", "run 2 done: 40 rows")
    assert result.err.index("run 1 of") < result.err.index("run 2 of")
    project.run("--arg", "tenant=5").expect(DONE, "resuming run 1").refuse(
        "is unfinished")
    project.run("--arg", "tenant=7").expect(DONE).refuse("is unfinished")


# -- runs of luamig 0.1, which did not know what was given --------------------------


@pytest.fixture
def old(heat, project):
    old_journal.install(project, heat)

    def add(source, **more):
        project.script(source)
        more = {"cursor": ["10"], "bound": ["40"], "rows": 10, "batches": 1,
                **more}
        heat.execute("UPDATE heat SET n = 10 WHERE id <= 10")
        return old_journal.add_run(heat, "scripts/x.lua", source, **more)
    return add


def test_an_old_run_goes_on_with_the_same_command(old, heat, project):
    old(script(NUMBER % 5), args={"n": 5})
    project.run("--limit", 10).expect(STOPPED, "resuming run 1", "10 rows")
    project.run("--arg", "n=5").expect(DONE, "resuming run 1")
    assert sums(heat) == [10]
    assert heat.scalar("SELECT max(version) FROM luamig.version") > 3


def test_an_old_run_goes_on_with_an_argument_more(old, heat, project):
    old(script(GIVEN), args={"tenant": 5})
    project.script(script(GIVEN + ", " + NUMBER % 5))
    project.run("--arg", "tenant=5").expect(DONE, "resuming run 1")
    assert sums(heat) == [10]


def test_a_default_that_changed_since_an_old_run_is_named(old, heat, project):
    old(script(NUMBER % 5), args={"n": 5})
    project.script(script(NUMBER % 7))
    project.run().expect(INVALID, 'argument "n" was 5 in run 1', "--arg n=5")
    project.run("--arg", "n=7", "--limit", 10).expect(
        STOPPED, "with other arguments, is unfinished", "run 2 of")
    project.run("--arg", "n=5").expect(DONE, "resuming run 1")


def test_old_runs_of_other_arguments_are_others(old, heat, project):
    optional = 'tenant = { type = "integer" }'
    old(script(optional), args={"tenant": 5})
    project.run().expect(DONE, "with other arguments", "run 2 done: 40 rows")


def test_an_old_run_that_is_done_is_done(old, heat, project):
    old(script(NUMBER % 5), args={"n": 5}, state="done")
    heat.execute("DROP TABLE heat")
    project.run().expect(DONE, "run 1 is done already")
    project.run("--arg", "n=5").expect(DONE, "run 1 is done already")


def test_the_values_of_old_and_new_runs_are_shown(old, heat, project):
    old(script(NUMBER % 5), args={"n": 5})
    project.run("--limit", 10).expect(STOPPED)
    assert project.status()[0]["args"] == {"n": 5}
