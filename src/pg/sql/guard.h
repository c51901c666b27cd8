/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_GUARD_H
#define LM_PG_SQL_GUARD_H

/*
 * The verdict on a statement of a script: does it do something that a script
 * must not do, or that it must allow first? The guard reads the parse tree,
 * once for each text.
 *
 * The guard protects against mistakes, not against attacks: it does not see
 * what functions, procedures, triggers and DO blocks do.
 *
 * The grammar is that of one version of PostgreSQL. If the guard cannot parse
 * a statement, or it is nested too deeply to parse it safely, the guard reads
 * its words. If they can only mean a query, the statement passes. If not, it
 * is refused with LM_GUARD_UNJUDGED, and also for what its first word shows.
 */

#include "base/err.h"

#include <stdint.h>

/* Reasons to refuse a statement. A script may allow all but the first. */
enum lm_guard_refusal {
    LM_GUARD_NEVER = 1 << 0, /* it ends the transaction, lasts longer, ... */
    LM_GUARD_DDL = 1 << 1,   /* needs config.allow_ddl */
    LM_GUARD_EVERY_ROW = 1 << 2, /* needs luamig.ALL */
    LM_GUARD_UNJUDGED = 1 << 3   /* needs luamig.ALL or config.allow_unjudged */
};

/* The major version of PostgreSQL whose grammar is used. */
int lm_guard_grammar(void);

struct lm_verdict {
    unsigned refusals; /* of enum lm_guard_refusal; 0: harmless */
    bool parsed;
    bool plain; /* a query or write, and nothing else: it changes neither what
                   names mean nor what the catalog says */
    bool keeps_columns; /* it does not change the columns of any table */
    bool warned; /* for the caller: it has warned that this was not judged */
};

/* Judges a statement. True: there is no reason to refuse it, except those in
 * allowed. False: LM_ERR_FAILED says why, and where in the text. Always fills
 * out. */
bool lm_guard_judge(const char *sql, unsigned allowed, struct lm_verdict *out,
                    struct lm_err *err) LM_MUSTCHECK;

/* Remembers verdicts, so that each text is judged once. Zero is empty. */
struct lm_guard {
    struct lm_judged *judged;
    size_t count;
    uint64_t parses; /* how often a new text was parsed */
};

/* The same, from memory if possible. *out is the remembered verdict, valid
 * until the next call. A guard remembers a thousand texts, for all
 * connections. */
bool lm_guard_ask(struct lm_guard *self, const char *sql, unsigned allowed,
                  struct lm_verdict **out, struct lm_err *err) LM_MUSTCHECK;
void lm_guard_release(struct lm_guard *self);

#endif
