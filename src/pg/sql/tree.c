/* SPDX-License-Identifier: MIT */
/*
 * Walks parse trees through protobuf's own description of each message, so
 * that no kind of node can be forgotten.
 */

#include "pg/sql/tree.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;

static const void *
member(const ProtobufCMessage *message, unsigned offset)
{
    return (const char *)message + offset;
}

/* The messages in one field of a message; returns how many. */
static size_t
children(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
         ProtobufCMessage *const **out)
{
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return 0;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *out =
            *(ProtobufCMessage *const *const *)member(message, field->offset);
        return *(const size_t *)member(message, field->quantifier_offset);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const uint32_t *)member(message, field->quantifier_offset) !=
            field->id)
        return 0;
    *out = (ProtobufCMessage *const *)member(message, field->offset);
    return **out != NULL ? 1 : 0;
}

bool
lm_tree_walk(const ProtobufCMessage *message, lm_visit_fn visit, void *data)
{
    const ProtobufCMessageDescriptor *kind = message->descriptor;
    enum lm_visit seen = visit(message, data);

    if (seen != LM_VISIT_ON)
        return seen == LM_VISIT_FOUND;
    for (unsigned i = 0; i < kind->n_fields; i++) {
        ProtobufCMessage *const *child = NULL;
        size_t count = children(message, &kind->fields[i], &child);

        for (size_t j = 0; j < count; j++) {
            if (lm_tree_walk(child[j], visit, data))
                return true;
        }
    }
    return false;
}

bool
lm_tree_walk_list(Node *const *nodes, size_t count, lm_visit_fn visit,
                  void *data)
{
    for (size_t i = 0; i < count; i++) {
        if (lm_tree_walk(&nodes[i]->base, visit, data))
            return true;
    }
    return false;
}

bool
lm_tree_is(const ProtobufCMessage *message,
           const ProtobufCMessageDescriptor *kind)
{
    return message->descriptor == kind;
}

static enum lm_visit
visit_kind(const ProtobufCMessage *message, void *kind)
{
    return message->descriptor == kind ? LM_VISIT_FOUND : LM_VISIT_ON;
}

bool
lm_tree_has(const ProtobufCMessage *message,
            const ProtobufCMessageDescriptor *kind)
{
    return lm_tree_walk(message, visit_kind, (void *)kind);
}

static enum lm_visit
visit_location(const ProtobufCMessage *message, void *first)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor,
                                                        "location");
    int *least = first;
    int32_t location;

    if (field == NULL || field->type != PROTOBUF_C_TYPE_INT32)
        return LM_VISIT_ON;
    location = *(const int32_t *)member(message, field->offset);
    if (location > 0 && (*least < 0 || location < *least))
        *least = location;
    return LM_VISIT_ON;
}

int
lm_tree_location(const ProtobufCMessage *message)
{
    int least = -1;

    lm_tree_walk(message, visit_location, &least);
    return least;
}

static bool
same_field(const ProtobufCMessage *a, const ProtobufCMessage *b,
           const ProtobufCFieldDescriptor *field)
{
    ProtobufCMessage *const *children_a = NULL;
    ProtobufCMessage *const *children_b = NULL;
    const void *value_a = member(a, field->offset);
    const void *value_b = member(b, field->offset);
    size_t count = children(a, field, &children_a);

    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        if (count != children(b, field, &children_b))
            return false;
        for (size_t i = 0; i < count; i++) {
            if (!lm_tree_same(children_a[i], children_b[i]))
                return false;
        }
        return true;
    case PROTOBUF_C_TYPE_STRING:
        return field->label != PROTOBUF_C_LABEL_REPEATED &&
               strcmp(*(char *const *)value_a, *(char *const *)value_b) == 0;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        return field->label != PROTOBUF_C_LABEL_REPEATED &&
               memcmp(value_a, value_b, sizeof(int32_t)) == 0;
    default:
        return false;
    }
}

bool
lm_tree_same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    const ProtobufCMessageDescriptor *kind = a->descriptor;

    if (kind != b->descriptor)
        return false;
    for (unsigned i = 0; i < kind->n_fields; i++) {
        if (strcmp(kind->fields[i].name, "location") != 0 &&
            !same_field(a, b, &kind->fields[i]))
            return false;
    }
    return true;
}

int
lm_tree_list_location(Node *const *nodes, size_t count)
{
    int least = -1;

    lm_tree_walk_list(nodes, count, visit_location, &least);
    return least;
}

const SelectStmt *
lm_tree_select(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_SELECT_STMT
               ? node->select_stmt
               : NULL;
}

bool
lm_tree_integer(const Node *node, int *out)
{
    if (node->node_case != PG_QUERY__NODE__NODE_A_CONST ||
        node->a_const->val_case != PG_QUERY__A__CONST__VAL_IVAL)
        return false;
    *out = node->a_const->ival->ival;
    return true;
}

const PgQuery__IntoClause *
lm_tree_into(const SelectStmt *select)
{
    while (select->larg != NULL)
        select = select->larg;
    return select->into_clause;
}

const ColumnRef *
lm_tree_column(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_COLUMN_REF ? node->column_ref
                                                              : NULL;
}

const char *
lm_tree_name(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_STRING ? node->string->sval
                                                          : NULL;
}

const char *
lm_tree_last_name(Node *const *names, size_t count)
{
    return count > 0 ? lm_tree_name(names[count - 1]) : NULL;
}

bool
lm_tree_is_star(const ColumnRef *ref)
{
    return lm_tree_last_name(ref->fields, ref->n_fields) == NULL;
}
