"""Every type that has a default btree operator class is a key: in the server
and in the extensions that come with it, wherever they are installed, alone and
beside other columns, under either collation, over a stop and a resume under
other settings. The types are read from the server: one that has no samples
below fails."""

import itertools

import pytest

from harness.cluster import OWNER
from harness.project import DONE, INVALID, STOPPED, Project

EXTENSIONS = ["citext", "ltree", "isn", "cube", "hstore", "seg", "lo"]

WORDS = ["a", "B", "b c", "\u00e1", "Z", "-x", "co-op", "coop", "_", "\u00c9e",
         "\u00df", "10", "9", "\u00f8", ""]
NUMBERS = ["-32768", "-1", "0", "1", "7", "32767"]
FLOATS = ["-Infinity", "-1.5", "0", "1e-30", "0.1", "3.1415927", "Infinity",
          "NaN"]

# What a column of the type may hold; no two values are equal to the server.
SAMPLES = {
    "bool": ["false", "true"],
    "bit": None,  # a column has a length: below
    "varbit": ["", "0", "1", "01", "10", "101", "1010"],
    "bpchar": ["a", "B", "b  ", "\u00e1", "Z", "-x", "co-op", "coop"],
    "bytea": ["", r"\x00", r"\x27", r"\x5c", r"\x80", r"\xff", r"\xff00"],
    "char": ["a", "B", "z", "Z", "-", "_", "1"],
    "date": ["-infinity", "0044-03-15 BC", "1999-12-31", "2000-01-02",
             "2024-02-01", "infinity"],
    "float4": FLOATS,
    "float8": FLOATS + ["4.9e-324", "0.30000000000000004"],
    "inet": ["10.0.0.1", "10.0.0.0/8", "192.168.1.1/24", "::1", "fe80::/10"],
    "cidr": ["10.0.0.0/8", "10.1.0.0/16", "192.168.1.0/24", "::/0"],
    "int2": NUMBERS,
    "int4": NUMBERS + ["-2147483648", "2147483647"],
    "int8": NUMBERS + ["9223372036854775807"],
    "interval": ["-1 mon", "-3 days", "00:00:00", "1 day 02:03:04.000005",
                 "36:00:00", "1 mon -1 days", "1 year 2 mons", "40 days"],
    "jsonb": ["null", "1", "1.50", '"a"', '"B"', "[]", "[1, 2]", "{}",
              '{"a": 1}', "true"],
    "macaddr": ["00:00:00:00:00:00", "08:00:2b:01:02:03",
                "ff:ff:ff:ff:ff:ff"],
    "macaddr8": ["00:00:00:00:00:00:00:01", "08:00:2b:01:02:03:04:05",
                 "ff:ff:ff:ff:ff:ff:ff:ff"],
    "money": ["-12.34", "0", "0.01", "1234.56", "99999.99"],
    "name": WORDS,
    "numeric": ["-Infinity", "-1e20", "-0.5", "0", "0.00000000000000000001",
                "1.10", "12345678901234567890.5", "Infinity", "NaN"],
    "oid": ["0", "1", "2147483648", "4294967295"],
    "oidvector": ["", "1", "1 2", "2", "4294967295"],
    "int2vector": ["", "1", "1 2", "2"],
    "pg_lsn": ["0/0", "0/1", "16/B374D848", "FFFFFFFF/FFFFFFFF"],
    "text": WORDS,
    "varchar": WORDS,
    "tid": ["(0,1)", "(0,2)", "(1,1)", "(4294967295,1)"],
    "time": ["00:00:00", "01:02:03.000004", "12:00:00", "24:00:00"],
    "timetz": ["00:00:00+00", "01:00:00+02", "12:00:00-08", "12:00:00+01",
               "23:59:59.999999+00"],
    "timestamp": ["-infinity", "0044-03-15 00:00:00 BC",
                  "2024-02-01 03:04:05.000006", "2024-10-27 02:30:00",
                  "infinity"],
    "timestamptz": ["-infinity", "0044-03-15 00:00:00+00 BC",
                    "2024-02-01 03:04:05.000006+00", "2024-10-27 00:30:00+00",
                    "2024-10-27 01:30:00+00", "infinity"],
    "tsquery": ["a", "b", "a & b", "!a", "a <-> b"],
    "tsvector": ["", "a", "b", "a b", "a:1 b:2", "'it''s'"],
    "uuid": ["00000000-0000-0000-0000-000000000000",
             "7b7a0bb0-9b8a-4a1e-8c44-1a2b3c4d5e6f",
             "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "xid8": ["0", "1", "4294967296", "18446744073709551615"],
    # extensions
    "citext": ["a", "B", "\u00e1", "Z", "-x", "co-op", "coop", "_", "c", "D"],
    "cube": ["(0)", "(1)", "(1, 2)", "(0, 0),(1, 1)", "(0.1, 0.2)"],
    "ean13": ["000000000000?", "400638133393?", "978030640615?"],
    "hstore": ["", '"a"=>"1"', '"a"=>NULL', '"A"=>"1"', '"a"=>"1", "b"=>"2"'],
    "isbn": ["0-306-40615-?", "0-14-044911-?", "1-56619-909-?"],
    "isbn13": ["978-0-306-40615-?", "978-0-14-044911-?",
               "979-10-90636-07-?"],
    "ismn": ["M-2306-7118-?", "M-706700-00-?"],
    "ismn13": ["979-0-2306-7118-?", "979-0-706700-00-?"],
    "issn": ["1436-452?", "0317-847?"],
    "issn13": ["977-1436-452-00-?", "977-0317-847-00-?"],
    "upc": ["03600029145?", "01234567890?"],
    "lo": ["1", "2", "4294967295"],
    "ltree": ["", "A", "a", "a.b", "B.c", "top.x", "Top"],
    "seg": ["0", "1 .. 2", "1.5", "2 .. 3", "-1 .. 1"],
    # made below, for the polymorphic classes
    "mood": ["low", "high", "Mid"],
    "pair": ["(1,a)", "(1,B)", "(2,)", "(0,\u00e1)"],
    "email": ["a", "B", "c", "D"],
    "bit4": ["0000", "0001", "1000", "1111"],
    "char4": ["a", "B", "\u00e1", "Z   "],
    "_int4": ["{}", "{1}", "{1,2}", "{2}", "{NULL}"],
    "_text": ["{}", "{a}", "{B}", '{"a,b"}', "{\u00e1}", '{""}'],
    "_citext": ["{a}", "{B}", "{c}", "{D}"],
    "_pair": ['{"(1,a)"}', '{"(1,B)"}', '{"(2,)"}'],
    "int4range": ["empty", "[1,2)", "[1,5)", "[2,)", "(,)"],
    "tstzrange": ["empty", "[2024-01-01 00:00:00+00,)",
                  "[2024-01-02 00:00:00+00,2024-01-03 00:00:00+00)"],
    "words": ["empty", "[a,b)", "[B,Z]", "(,c]"],
    "int4multirange": ["{}", "{[1,2)}", "{[1,2),[5,6)}", "{[3,)}"],
}

MADE = """
CREATE TYPE mood AS ENUM ('low', 'Mid', 'high');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN email AS {schema}.citext CHECK (value <> '');
CREATE DOMAIN bit4 AS bit(4);
CREATE DOMAIN char4 AS character(4);
CREATE TYPE words AS RANGE (subtype = text);
CREATE FUNCTION visit() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.visits := OLD.visits + 1; RETURN NEW; END';
"""
# Those of classes for many types, and what stands for them.
POLYMORPHIC = {
    "anyarray": ["_int4", "_text", "_citext", "_pair", "int2vector"],
    "anyenum": ["mood"],
    "record": ["pair"],
    "anyrange": ["int4range", "tstzrange", "words"],
    "anymultirange": ["int4multirange"],
    "bit": ["bit4"],
}
DOMAINS = ["email", "char4", "lo"]
# No table has values of these: their input refuses all.
NO_VALUES = {"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list",
             "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}

TYPES = """
SELECT DISTINCT t.typname FROM pg_opclass c
    JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    JOIN pg_type t ON t.oid = c.opcintype OR EXISTS (
        SELECT FROM pg_cast k WHERE k.castsource = t.oid
        AND k.casttarget = c.opcintype AND k.castmethod = 'b'
        AND k.castcontext = 'i')
    WHERE c.opcdefault ORDER BY 1
"""

# Of these types, those whose values the database's collation may sort: those
# with a collation, and what holds such a type.
SORTED_BY_COLLATION = """
WITH RECURSIVE sorted (oid) AS (
    SELECT oid FROM pg_type WHERE typcollation <> 0
    UNION SELECT whole.oid FROM sorted
        JOIN (SELECT oid, typelem AS part FROM pg_type
              UNION ALL SELECT oid, typbasetype FROM pg_type
              UNION ALL SELECT rngtypid, rngsubtype FROM pg_range
              UNION ALL SELECT c.reltype, a.atttypid FROM pg_class c
                  JOIN pg_attribute a ON a.attrelid = c.oid
                  WHERE c.relkind = 'c') whole ON whole.part = sorted.oid)
SELECT typname FROM sorted JOIN pg_type USING (oid) WHERE typname = ANY (%s)
"""
# And some that it does not sort.
BESIDE = ["int4", "numeric", "timestamptz", "hstore"]

OTHER_SETTINGS = {
    "datestyle": "'German, DMY'", "intervalstyle": "'sql_standard'",
    "timezone": "'Asia/Kolkata'", "extra_float_digits": "'-15'",
    "bytea_output": "'escape'", "search_path": "nowhere, public, ext",
    "xmloption": "'document'", "default_text_search_config": "'simple'",
}
LOCALES = ["de_DE.utf8", "en_US.utf8", "C.utf8"]
PARTS = 2
DATABASES = ["C", "en-US"]
PLACES = {"searched": "public", "not searched": "ext"}

SCRIPT = """
return {{
  config = {{ batch_size = 4, throttle_ms = 0, key = {{ {key} }} }},
  base_query = [[SELECT {columns}, n FROM {table}]],
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:update("{table}", {{ {where} }}, {{ n = row.n + 1 }})
    end
  end,
}}
"""


def make_database(cluster, collation, name):
    options = "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"
    if collation != "C":
        (version,), = cluster.query("SHOW server_version_num")
        if int(version) < 150000:
            pytest.skip("a database of ICU's collation needs PostgreSQL 15")
        options = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    cluster.execute(f'CREATE DATABASE "{name}" OWNER "{OWNER}" '
                    f"TEMPLATE template0 {options}")
    return cluster.database(name)


def install(db, schema):
    db.admin("CREATE SCHEMA IF NOT EXISTS ext;"
             "GRANT USAGE ON SCHEMA ext TO PUBLIC;"
             + "".join(f"CREATE EXTENSION {name} SCHEMA {schema};"
                       for name in EXTENSIONS)
             + "GRANT CREATE ON SCHEMA public TO PUBLIC")
    db.execute(MADE.format(schema=schema))
    return schema


def other_settings(cluster):
    settings = dict(OTHER_SETTINGS)
    for locale in LOCALES:
        if cluster.query("SELECT 1 FROM pg_collation WHERE collcollate = %s",
                         locale):
            settings["lc_monetary"] = f"'{locale}'"
            break
    return settings


def set_others(db, settings):
    """At the level of the role, for each session from now on."""
    db.admin("".join(f'ALTER ROLE {OWNER} IN DATABASE "{db.name}" '
                     f"SET {name} = {value};"
                     for name, value in settings.items()))


def reset_others(db):
    db.admin(f'ALTER ROLE {OWNER} IN DATABASE "{db.name}" RESET ALL')


def types_of(db):
    found = []
    for (name,) in db.rows(TYPES):
        if name in NO_VALUES or name.startswith("reg"):
            continue  # refused: test_key_operators.py
        if name == "_int2" and "int2vector" in found:
            continue
        found += POLYMORPHIC.get(name, [name])
    return sorted(set(found + DOMAINS))


def types_for(db, collation):
    """Only under C are there types that no collation sorts."""
    names = types_of(db)
    assert len(names) > 55, names
    if collation == "C":
        return names
    found = sorted({*db.column(SORTED_BY_COLLATION, names), *BESIDE})
    assert {"text", "name", "pair", "words", "_citext", "email"} <= {*found}
    return found


def samples_of(name):
    assert name in SAMPLES, (
        f"the server has an order for type {name}, and there are no samples "
        "of it in this file")
    return SAMPLES[name]


def type_sql(db, name):
    return db.scalar(
        "SELECT format('%%I.%%I', n.nspname, t.typname) FROM pg_type t "
        "JOIN pg_namespace n ON n.oid = t.typnamespace "
        "WHERE t.typname = %s AND n.nspname IN ('pg_catalog', 'public', 'ext')",
        name)


def make_table(db, name, kind, columns):
    """columns: "k" or "a b c", where b is an int."""
    names = columns.split()
    values = samples_of(name)
    if len(names) == 1:
        rows = [(value,) for value in values]
    else:
        few = values[:3]
        rows = [(one, str(number), two) for one, number, two
                in itertools.product(few, (1, 2), few)]
    types = [kind if column != "b" else "int" for column in names]
    parts = ", ".join(f"{column} {sort}"
                      for column, sort in zip(names, types))
    db.execute(f"CREATE TABLE t ({parts}, n int NOT NULL DEFAULT 0, "
               f"visits int NOT NULL DEFAULT 0, "
               f"PRIMARY KEY ({', '.join(names)}));"
               "CREATE TRIGGER visited BEFORE UPDATE ON t FOR EACH ROW "
               "EXECUTE FUNCTION visit()")
    places = ", ".join(f"%s::text::{sort}" for sort in types)
    db.execute(
        f"INSERT INTO t ({', '.join(names)}) VALUES "
        + ", ".join(f"({places})" for _ in rows), *itertools.chain(*rows))
    return names, len(rows)


def migrate_each_once(db, project, others, name, kind, columns):
    names, count = make_table(db, name, kind, columns)
    script = project.script(SCRIPT.format(
        table="public.t", key=", ".join(f'"{column}"' for column in names),
        columns=", ".join(names),
        where=", ".join(f"{column} = row.{column}" for column in names)),
        f"scripts/{name}_{len(names)}.lua")
    what = f"{kind} ({columns})"
    result = project.run("--limit", max(1, count // 2), script=script)
    assert result.code in (STOPPED, DONE), f"{what}: {result}"
    set_others(db, others)
    result = project.run(script=script)
    assert result.code == DONE, f"{what}: {result}"
    reset_others(db)
    visits = db.rows("SELECT visits, n, count(*) FROM t GROUP BY 1, 2")
    assert visits == [(1, 1, count)], f"{what}: {visits}"
    db.execute("DROP TABLE t")


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("collation", DATABASES)
def test_each_row_once_by_a_key_of_any_type(cluster, tmp_path, collation,
                                            place, part):
    db = make_database(cluster, collation,
                       f"sweep_{collation}_{place[:3]}_{part}".lower())
    project = Project(tmp_path, db.url)
    try:
        schema = install(db, PLACES[place])
        others = other_settings(cluster)
        for name in types_for(db, collation)[part::PARTS]:
            kind = type_sql(db, name)
            is_built_in = kind.startswith("pg_catalog")
            if is_built_in and schema == "ext":
                continue  # it lies where it always does
            for columns in ("k", "a b c"):
                migrate_each_once(db, project, others, name, kind, columns)
    finally:
        project.close()
        db.drop()


REG = """
SELECT typname FROM pg_type WHERE typname LIKE 'reg%'
    AND typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b'
"""


def test_names_of_objects_are_refused_whichever_there_are(db, project):
    names = db.column(REG)
    assert len(names) >= 11
    for name in names:
        db.execute(f"CREATE TABLE t (k {name} PRIMARY KEY, n int)")
        project.script(SCRIPT.format(table="public.t", key='"k"', columns="k",
                                     where="k = row.k"))
        project.run().expect(INVALID, "is the name of an object")
        db.execute("DROP TABLE t")
