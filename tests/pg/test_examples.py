"""The scripts in scripts/ do on a server what their comments say.

Their specs show the rules, on tables in Lua; here are the SQL of the base
queries, other sessions that write meanwhile, and kills.
"""

import glob
import os
import signal

import pytest

from harness.project import DONE, FAILED, FAILURES, TOP, USAGE

NAMES = sorted(os.path.basename(path).removesuffix(".lua")
               for path in glob.glob(os.path.join(TOP, "scripts", "*.lua")))
ARGUMENTS = {"erase_contacts": ["--arg", "tenant=5"]}


def read(*parts):
    with open(os.path.join(TOP, *parts), encoding="utf-8") as file:
        return file.read()


@pytest.fixture
def shop(db):
    """A database with the examples' tables."""
    db.execute(read("scripts", "schema.sql"))
    return db


@pytest.fixture
def example(project):
    def copy(name):
        project.script(read("scripts", name + ".lua"))
        return project
    return copy


def die_at(project, point, *arguments):
    runner = project.start_run(*arguments, fault=f"{point}=kill")
    assert runner.process.wait(60) == -signal.SIGKILL, runner.result()


def run_while(project, change, *arguments):
    """Runs, and makes a change after luamig has read the first batch."""
    runner = project.start_run(*arguments, fault="after_page=stop")
    runner.wait_frozen()
    change()
    runner.thaw()
    return runner.wait()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_done_at_once_with_empty_tables(shop, example, name):
    example(name).run(*ARGUMENTS.get(name, [])).expect(DONE)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_spec_and_a_place_in_the_docs(name):
    assert f"scripts/{name}.lua" in read("tests", "lua", f"{name}_spec.lua")
    docs = read("docs", "examples.md")
    assert f"(../scripts/{name}.lua)" in docs
    assert f"(../tests/lua/{name}_spec.lua)" in docs


# -- fill a column -----------------------------------------------------------


def add_users(db, count):
    db.execute("INSERT INTO users (id, email, onboarding_step) "
               "SELECT n, n::text, CASE WHEN n %% 3 = 0 THEN 'done' END "
               "FROM generate_series(1, %s) n", count)


def test_onboarding(shop, example):
    add_users(shop, 2500)

    assert example("onboarding").run("--throttle-ms", 0).expect(
        DONE, "still matching: 0 rows").rows == 1667

    assert shop.rows("SELECT onboarding_step, count(*) FROM users "
                     "GROUP BY 1 ORDER BY 1") == [("done", 833),
                                                  ("welcome", 1667)]


def test_onboarding_keeps_a_step_that_another_session_sets_meanwhile(shop, example):
    add_users(shop, 10)
    result = run_while(example("onboarding"), lambda: shop.execute(
        "UPDATE users SET onboarding_step = 'profile' WHERE id = 4"))
    assert result.expect(DONE).rows == 6
    assert result.retries == 1
    assert shop.column("SELECT id FROM users WHERE onboarding_step = "
                       "'profile'") == [4]


# -- compute a value in Lua --------------------------------------------------


def test_compute_isbn13(shop, example):
    shop.execute("""
        INSERT INTO books (id, title, isbn10, isbn13) VALUES
        (1, 'a', '0-7356-1967-0', NULL), (2, 'b', '080442957x', NULL),
        (3, 'c', '0735619671', NULL), (4, 'd', NULL, NULL),
        (5, 'e', '0735619670', 'typed in')""")

    example("compute_isbn13").run().expect(
        DONE, "still matching: 1 row", 'left alone {"book":3}')

    assert shop.column("SELECT isbn13 FROM books ORDER BY id") == [
        "9780735619678", "9780804429573", None, None, "typed in"]


# -- rewrite a document ------------------------------------------------------


def test_upgrade_settings(shop, example):
    documents = ['{"version": 1, "mail": true, "theme": "dark"}', '{}',
                 '{"version": 2, "channels": [], "theme": null, "x": 1.10}',
                 '{"version": null, "mail": null}', '{"version": 3}',
                 '{"version": 4, "mail": true}']
    shop.execute("INSERT INTO accounts (id, settings) SELECT ordinality, d "
                 "FROM unnest(%s::jsonb[]) WITH ORDINALITY d", documents)
    project = example("upgrade_settings")

    die_at(project, "after_commit:2", "--batch-size", 1, "--target-ms", 1000)
    project.run("--batch-size", 1).expect(DONE, "still matching: 0 rows")

    assert shop.column("SELECT settings FROM accounts ORDER BY id") == [
        {"version": 3, "channels": ["mail"], "display": {"theme": "dark"}},
        {"version": 3, "channels": [], "display": {}},
        {"version": 3, "channels": [], "display": {"theme": None}, "x": 1.1},
        {"version": 3, "channels": [], "display": {}},
        {"version": 3}, {"version": 4, "mail": True}]


def test_upgrade_settings_keeps_what_another_session_writes_meanwhile(shop, example):
    shop.execute("INSERT INTO accounts (id, settings) VALUES (1, %s)",
                 '{"version": 1, "mail": true}')
    run_while(example("upgrade_settings"), lambda: shop.execute(
        "UPDATE accounts SET settings = %s",
        '{"version": 1, "mail": false, "theme": "dark"}')).expect(DONE)
    assert shop.scalar("SELECT settings FROM accounts") == {
        "version": 3, "channels": [], "display": {"theme": "dark"}}


# -- split a table -----------------------------------------------------------


def test_split_addresses_moves_each_once_whatever_dies(shop, example):
    shop.execute("""
        INSERT INTO users (id, email, street, postal_code, city)
        SELECT n, n::text, 'street ' || n, nullif(n % 5, 0)::text, 'city'
        FROM generate_series(1, 40) n WHERE n % 7 <> 0;
        INSERT INTO users (id, email) VALUES (7, 'no address')""")
    project = example("split_addresses")

    for point in ("after_flush:2", "before_commit:2", "after_commit_sent:2"):
        die_at(project, point, "--batch-size", 4)
        assert shop.column("""
            SELECT users.id FROM users FULL JOIN addresses ON user_id = users.id
            WHERE (user_id IS NOT NULL) <> (address_moved AND users.id <> 7)
            """) == []
    project.run("--batch-size", 4).expect(DONE, "still matching: 0 rows")

    assert shop.scalar("SELECT count(*) FROM addresses") == 35
    assert shop.column("""
        SELECT id FROM users LEFT JOIN addresses a ON user_id = id
        WHERE NOT address_moved OR (a.street, a.postal_code, a.city)
        IS DISTINCT FROM (users.street, users.postal_code, users.city)""") == []


def test_split_addresses_moves_the_address_that_is_true_at_the_end(
        shop, example):
    shop.execute("INSERT INTO users (id, email, city) VALUES (1, 'a', 'Lyon')")
    run_while(example("split_addresses"), lambda: shop.execute(
        "UPDATE users SET city = 'Oslo' WHERE NOT address_moved")).expect(DONE)
    assert shop.column("SELECT city FROM addresses") == ["Oslo"]


# -- merge duplicates --------------------------------------------------------


CUSTOMERS = """
    INSERT INTO customers (id, email) VALUES (1, 'ann@x'), (2, 'bob@x'),
        (3, 'Ann@x'), (4, NULL), (5, NULL), (6, 'ANN@X'), (7, 'Bob@x');
    INSERT INTO orders (customer_id)
        SELECT c FROM generate_series(1, 7) c, generate_series(1, 3)"""
MERGED = [(1, 9), (2, 6), (4, 3), (5, 3)]


def orders(db):
    return db.rows("SELECT customers.id, count(orders.id) FROM customers "
                   "LEFT JOIN orders ON customer_id = customers.id "
                   "GROUP BY 1 ORDER BY 1")


@pytest.mark.parametrize("batch_size", [1, 2, 200])
def test_merge_customers(shop, example, batch_size):
    shop.execute(CUSTOMERS)
    assert example("merge_customers").run("--batch-size", batch_size).expect(
        DONE, "still matching: 0 rows").rows == 3
    assert orders(shop) == MERGED


def test_merge_customers_goes_on_after_kills(shop, example):
    shop.execute(CUSTOMERS)
    project = example("merge_customers")
    for point in ("after_migrate", "before_commit", "after_commit"):
        die_at(project, point, "--batch-size", 1)
        assert shop.scalar("SELECT count(*) FROM orders") == 21
    project.run().expect(DONE)
    assert orders(shop) == MERGED


def test_merge_customers_takes_an_order_that_arrives_meanwhile(shop, example):
    shop.execute(CUSTOMERS)
    run_while(example("merge_customers"), lambda: shop.execute(
        "INSERT INTO orders (customer_id) VALUES (6)")).expect(
            DONE, "still matching: 0 rows")
    assert orders(shop) == [(1, 10)] + MERGED[1:]


def test_merge_customers_records_only_the_customer_that_orders_meanwhile(
        shop, example):
    shop.execute(CUSTOMERS)
    project = example("merge_customers")
    run_while(project, lambda: shop.execute(
        "INSERT INTO orders (customer_id) VALUES (3)"),
        "--batch-size", 1).expect(FAILURES, "orders_customer_id_fkey")
    assert orders(shop) == [(1, 6), (2, 6), (3, 4), (4, 3), (5, 3)]
    project.luamig("failures", 1, "--retry").expect(DONE)
    assert orders(shop) == [(1, 10)] + MERGED[1:]


def test_merge_customers_records_a_customer_that_another_table_needs(shop, example):
    shop.execute(CUSTOMERS)
    shop.execute("CREATE TABLE notes (customer_id bigint REFERENCES customers)"
                 "; INSERT INTO notes VALUES (3)")
    example("merge_customers").run().expect(FAILURES, "failed rows: 1;")
    assert orders(shop) == [(1, 6), (2, 6), (3, 3), (4, 3), (5, 3)]


# -- a composite key ---------------------------------------------------------


def test_convert_totals(shop, example):
    shop.execute("""
        INSERT INTO invoices (tenant_id, id, total)
        SELECT tenant, n, nullif(n, 3) * 0.07
        FROM generate_series(1, 11) tenant, generate_series(1, 9) n""")
    shop.execute("UPDATE invoices SET total = 0.705 "
                 "WHERE tenant_id = 10 AND id = 9")
    project = example("convert_totals")

    die_at(project, "after_commit:3", "--batch-size", 7)
    project.run("--batch-size", 7).expect(
        FAILED, "invoice 9 of tenant 10 has a total of 0.705")
    shop.execute("UPDATE invoices SET total = 0.71 WHERE total = 0.705")
    project.run().expect(DONE, "still matching: 0 rows")

    assert shop.scalar("SELECT count(total_cents) FROM invoices") == 88
    assert shop.column("SELECT id FROM invoices "
                       "WHERE total_cents <> total * 100") == []


# -- one tenant --------------------------------------------------------------


def test_erase_contacts(shop, example):
    shop.execute("""
        INSERT INTO contacts (id, tenant_id, name, email, phone)
        SELECT n, n % 3, 'Ann', n || '@example.org', '030'
        FROM generate_series(0, 29) n""")
    project = example("erase_contacts")

    project.run().expect(USAGE, "tenant")
    assert project.run("--arg", "tenant=0").expect(DONE).rows == 10
    project.run("--arg", "tenant=0").expect(DONE, "done already")
    assert project.run("--arg", "tenant=2").expect(DONE).rows == 10

    assert shop.rows("SELECT tenant_id, erased, count(*) FROM contacts "
                     "GROUP BY 1, 2 ORDER BY 1") == [
                         (0, True, 10), (1, False, 10), (2, True, 10)]
    assert shop.rows("SELECT * FROM contacts WHERE id = 3") == [
        (3, 0, "erased", "erased-3@example.invalid", None, True)]


# -- one transaction ---------------------------------------------------------


def test_fix_trybetunes_module(shop, example):
    shop.execute("INSERT INTO projects (id, template, module) VALUES "
                 "(1, 'trybetunes', 'x'), (2, 'other', 'x'), "
                 "(3, 'trybetunes', NULL), (4, NULL, 'x')")

    example("fix_trybetunes_module").run().expect(DONE, '{"projects":2}')

    assert shop.column("SELECT module FROM projects ORDER BY id") == [
        "frontend", "x", "frontend", "x"]


# -- not idempotent ----------------------------------------------------------


def test_raise_temperatures_adds_once_whatever_dies(shop, example):
    shop.execute("INSERT INTO readings (id, taken_at, temperature) SELECT n, "
                 "'2024-03-01'::timestamptz - n * interval '1 day', "
                 "nullif(n, 70) FROM generate_series(1, 200) n")
    project = example("raise_temperatures")
    arguments = ["--arg", "before=2024-02-01", "--batch-size", 10]

    for point in ("after_page:2", "before_commit:2", "after_commit_sent:2",
                  "after_commit"):
        die_at(project, point, *arguments)
    project.run(*arguments).expect(DONE)
    project.run(*arguments).expect(DONE, "done already")

    assert shop.column("""
        SELECT id FROM readings WHERE temperature IS DISTINCT FROM
        CASE WHEN id <> 70 THEN id END
        + CASE WHEN taken_at < '2024-02-01' THEN 10 ELSE 0 END""") == []


# -- rows at fault -----------------------------------------------------------


def test_normalize_phones(shop, example):
    phones = ["030 / 1234-56", "call me", "0049 (0)30 123456", "",
              "+4930123456"]
    shop.execute("INSERT INTO contacts (id, tenant_id, name, phone) "
                 "SELECT ordinality, 1, 'Ann', p "
                 "FROM unnest(%s) WITH ORDINALITY p", phones)
    project = example("normalize_phones")

    result = project.run().expect(FAILURES, "failed rows: 2;",
                                  "contact 2 has no phone number")
    assert result.rows == 2
    result.refuse("call me")
    assert shop.column("SELECT phone FROM contacts ORDER BY id") == [
        "+4930123456", "call me", "+4930123456", "", "+4930123456"]

    shop.execute("UPDATE contacts SET phone = '030 99 99 99' WHERE id = 2")
    shop.execute("UPDATE contacts SET phone = NULL WHERE id = 4")
    project.luamig("failures", 1, "--retry").expect(DONE)
    assert shop.scalar("SELECT phone FROM contacts WHERE id = 2") == (
        "+4930999999")
    assert shop.state() == "done"
