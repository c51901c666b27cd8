/* SPDX-License-Identifier: MIT */
/*
 * Reads EXPLAIN's JSON into a flat list of nodes, and adds up the rows that
 * they read.
 *
 * It reads the members that it knows by name and skips the rest, so newer
 * servers may send more. It trusts nothing: text that is not JSON, or is
 * nested too deeply, is not a plan.
 */

#include "pg/sql/plan.h"

#include "base/clock.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 500 };

struct reader {
    const char *at;
    int depth;
    struct lm_plan *plan;
};

static const struct {
    const char *name;
    size_t offset;
} text_members[] = {
    {"Node Type", offsetof(struct lm_plan_node, type)},
    {"Parent Relationship", offsetof(struct lm_plan_node, relationship)},
    {"Subplan Name", offsetof(struct lm_plan_node, subplan)},
    {"Strategy", offsetof(struct lm_plan_node, strategy)},
    {"Schema", offsetof(struct lm_plan_node, schema)},
    {"Relation Name", offsetof(struct lm_plan_node, relation)},
    {"Alias", offsetof(struct lm_plan_node, alias)},
    {"Index Name", offsetof(struct lm_plan_node, index)},
    {"Index Cond", offsetof(struct lm_plan_node, index_cond)},
    {"Filter", offsetof(struct lm_plan_node, filter)},
};

static const struct {
    const char *name;
    size_t offset;
} number_members[] = {
    {"Plan Rows", offsetof(struct lm_plan_node, plan_rows)},
    {"Total Cost", offsetof(struct lm_plan_node, total_cost)},
    {"Actual Loops", offsetof(struct lm_plan_node, loops)},
    {"Actual Rows", offsetof(struct lm_plan_node, rows)},
    {"Rows Removed by Filter",
     offsetof(struct lm_plan_node, removed_by_filter)},
    {"Rows Removed by Index Recheck",
     offsetof(struct lm_plan_node, removed_by_recheck)},
};

/* -- JSON --------------------------------------------------------------- */

static bool
take(struct reader *self, char c)
{
    self->at += strspn(self->at, " \t\r\n");
    if (*self->at != c)
        return false;
    self->at++;
    return true;
}

/* After the backslash. What stands for more than one byte is not needed here:
 * EXPLAIN escapes control characters only. */
static bool
read_escape(struct reader *self, struct lm_buf *out)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (*self->at == 'u') {
        if (strspn(self->at + 1, "0123456789abcdefABCDEF") < 4)
            return false;
        self->at += 5;
        lm_buf_putc(out, '?');
        return true;
    }
    found = *self->at != '\0' ? strchr(names, *self->at) : NULL;
    if (found == NULL)
        return false;
    self->at++;
    lm_buf_putc(out, values[found - names]);
    return true;
}

/* Adds the text of a string. */
static bool
read_string(struct reader *self, struct lm_buf *out)
{
    if (!take(self, '"'))
        return false;
    for (;;) {
        size_t len = strcspn(self->at, "\"\\");

        lm_buf_add(out, self->at, len);
        self->at += len;
        if (*self->at == '\0')
            return false;
        if (*self->at++ == '"')
            return true;
        if (!read_escape(self, out))
            return false;
    }
}

static bool
read_text(struct reader *self, char **out)
{
    struct lm_buf text = LM_BUF_INIT;

    if (!read_string(self, &text)) {
        lm_buf_release(&text);
        return false;
    }
    free(*out);
    *out = lm_buf_take(&text);
    return true;
}

static bool
read_number(struct reader *self, double *out)
{
    char *end;

    self->at += strspn(self->at, " \t\r\n");
    *out = strtod(self->at, &end);
    if (end == self->at)
        return false;
    self->at = end;
    return true;
}

/* Reads "{name: value, ...}": value is called with each name and reads what
 * belongs to it. */
typedef bool (*member_reader)(struct reader *self, const char *name, int node);

static bool
read_members(struct reader *self, member_reader value, int node)
{
    struct lm_buf name = LM_BUF_INIT;
    bool ok = take(self, '{') && self->depth++ < MAX_DEPTH;
    bool more = ok && !take(self, '}');

    while (ok && more) {
        lm_buf_clear(&name);
        ok = read_string(self, &name) && take(self, ':') &&
             value(self, lm_buf_text(&name), node);
        more = ok && take(self, ',');
        if (ok && !more)
            ok = take(self, '}');
    }
    self->depth--;
    lm_buf_release(&name);
    return ok;
}

static bool skip_value(struct reader *self, const char *name, int node);

/* Reads "[value, ...]". */
static bool
read_items(struct reader *self, member_reader value, int node)
{
    bool ok = take(self, '[') && self->depth++ < MAX_DEPTH;
    bool more = ok && !take(self, ']');

    while (ok && more) {
        ok = value(self, "", node);
        more = ok && take(self, ',');
        if (ok && !more)
            ok = take(self, ']');
    }
    self->depth--;
    return ok;
}

static bool
skip_value(struct reader *self, const char *name, int node)
{
    struct lm_buf ignored = LM_BUF_INIT;
    size_t len;
    bool ok;

    (void)name;
    self->at += strspn(self->at, " \t\r\n");
    if (*self->at == '{')
        return read_members(self, skip_value, node);
    if (*self->at == '[')
        return read_items(self, skip_value, node);
    if (*self->at == '"') {
        ok = read_string(self, &ignored);
        lm_buf_release(&ignored);
        return ok;
    }
    len = strspn(self->at, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");
    self->at += len;
    return len > 0;
}

/* -- the plan ------------------------------------------------------------- */

static int
add_node(struct lm_plan *plan, int parent)
{
    struct lm_plan_node node = {.parent = parent, .loops = -1, .copies = 1};

    if (parent >= 0) {
        node.depth = plan->nodes[parent].depth + 1;
        node.copies = plan->nodes[parent].copies;
    }
    LM_ADD(plan->nodes, plan->count) = node;
    return plan->count - 1;
}

static bool read_child(struct reader *self, const char *name, int parent);

/* "Distributed Query": {"Job": {"Task Count": 32, "Tasks": [{"Remote Plan":
 * [[{"Plan": ...}]]}]}} */
static bool
read_distributed(struct reader *self, const char *name, int node)
{
    if (strcmp(name, "Job") == 0)
        return read_members(self, read_distributed, node);
    if (strcmp(name, "Task Count") == 0)
        return read_number(self, &self->plan->nodes[node].tasks);
    if (strcmp(name, "Tasks") == 0 || strcmp(name, "Remote Plan") == 0)
        return read_items(self, read_distributed, node);
    if (strcmp(name, "Plan") == 0)
        return read_child(self, name, node);
    self->at += strspn(self->at, " \t\r\n");
    if (*name == '\0' && *self->at == '[')
        return read_items(self, read_distributed, node);
    if (*name == '\0' && *self->at == '{')
        return read_members(self, read_distributed, node);
    return skip_value(self, name, node);
}

/* What Citus expects of all tasks is a constant. */
static void
add_up_tasks(struct lm_plan *plan, int at)
{
    struct lm_plan_node *node = &plan->nodes[at];
    double shown = 0;
    double rows = 0;

    for (int i = at + 1; i < plan->count; i++) {
        shown += plan->nodes[i].parent == at;
        rows += plan->nodes[i].parent == at ? plan->nodes[i].plan_rows : 0;
    }
    if (shown <= 0)
        return;
    for (int i = at + 1; i < plan->count; i++)
        plan->nodes[i].copies *= node->tasks / shown;
    node->plan_rows = rows * node->tasks / shown;
}

static bool
read_node_member(struct reader *self, const char *name, int node)
{
    /* Where the members are found again after the list has grown. */
    char *base = (char *)&self->plan->nodes[node];

    if (strcmp(name, "Plans") == 0)
        return read_items(self, read_child, node);
    if (strcmp(name, "Distributed Query") == 0) {
        if (!read_members(self, read_distributed, node))
            return false;
        add_up_tasks(self->plan, node);
        return true;
    }
    for (size_t i = 0; i < LM_COUNT(text_members); i++) {
        if (strcmp(name, text_members[i].name) == 0)
            return read_text(self, (char **)(base + text_members[i].offset));
    }
    for (size_t i = 0; i < LM_COUNT(number_members); i++) {
        if (strcmp(name, number_members[i].name) == 0) {
            void *member = base + number_members[i].offset;

            return read_number(self, member);
        }
    }
    return skip_value(self, name, node);
}

static bool
read_child(struct reader *self, const char *name, int parent)
{
    int node = add_node(self->plan, parent);

    (void)name;
    return read_members(self, read_node_member, node) &&
           self->plan->nodes[node].type != NULL;
}

static bool
read_top_member(struct reader *self, const char *name, int node)
{
    if (strcmp(name, "Plan") == 0 && self->plan->count == 0)
        return read_child(self, name, -1);
    if (strcmp(name, "Planning Time") == 0)
        return read_number(self, &self->plan->planning_ms);
    if (strcmp(name, "Execution Time") == 0)
        return read_number(self, &self->plan->execution_ms);
    return skip_value(self, name, node);
}

static bool
read_top(struct reader *self, const char *name, int node)
{
    (void)name;
    return read_members(self, read_top_member, node);
}

/* An expression that asks a hash table calls it "hashed SubPlan 1". */
static bool
is_hashed(const char *subplan, const char *json)
{
    static const char word[] = "hashed ";
    size_t len = strlen(subplan);

    while ((json = strstr(json, word)) != NULL) {
        json += sizeof word - 1;
        if (strncmp(json, subplan, len) == 0 &&
            !isalnum((unsigned char)json[len]) && json[len] != '_')
            return true;
    }
    return false;
}

bool
lm_plan_read(struct lm_plan *out, const char *json)
{
    struct reader reader = {.at = json, .plan = out};

    memset(out, 0, sizeof *out);
    out->execution_ms = -1;
    if (!read_items(&reader, read_top, -1) || out->count == 0)
        return false;
    for (int i = 0; i < out->count; i++) {
        struct lm_plan_node *node = &out->nodes[i];

        node->hashed = node->subplan != NULL && is_hashed(node->subplan, json);
    }
    return true;
}

void
lm_plan_release(struct lm_plan *self)
{
    for (int i = 0; i < self->count; i++) {
        char *base = (char *)&self->nodes[i];

        for (size_t member = 0; member < LM_COUNT(text_members); member++)
            free(*(char **)(base + text_members[member].offset));
    }
    free(self->nodes);
    memset(self, 0, sizeof *self);
}

/* -- adding up -------------------------------------------------------------- */

bool
lm_plan_is_measured(const struct lm_plan *self)
{
    return self->execution_ms >= 0;
}

bool
lm_plan_scans(const struct lm_plan_node *node)
{
    return node->relation != NULL && strstr(node->type, "Scan") != NULL;
}

static bool
is_type(const struct lm_plan_node *node, const char *type)
{
    return strcmp(node->type, type) == 0;
}

static bool
is_child(const struct lm_plan_node *node, const char *relationship)
{
    return node->relationship != NULL &&
           strcmp(node->relationship, relationship) == 0;
}

/* Does the node read all its input before it gives its first row? */
static bool
is_blocking(const struct lm_plan_node *node)
{
    static const char *const types[] = {"Sort", "Hash", "SetOp"};

    for (size_t i = 0; i < LM_COUNT(types); i++) {
        if (is_type(node, types[i]))
            return true;
    }
    return node->tasks > 0 ||
           (is_type(node, "Aggregate") && node->strategy != NULL &&
            strcmp(node->strategy, "Sorted") != 0);
}

/* Estimates how many rows one whole loop of a scan reads, without running it:
 * all rows of the table, unless a condition finds them by an index. */
static double
expected_rows(const struct lm_plan_node *node)
{
    bool reads_all = is_type(node, "Seq Scan") ||
                     (node->index != NULL && node->index_cond == NULL);

    return reads_all && node->table_rows > node->plan_rows ? node->table_rows
                                                           : node->plan_rows;
}

/* How a plan that was not run would: how much of each loop is wanted, and how
 * many loops there are. */
struct demand {
    double part;
    double loops;
};

static int
first_child(const struct lm_plan *self, int at, const char *relationship)
{
    for (int i = at + 1; i < self->count && self->nodes[i].parent >= at; i++) {
        if (self->nodes[i].parent == at &&
            is_child(&self->nodes[i], relationship))
            return i;
    }
    return -1;
}

static struct demand
demand_of_child(const struct lm_plan *self, int at, int child,
                struct demand demand)
{
    const struct lm_plan_node *node = &self->nodes[at];
    const struct lm_plan_node *below = &self->nodes[child];

    if (is_child(below, "InitPlan") || below->hashed)
        return (struct demand){1, 1};
    if (is_child(below, "SubPlan")) {
        double rows = node->plan_rows * demand.part * demand.loops;

        return (struct demand){1, rows > 1 ? rows : 1};
    }
    if (is_type(node, "Limit")) {
        if (below->plan_rows > node->plan_rows)
            demand.part *= node->plan_rows / below->plan_rows;
    } else if (is_type(node, "Nested Loop") && is_child(below, "Inner")) {
        int outer = first_child(self, at, "Outer");

        if (outer >= 0 && !is_type(below, "Materialize"))
            demand.loops *= self->nodes[outer].plan_rows * demand.part;
        demand.part = 1;
    } else if (is_blocking(node)) {
        demand.part = 1;
    }
    return demand;
}

/* Sets how many rows the node and those below it read; 0 for a node that is
 * not a scan. */
static void
expect(const struct lm_plan *self, int at, struct demand demand, double *rows)
{
    const struct lm_plan_node *node = &self->nodes[at];

    if (lm_plan_scans(node)) {
        rows[at] =
            expected_rows(node) * demand.part * demand.loops * node->copies;
    }
    for (int i = at + 1; i < self->count && self->nodes[i].parent >= at; i++) {
        if (self->nodes[i].parent == at)
            expect(self, i, demand_of_child(self, at, i, demand), rows);
    }
}

static double
measured_rows(const struct lm_plan_node *node)
{
    if (!lm_plan_scans(node) || node->loops <= 0)
        return 0;
    return (node->rows + node->removed_by_filter + node->removed_by_recheck) *
           node->loops * node->copies;
}

/* What each node reads; the caller frees it. */
static double *
rows_by_node(const struct lm_plan *self)
{
    double *rows = lm_calloc((size_t)self->count, sizeof *rows);

    if (self->count > 0 && !lm_plan_is_measured(self))
        expect(self, 0, (struct demand){1, 1}, rows);
    for (int i = 0; i < self->count && lm_plan_is_measured(self); i++)
        rows[i] = measured_rows(&self->nodes[i]);
    return rows;
}

double
lm_plan_rows_read(const struct lm_plan *self)
{
    double *rows = rows_by_node(self);
    double sum = 0;

    for (int i = 0; i < self->count; i++)
        sum += rows[i];
    free(rows);
    return sum;
}

const struct lm_plan_node *
lm_plan_largest_scan(const struct lm_plan *self)
{
    const struct lm_plan_node *largest = NULL;
    double *rows = rows_by_node(self);
    double most = -1;

    for (int i = 0; i < self->count; i++) {
        if (lm_plan_scans(&self->nodes[i]) && rows[i] > most) {
            largest = &self->nodes[i];
            most = rows[i];
        }
    }
    free(rows);
    return largest;
}

bool
lm_plan_is_in_subquery(const struct lm_plan *self,
                       const struct lm_plan_node *node)
{
    while (!is_child(node, "InitPlan") && !is_child(node, "SubPlan")) {
        if (node->parent < 0)
            return false;
        node = &self->nodes[node->parent];
    }
    return true;
}

double
lm_plan_rows_returned(const struct lm_plan *self)
{
    if (self->count == 0)
        return 0;
    return lm_plan_is_measured(self) ? self->nodes[0].rows
                                     : self->nodes[0].plan_rows;
}

double
lm_plan_tasks(const struct lm_plan *self)
{
    double tasks = 1;

    for (int i = 0; i < self->count; i++) {
        if (self->nodes[i].tasks > tasks)
            tasks = self->nodes[i].tasks;
    }
    return tasks;
}

static bool
is_same_table(const struct lm_plan_node *one, const struct lm_plan_node *other)
{
    return lm_plan_scans(other) &&
           strcmp(one->relation, other->relation) == 0 &&
           (one->schema == NULL || other->schema == NULL ||
            strcmp(one->schema, other->schema) == 0);
}

double
lm_plan_table_rows(const struct lm_plan *self)
{
    double rows = 0;

    for (int i = 0; i < self->count; i++) {
        bool seen = !lm_plan_scans(&self->nodes[i]);

        for (int before = 0; !seen && before < i; before++)
            seen = is_same_table(&self->nodes[i], &self->nodes[before]);
        if (!seen)
            rows += self->nodes[i].table_rows;
    }
    return rows;
}

/* -- telling ------------------------------------------------------------------ */

static void
add_count(struct lm_buf *buf, const char *before, double rows,
          const char *after)
{
    lm_buf_printf(buf, "%s%s%s", before, lm_clock_count((int64_t)rows).text,
                  after);
}

static void
describe_node(const struct lm_plan_node *node, bool measured,
              struct lm_buf *buf)
{
    lm_buf_printf(buf, "%*s%s", 2 * node->depth, "", node->type);
    if (node->index != NULL)
        lm_buf_printf(buf, " using %s", node->index);
    if (node->relation != NULL)
        lm_buf_printf(buf, " on %s", node->relation);
    if (node->tasks > 0)
        add_count(buf, ", ", node->tasks, " tasks");
    if (node->copies > 1)
        add_count(buf, ", one of ", node->copies, " such tasks");
    if (node->index_cond != NULL)
        lm_buf_printf(buf, ", condition %s", node->index_cond);
    if (node->filter != NULL)
        lm_buf_printf(buf, ", filter %s", node->filter);
    if (!measured) {
        add_count(buf, ": about ", node->plan_rows, " rows");
    } else if (node->loops <= 0) {
        lm_buf_puts(buf, ": not run");
    } else {
        add_count(buf, ": ", node->rows * node->loops, " rows");
        if (node->removed_by_filter + node->removed_by_recheck > 0) {
            add_count(buf, ", ",
                      (node->removed_by_filter + node->removed_by_recheck) *
                          node->loops,
                      " thrown away");
        }
    }
}

void
lm_plan_describe(const struct lm_plan *self, int most, struct lm_buf *buf)
{
    for (int i = 0; i < self->count && i < most; i++) {
        lm_buf_puts(buf, i > 0 ? "\n" : "");
        describe_node(&self->nodes[i], lm_plan_is_measured(self), buf);
    }
    if (self->count > most)
        lm_buf_printf(buf, "\n... %d more", self->count - most);
}
