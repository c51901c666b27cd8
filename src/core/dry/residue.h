/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_DRY_RESIDUE_H
#define LM_CORE_DRY_RESIDUE_H

/*
 * What a rollback does not undo, as far as the server shows it: sequences that
 * have moved, what was written through foreign tables or dblink, advisory locks
 * of the session.
 */

#include "pg/conn/conn.h"

struct lm_sequence {
    char *name;  /* as SQL */
    char *value; /* NULL: it was never used */
};

struct lm_residue_item {
    const char *what; /* "sequence" */
    char *name;       /* as SQL, or NULL */
    char *before;     /* a sequence's last value, or NULL */
    char *after;
    const char *note; /* a sentence's end, for people */
};

struct lm_residue {
    struct lm_sequence *sequences; /* before */
    int sequence_count;
    bool saw_sequences;
    struct lm_residue_item *items;
    int count;
};
void lm_residue_release(struct lm_residue *self);

/* Outside of transactions, before the work: reads the state to compare with. */
void lm_residue_begin(struct lm_residue *self, struct lm_conn *conn);
/* Inside a transaction that has done its work and will be rolled back. An
 * error may leave the transaction failed. */
void lm_residue_look(struct lm_residue *self, struct lm_conn *conn);
/* Outside of transactions, after the work. script is the text of what has run,
 * which may call dblink. */
void lm_residue_end(struct lm_residue *self, struct lm_conn *conn,
                    const char *script);

#endif
