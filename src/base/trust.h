/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_TRUST_H
#define LM_BASE_TRUST_H

/*
 * May luamig use the files of this project? Without this check, anybody who
 * can put a file luamig.lua, .env, .luamig or .git into a folder above the
 * working directory (/tmp, for example) could choose the code that luamig
 * runs.
 *
 * A file is trusted if it belongs to this user or to root, and if not
 * everybody may write to it. A link must belong to one of them, too. For root
 * under sudo, files of the user who called sudo are trusted as well.
 * LUAMIG_TRUST names projects that are always trusted: absolute paths
 * separated by ":", or "*" for all.
 */

#include "base/err.h"

/* Checks the files that make a folder a project root. LM_ERR_SCRIPT if one is
 * not trusted; the hint says how to allow it. */
bool lm_trust_root(const char *root, struct lm_err *err) LM_MUSTCHECK;

/* The same for a file that luamig uses because it is in the working directory.
 */
bool lm_trust_here(const char *name, struct lm_err *err) LM_MUSTCHECK;

#endif
