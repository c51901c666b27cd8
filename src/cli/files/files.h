/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_FILES_FILES_H
#define LM_CLI_FILES_FILES_H

/* Files and folders that luamig writes for people. It never changes a file
 * that exists. */

#include "base/err.h"

/* Makes a folder and those above it. *created (may be NULL): it was not there.
 * LM_ERR_FAILED when something else is in the way. */
bool lm_files_make_folder(const char *path, bool *created,
                          struct lm_err *err) LM_MUSTCHECK;

/* Writes a file, with the folders above it, unless anything of that name
 * exists: *created. What could not be written in full is removed again. */
bool lm_files_create(const char *path, const char *bytes, size_t len,
                     bool *created, struct lm_err *err) LM_MUSTCHECK;

/* Writes a file of luamig's own, if it has not these bytes already. A process
 * that reads it meanwhile sees the old bytes or the new ones. */
bool lm_files_put(const char *path, const char *bytes, size_t len,
                  struct lm_err *err) LM_MUSTCHECK;

/* Does the file have just these bytes? */
bool lm_files_equal(const char *path, const char *bytes, size_t len);

#endif
