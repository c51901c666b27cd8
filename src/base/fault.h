/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_FAULT_H
#define LM_BASE_FAULT_H

/*
 * Named fault points, compiled into test builds only (-DLUAMIG_FAULTS).
 *
 * LUAMIG_FAULT="after_page:3=kill" raises SIGKILL when the point is reached
 * for the third time; "=stop" raises SIGSTOP.
 *
 * LUAMIG_FAULT_PATIENCE_MS shortens some long waits for tests,
 * LUAMIG_FAULT_GRACE_MS those for a process that says nothing, and
 * LUAMIG_FAULT_SLICE_MS what "auto" measures.
 */

#ifdef LUAMIG_FAULTS
#include <stdbool.h>
#include <stdint.h>

void lm_fault_point(const char *name);
/* Is this the point that LUAMIG_FAULT names? */
bool lm_fault_is_armed(const char *name);
int64_t lm_fault_ms(const char *name, int64_t usual_ms);
#define LM_FAULT(name)        lm_fault_point(name)
#define LM_FAULT_PATIENCE(ms) lm_fault_ms("LUAMIG_FAULT_PATIENCE_MS", ms)
#define LM_FAULT_GRACE(ms)    lm_fault_ms("LUAMIG_FAULT_GRACE_MS", ms)
#define LM_FAULT_SLICE(ms)    lm_fault_ms("LUAMIG_FAULT_SLICE_MS", ms)
#else
#define LM_FAULT(name)        ((void)0)
#define LM_FAULT_PATIENCE(ms) (ms)
#define LM_FAULT_GRACE(ms)    (ms)
#define LM_FAULT_SLICE(ms)    (ms)
#endif

#endif
