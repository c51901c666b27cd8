/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_FAULT_H
#define LM_BASE_FAULT_H

/*
 * Named fault points, compiled into test builds only (-DLUAMIG_FAULTS).
 *
 * LUAMIG_FAULT="after_page:3=kill" raises SIGKILL when the point is reached
 * for the third time; "=stop" raises SIGSTOP.
 */

#ifdef LUAMIG_FAULTS
#include <stdbool.h>

void lm_fault_point(const char *name);
/* Is this the point that LUAMIG_FAULT names? */
bool lm_fault_is_armed(const char *name);
#define LM_FAULT(name) lm_fault_point(name)
#else
#define LM_FAULT(name) ((void)0)
#endif

#endif
