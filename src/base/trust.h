/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_TRUST_H
#define LM_BASE_TRUST_H

/*
 * May what a project's folder says be done as this user? Whoever can put a file
 * luamig.lua, .env, .luamig or .git into a folder above the working directory
 * (/tmp, say) would else choose the code that runs here.
 *
 * A file is trusted when it and, if it is a link, the link belong to this user
 * or to root; as root under sudo also to the user who called sudo; and when not
 * everybody may write to it. LUAMIG_TRUST names projects that are trusted
 * whoever owns them: absolute paths with ":" between, or "*" for all.
 */

#include "base/err.h"

/* Looks at the files that make a folder a project root. One that is not trusted
 * is LM_ERR_SCRIPT, with the way to allow it. */
bool lm_trust_root(const char *root, struct lm_err *err) LM_MUSTCHECK;

/* Likewise at a file that is obeyed because it lies in the working directory. */
bool lm_trust_here(const char *name, struct lm_err *err) LM_MUSTCHECK;

#endif
