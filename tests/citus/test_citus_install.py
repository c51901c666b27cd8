"""luamig's tables are those of the coordinator."""

import re

import pytest

from harness import readings
from harness.cluster import SUPERUSER
from harness.oracle import assert_once
from harness.project import DONE, FAILURES, UNREACHABLE

pytestmark = pytest.mark.xdist_group("citus")


@pytest.fixture
def distributed(db, project):
    readings.create(db, 50)
    db.rows("SELECT create_distributed_table('readings', 'id')")
    project.script(readings.script(batch=10))


@pytest.mark.parametrize("options", [
    "", "-c citus.enable_schema_based_sharding=on",
    "-c citus.use_citus_managed_tables=on"])
def test_the_journal_is_not_distributed(citus, db, project, distributed, options):
    project.run(env={"PGOPTIONS": options}).expect(DONE).refuse("WARNING")
    assert_once(db)
    assert db.column("SELECT logicalrelid::text FROM pg_dist_partition WHERE "
                     "logicalrelid::text LIKE 'luamig.%'", user=SUPERUSER) == [
        "luamig.two_phase"]
    assert citus.on_nodes("SELECT proname FROM pg_proc WHERE "
                          "pronamespace::regnamespace::text = 'luamig'") == []


def test_a_quote_in_the_name_of_the_schema(db, project, distributed):
    project.run("--journal-schema", "o'x").expect(DONE)
    readings.assert_each_once(db)


def test_an_old_journal_gets_what_citus_needs(db, project, distributed):
    project.run("--limit", 10)
    db.admin("DROP TABLE luamig.two_phase")
    project.run().expect(DONE)
    assert_once(db)


def test_failed_rows_of_an_old_journal_are_tried_again(db, project, distributed):
    db.execute("ALTER TABLE readings ADD CHECK (id <> 7 OR value = id)")
    project.script(readings.script(batch=10, config='on_error = "quarantine"'))
    project.run().expect(FAILURES)
    db.execute("ALTER TABLE readings DROP CONSTRAINT readings_check")
    db.admin("DROP TABLE luamig.two_phase")
    project.luamig("failures", 1, "--retry").expect(DONE)
    assert db.column("SELECT value FROM readings WHERE id = 7") == [17]


def test_a_role_that_may_not_make_the_table_is_told_what_to_do(
        db, project, distributed):
    for option in [], ["--grant", "app"]:
        db.admin(project.luamig("journal", "--sql", *option, url=False).out)
    refused = project.run().expect(UNREACHABLE, "luamig.two_phase",
                                   "permission denied")
    for command in re.search("luamig's tables run: (.*)", refused.err)[1].split("; "):
        db.admin(command)
    project.run().expect(DONE)
    assert_once(db)


def test_the_first_run_needs_all_nodes(citus, project, distributed):
    citus.nodes[1].stop()
    try:
        project.run().expect(UNREACHABLE, "luamig.two_phase",
                             "a node of Citus does not answer",
                             "Run the same command again")
    finally:
        citus.nodes[1].start()
    project.run().expect(DONE)


def test_a_node_is_no_coordinator(citus, db, project, distributed):
    node = citus.nodes[0]
    project.luamig("run", "scripts/x.lua", "--db", node.url("app")).expect(
        UNREACHABLE, "is a node of Citus, not the coordinator",
        f"Connect to the coordinator: {citus.coordinator.dir}:5432")
