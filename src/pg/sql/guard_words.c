/* SPDX-License-Identifier: MIT */
/* Judges a statement without a parse tree by its words. Its first word shows
 * the kind; with any word that could mean a write, it is not a plain query. In
 * doubt it refuses: a column named update counts as a write. */

#include "base/mem.h"
#include "pg/sql/guard_private.h"
#include "pg/sql/words.h"

static const struct {
    const char *word;
    enum lm_wording kind;
} kinds[] = {
    {"select", LM_WORDING_READS},
    {"values", LM_WORDING_READS},
    {"table", LM_WORDING_READS},
    {"with", LM_WORDING_READS},
    {"insert", LM_WORDING_WRITES},
    {"update", LM_WORDING_WRITES},
    {"delete", LM_WORDING_WRITES},
    {"merge", LM_WORDING_WRITES},
    {"call", LM_WORDING_OTHER},
    {"declare", LM_WORDING_OTHER}, /* but for WITH HOLD */
    {"analyze", LM_WORDING_OTHER},
    {"analyse", LM_WORDING_OTHER},
    {"set", LM_WORDING_SESSION}, /* but for SET LOCAL */
    {"reset", LM_WORDING_SESSION},
    {"prepare", LM_WORDING_SESSION},
    {"execute", LM_WORDING_SESSION},
    {"deallocate", LM_WORDING_SESSION},
    {"discard", LM_WORDING_SESSION},
    {"listen", LM_WORDING_SESSION},
    {"unlisten", LM_WORDING_SESSION},
    {"load", LM_WORDING_SESSION},
    {"begin", LM_WORDING_TRANSACTION},
    {"start", LM_WORDING_TRANSACTION},
    {"commit", LM_WORDING_TRANSACTION},
    {"end", LM_WORDING_TRANSACTION},
    {"rollback", LM_WORDING_TRANSACTION},
    {"abort", LM_WORDING_TRANSACTION},
    {"savepoint", LM_WORDING_TRANSACTION},
    {"release", LM_WORDING_TRANSACTION},
    {"copy", LM_WORDING_COPY},
    {"vacuum", LM_WORDING_OUTSIDE},
};

/* A walk over the words. */
struct walk {
    struct lm_words at;
    struct lm_words before;
    struct lm_reading *reading;
    bool begun;    /* the word that shows the kind was read */
    bool explains; /* EXPLAIN came before it */
    int brackets;  /* open ones before it */
    bool ended;    /* a semicolon came after it */
};

static bool
is_byte(const struct walk *self, char byte)
{
    return self->at.kind == LM_WORD_OTHER && *self->at.text == byte;
}

/* EXPLAIN and its options, brackets and semicolons. */
static bool
is_prelude(struct walk *self)
{
    static const char *const options[] = {"analyze", "analyse", "verbose",
                                          NULL};

    if (is_byte(self, '(')) {
        self->brackets++;
    } else if (is_byte(self, ')')) {
        self->brackets--;
    } else if (lm_words_is(&self->at, "explain")) {
        self->explains = true;
    } else if (!is_byte(self, ';')) {
        return self->explains &&
               (self->brackets > 0 || lm_words_among(&self->at, options));
    }
    return true;
}

static void
begin(struct walk *self)
{
    if (is_prelude(self))
        return;
    self->begun = true;
    for (size_t i = 0; i < LM_COUNT(kinds); i++) {
        if (lm_words_is(&self->at, kinds[i].word))
            self->reading->kind = kinds[i].kind;
    }
}

/* FOR UPDATE and FOR NO KEY UPDATE lock. */
static bool
means_a_write(const struct walk *self)
{
    static const char *const writes[] = {"insert", "update", "delete", "merge",
                                         NULL};
    static const char *const locks[] = {"for", "key", NULL};

    return lm_words_among(&self->at, writes) &&
           !(lm_words_is(&self->at, "update") &&
             lm_words_among(&self->before, locks));
}

static bool
calls_for_the_session(const struct walk *self)
{
    static const char *const names[] = {
        "set_config", "pg_advisory_lock", "pg_advisory_lock_shared",
        "pg_try_advisory_lock", "pg_try_advisory_lock_shared"};

    for (size_t i = 0; i < LM_COUNT(names); i++) {
        if (lm_words_is_name(&self->at, names[i]))
            return true;
    }
    return false;
}

static bool
follows(const struct walk *self, const char *word, const char *before)
{
    return lm_words_is(&self->at, word) && lm_words_is(&self->before, before);
}

/* Reads the word that shows the kind, or a word after it. */
static void
look(struct walk *self)
{
    static const char *const takers[] = {"insert", "merge", NULL};
    struct lm_reading *reading = self->reading;

    if (self->ended)
        reading->several = true;
    self->ended = is_byte(self, ';');
    if (calls_for_the_session(self))
        reading->calls = true;
    if (follows(self, "local", "set") && reading->kind == LM_WORDING_SESSION)
        reading->kind = LM_WORDING_OTHER;
    if (follows(self, "hold", "with") && reading->kind == LM_WORDING_OTHER)
        reading->kind = LM_WORDING_SESSION;
    if (reading->kind != LM_WORDING_READS)
        return;
    if (lm_words_is(&self->at, "into") &&
        !lm_words_among(&self->before, takers)) {
        reading->kind = LM_WORDING_DDL;
    } else if (means_a_write(self)) {
        reading->writes = true;
    }
}

void
lm_guard_read_words(const char *sql, struct lm_reading *out)
{
    struct walk self = {.at = {.next = sql}, .reading = out};

    *out = (struct lm_reading){.kind = LM_WORDING_DDL};
    while (lm_words_next(&self.at) != LM_WORD_END &&
           self.at.kind != LM_WORD_BROKEN) {
        if (!self.begun)
            begin(&self);
        if (self.begun)
            look(&self);
        self.before = self.at;
    }
    if (out->kind == LM_WORDING_READS &&
        (out->writes || out->calls || self.at.kind == LM_WORD_BROKEN))
        out->kind = LM_WORDING_WRITES;
}
