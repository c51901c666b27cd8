/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_ERR_H
#define LM_BASE_ERR_H

/*
 * One error, complete enough to print.
 *
 * A function that can fail returns bool and takes a struct lm_err * last. On
 * success it does not touch the error. On failure the error says what
 * happened, where, and what to do next. The struct is plain data of fixed size
 * that owns nothing: it may be copied, and a jump over a frame with one leaks
 * nothing.
 *
 * kind is for decisions (who retries, which exit code), the texts are for
 * people. Messages follow PostgreSQL's style guide: lower case, no full stop,
 * names in double quotes, "could not" if it may succeed later.
 */

#include "base/mem.h"

#include <string.h>

enum lm_err_kind {
    LM_ERR_NONE = 0,
    LM_ERR_USAGE,     /* the command line is wrong */
    LM_ERR_SCRIPT,    /* the script is wrong and cannot be run */
    LM_ERR_CONNECT,   /* database unreachable, or refused before the run */
    LM_ERR_DATABASE,  /* a statement failed; sqlstate says why */
    LM_ERR_LOST,      /* the connection broke; the transaction's fate is
                         settled at the next reconnect */
    LM_ERR_FAILED,    /* the migration failed: a rule of luamig, or Lua code */
    LM_ERR_BUSY,      /* another runner works on the run */
    LM_ERR_FENCED,    /* another runner has taken the run over */
    LM_ERR_INTERRUPT, /* the user asked to stop at once */
    LM_ERR_CANCELLED, /* the run was cancelled */
    LM_ERR_KILLED,    /* a test wants the run to vanish as if killed */
    LM_ERR_INTERNAL   /* a bug in luamig */
};

/* How luamig ends: docs/running.md. */
enum lm_exit {
    LM_EXIT_DONE = 0,
    LM_EXIT_FAILED = 1,
    LM_EXIT_USAGE = 2,
    LM_EXIT_SCRIPT = 3,
    LM_EXIT_DATABASE = 4,
    LM_EXIT_STOPPED = 5,
    LM_EXIT_BUSY = 6,
    LM_EXIT_FAILURES = 7,
    LM_EXIT_CANCELLED = 8,
    LM_EXIT_INTERNAL = 70
};

struct lm_err {
    enum lm_err_kind kind;
    char sqlstate[6];
    char message[1024];
    char detail[1024];
    char hint[1024];
    char table[192]; /* as the server names them, or "" */
    char column[192];
    char constraint[192];
    char where[512];      /* file:line of the script, "" when unknown */
    char batch[512];      /* the batch that failed and its keys, or "" */
    char sql[2048];       /* the statement, "" when there is none */
    char traceback[4096]; /* of the Lua code, "" when there is none */
};

/*
 * Sets kind and message and empties everything else. Always returns false, so
 * that callers can write: return lm_err_set(err, ...). err must not be NULL.
 */
bool lm_err_set(struct lm_err *err, enum lm_err_kind kind, const char *format,
                ...) LM_PRINTF(3, 4);

/* Sets one more text of an error that has been set, and returns false as well.
 * Texts that do not fit are cut at a UTF-8 boundary and end with "...". */
bool lm_err_detail(struct lm_err *err, const char *format, ...) LM_PRINTF(2, 3);
bool lm_err_hint(struct lm_err *err, const char *format, ...) LM_PRINTF(2, 3);

/* Puts "context: " before the message. */
bool lm_err_prefix(struct lm_err *err, const char *format, ...) LM_PRINTF(2, 3);

/* Copies text into a field of an error; cuts as lm_err_detail does. */
void lm_err_copy(char *field, size_t size, const char *text, size_t len);
#define LM_ERR_COPY(field, text) \
    lm_err_copy((field), sizeof(field), (text), strlen(text))

/* The exit code that belongs to an error. */
enum lm_exit lm_err_exit_code(enum lm_err_kind kind);

/* True when the SQLSTATE begins with the given class or equals the code. */
bool lm_err_is_state(const struct lm_err *err, const char *state);

#endif
