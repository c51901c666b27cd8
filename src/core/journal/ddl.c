/* SPDX-License-Identifier: MIT */
/*
 * The journal's tables and functions as SQL, one step for each version. A
 * released step is never edited: the next version is another step.
 *
 * {schema} in the text stands for the quoted name of the schema, {quote} for a
 * dollar quote around a text with that name.
 *
 * args may be too long for an index entry, so the index has a hash. Not md5,
 * because servers in FIPS mode refuse it.
 */

#include "core/journal/private.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <string.h>

static const char step_1[] =
    "CREATE SCHEMA IF NOT EXISTS {schema};\n"
    "\n"
    "CREATE TABLE {schema}.version (\n"
    "    version integer PRIMARY KEY,\n"
    "    installed_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
    "    installed_by text NOT NULL DEFAULT session_user\n"
    ");\n"
    "COMMENT ON TABLE {schema}.version IS\n"
    "    'the steps by which luamig made and upgraded its journal';\n"
    "\n"
    "CREATE TABLE {schema}.run (\n"
    "    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "    script text NOT NULL,\n"
    "    args jsonb NOT NULL,\n"
    "    sha256 text NOT NULL,\n"
    "    config jsonb NOT NULL,\n"
    "    state text NOT NULL CHECK (state IN ('running', 'paused',\n"
    "        'stopped', 'failed', 'cancelled', 'done',\n"
    "        'done_with_failures')),\n"
    "    started_by text NOT NULL DEFAULT session_user,\n"
    "    version text NOT NULL,\n"
    "    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
    "    resumed_at timestamptz,\n"
    "    finished_at timestamptz,\n"
    "    error text,\n"
    "    error_sqlstate text\n"
    ");\n"
    "COMMENT ON TABLE {schema}.run IS\n"
    "    'one row for each run of a data migration';\n"
    "CREATE UNIQUE INDEX run_unfinished ON {schema}.run\n"
    "    (script, pg_catalog.hashtextextended(args::text, 0))\n"
    "    WHERE state IN ('running', 'paused', 'stopped', 'failed');\n"
    "CREATE INDEX run_by_script ON {schema}.run (script, id);\n"
    "\n"
    "CREATE TABLE {schema}.progress (\n"
    "    run_id bigint PRIMARY KEY REFERENCES {schema}.run\n"
    "        ON DELETE CASCADE,\n"
    "    key_columns text[] NOT NULL,\n"
    "    cursor text[],\n"
    "    bound text[],\n"
    "    owner uuid NOT NULL DEFAULT gen_random_uuid(),\n"
    "    seq bigint NOT NULL DEFAULT 0,\n"
    "    lease_until timestamptz NOT NULL,\n"
    "    host text NOT NULL,\n"
    "    pid integer NOT NULL,\n"
    "    backend_pid integer NOT NULL,\n"
    "    backend_start timestamptz,\n"
    "    started boolean NOT NULL DEFAULT false,\n"
    "    rows bigint NOT NULL DEFAULT 0,\n"
    "    batches bigint NOT NULL DEFAULT 0,\n"
    "    retries bigint NOT NULL DEFAULT 0\n"
    ");\n"
    "COMMENT ON TABLE {schema}.progress IS\n"
    "    'how far a run is, and which runner holds it';\n"
    "\n"
    "CREATE FUNCTION {schema}.fence(p_run bigint, p_owner uuid,\n"
    "        p_seq bigint, p_lease_ms bigint)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "BEGIN\n"
    "    UPDATE {schema}.progress SET seq = seq + 1, lease_until =\n"
    "            clock_timestamp() + p_lease_ms * interval '1 ms'\n"
    "        WHERE run_id = p_run AND owner = p_owner AND seq = p_seq;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'run % has been taken over', p_run\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "END {quote};\n"
    "\n"
    "CREATE FUNCTION {schema}.checkpoint(p_run bigint, p_owner uuid,\n"
    "        p_seq bigint, p_lease_ms bigint, p_cursor text[],\n"
    "        p_rows bigint, p_retries bigint)\n"
    "    RETURNS void LANGUAGE plpgsql AS {quote}\n"
    "BEGIN\n"
    "    -- Each batch runs this; a search_path of its own would take\n"
    "    -- longer than the rest, so every name says where it is.\n"
    "    UPDATE {schema}.progress SET cursor = p_cursor,\n"
    "            seq = seq OPERATOR(pg_catalog.+) 1,\n"
    "            rows = rows OPERATOR(pg_catalog.+) p_rows,\n"
    "            batches = batches OPERATOR(pg_catalog.+) 1,\n"
    "            retries = retries OPERATOR(pg_catalog.+) p_retries,\n"
    "            lease_until = pg_catalog.clock_timestamp()\n"
    "                OPERATOR(pg_catalog.+) (p_lease_ms\n"
    "                OPERATOR(pg_catalog.*) interval '1 ms')\n"
    "        WHERE run_id OPERATOR(pg_catalog.=) p_run\n"
    "            AND owner OPERATOR(pg_catalog.=) p_owner\n"
    "            AND seq OPERATOR(pg_catalog.=) p_seq;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'run % has been taken over', p_run\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "END {quote};\n";

/* Asserts on the server how many rows a combined statement has written, so
 * that a COMMIT which travels with it is skipped when it has not. */
static const char step_2[] =
    "CREATE FUNCTION {schema}.expect(p_actual bigint, p_expected bigint)\n"
    "    RETURNS bigint LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "BEGIN\n"
    "    IF p_actual <> p_expected THEN\n"
    "        RAISE EXCEPTION '% rows were written instead of %', p_actual,\n"
    "            p_expected USING ERRCODE = 'LM002';\n"
    "    END IF;\n"
    "    RETURN p_actual;\n"
    "END {quote};\n";

/* Failed rows, requests from other terminals, and what a run writes for status
 * between checkpoints. A checkpoint without rows (a window of the key in which
 * nothing matched) is not a batch. */
static const char step_3[] =
    "ALTER TABLE {schema}.run ADD COLUMN exit_code smallint;\n"
    "ALTER TABLE {schema}.progress\n"
    "    ADD COLUMN failures bigint NOT NULL DEFAULT 0,\n"
    "    ADD COLUMN total bigint,\n"
    "    ADD COLUMN batch_size bigint,\n"
    "    ADD COLUMN waits_for text,\n"
    "    ADD COLUMN waits_since timestamptz,\n"
    "    ADD COLUMN held jsonb NOT NULL DEFAULT '{}';\n"
    "\n"
    "CREATE TABLE {schema}.failure (\n"
    "    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "    run_id bigint NOT NULL REFERENCES {schema}.run\n"
    "        ON DELETE CASCADE,\n"
    "    key text[] NOT NULL,\n"
    "    sqlstate text,\n"
    "    message text NOT NULL,\n"
    "    detail text,\n"
    "    line text,\n"
    "    row_data jsonb,\n"
    "    attempts integer NOT NULL DEFAULT 1,\n"
    "    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
    "    resolved_at timestamptz,\n"
    "    resolution text CHECK (resolution IN ('migrated', 'gone'))\n"
    ");\n"
    "CREATE INDEX failure_by_run ON {schema}.failure (run_id, id);\n"
    "COMMENT ON TABLE {schema}.failure IS\n"
    "    'rows that a run could not migrate and has set aside';\n"
    "\n"
    "CREATE TABLE {schema}.request (\n"
    "    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "    run_id bigint NOT NULL REFERENCES {schema}.run\n"
    "        ON DELETE CASCADE,\n"
    "    verb text NOT NULL CHECK (verb IN ('pause', 'resume', 'cancel',\n"
    "        'set')),\n"
    "    at_once boolean NOT NULL DEFAULT false,\n"
    "    settings jsonb NOT NULL DEFAULT '{}',\n"
    "    requested_by text NOT NULL DEFAULT session_user,\n"
    "    host text,\n"
    "    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
    "    answered_at timestamptz,\n"
    "    answer text\n"
    ");\n"
    "COMMENT ON TABLE {schema}.request IS\n"
    "    'what people have asked of a run, and what became of it';\n"
    "CREATE INDEX request_by_run ON {schema}.request (run_id, id);\n"
    "\n"
    "CREATE OR REPLACE FUNCTION {schema}.checkpoint(p_run bigint,\n"
    "        p_owner uuid, p_seq bigint, p_lease_ms bigint,\n"
    "        p_cursor text[], p_rows bigint, p_retries bigint)\n"
    "    RETURNS void LANGUAGE plpgsql AS {quote}\n"
    "BEGIN\n"
    "    -- Each batch runs this; a search_path of its own would take\n"
    "    -- longer than the rest, so every name says where it is.\n"
    "    UPDATE {schema}.progress SET cursor = p_cursor,\n"
    "            seq = seq OPERATOR(pg_catalog.+) 1,\n"
    "            rows = rows OPERATOR(pg_catalog.+) p_rows,\n"
    "            batches = batches OPERATOR(pg_catalog.+)\n"
    "                least(p_rows, 1),\n"
    "            retries = retries OPERATOR(pg_catalog.+) p_retries,\n"
    "            lease_until = pg_catalog.clock_timestamp()\n"
    "                OPERATOR(pg_catalog.+) (p_lease_ms\n"
    "                OPERATOR(pg_catalog.*) interval '1 ms')\n"
    "        WHERE run_id OPERATOR(pg_catalog.=) p_run\n"
    "            AND owner OPERATOR(pg_catalog.=) p_owner\n"
    "            AND seq OPERATOR(pg_catalog.=) p_seq;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'run % has been taken over', p_run\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "END {quote};\n"
    "\n"
    "CREATE FUNCTION {schema}.quarantine(p_run bigint, p_owner uuid,\n"
    "        p_seq bigint, p_lease_ms bigint, p_key text[],\n"
    "        p_retries bigint, p_sqlstate text, p_message text,\n"
    "        p_detail text, p_line text, p_row jsonb)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "BEGIN\n"
    "    PERFORM {schema}.checkpoint(p_run, p_owner, p_seq, p_lease_ms,\n"
    "        p_key, 0, p_retries);\n"
    "    UPDATE {schema}.progress SET failures = failures + 1\n"
    "        WHERE run_id = p_run;\n"
    "    INSERT INTO {schema}.failure (run_id, key, sqlstate, message,\n"
    "            detail, line, row_data)\n"
    "        VALUES (p_run, p_key, p_sqlstate, p_message, p_detail,\n"
    "            p_line, p_row);\n"
    "END {quote};\n"
    "\n"
    "CREATE FUNCTION {schema}.resolve(p_failure bigint,\n"
    "        p_resolution text)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "DECLARE\n"
    "    found_run bigint;\n"
    "    failures_left bigint;\n"
    "BEGIN\n"
    "    UPDATE {schema}.failure SET resolved_at = clock_timestamp(),\n"
    "            resolution = p_resolution\n"
    "        WHERE id = p_failure AND resolved_at IS NULL\n"
    "        RETURNING run_id INTO found_run;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'failure % is resolved already', p_failure\n"
    "            USING ERRCODE = 'LM004';\n"
    "    END IF;\n"
    "    UPDATE {schema}.progress SET failures = failures - 1\n"
    "        WHERE run_id = found_run\n"
    "        RETURNING failures INTO failures_left;\n"
    "    UPDATE {schema}.run SET state = 'done', exit_code = 0\n"
    "        WHERE id = found_run AND state = 'done_with_failures'\n"
    "            AND failures_left = 0;\n"
    "END {quote};\n";

/* Settings of a request: one object of names and plain values. */
#define WELL_FORMED                                                           \
    "(CASE WHEN pg_catalog.jsonb_typeof(settings) = 'object'\n"               \
    "        THEN pg_catalog.octet_length(settings::text) <= 2048\n"          \
    "            AND NOT pg_catalog.jsonb_path_exists(settings, 'strict $.* " \
    "?\n"                                                                     \
    "                (@.type() == \"object\" || @.type() == \"array\"\n"      \
    "                || @.type() == \"null\")')\n"                            \
    "        ELSE false END)"

/* What is asked of a run is checked where it is written. What was written
 * before is put right first: an UPDATE is held to the check.
 *
 * What a run is known by: the arguments as they were given, the file that began
 * it, what its cursor stands on, the modules that were loaded. Of older runs
 * nobody knows, which NULL says.
 *
 * The lease of a batch has a table of its own: progress is written in the batch,
 * which would not bear another writer. Roles that were granted the other tables
 * before may read it, so that nothing fails for them. */
static const char step_4[] =
    "ALTER TABLE {schema}.request ADD CONSTRAINT request_settings\n"
    "    CHECK " WELL_FORMED " NOT VALID;\n"
    "UPDATE {schema}.request SET settings = '{}',\n"
    "        answered_at = coalesce(answered_at, clock_timestamp()),\n"
    "        answer = coalesce(answer, 'refused: malformed settings: '\n"
    "            || pg_catalog.left(settings::text, 100))\n"
    "    WHERE NOT " WELL_FORMED ";\n"
    "ALTER TABLE {schema}.request VALIDATE CONSTRAINT request_settings;\n"
    "\n"
    "ALTER TABLE {schema}.run ADD COLUMN given jsonb, ADD COLUMN file text,\n"
    "    ADD COLUMN path text, ADD COLUMN fingerprint jsonb,\n"
    "    ADD COLUMN modules jsonb NOT NULL DEFAULT '{}';\n"
    "CREATE UNIQUE INDEX run_given ON {schema}.run\n"
    "    (script, pg_catalog.hashtextextended(given::text, 0))\n"
    "    WHERE state IN ('running', 'paused', 'stopped', 'failed');\n"
    "\n"
    "CREATE TABLE {schema}.batch_lease (\n"
    "    run_id bigint PRIMARY KEY REFERENCES {schema}.run\n"
    "        ON DELETE CASCADE,\n"
    "    owner uuid NOT NULL,\n"
    "    seq bigint NOT NULL,\n"
    "    until timestamptz NOT NULL,\n"
    "    backend_pid integer NOT NULL,\n"
    "    backend_start timestamptz\n"
    ");\n"
    "COMMENT ON TABLE {schema}.batch_lease IS\n"
    "    'shows that a runner lives while a batch takes longer than its lease';"
    "\n"
    "GRANT SELECT ON {schema}.batch_lease TO PUBLIC;\n";

/* A run's keys are cut into ranges, and each batch writes the row of its range
 * only: workers do not wait for each other. A row is replaced after some
 * batches: if somebody holds an old snapshot, its versions pile up. Leases have
 * rows of their own, because a batch would not bear another writer.
 *
 * An older runner that is at work fails at its next batch, and its cursor is
 * where the only range of its run begins. */
static const char step_5[] =
    "CREATE TABLE {schema}.worker (\n"
    "    id uuid PRIMARY KEY,\n"
    "    run_id bigint NOT NULL REFERENCES {schema}.run\n"
    "        ON DELETE CASCADE,\n"
    "    process uuid NOT NULL,\n"
    "    number integer NOT NULL,\n"
    "    host text NOT NULL,\n"
    "    pid integer NOT NULL,\n"
    "    backend_pid integer NOT NULL,\n"
    "    backend_start timestamptz,\n"
    "    lease_until timestamptz NOT NULL,\n"
    "    kept_until timestamptz,\n"
    "    keeper_pid integer,\n"
    "    keeper_start timestamptz,\n"
    "    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
    "    rows bigint NOT NULL DEFAULT 0,\n"
    "    workers integer,\n"
    "    note text\n"
    ");\n"
    "CREATE INDEX worker_by_run ON {schema}.worker (run_id);\n"
    "COMMENT ON TABLE {schema}.worker IS\n"
    "    'the connections that work on a run, and until when each holds it';\n"
    "\n"
    "CREATE TABLE {schema}.range (\n"
    "    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "    run_id bigint NOT NULL REFERENCES {schema}.run\n"
    "        ON DELETE CASCADE,\n"
    "    place numeric NOT NULL DEFAULT 0,\n"
    "    cursor text[],\n"
    "    upper text[],\n"
    "    owner uuid,\n"
    "    worker uuid,\n"
    "    closed boolean NOT NULL DEFAULT false,\n"
    "    seq bigint NOT NULL DEFAULT 0,\n"
    "    rows bigint NOT NULL DEFAULT 0,\n"
    "    batches bigint NOT NULL DEFAULT 0,\n"
    "    retries bigint NOT NULL DEFAULT 0,\n"
    "    failures bigint NOT NULL DEFAULT 0\n"
    ");\n"
    "CREATE INDEX range_by_run ON {schema}.range (run_id, place);\n"
    "COMMENT ON TABLE {schema}.range IS\n"
    "    'the keys that a run has still to do, and which worker has which';\n"
    "INSERT INTO {schema}.range (run_id, cursor, upper)\n"
    "    SELECT p.run_id, p.cursor, p.bound FROM {schema}.progress p\n"
    "    JOIN {schema}.run r ON r.id = p.run_id\n"
    "    WHERE r.state IN ('running', 'paused', 'stopped', 'failed')\n"
    "        AND p.started AND p.key_columns <> '{}'\n"
    "        AND p.bound IS DISTINCT FROM '{}';\n"
    "\n"
    "ALTER TABLE {schema}.progress ADD COLUMN leader uuid,\n"
    "    ADD COLUMN ranges bigint NOT NULL DEFAULT 0,\n"
    "    DROP COLUMN lease_until, DROP COLUMN backend_pid,\n"
    "    DROP COLUMN backend_start;\n"
    "UPDATE {schema}.progress p SET ranges = 1 FROM {schema}.range g\n"
    "    WHERE g.run_id = p.run_id;\n"
    "DROP TABLE IF EXISTS {schema}.batch_lease;\n"
    "-- Roles that may run migrations may do so from now on, too.\n"
    "DO {quote}\n"
    "DECLARE\n"
    "    given record;\n"
    "BEGIN\n"
    "    FOR given IN SELECT DISTINCT n.nspname, CASE a.grantee\n"
    "                WHEN 0 THEN 'PUBLIC'\n"
    "                ELSE pg_catalog.quote_ident(r.rolname) END AS role,\n"
    "            CASE a.privilege_type WHEN 'SELECT' THEN 'SELECT'\n"
    "                ELSE 'INSERT, UPDATE, DELETE' END AS rights\n"
    "        FROM pg_catalog.pg_class v\n"
    "        JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace\n"
    "        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid\n"
    "            AND c.relname = 'progress'\n"
    "        CROSS JOIN pg_catalog.aclexplode(c.relacl) a\n"
    "        LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee\n"
    "        WHERE v.oid = (SELECT tableoid FROM {schema}.version LIMIT 1)\n"
    "            AND a.privilege_type IN ('SELECT', 'UPDATE')\n"
    "            AND a.grantee <> c.relowner\n"
    "            AND (a.grantee = 0 OR r.rolname IS NOT NULL)\n"
    "    LOOP\n"
    "        EXECUTE pg_catalog.format('GRANT %s ON %I.range, %I.worker'\n"
    "            ' TO %s', given.rights, given.nspname, given.nspname,\n"
    "            given.role);\n"
    "    END LOOP;\n"
    "END {quote};\n"
    "\n"
    "DROP FUNCTION {schema}.fence(bigint, uuid, bigint, bigint);\n"
    "DROP FUNCTION {schema}.checkpoint(bigint, uuid, bigint, bigint, text[],\n"
    "    bigint, bigint);\n"
    "DROP FUNCTION {schema}.quarantine(bigint, uuid, bigint, bigint, text[],\n"
    "    bigint, text, text, text, text, jsonb);\n"
    "\n"
    "CREATE FUNCTION {schema}.fence(p_run bigint, p_owner uuid,\n"
    "        p_seq bigint)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "BEGIN\n"
    "    UPDATE {schema}.progress SET seq = seq + 1\n"
    "        WHERE run_id = p_run AND owner = p_owner AND seq = p_seq;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'run % has been taken over', p_run\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "END {quote};\n"
    "\n"
    "CREATE FUNCTION {schema}.checkpoint(p_range bigint, p_owner uuid,\n"
    "        p_seq bigint, p_cursor text[], p_rows bigint,\n"
    "        p_retries bigint, p_failures bigint)\n"
    "    RETURNS void LANGUAGE plpgsql AS {quote}\n"
    "DECLARE\n"
    "    seqscan pg_catalog.text;\n"
    "BEGIN\n"
    "    -- Each batch runs this; a search_path of its own would take\n"
    "    -- longer than the rest, so every name says where it is.\n"
    "    IF pg_catalog.current_setting('transaction_isolation')\n"
    "            OPERATOR(pg_catalog.=) 'serializable' THEN\n"
    "        -- Who reads the whole table conflicts with all other workers.\n"
    "        seqscan := pg_catalog.current_setting('enable_seqscan');\n"
    "        PERFORM pg_catalog.set_config('enable_seqscan', 'off', true);\n"
    "    END IF;\n"
    "    UPDATE {schema}.range SET cursor = p_cursor,\n"
    "            seq = seq OPERATOR(pg_catalog.+) 1,\n"
    "            rows = rows OPERATOR(pg_catalog.+) p_rows,\n"
    "            batches = batches OPERATOR(pg_catalog.+)\n"
    "                least(p_rows, 1),\n"
    "            retries = retries OPERATOR(pg_catalog.+) p_retries,\n"
    "            failures = failures OPERATOR(pg_catalog.+) p_failures\n"
    "        WHERE id OPERATOR(pg_catalog.=) p_range\n"
    "            AND owner OPERATOR(pg_catalog.=) p_owner\n"
    "            AND seq OPERATOR(pg_catalog.=) p_seq;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'range % has been taken over', p_range\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "    IF seqscan IS NOT NULL THEN\n"
    "        PERFORM pg_catalog.set_config('enable_seqscan', seqscan, true);\n"
    "    END IF;\n"
    "END {quote};\n"
    "\n"
    "CREATE FUNCTION {schema}.quarantine(p_run bigint, p_range bigint,\n"
    "        p_owner uuid, p_seq bigint, p_key text[], p_retries bigint,\n"
    "        p_sqlstate text, p_message text, p_detail text, p_line text,\n"
    "        p_row jsonb)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "BEGIN\n"
    "    PERFORM {schema}.checkpoint(p_range, p_owner, p_seq, p_key, 0,\n"
    "        p_retries, 1);\n"
    "    INSERT INTO {schema}.failure (run_id, key, sqlstate, message,\n"
    "            detail, line, row_data)\n"
    "        VALUES (p_run, p_key, p_sqlstate, p_message, p_detail,\n"
    "            p_line, p_row);\n"
    "END {quote};\n"
    "\n"
    "-- The counters of a range go to the run when its row goes. p_gone: how\n"
    "-- many ranges fewer the run has then.\n"
    "CREATE FUNCTION {schema}.fold(p_run bigint, p_range {schema}.range,\n"
    "        p_gone bigint)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "BEGIN\n"
    "    UPDATE {schema}.progress SET rows = rows + p_range.rows,\n"
    "            batches = batches + p_range.batches,\n"
    "            retries = retries + p_range.retries,\n"
    "            failures = failures + p_range.failures,\n"
    "            ranges = ranges - p_gone\n"
    "        WHERE run_id = p_run;\n"
    "END {quote};\n"
    "\n"
    "-- Takes back the range that a worker has, if it has one, and gives it\n"
    "-- the next. p_over: nothing is left of the old one.\n"
    "CREATE FUNCTION {schema}.next_range(p_run bigint, p_worker uuid,\n"
    "        p_token uuid, p_range bigint, p_owner uuid, p_seq bigint,\n"
    "        p_over boolean)\n"
    "    RETURNS SETOF {schema}.range LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "DECLARE\n"
    "    old {schema}.range;\n"
    "    rest bigint;\n"
    "BEGIN\n"
    "    -- Whoever cancels, ends or divides locks this row as well.\n"
    "    PERFORM FROM {schema}.progress WHERE run_id = p_run FOR UPDATE;\n"
    "    -- A worker that has connected again has another row: what its old\n"
    "    -- connection still had to say is void.\n"
    "    PERFORM FROM {schema}.worker WHERE id = p_worker FOR UPDATE;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'worker % is gone', p_worker\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "    IF p_range IS NOT NULL THEN\n"
    "        DELETE FROM {schema}.range WHERE id = p_range\n"
    "            AND owner = p_owner AND seq = p_seq RETURNING * INTO old;\n"
    "        IF NOT FOUND THEN\n"
    "            RAISE EXCEPTION 'range % has been taken over', p_range\n"
    "                USING ERRCODE = 'LM001';\n"
    "        END IF;\n"
    "        PERFORM {schema}.fold(p_run, old, p_over::int);\n"
    "        UPDATE {schema}.worker SET rows = rows + old.rows\n"
    "            WHERE id = p_worker;\n"
    "        IF NOT p_over THEN\n"
    "            INSERT INTO {schema}.range (run_id, place, cursor, upper)\n"
    "                VALUES (p_run, old.place, old.cursor, old.upper)\n"
    "                RETURNING id INTO rest;\n"
    "        END IF;\n"
    "    END IF;\n"
    "    IF p_token IS NOT NULL AND EXISTS (SELECT FROM {schema}.run\n"
    "            WHERE id = p_run AND state = 'running') THEN\n"
    "        RETURN QUERY UPDATE {schema}.range SET owner = p_token,\n"
    "                worker = p_worker, seq = seq + 1\n"
    "            WHERE id = (SELECT id FROM {schema}.range\n"
    "                WHERE run_id = p_run AND owner IS NULL AND NOT closed\n"
    "                ORDER BY id IS DISTINCT FROM rest, place LIMIT 1)\n"
    "            RETURNING *;\n"
    "    END IF;\n"
    "END {quote};\n"
    "\n"
    "-- The end of a run, by the worker that has done its last range; p_range\n"
    "-- is NULL if it has none. No other range may be left.\n"
    "CREATE FUNCTION {schema}.end_ranges(p_run bigint, p_range bigint,\n"
    "        p_owner uuid, p_seq bigint)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "DECLARE\n"
    "    old {schema}.range;\n"
    "    found_mine boolean := p_range IS NULL;\n"
    "BEGIN\n"
    "    FOR old IN DELETE FROM {schema}.range WHERE run_id = p_run\n"
    "            RETURNING *\n"
    "    LOOP\n"
    "        PERFORM {schema}.fold(p_run, old, (NOT old.closed)::int);\n"
    "        IF old.id = p_range THEN\n"
    "            found_mine := old.owner = p_owner AND old.seq = p_seq;\n"
    "            UPDATE {schema}.progress SET cursor = old.cursor\n"
    "                WHERE run_id = p_run;\n"
    "        ELSIF NOT old.closed THEN\n"
    "            RAISE EXCEPTION 'run % has further ranges', p_run\n"
    "                USING ERRCODE = 'LM001';\n"
    "        END IF;\n"
    "    END LOOP;\n"
    "    IF found_mine IS NOT TRUE THEN\n"
    "        RAISE EXCEPTION 'range % has been taken over', p_range\n"
    "            USING ERRCODE = 'LM001';\n"
    "    END IF;\n"
    "END {quote};\n"
    "\n"
    "-- The end of a run that will not go on: no worker can commit any more.\n"
    "CREATE FUNCTION {schema}.drop_ranges(p_run bigint)\n"
    "    RETURNS void LANGUAGE plpgsql\n"
    "    SET search_path = pg_catalog, pg_temp AS {quote}\n"
    "DECLARE\n"
    "    old {schema}.range;\n"
    "    first text[];\n"
    "BEGIN\n"
    "    SELECT cursor INTO first FROM {schema}.range WHERE run_id = p_run\n"
    "        AND NOT closed ORDER BY place LIMIT 1;\n"
    "    IF FOUND THEN\n"
    "        UPDATE {schema}.progress SET cursor = first\n"
    "            WHERE run_id = p_run;\n"
    "    END IF;\n"
    "    FOR old IN DELETE FROM {schema}.range WHERE run_id = p_run\n"
    "            RETURNING *\n"
    "    LOOP\n"
    "        PERFORM {schema}.fold(p_run, old, (NOT old.closed)::int);\n"
    "    END LOOP;\n"
    "    DELETE FROM {schema}.worker WHERE run_id = p_run;\n"
    "END {quote};\n";

/* Where the base query reads, if that is another database, and up to which
 * position of its WAL the run has seen it. */
static const char step_7[] =
    "ALTER TABLE {schema}.progress ADD COLUMN source jsonb;\n";

/* Keys of rows that outside services get begin with it: numbers of runs begin
 * again in each journal. */
static const char step_8[] =
    "ALTER TABLE {schema}.progress ADD COLUMN mark uuid NOT NULL\n"
    "    DEFAULT gen_random_uuid();\n";

static const char *const steps[] = {
    step_1, step_2, step_3, step_4, step_5, lm_journal_step_6, step_7, step_8};

int
lm_journal_version(void)
{
    return (int)LM_COUNT(steps);
}

/* A dollar quote that does not occur in the schema's name. */
static void
choose_quote(char *quote, size_t size, const char *schema)
{
    snprintf(quote, size, "$luamig$");
    for (int i = 1; strstr(schema, quote) != NULL; i++)
        snprintf(quote, size, "$luamig%d$", i);
}

void
lm_journal_fill_placeholders(struct lm_buf *buf, const char *sql,
                             const char *schema)
{
    static const char name_mark[] = "{schema}";
    static const char quote_mark[] = "{quote}";
    char quote[32];
    const char *next;

    choose_quote(quote, sizeof quote, schema);
    while ((next = strchr(sql, '{')) != NULL) {
        lm_buf_add(buf, sql, (size_t)(next - sql));
        sql = next;
        if (strncmp(sql, name_mark, strlen(name_mark)) == 0) {
            lm_sql_add_identifier(buf, schema);
            sql += strlen(name_mark);
        } else if (strncmp(sql, quote_mark, strlen(quote_mark)) == 0) {
            lm_buf_puts(buf, quote);
            sql += strlen(quote_mark);
        } else {
            lm_buf_putc(buf, *sql++);
        }
    }
    lm_buf_puts(buf, sql);
}

void
lm_journal_add_ddl(struct lm_buf *buf, const char *schema, int installed)
{
    for (int i = installed; i < lm_journal_version(); i++) {
        char version[16];

        lm_journal_fill_placeholders(buf, steps[i], schema);
        lm_journal_fill_placeholders(
            buf, "INSERT INTO {schema}.version (version) VALUES (", schema);
        snprintf(version, sizeof version, "%d);\n", i + 1);
        lm_buf_puts(buf, version);
    }
}

void
lm_journal_add_grants(struct lm_buf *buf, const char *schema, const char *role)
{
    static const char *const grants[] = {
        "GRANT USAGE ON SCHEMA {schema} TO ",
        "GRANT SELECT, INSERT, UPDATE ON {schema}.run, {schema}.progress,"
        " {schema}.failure, {schema}.request, {schema}.input TO ",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.range,"
        " {schema}.worker TO ",
        "GRANT SELECT ON {schema}.version TO ",
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO "};

    for (size_t i = 0; i < LM_COUNT(grants); i++) {
        lm_journal_fill_placeholders(buf, grants[i], schema);
        lm_sql_add_identifier(buf, role);
        lm_buf_puts(buf, ";\n");
    }
}
