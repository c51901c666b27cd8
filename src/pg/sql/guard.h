/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_GUARD_H
#define LM_PG_SQL_GUARD_H

/*
 * The verdict on a statement of a script: what it would do that a script must
 * not do, or only if it says so. Read from the parse tree, once for each text.
 *
 * It guards against mistakes, not against malice: what functions, procedures,
 * triggers and DO blocks do is not seen.
 *
 * The grammar is that of one version of PostgreSQL. What it does not know, or
 * what is nested so deeply that parsing would be a risk, is held against its
 * words: it passes when they can mean nothing but a query, and is charged with
 * LM_GUARD_UNJUDGED when not, besides what its first word says.
 */

#include "base/err.h"

#include <stdint.h>

/* What a statement is held against; a script may say that it means all but
 * the first. */
enum lm_guard_refusal {
    LM_GUARD_NEVER = 1 << 0,     /* it ends the transaction, outlives it, ... */
    LM_GUARD_DDL = 1 << 1,       /* needs config.allow_ddl */
    LM_GUARD_EVERY_ROW = 1 << 2, /* needs luamig.ALL */
    LM_GUARD_UNJUDGED = 1 << 3   /* needs that or config.allow_unjudged */
};

/* The major version of PostgreSQL whose grammar is used. */
int lm_guard_grammar(void);

struct lm_verdict {
    unsigned refusals; /* of enum lm_guard_refusal; 0: harmless */
    bool parsed;
    bool plain; /* a query or write, and nothing else: it changes neither what
                   names mean nor what the catalog says */
    bool keeps_columns; /* whatever else it does, it leaves the columns of all
                           tables alone */
    bool warned;        /* that it was not judged; for whoever tells it */
};

/* Judges a statement. On success no charge is left but those in allowed;
 * failure (LM_ERR_FAILED) says what is charged, and where. Fills out in any
 * case. */
bool lm_guard_judge(const char *sql, unsigned allowed, struct lm_verdict *out,
                    struct lm_err *err) LM_MUSTCHECK;

/* What has been judged, so that it need not be again. Zero is empty. */
struct lm_guard {
    struct lm_judged *judged;
    size_t count;
    uint64_t parses; /* how often a text was judged that was not known */
};

/*
 * The same, by memory where possible; *out is what is remembered, until the
 * next question. A guard remembers a thousand texts, whatever becomes of the
 * connection.
 */
bool lm_guard_ask(struct lm_guard *self, const char *sql, unsigned allowed,
                  struct lm_verdict **out, struct lm_err *err) LM_MUSTCHECK;
void lm_guard_release(struct lm_guard *self);

#endif
