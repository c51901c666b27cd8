"""What check says of tables that Citus has distributed."""

import pytest

from harness.project import DONE, INVALID
from harness.wait import wait_until

pytestmark = pytest.mark.xdist_group("citus")

SCRIPT = """
return {{
  config = {{ batch_size = {batch}, key = {{ {key} }}, assume_unique = true {more} }},
  base_query = "SELECT * FROM t{where}",
  migrate = function(rows, repo) end,
}}"""


def distribute(db, how):
    db.execute("CREATE TABLE t (tenant int, id int NOT NULL, n int, "
               "PRIMARY KEY (tenant, id))")
    db.rows(how)
    db.execute("INSERT INTO t SELECT n % 8, n, n FROM generate_series(1, 20000) n")
    db.execute("ANALYZE t")


def script(project, key='"tenant", "id"', batch=1000, where="", more=""):
    project.script(SCRIPT.format(key=key, batch=batch, where=where, more=more))


BY_TENANT = "SELECT create_distributed_table('t', 'tenant')"


def test_check_says_how_a_table_is_distributed_and_how_large_it_is(db, project):
    distribute(db, BY_TENANT)
    script(project)
    report = project.luamig("check", "scripts/x.lua").expect(
        DONE, "public.t has about 20,000 rows",
        "public.t is distributed by tenant: 4 shards on 2 nodes, ",
        "each page asks all shards", "about 20,000 rows in 20 batches")
    assert "lacks" not in report.out


def test_check_warns_of_a_key_without_the_distribution_column(db, project):
    distribute(db, BY_TENANT)
    script(project, key='"id"')
    project.luamig("check", "scripts/x.lua").expect(
        DONE, "public.t: the key lacks the distribution column, tenant",
        "A write that does not name the value of tenant asks every shard")


def test_a_query_for_one_tenant_asks_one_shard(db, project):
    distribute(db, BY_TENANT)
    script(project, where=" WHERE tenant = 3")
    project.luamig("check", "scripts/x.lua").expect(
        DONE, "distributed by tenant", "about 2,500 rows in 3 batches").refuse(
            "asks all shards")


def test_check_says_that_a_reference_table_is_one(db, project):
    distribute(db, "SELECT create_reference_table('t')")
    script(project)
    project.luamig("check", "scripts/x.lua").expect(
        DONE, "public.t is a reference table, ", "each write goes to 3 servers",
        "public.t has about 20,000 rows")


def test_large_batches_of_many_shards_are_not_refused(db, project):
    db.execute("SET citus.shard_count = 32")
    distribute(db, BY_TENANT)
    script(project, batch=5000)
    project.run("--limit", 5000).refuse("reads")


def test_a_page_that_reads_every_shard_from_its_beginning_is_refused(db, project):
    db.execute("CREATE TABLE big (tenant int, id int NOT NULL, n int NOT NULL)")
    db.rows("SELECT create_distributed_table('big', 'tenant')")
    db.execute("INSERT INTO big SELECT n % 8, n, n FROM "
               "generate_series(1, 500000) n")
    db.execute("ANALYZE big")
    project.script(SCRIPT.format(key='"n"', batch=100, where="", more="").replace(
        "FROM t", "FROM big"))
    project.luamig("check", "scripts/x.lua").expect(
        INVALID, "each page reads about 500,000 rows to return 100",
        "CREATE INDEX CONCURRENTLY ON public.big")


def test_the_total_of_a_run_is_that_of_all_shards(db, project):
    distribute(db, BY_TENANT)
    script(project, batch=100, more=", throttle_ms = 1000")
    run = project.start_run()
    wait_until(lambda: db.progress("total"), "a total")
    assert 18000 < db.progress("total") < 22000
    run.abandon()




def test_a_key_that_is_unique_in_each_shard_only_is_not_proved(db, project):
    db.execute("CREATE TABLE t (tenant int, id int, PRIMARY KEY (tenant, id))")
    db.rows("SELECT create_distributed_table('t', 'tenant', 'append')")
    project.script(SCRIPT.format(key='"tenant", "id"', batch=10, where="",
                                 more="").replace("assume_unique = true", ""))
    project.luamig("check", "scripts/x.lua").expect(
        DONE, "not proved to be unique")
