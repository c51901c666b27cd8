/* SPDX-License-Identifier: MIT */
/*
 * A primary says where the next record of the WAL begins, a standby where the
 * last one that it has replayed ends. Between them there may be the header of a
 * page or of a segment, which no standby ever replays. So a position right
 * behind a header is taken as the one before it.
 */

#include "core/page/place.h"

#include "core/page/preflight.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_HEADER = 40, PAGE_HEADER = 24 };

static uint64_t
read_position(const char *text)
{
    char *rest = NULL;
    uint64_t high = strtoull(text, &rest, 16);

    return *rest == '/' ? (high << 32) + strtoull(rest + 1, NULL, 16) : 0;
}

uint64_t
lm_place_record_end(uint64_t position, uint64_t segment, uint64_t page)
{
    if (segment > 0 && position % segment <= SEGMENT_HEADER)
        return position - position % segment;
    if (page > 0 && position % page <= PAGE_HEADER)
        return position - position % page;
    return position;
}

static void
read_answer(struct lm_place *out, const struct lm_answer *row)
{
    uint64_t position;

    out->standby = lm_answer_bool(row, 0, 0);
    snprintf(out->database, sizeof out->database, "%s",
             lm_answer_text(row, 0, 2));
    snprintf(out->started, sizeof out->started, "%s",
             lm_answer_text(row, 0, 5));
    if (lm_answer_is_null(row, 0, 1))
        return;
    position = read_position(lm_answer_text(row, 0, 1));
    if (!out->standby) {
        position =
            lm_place_record_end(position, (uint64_t)lm_answer_int(row, 0, 3),
                                (uint64_t)lm_answer_int(row, 0, 4));
    }
    snprintf(out->position, sizeof out->position, "%" PRIX64 "/%" PRIX64,
             position >> 32, position & UINT32_MAX);
}

/* A server that is no PostgreSQL of the usual kind may have no position. */
static bool
look_without_position(struct lm_conn *conn, struct lm_place *out,
                      struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.pg_is_in_recovery(), NULL, d.oid::text, 0, 0,"
        " extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"
        " FROM pg_catalog.pg_database d"
        " WHERE d.datname = pg_catalog.current_database()";
    struct lm_answer *row = NULL;

    if (!lm_conn_ask(conn, sql, "1: b t? t n n t", LM_NO_VALUES, &row, err))
        return false;
    read_answer(out, row);
    lm_answer_free(row);
    return true;
}

bool
lm_place_look(struct lm_conn *conn, struct lm_place *out, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.pg_is_in_recovery(),"
        " (CASE WHEN pg_catalog.pg_is_in_recovery()"
        "  THEN pg_catalog.pg_last_wal_replay_lsn()"
        "  ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text,"
        " d.oid::text, coalesce((SELECT s.setting::int8"
        "  FROM pg_catalog.pg_settings s WHERE s.name = 'wal_segment_size'),"
        "  0), pg_catalog.current_setting('wal_block_size')::int8,"
        " extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"
        " FROM pg_catalog.pg_database d"
        " WHERE d.datname = pg_catalog.current_database()";
    struct lm_answer *row = NULL;

    memset(out, 0, sizeof *out);
    if (!lm_preflight_identity(conn, out->system, sizeof out->system, err))
        return false;
    if (!lm_conn_ask(conn, sql, "1: b t? t n n t", LM_NO_VALUES, &row, err)) {
        return err->kind == LM_ERR_DATABASE && lm_conn_is_up(conn) &&
               look_without_position(conn, out, err);
    }
    read_answer(out, row);
    lm_answer_free(row);
    return true;
}

bool
lm_place_is_same(const struct lm_place *self, const struct lm_place *other)
{
    bool other_system = self->system[0] != '\0' && other->system[0] != '\0' &&
                        strcmp(self->system, other->system) != 0;

    return !other_system && strcmp(self->database, other->database) == 0;
}

bool
lm_place_shows(const struct lm_place *self, const struct lm_place *other)
{
    return self->system[0] != '\0' && lm_place_is_same(self, other) &&
           (self->standby || strcmp(self->started, other->started) == 0);
}

bool
lm_place_has_reached(const struct lm_place *self, const char *position)
{
    return self->position[0] == '\0' || position[0] == '\0' ||
           read_position(self->position) >= read_position(position);
}
