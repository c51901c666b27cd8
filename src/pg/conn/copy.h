/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_COPY_H
#define LM_PG_CONN_COPY_H

/* Rows that go to the server by COPY. */

#include "pg/conn/conn.h"

/* What COPY gets. next adds some of it to the empty buffer; if it adds nothing,
 * that was all. If it fails, nothing is written, and its error is that of the
 * COPY. */
struct lm_copy_source {
    bool (*next)(void *arg, struct lm_buf *out, struct lm_err *err);
    void *arg;
};

/* Runs COPY ... FROM STDIN inside a transaction, outside of pipeline mode. It
 * waits for the source as long as that takes. *context says where the server
 * found an error, in its words; freed by the caller; NULL: it does not say. */
bool lm_conn_copy(struct lm_conn *conn, const char *sql,
                  const struct lm_copy_source *source, char **context,
                  struct lm_err *err) LM_MUSTCHECK;

#endif
