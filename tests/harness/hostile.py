"""A schema that stands before pg_catalog and has something under every name
that luamig's own SQL uses: operators, functions, aggregates, types, tables.
What is called says so in the server's log, and raises."""

import glob
import os
import re

from harness.project import TOP

TRAP = "HOSTILE"

# Types that own SQL compares, adds or joins; each pair gets operators that fit
# better than those of pg_catalog, which have to convert one side.
PAIRED = ["int2", "int4", "int8", "oid", "regclass", "regtype", "text", "name",
          '"char"', "varchar", "bool", "interval", "timestamptz", "float8",
          "numeric", "xid", "xid8", "pg_lsn", "jsonb", "json", "uuid",
          "text[]", "name[]", "int2[]", "oid[]", "int8[]", "int2vector",
          "oidvector", "tid"]
OPERATORS = ["=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "||",
             "~", "!~", "~~", "!~~", "&", "|", "&&", "@>", "->", "->>"]


SPARED = []

SET_UP = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.trap(what pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE plpgsql AS $$ BEGIN
    RAISE LOG 'HOSTILE %', what;
    RAISE EXCEPTION 'HOSTILE %', what;
END $$;
"""

MAKE_OPERATORS = """
DO $do$ DECLARE
    pair record;
    op pg_catalog.text;
    made pg_catalog.int4 := 0;
BEGIN
    FOR pair IN
        SELECT l, r, 'bool' AS result, %(operators)s::text[] AS ops
            FROM unnest(%(types)s::text[]) l, unnest(%(types)s::text[]) r
            WHERE l <> r OR l <> ALL (%(spared)s)
        UNION ALL
        SELECT format_type(oprleft, NULL), format_type(oprright, NULL),
            format_type(oprresult, NULL), array_agg(oprname::text)
            FROM pg_operator WHERE oprleft <> 0 AND oprresult <> 0
                AND (oprleft <> oprright OR oprleft::regtype::text <> ALL
                    (%(spared)s))
            GROUP BY 1, 2, 3
    LOOP
        BEGIN
            made := made + 1;
            EXECUTE format('CREATE FUNCTION evil.op_%%s(a %%s, b %%s) RETURNS'
                ' %%s LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(%%L);'
                ' RETURN NULL; END $$', made, pair.l, pair.r, pair.result,
                format('operator (%%s, %%s)', pair.l, pair.r));
        EXCEPTION WHEN OTHERS THEN
            CONTINUE; -- pseudo-types that plpgsql does not take
        END;
        FOREACH op IN ARRAY pair.ops LOOP
            BEGIN
                EXECUTE format('CREATE OPERATOR evil.%%s (LEFTARG = %%s,'
                    ' RIGHTARG = %%s, FUNCTION = evil.op_%%s)', op, pair.l,
                    pair.r, made);
            EXCEPTION WHEN duplicate_function OR duplicate_object THEN
                NULL;
            END;
        END LOOP;
    END LOOP;
END $do$;
"""

MAKE_FUNCTIONS = """
DO $do$ DECLARE f record;
BEGIN
    FOR f IN
        SELECT DISTINCT p.proname,
            pg_get_function_identity_arguments(p.oid) AS args,
            p.prokind, p.proretset, format_type(p.prorettype, NULL) AS result
        FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
            AND p.proname = ANY (%(functions)s)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%%I(%%s) RETURNS %%s %%s'
                ' LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap(%%L);'
                ' END $$', f.proname, f.args,
                CASE WHEN f.proretset THEN 'SETOF' ELSE '' END,
                CASE f.result WHEN 'record' THEN 'SETOF record'
                    ELSE f.result END,
                format('function %%s(%%s)', f.proname, f.args));
        EXCEPTION WHEN OTHERS THEN
            NULL; -- OUT parameters, pseudo-types
        END;
    END LOOP;
END $do$;
DROP FUNCTION IF EXISTS evil.count();
CREATE FUNCTION evil.counted(state pg_catalog.int8) RETURNS pg_catalog.int8
LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.trap('count'); END $$;
CREATE AGGREGATE evil.count(*) (SFUNC = evil.counted, STYPE = pg_catalog.int8,
    INITCOND = '0');
"""

MAKE_TYPES = """
DO $do$ DECLARE t record;
BEGIN
    FOR t IN SELECT typname FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b'
            AND typname = ANY (%(types)s)
    LOOP
        EXECUTE format('CREATE DOMAIN evil.%%I AS pg_catalog.%%I'
            ' CHECK (evil.trap(%%L))', t.typname, t.typname,
            'type ' || t.typname);
    END LOOP;
    FOR t IN SELECT relname FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace
            AND relkind IN ('r', 'v') AND relname = ANY (%(tables)s)
            AND relname NOT IN ('pg_attribute', 'pg_statistic', 'pg_stats')
    LOOP
        EXECUTE format('CREATE VIEW evil.%%I AS SELECT c.* FROM pg_catalog.%%I'
            ' c WHERE evil.trap(%%L)', t.relname, t.relname,
            'table ' || t.relname);
    END LOOP;
END $do$;
"""


def words_of_own_sql():
    """Every word in a string of the C sources: far more than the SQL's."""
    words = set()
    for path in glob.glob(os.path.join(TOP, "src/**/*.[ch]"), recursive=True):
        with open(path, encoding="utf-8") as source:
            for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', source.read()):
                words.update(re.findall(r"[a-z_][a-z0-9_]*", text))
    return sorted(words)


def build(db):
    """Puts it first in the path of everybody. Returns how many operators and
    functions there are."""
    words = words_of_own_sql()
    link = db.cluster.connect(db.name)
    with link.cursor() as cursor:
        cursor.execute(SET_UP)
        cursor.execute(MAKE_OPERATORS,
                       {"types": PAIRED, "operators": OPERATORS,
                        "spared": SPARED})
        cursor.execute(MAKE_FUNCTIONS, {"functions": words})
        cursor.execute(MAKE_TYPES, {"types": words, "tables": words})
        cursor.execute("GRANT USAGE ON SCHEMA evil TO public")
        cursor.execute(
            "SELECT (SELECT count(*) FROM pg_operator WHERE oprnamespace ="
            " 'evil'::regnamespace), (SELECT count(*) FROM pg_proc WHERE"
            " pronamespace = 'evil'::regnamespace AND proname !~ '^op_'),"
            " (SELECT count(*) FROM pg_type WHERE typnamespace ="
            " 'evil'::regnamespace AND typtype = 'd')")
        counts = cursor.fetchone()
    link.close()
    return counts


def called(log):
    """What was called, by the server's log."""
    return re.findall(rf"LOG:  {TRAP} (.*)", log)
