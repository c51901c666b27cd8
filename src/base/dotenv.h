/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_DOTENV_H
#define LM_BASE_DOTENV_H

/*
 * A file .env: NAME=VALUE, a line each.
 *
 *     # a comment
 *     export NAME=plain until the line ends   # or a comment begins
 *     NAME='as it stands'
 *     NAME="with \n, \t, \", \\ and \$"
 *
 * Quoted values may go over several lines. Nothing is expanded: $NAME is text.
 * Errors name file and line, never what stands there.
 */

#include "base/err.h"

/* Which variables a file has set. */
struct lm_dotenv {
    char **names;
    size_t count;
};

/* Puts the variables of the file into the environment, except those that are
 * set already. Does nothing if there is no such file. Call it while there is
 * one thread. LM_ERR_SCRIPT if the file is malformed; then no variable is set.
 */
bool lm_dotenv_load(struct lm_dotenv *self, const char *path,
                    struct lm_err *err) LM_MUSTCHECK;
/* Has the file set this variable? */
bool lm_dotenv_has_set(const struct lm_dotenv *self, const char *name);
void lm_dotenv_release(struct lm_dotenv *self);

/* Reads the text of such a file; path is for messages. take may be NULL. */
typedef void (*lm_dotenv_take)(void *arg, const char *name, const char *value);
bool lm_dotenv_parse(const char *text, size_t len, const char *path,
                     lm_dotenv_take take, void *arg,
                     struct lm_err *err) LM_MUSTCHECK;

#endif
