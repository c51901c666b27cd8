/* SPDX-License-Identifier: MIT */

#include "core/run/tuner.h"

#include <math.h>
#include <string.h>

enum {
    SETTLING = 2,    /* slices in which workers begin or end */
    MOST_TRIALS = 3, /* of a number that may be worth it */
    FIRST_REST = 5,
    LONGEST_REST = 80
};

/* Of what one more worker brings if nothing stands in its way. */
static const double worth = 0.2;

/* -- windows --------------------------------------------------------------- */

bool
lm_tuner_add_slice(struct lm_tuner_slices *self, double rate,
                   struct lm_tuner_window *window)
{
    double sum = 0;
    double squares = 0;

    if (self->skipped < SETTLING) {
        self->skipped++;
        return false;
    }
    self->rates[self->count++] = rate;
    if (self->count < LM_TUNER_SLICES)
        return false;
    for (int i = 0; i < LM_TUNER_SLICES; i++)
        sum += self->rates[i];
    window->rate = sum / LM_TUNER_SLICES;
    for (int i = 0; i < LM_TUNER_SLICES; i++)
        squares += pow(self->rates[i] - window->rate, 2);
    window->error = sqrt(squares / (LM_TUNER_SLICES - 1) / LM_TUNER_SLICES);
    memset(self, 0, sizeof *self);
    return true;
}

/* -- which number is next -------------------------------------------------- */

void
lm_tuner_begin(struct lm_tuner *self, int workers, int most)
{
    memset(self, 0, sizeof *self);
    self->most = most;
    self->kept = workers < most ? workers : most;
    self->next_rest = FIRST_REST;
    self->down = true;
}

int
lm_tuner_workers(const struct lm_tuner *self)
{
    return self->phase == LM_TUNER_OTHER ? self->tried : self->kept;
}

/* The number to try; 0: all that may be worth it are known. */
static int
choose(const struct lm_tuner *self)
{
    int up = self->more > 0 ? (self->kept + self->more) / 2 : 2 * self->kept;
    int down = (self->less + self->kept) / 2;

    if (self->far > 0)
        up = self->far;
    if (up > self->most)
        up = self->most;
    if (up > self->kept)
        return up;
    return down > self->less ? down : 0;
}

/* Forgets what is known of the next number in one direction. */
static bool
open_direction(struct lm_tuner *self, bool down)
{
    if (down ? self->kept < 2 : self->kept >= self->most)
        return false;
    if (down) {
        self->less = self->kept - 2;
    } else {
        self->more = self->kept + 2;
    }
    return true;
}

static void
begin_trial(struct lm_tuner *self, const struct lm_tuner_window *before)
{
    self->tried = choose(self);
    if (self->tried == 0) {
        bool down = self->down;

        self->probe = true;
        self->down = !down;
        if (!open_direction(self, down) && !open_direction(self, !down))
            return;
        self->tried = choose(self);
    }
    self->before = *before;
    self->phase = LM_TUNER_OTHER;
    self->trials = 0;
    self->gains = self->squares = 0;
}

/* After a trial: rests if there is nothing to try at once. */
static void
end_trial(struct lm_tuner *self, bool changed)
{
    self->phase = LM_TUNER_BEFORE;
    if (changed || !self->probe) {
        self->next_rest = FIRST_REST;
    } else if (self->next_rest < LONGEST_REST) {
        self->next_rest *= 2;
    }
    self->probe = false;
    self->rest = choose(self) == 0 ? self->next_rest : 0;
}

/* -- what a trial has shown ---------------------------------------------------- */

struct gain {
    double part; /* what the larger number adds, as a part of the smaller's */
    double error;
};

static struct gain
compare(const struct lm_tuner_window *few, const struct lm_tuner_window *many)
{
    double times = many->rate / few->rate;

    return (struct gain){times - 1, times * hypot(few->error / few->rate,
                                                  many->error / many->rate)};
}

/* The windows with the number that is kept. If they differ, as where the load
 * changes, that makes the result less certain. */
static struct lm_tuner_window
join(const struct lm_tuner_window *before, const struct lm_tuner_window *again)
{
    double error = hypot(before->error, again->error) / 2;
    double drift = fabs(before->rate - again->rate) / 2;

    return (struct lm_tuner_window){(before->rate + again->rate) / 2,
                                    error > drift ? error : drift};
}

/* The windows show no rate to compare with: not even a part of a row. */
static bool
is_void(const struct lm_tuner_window *kept, const struct lm_tuner_window *other)
{
    return !(kept->rate > 0 && other->rate > 0);
}

/* What all trials of this number show. */
static struct gain
add_up(struct lm_tuner *self, struct gain gain)
{
    self->trials++;
    self->gains += gain.part;
    self->squares += gain.error * gain.error;
    return (struct gain){self->gains / self->trials,
                         sqrt(self->squares) / self->trials};
}

struct result {
    bool better; /* than the number that is kept */
    bool again;  /* in doubt, and worth another trial */
    bool more;   /* more workers seem to do more */
};

/* To be added, a worker must be worth it; to be taken away, it must not be. In
 * doubt the number stays. */
static struct result
judge(struct lm_tuner *self, const struct lm_tuner_window *kept)
{
    int few = self->tried < self->kept ? self->tried : self->kept;
    int added = self->tried + self->kept - 2 * few;
    double least = worth * added / few;
    struct result result = {.better = false};
    struct gain gain;

    if (self->tried < self->kept) {
        gain = compare(&self->other, kept);
        result.better = gain.part + gain.error < least;
        return result;
    }
    gain = add_up(self, compare(kept, &self->other));
    result.more = gain.part > 0;
    result.better = gain.part >= least && gain.part > 2 * gain.error;
    result.again = !result.better && gain.part + gain.error >= least &&
                   self->trials < MOST_TRIALS;
    return result;
}

/* Where the first workers bring little, further ones may bring much: several
 * COMMITs share a write to the disk. So twice that number is tried once. */
static void
look_further(struct lm_tuner *self, const struct result *result)
{
    bool first = self->far == 0 && !self->probe;

    self->far =
        first && result->more && self->tried < self->most ? 2 * self->tried : 0;
}

static void
follow(struct lm_tuner *self, const struct result *result)
{
    bool up = self->tried > self->kept;
    int *behind = up ? &self->less : &self->more;
    int *ahead = up ? &self->more : &self->less;

    if (!result->better) {
        if (self->far == 0)
            *ahead = self->tried;
        look_further(self, result);
        return;
    }
    *behind = self->kept;
    self->kept = self->tried;
    if (self->probe || self->far > 0)
        *ahead = 0; /* it was known of other times, or of fewer workers */
    self->far = 0;
}

bool
lm_tuner_take(struct lm_tuner *self, const struct lm_tuner_window *window,
              struct lm_tuner_verdict *verdict)
{
    struct lm_tuner_window kept;
    struct result result;

    if (self->phase == LM_TUNER_BEFORE) {
        if (self->rest > 0)
            self->rest--;
        if (self->rest == 0)
            begin_trial(self, window);
        return false;
    }
    if (self->phase == LM_TUNER_OTHER) {
        self->other = *window;
        self->phase = LM_TUNER_AGAIN;
        return false;
    }
    kept = join(&self->before, window);
    if (is_void(&kept, &self->other)) {
        lm_tuner_repeat(self);
        return false;
    }
    result = judge(self, &kept);
    if (result.again) {
        self->before = *window;
        self->phase = LM_TUNER_OTHER;
        return false;
    }
    *verdict = (struct lm_tuner_verdict){.from = self->kept,
                                         .to = self->tried,
                                         .changed = result.better,
                                         .times = self->other.rate / kept.rate};
    follow(self, &result);
    end_trial(self, verdict->changed);
    if (!verdict->changed && self->rest == 0)
        begin_trial(self, window);
    return true;
}

/* -- trials that come to nothing ----------------------------------------------- */

void
lm_tuner_repeat(struct lm_tuner *self)
{
    self->phase = LM_TUNER_BEFORE;
}

void
lm_tuner_refuse(struct lm_tuner *self)
{
    if (self->phase == LM_TUNER_OTHER && self->tried > self->kept) {
        follow(self, &(struct result){.better = false});
        end_trial(self, false);
    }
    lm_tuner_repeat(self);
}

void
lm_tuner_set_most(struct lm_tuner *self, int most)
{
    self->most = most;
    self->far = 0;
    if (self->kept > most) {
        self->kept = most;
        self->less = most - 1;
        self->more = 0;
        lm_tuner_repeat(self);
    }
    if (self->phase == LM_TUNER_OTHER && self->tried > most)
        lm_tuner_repeat(self);
}
