/* SPDX-License-Identifier: MIT */
/*
 * Texts for a database whose encoding cannot hold every character.
 *
 * luamig speaks UTF-8, and the server refuses a text with a character that the
 * database's encoding lacks (22P05). Of the common one-byte encodings it is
 * known which characters they share with Unicode by number; of all others only
 * ASCII is taken for granted.
 */

#include "base/text.h"
#include "pg/conn/private.h"

#include <string.h>

/* The first and the last character beyond ASCII that the encoding has for
 * certain; UINT32_MAX: it holds whatever comes. */
static void
find_range(const struct lm_conn *conn, uint32_t *first, uint32_t *last)
{
    static const struct {
        const char *name;
        uint32_t first;
        uint32_t last;
    } known[] = {{"UTF8", 0x80, UINT32_MAX},
                 {"SQL_ASCII", 0x80, UINT32_MAX},
                 {"LATIN1", 0x80, 0xFF},
                 {"WIN1252", 0xA0, 0xFF}};
    const char *name = lm_conn_setting(conn, "server_encoding");

    *first = 1;
    *last = 0;
    for (size_t i = 0; name != NULL && i < LM_COUNT(known); i++) {
        if (strcmp(known[i].name, name) == 0) {
            *first = known[i].first;
            *last = known[i].last;
        }
    }
}

static void
add_fitting(const struct lm_conn *self, const char *text, struct lm_buf *out)
{
    const char *end = text + strlen(text);
    uint32_t first;
    uint32_t last;
    size_t len;

    find_range(self, &first, &last);
    for (const char *at = text; at < end; at += len) {
        uint32_t code = 0;

        len = lm_text_read_char(at, (size_t)(end - at), &code);
        if (len == 0) {
            len = 1;
            lm_buf_printf(out, "\\x%02x", (unsigned char)*at);
        } else if (code < 0x80 || (code >= first && code <= last)) {
            lm_buf_add(out, at, len);
        } else {
            lm_buf_printf(out, code > 0xFFFF ? "\\U%08x" : "\\u%04x",
                          (unsigned)code);
        }
    }
}

void
lm_conn_fit_text(const struct lm_conn *self, char *text, size_t size)
{
    struct lm_buf fitting = LM_BUF_INIT;

    add_fitting(self, text, &fitting);
    lm_err_copy(text, size, lm_buf_text(&fitting), fitting.len);
    lm_buf_release(&fitting);
}

char *
lm_conn_fit_name(const struct lm_conn *self, const char *name)
{
    struct lm_buf fitting = LM_BUF_INIT;

    if (name == NULL)
        return NULL;
    add_fitting(self, name, &fitting);
    return lm_buf_take(&fitting);
}
