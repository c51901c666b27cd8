/* SPDX-License-Identifier: MIT */

#include "pg/conn/sqlstate.h"

#include "base/mem.h"

#include <string.h>

static const struct {
    const char *state; /* a code, or a class */
    enum lm_sqlstate meaning;
} meanings[] = {
#define X(state, word) {state, LM_SQLSTATE_##word},
#include "sqlstates.inc"
#undef X
};

enum { CLASS_LENGTH = 2 };

/* A code outweighs its class. */
enum lm_sqlstate
lm_sqlstate_meaning(const char *state)
{
    enum lm_sqlstate of_class = LM_SQLSTATE_OTHER;

    for (size_t i = 0; i < LM_COUNT(meanings); i++) {
        const char *known = meanings[i].state;

        if (strcmp(known, state) == 0)
            return meanings[i].meaning;
        if (strlen(known) == CLASS_LENGTH &&
            strncmp(known, state, CLASS_LENGTH) == 0)
            of_class = meanings[i].meaning;
    }
    return of_class;
}
