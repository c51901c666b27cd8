-- What the statements of statements.txt are about.
CREATE TABLE t (
    id bigint PRIMARY KEY DEFAULT 50, a int, b text, n numeric, doc jsonb, tags text[],
    at timestamptz, "where" int, "update" text, double int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE s (id bigint PRIMARY KEY, t_id bigint REFERENCES t ON DELETE CASCADE DEFERRABLE, a int, b text, x int);
CREATE TABLE "DELETE FROM t" ("SELECT" int, "from; DROP TABLE t" text);
CREATE TABLE tree (id int PRIMARY KEY, parent int);
CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE INDEX t_a ON t (a);
CREATE VIEW v AS SELECT id, a FROM t;
CREATE MATERIALIZED VIEW mv AS SELECT id, a FROM t;
CREATE SEQUENCE q;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION set_config(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.pg_advisory_lock(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE p(int) LANGUAGE sql AS 'UPDATE t SET a = $1 WHERE id = $1';
INSERT INTO t VALUES (1, 1, 'one', 1.5, '{"a": 1}', '{x,y}', '2024-01-01', 1, 'u');
INSERT INTO s VALUES (1, 1, 1, 'one', 1);
