/* SPDX-License-Identifier: MIT */
/* Ends or stops the process at a named place; see fault.h. */

#include "base/fault.h"

#ifdef LUAMIG_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int
fault_signal(const char *action)
{
    return strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL;
}

bool
lm_fault_is_armed(const char *name)
{
    const char *spec = getenv("LUAMIG_FAULT");
    size_t len = strlen(name);

    return spec != NULL && strncmp(spec, name, len) == 0 &&
           (spec[len] == ':' || spec[len] == '=');
}

void
lm_fault_point(const char *name)
{
    static atomic_long hits;
    const char *spec = getenv("LUAMIG_FAULT");
    size_t len = strlen(name);
    long wanted = 1;
    char *rest;

    if (spec == NULL || strncmp(spec, name, len) != 0)
        return;
    rest = (char *)spec + len;
    if (*rest == ':')
        wanted = strtol(rest + 1, &rest, 10);
    if (*rest != '=' || ++hits != wanted)
        return;
    raise(fault_signal(rest + 1));
}

int64_t
lm_fault_ms(const char *name, int64_t usual_ms)
{
    const char *text = getenv(name);

    return text != NULL ? strtoll(text, NULL, 10) : usual_ms;
}

#else
typedef int lm_fault_is_compiled_out;
#endif
