/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_INPUT_LOAD_H
#define LM_CORE_INPUT_LOAD_H

/* Loads a file into a table with the column "line", which is the number of a
 * record's first line, and the input's columns. */

#include "core/input/reader.h"
#include "pg/conn/conn.h"

/* The column that each such table has. */
#define LM_INPUT_LINE "line"

/* What the server says of the types of an input's columns. */
struct lm_input_types {
    const char **names; /* of the columns; the input's */
    uint32_t *oids;     /* of a domain: its own */
    int32_t *modifiers;
    enum lm_input_kind *kinds;
};

/* Inside a transaction with the script's search_path. LM_ERR_SCRIPT names the
 * column whose type does not exist. */
bool lm_input_find_types(struct lm_conn *conn, const struct lm_input *input,
                         struct lm_input_types *out,
                         struct lm_err *err) LM_MUSTCHECK;
void lm_input_types_release(struct lm_input_types *self);

struct lm_input_load {
    const struct lm_input *input;
    const struct lm_input_file *file;
    const struct lm_input_types *types;
    const char *table; /* as SQL */
    const char *name;  /* without the schema, as the server says it */
    bool is_new;       /* it was made in this transaction */
    /* Asked now and then. True: the load ends, with LM_ERR_INTERRUPT. */
    bool (*should_end)(void *arg);
    /* So many bytes have been read, and records loaded. */
    void (*tell)(void *arg, int64_t bytes, int64_t rows);
    void *arg;
};

/* Inside a transaction. LM_ERR_FAILED: the file is wrong, or has changed; any
 * other error is none of the file's. */
bool lm_input_load(struct lm_conn *conn, const struct lm_input_load *self,
                   int64_t *rows, struct lm_err *err) LM_MUSTCHECK;

/* A table of the session, with the file's records, or empty if file is NULL:
 * for dry runs and checks. *table is its name as SQL; freed by the caller. */
bool lm_input_load_temporary(struct lm_conn *conn,
                             const struct lm_migration *migration,
                             const struct lm_input_file *file, char **table,
                             int64_t *rows, struct lm_err *err) LM_MUSTCHECK;

#endif
