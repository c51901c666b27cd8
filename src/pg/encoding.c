/* SPDX-License-Identifier: MIT */
/*
 * Texts for a database whose encoding cannot hold every character.
 *
 * luamig speaks UTF-8, and the server refuses a text with a character that the
 * database's encoding lacks (22P05). Of the common one-byte encodings it is
 * known which characters they share with Unicode by number; of all others only
 * ASCII is taken for granted.
 */

#include "pg/conn_private.h"

#include <stdio.h>
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

/* The character at text, which is no ASCII; *len: its bytes. */
static uint32_t
read_character(const char *text, size_t *len)
{
    unsigned char lead = (unsigned char)*text;
    uint32_t code = lead >= 0xF0   ? lead & 0x07u
                    : lead >= 0xE0 ? lead & 0x0Fu
                                   : lead & 0x1Fu;

    for (*len = 1; ((unsigned char)text[*len] & 0xC0) == 0x80; (*len)++)
        code = code << 6 | ((unsigned char)text[*len] & 0x3Fu);
    return code;
}

void
lm_conn_fit_text(const struct lm_conn *self, char *text, size_t size)
{
    struct lm_buf fitting = LM_BUF_INIT;
    uint32_t first;
    uint32_t last;
    size_t len;

    find_range(self, &first, &last);
    if (last == UINT32_MAX)
        return;
    for (const char *at = text; *at != '\0'; at += len) {
        uint32_t code;

        len = 1;
        if (((unsigned char)*at & 0x80) == 0) {
            lm_buf_putc(&fitting, *at);
            continue;
        }
        code = read_character(at, &len);
        if (code >= first && code <= last) {
            lm_buf_add(&fitting, at, len);
        } else {
            lm_buf_printf(&fitting, code > 0xFFFF ? "\\U%08x" : "\\u%04x",
                          (unsigned)code);
        }
    }
    lm_err_copy(text, size, lm_buf_text(&fitting), fitting.len);
    lm_buf_release(&fitting);
}
