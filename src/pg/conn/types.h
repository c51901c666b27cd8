/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_TYPES_H
#define LM_PG_CONN_TYPES_H

/* What luamig knows of a type: the base type of a domain, the element type of
 * an array, and names for messages. The built-in scalar types are known;
 * luamig asks the server about others, once for each connection. */

#include "pg/conn/conn.h"

/* OIDs of pg_catalog/pg_type.dat that luamig treats specially. */
enum {
    LM_TYPE_BOOL = 16,
    LM_TYPE_BYTEA = 17,
    LM_TYPE_NAME = 19,
    LM_TYPE_INT8 = 20,
    LM_TYPE_INT2 = 21,
    LM_TYPE_INT4 = 23,
    LM_TYPE_TEXT = 25,
    LM_TYPE_OID = 26,
    LM_TYPE_JSON = 114,
    LM_TYPE_FLOAT4 = 700,
    LM_TYPE_FLOAT8 = 701,
    LM_TYPE_NUMERIC = 1700,
    LM_TYPE_JSONB = 3802
};

struct lm_type {
    uint32_t oid;
    uint32_t base;         /* the same OID unless it is a domain */
    uint32_t element;      /* of an array's elements; 0: no array */
    uint32_t element_base; /* 0 when the elements are arrays themselves */
    char delimiter;        /* between the elements in text */
    char name[128];
    char element_name[128];
};

struct lm_types {
    struct lm_type **known; /* without the built-in types */
    size_t count;
};

void lm_types_release(struct lm_types *self);
/* Is it json, jsonb or a domain over one of them? */
bool lm_type_is_json(const struct lm_type *type);
/* *out is valid until the release. */
bool lm_types_find(struct lm_types *self, struct lm_conn *conn, uint32_t oid,
                   const struct lm_type **out, struct lm_err *err) LM_MUSTCHECK;

#endif
