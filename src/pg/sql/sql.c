/* SPDX-License-Identifier: MIT */

#include "pg/sql/sql.h"

#include <string.h>

static void
add_quoted(struct lm_buf *buf, const char *name, size_t len)
{
    lm_buf_putc(buf, '"');
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '"')
            lm_buf_putc(buf, '"');
        lm_buf_putc(buf, name[i]);
    }
    lm_buf_putc(buf, '"');
}

void
lm_sql_add_identifier(struct lm_buf *buf, const char *name)
{
    add_quoted(buf, name, strlen(name));
}

void
lm_sql_add_name(struct lm_buf *buf, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";

    if (*name != '\0' && strchr(letters, *name) != NULL &&
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789")] == '\0') {
        lm_buf_puts(buf, name);
    } else {
        lm_sql_add_identifier(buf, name);
    }
}

/* Adds a part that the script has quoted itself; returns what follows it, or
 * NULL when the quotes do not end. */
static const char *
add_quoted_part(struct lm_buf *buf, const char *name)
{
    const char *start = name++;

    while (*name != '\0') {
        if (name[0] == '"' && name[1] == '"') {
            name += 2;
        } else if (*name++ == '"') {
            lm_buf_add(buf, start, (size_t)(name - start));
            return name - start > 2 ? name : NULL;
        }
    }
    return NULL;
}

bool
lm_sql_add_table(struct lm_buf *buf, const char *name)
{
    for (int parts = 0; parts < 2; parts++) {
        if (*name == '"') {
            name = add_quoted_part(buf, name);
            if (name == NULL)
                return false;
        } else {
            size_t len = strcspn(name, ".");

            if (len == 0 || memchr(name, '"', len) != NULL)
                return false;
            add_quoted(buf, name, len);
            name += len;
        }
        if (*name == '\0')
            return true;
        if (*name++ != '.')
            return false;
        lm_buf_putc(buf, '.');
    }
    return false;
}

static void
add_element(struct lm_buf *buf, const char *text)
{
    if (text == NULL) {
        lm_buf_puts(buf, "NULL");
        return;
    }
    lm_buf_putc(buf, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            lm_buf_putc(buf, '\\');
        lm_buf_putc(buf, *text);
    }
    lm_buf_putc(buf, '"');
}

void
lm_sql_add_array(struct lm_buf *buf, const char *const *texts, int count)
{
    lm_buf_putc(buf, '{');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            lm_buf_putc(buf, ',');
        add_element(buf, texts[i]);
    }
    lm_buf_putc(buf, '}');
}

/* Reads one element into buf; *is_null for the unquoted word NULL. Returns
 * what follows the element, or NULL when it is malformed. */
static const char *
read_element(const char *p, struct lm_buf *buf, bool *is_null)
{
    lm_buf_clear(buf);
    *is_null = false;
    if (*p != '"') {
        size_t len = strcspn(p, ",{}\"\\");

        lm_buf_add(buf, p, len);
        *is_null = len == 4 && strncmp(p, "NULL", 4) == 0;
        return len > 0 ? p + len : NULL;
    }
    for (p++; *p != '\0' && *p != '"'; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        lm_buf_putc(buf, *p);
    }
    return *p == '"' ? p + 1 : NULL;
}

/* What follows an element: the next one, or the end. NULL: neither. */
static const char *
skip_delimiter(const char *p)
{
    if (*p == ',' && p[1] != '}')
        return p + 1;
    return *p == '}' ? p : NULL;
}

int
lm_sql_parse_array(const char *literal, char ***out)
{
    struct lm_buf buf = LM_BUF_INIT;
    char **texts = NULL;
    int count = 0;
    const char *p = *literal == '{' ? literal + 1 : NULL;

    while (p != NULL && *p != '}') {
        bool is_null;

        p = read_element(p, &buf, &is_null);
        if (p == NULL)
            break;
        LM_ADD(texts, count) = is_null ? NULL : lm_strdup(lm_buf_text(&buf));
        p = skip_delimiter(p);
    }
    lm_buf_release(&buf);
    if (p == NULL || p[1] != '\0') {
        lm_free_texts(texts, count);
        texts = NULL;
        count = -1;
    }
    *out = texts;
    return count;
}

void
lm_sql_add_bytea(struct lm_buf *buf, const char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    lm_buf_puts(buf, "\\x");
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)bytes[i];

        lm_buf_putc(buf, digits[byte >> 4]);
        lm_buf_putc(buf, digits[byte & 15]);
    }
}
