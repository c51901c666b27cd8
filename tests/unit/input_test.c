/* SPDX-License-Identifier: MIT */
/* Files as COPY's text: what their records become, and how errors name the
 * place. */

#include "unit.h"

#include "core/input/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct lm_input_column columns[] = {
    {"a", "text"}, {"b", "jsonb"}, {"c", "text[]"}};
static const enum lm_input_kind kinds[] = {LM_INPUT_SCALAR, LM_INPUT_DOCUMENT,
                                           LM_INPUT_ARRAY};

/* A file with these bytes, opened as a run opens it. */
static void
open_file(struct lm_input_file *file, const char *bytes, size_t len)
{
    char path[] = "/tmp/luamig-unit-XXXXXX";
    int fd = mkstemp(path);
    struct lm_err err;

    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
    assert_true(lm_input_file_open(file, path, &err));
    (void)unlink(path);
    free(file->name);
    file->name = lm_strdup("f");
}

/* All records, or NULL and the error. */
static char *
read_all(const struct lm_input *input, const char *bytes, size_t len,
         struct lm_err *err)
{
    struct lm_buf all = LM_BUF_INIT;
    struct lm_buf out = LM_BUF_INIT;
    struct lm_reader *reader = NULL;
    struct lm_input_file file;
    bool over = false;
    bool ok;

    open_file(&file, bytes, len);
    ok = lm_reader_open(&reader, input, &file, kinds, err);
    while (ok && !over) {
        ok = lm_reader_next(reader, &out, &over, err);
        lm_buf_add(&all, lm_buf_text(&out), out.len);
        lm_buf_clear(&out); /* a load sends it, also within a record */
    }
    lm_buf_release(&out);
    lm_reader_close(reader);
    lm_input_file_close(&file);
    if (ok) {
        lm_buf_puts(&all, "");
        return lm_buf_take(&all);
    }
    lm_buf_release(&all);
    return NULL;
}

/* The hint of the error that the bytes cause. */
static void
check_hint(const struct lm_input *input, const char *bytes, const char *hint)
{
    struct lm_err err;

    assert_null(read_all(input, bytes, strlen(bytes), &err));
    assert_contains(err.hint, hint);
}

static void
check(const struct lm_input *input, const char *bytes, size_t len,
      const char *wanted)
{
    struct lm_err err;
    char *found = read_all(input, bytes, len, &err);

    if (found == NULL)
        found = lm_format("%s", err.message);
    assert_string_equal(found, wanted);
    free(found);
}

#define CHECK(input, bytes, wanted) \
    check((input), (bytes), sizeof(bytes) - 1, (wanted))

static const struct lm_input csv = {.format = LM_INPUT_CSV,
                                    .columns = columns,
                                    .column_count = 2,
                                    .delimiter = ',',
                                    .null_text = ""};

static void
test_csv(void **state)
{
    (void)state;
    CHECK(&csv, "a,b\n1,2\n", "2\t1\t2\n");
    CHECK(&csv, "b,a\n1,2\n3,4", "2\t1\t2\n3\t3\t4\n");
    CHECK(&csv, "a,b\r\n1,2\r\n\r\n3,4\r\n", "2\t1\t2\n4\t3\t4\n");
    CHECK(&csv, "a,b\r1,2\r3,4\r", "2\t1\t2\n3\t3\t4\n");
    CHECK(&csv,
          "\xEF\xBB\xBF"
          "a,b\n1,2\n",
          "2\t1\t2\n");
    CHECK(&csv, "\"a\",\"b\"\n\"x,y\",\"q\"\"q\"\n", "2\tx,y\tq\"q\n");
    CHECK(&csv, "a,b\n\"1\n\n2\",3\n4,5\n", "2\t1\\n\\n2\t3\n5\t4\t5\n");
    CHECK(&csv, "a,b\n1,\"x\ny\nz\"\n", "2\t1\tx\\ny\\nz\n");
    CHECK(&csv, "a,b\n,\"\"\n", "2\t\\N\t\n");
    CHECK(&csv, "a,b\n x , y\n", "2\t x \t y\n");
    CHECK(&csv, "a,b\n\\.,\\N\n", "2\t\\\\.\t\\\\N\n");
    CHECK(&csv, "a,b\n\t,\r\n", "2\t\\t\t\\N\n");
    CHECK(&csv, "a,b\n", "");
    CHECK(&csv, "a,b\n\n\n1,2\n", "4\t1\t2\n");
}

static void
test_csv_that_is_wrong(void **state)
{
    (void)state;
    CHECK(&csv, "", "f: the file has no header");
    CHECK(&csv, "a\n1\n", "f, line 1: the header has no column \"b\"");
    CHECK(&csv, "a,b,a\n", "f, line 1: the header has the column \"a\" twice");
    CHECK(&csv, "a,b,z\n", "f, line 1: input.columns has no column \"z\"");
    CHECK(&csv, "a,b\n1\n",
          "f, line 2: the record has 1 field, and the header has 2");
    CHECK(&csv, "a,b\n1,2\n1,2,3\n",
          "f, line 3: the record has 3 fields, and the header has 2");
    CHECK(&csv, "a,b\n5\" disk,2\n",
          "f, line 2, column \"a\": a quote at the wrong place");
    CHECK(&csv, "a,b\n\"1\" ,2\n",
          "f, line 2, column \"a\": a quote at the wrong place");
    CHECK(&csv, "a,b\n1,2\n3,\"4\n5,6\n",
          "f, line 3, column \"b\": a quote is opened and never closed");
    CHECK(&csv, "a,b\n1,x\xFFy\n",
          "f, line 2, column \"b\": invalid byte sequence for encoding "
          "\"UTF8\": 0xff");
    CHECK(&csv, "a,b\n1,x\0y\n",
          "f, line 2, column \"b\": a NUL byte, which no text in PostgreSQL "
          "can hold");
}

static void
test_csv_with_options(void **state)
{
    static const char *const header[] = {"b", "a"};
    struct lm_input input = csv;

    (void)state;
    input.delimiter = ';';
    CHECK(&input, "a;b\n1,5;2\n", "2\t1,5\t2\n");
    input = csv;
    input.null_text = "NULL";
    CHECK(&input, "a,b\nNULL,\"NULL\"\n,\"\"\n", "2\t\\N\tNULL\n3\t\t\n");
    CHECK(&input, "a,b\n\"x\nNULL\",NULL", "2\tx\\nNULL\t\\N\n");
    input = csv;
    input.ignores_others = true;
    CHECK(&input, "z,b,y,a\n0,1,0,2\n", "2\t1\t2\n");
    input = csv;
    input.header = header;
    input.header_count = 2;
    CHECK(&input, "1,2\n3,4\n", "1\t1\t2\n2\t3\t4\n");
    input = csv;
    input.encoding = "LATIN1";
    CHECK(&input, "a,b\n\xE9,\xFC\n", "2\t\xC3\xA9\t\xC3\xBC\n");
    input.encoding = "UTF-16LE";
    CHECK(&input,
          "a\0,\0b\0\n\0"
          "1\0,\0\xAC\x20\n\0",
          "2\t1\t\xE2\x82\xAC\n");
    /* The last letter might still get an accent. */
    input.encoding = "WIN1258";
    CHECK(&input, "a,b\n1,abc", "2\t1\tabc\n");
    CHECK(&input, "a,b\n1,a", "2\t1\ta\n");
    input.encoding = "TCVN";
    CHECK(&input, "a,b\n1,xya", "2\t1\txya\n");
    input.encoding = "ASCII";
    CHECK(&input, "a,b\n1,2\n\xE9,2\n",
          "f, line 3: the file is not in the encoding ASCII");
    input.encoding = "none such";
    CHECK(&input, "a,b\n", "input.encoding \"none such\" is not known");
}

static const struct lm_input jsonl = {.format = LM_INPUT_JSONL,
                                      .columns = columns,
                                      .column_count = 3,
                                      .null_text = ""};

static void
test_jsonl(void **state)
{
    (void)state;
    CHECK(&jsonl, "{\"a\":\"x\",\"b\":{\"k\": [1, 2]},\"c\":[\"p\",\"q\"]}\n",
          "1\tx\t{\"k\": [1, 2]}\t{\"p\",\"q\"}\n");
    CHECK(&jsonl, "{}\n\n{\"a\":null}", "1\t\\N\t\\N\t\\N\n3\t\\N\t\\N\t\\N\n");
    CHECK(&jsonl, "{\"a\":123456789012345678901234567890.5e400}\n",
          "1\t123456789012345678901234567890.5e400\t\\N\t\\N\n");
    CHECK(&jsonl, "{\"a\":-0,\"b\":-0}\r\n", "1\t-0\t-0\t\\N\n");
    CHECK(&jsonl, "{\"a\":true,\"b\":\"x\"}", "1\ttrue\t\"x\"\t\\N\n");
    CHECK(&jsonl, "{\"a\":\"\\u00e9\\ud83d\\ude00\\n\\\\\"}\n",
          "1\t\xC3\xA9\xF0\x9F\x98\x80\\n\\\\\t\\N\t\\N\n");
    CHECK(&jsonl, "{\"b\":\"\\u00e9\"}\n", "1\t\\N\t\"\\\\u00e9\"\t\\N\n");
    CHECK(&jsonl, "{\"c\":[[1,null],[\"a\\\"b\",{\"k\":1}]]}\n",
          "1\t\\N\t\\N\t{{\"1\",NULL},{\"a\\\\\"b\",\"{\\\\\"k\\\\\":1}\"}}\n");
    CHECK(&jsonl, "{\"a\":\"\\\\.\"}\n", "1\t\\\\.\t\\N\t\\N\n");
}

static void
test_jsonl_that_is_wrong(void **state)
{
    (void)state;
    CHECK(&jsonl, "{}\n[1]\n", "f, line 2: the line is not a JSON object");
    CHECK(&jsonl, "{\"a\":1\n", "f, line 1: the text is not JSON (at byte 8)");
    check_hint(&jsonl, "{\n  \"a\": 1\n}\n",
               "each line must be a whole one, such as {\"id\": 1}");
    CHECK(&jsonl, "{\"a\":1} 2\n",
          "f, line 1: the text is not JSON (at byte 9)");
    CHECK(&jsonl, "{\"a\":01}\n",
          "f, line 1: the text is not JSON (at byte 7)");
    CHECK(&jsonl, "{\"z\":1}\n",
          "f, line 1: input.columns has no column \"z\"");
    CHECK(&jsonl, "{\"a\":1,\"a\":2}\n",
          "f, line 1, column \"a\": the object has the key twice");
    CHECK(&jsonl, "{\"a\":{}}\n",
          "f, line 1, column \"a\": the value is an object");
    CHECK(&jsonl, "{\"a\":[]}\n",
          "f, line 1, column \"a\": the value is an array");
    CHECK(&jsonl, "{\"b\":\"\\u0000\"}\n",
          "f, line 1, column \"b\": the document has the escape \\u0000, which "
          "no text in PostgreSQL can hold");
    CHECK(&jsonl, "{\"a\":\"\\ud83d\"}\n",
          "f, line 1, column \"a\": the document has the escape \\ud83d, which "
          "is half of a character");
    CHECK(&jsonl, "{\"a\":\"\xC3\"}\n",
          "f, line 1: invalid byte sequence for encoding \"UTF8\": 0xc3");
}

/* More than a block, with lines and records of any length across its ends. */
static void
test_blocks(void **state)
{
    struct lm_buf text = LM_BUF_INIT;
    struct lm_buf wanted = LM_BUF_INIT;

    (void)state;
    lm_buf_puts(&text, "a,b\n");
    for (int i = 0; i < 40000; i++) {
        lm_buf_printf(&text, "%d,\"%*s\n\"\n", i, i % 50, "x");
        lm_buf_printf(&wanted, "%d\t%d\t%*s\\n\n", 2 + 2 * i, i, i % 50, "x");
    }
    check(&csv, text.data, text.len, lm_buf_text(&wanted));
    lm_buf_release(&text);
    lm_buf_release(&wanted);
}

/* A server's error may have a detail of its own. */
static void
test_an_error_says_that_nothing_is_loaded(void **state)
{
    char name[] = "f";
    struct lm_input_file file = {.name = name};
    struct lm_err err;

    (void)state;
    lm_err_set(&err, LM_ERR_DATABASE, "malformed array literal");
    lm_err_detail(&err, "Array value must start with \"{\".");
    assert_false(lm_input_place(&file, 3, "a", &err));
    assert_string_equal(err.message,
                        "f, line 3, column \"a\": malformed array literal");
    assert_string_equal(err.detail, "Array value must start with \"{\".\n"
                                    "Nothing of the file is loaded.");
}

static void
test_a_file_that_changes(void **state)
{
    char path[] = "/tmp/luamig-unit-XXXXXX";
    struct lm_input_file file;
    struct lm_lines *lines = NULL;
    const char *line = "";
    size_t len;
    struct lm_err err;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, "a\nb\n", 4), 4);
    assert_true(lm_input_file_open(&file, path, &err));
    assert_int_equal(pwrite(fd, "c", 1, 2), 1);
    assert_false(lm_input_file_has_changed(&file, &err)); /* by its size */
    assert_true(lm_lines_open(&lines, &file, NULL, true, &err));
    for (int i = 0; i < 2; i++)
        assert_true(lm_lines_next(lines, &line, &len, &err));
    assert_false(lm_lines_next(lines, &line, &len, &err));
    assert_contains(err.message, "has changed while luamig read it");
    lm_lines_close(lines);
    assert_int_equal(ftruncate(fd, 1), 0);
    assert_true(lm_input_file_has_changed(&file, &err));
    lm_input_file_close(&file);
    close(fd);
    (void)unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_csv_that_is_wrong),
        cmocka_unit_test(test_csv_with_options),
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_jsonl_that_is_wrong),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_an_error_says_that_nothing_is_loaded),
        cmocka_unit_test(test_a_file_that_changes),
    };

    return UNIT_RUN(tests);
}
