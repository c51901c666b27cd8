/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VM_INTERPRETER_H
#define LM_SCRIPT_VM_INTERPRETER_H

/*
 * Plain Lua with luamig's modules: argv[0] is the file ("-": standard input),
 * the rest its arguments, as in the global arg. Without a file, lines are read
 * from standard input, and what they return is printed.
 */

#include "base/err.h"

bool lm_interpreter_run(int argc, char **argv, struct lm_err *err) LM_MUSTCHECK;

#endif
