/* SPDX-License-Identifier: MIT */
/* "Did you mean", and the server's UTF-8. */

#include "unit.h"

#include "base/text.h"

static void
test_the_nearest_name_is_suggested(void **state)
{
    static const char *const names[] = {"run", "status", "check", "watch",
                                        "wait"};
    static const struct {
        const char *word;
        int index;
    } cases[] = {
        {"run", 0},      {"rum", 0},   {"rn", 0},    {"statsu", 1},
        {"stauts", 1},   {"sttus", 1}, {"chekc", 2}, {"wach", 3},
        {"wai", 4},      {"watt", 4},  {"", -1},     {"x", -1},
        {"migrate", -1}, {"r", -1},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        int found = lm_text_nearest(cases[i].word, names, LM_COUNT(names));

        if (found != cases[i].index)
            fail_msg("%s: %d", cases[i].word, found);
    }
    assert_int_equal(lm_text_nearest("run", names, 0), -1);
}

static void
test_a_hit_beats_a_near_miss_and_the_first_of_two_wins(void **state)
{
    static const char *const names[] = {"batch_sizes", "batch_size",
                                        "batch_side"};

    (void)state;
    assert_int_equal(lm_text_nearest("batch_size", names, 3), 1);
    assert_int_equal(lm_text_nearest("batch_sixe", names, 3), 1);
}

static void
test_words_too_long_to_compare_are_near_nothing(void **state)
{
    char word[300];
    char name[120];
    const char *const names[] = {name};

    (void)state;
    memset(word, 'a', sizeof word);
    word[sizeof word - 1] = '\0';
    memset(name, 'b', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(lm_text_nearest(word, names, 1), -1);
    name[64] = '\0';
    word[64] = '\0';
    memset(word, 'b', 60);
    assert_int_equal(lm_text_nearest(word, names, 1), 0);
}

/* offset is -1 for valid text; lengths are given because of the NULs. */
static const struct {
    const char *text;
    size_t len;
    int offset;
} utf8_cases[] = {
    {"", 0, -1},
    {"plain", 5, -1},
    {"\x01\x7F", 2, -1},
    {"\xC2\x80", 2, -1},
    {"\xDF\xBF", 2, -1},
    {"\xE0\xA0\x80", 3, -1},
    {"\xED\x9F\xBF", 3, -1},
    {"\xEE\x80\x80", 3, -1},
    {"\xEF\xBF\xBF", 3, -1},
    {"\xF0\x90\x80\x80", 4, -1},
    {"\xF4\x8F\xBF\xBF", 4, -1},
    {"a\0b", 3, 1},
    {"ab\x80", 3, 2}, /* a continuation alone */
    {"\xBF", 1, 0},
    {"\xC0\x80", 2, 0}, /* overlong NUL */
    {"\xC1\xBF", 2, 0},
    {"\xE0\x9F\xBF", 3, 0},     /* overlong */
    {"\xF0\x8F\xBF\xBF", 4, 0}, /* overlong */
    {"\xED\xA0\x80", 3, 0},     /* surrogates */
    {"\xED\xBF\xBF", 3, 0},
    {"\xF4\x90\x80\x80", 4, 0}, /* beyond U+10FFFF */
    {"\xF5\x80\x80\x80", 4, 0},
    {"\xFF", 1, 0},
    {"a\xC3", 2, 1}, /* cut short */
    {"\xE2\x82", 2, 0},
    {"\xF0\x9F\x98", 3, 0},
    {"\xC3(", 2, 0}, /* not continued */
    {"\xE2(\xA1", 3, 0},
    {"\xE2\x82(", 3, 0},
    {"\xF0\x9F\x98(", 4, 0},
    {"\xC3\xA9\xFF", 3, 2},
    {"a text of twenty-six bytes", 26, -1},
    {"a text of tw\0nty-six bytes", 26, 12},
    {"a text of tw\x80nty-six bytes", 26, 12},
    {"sixteen bytes at\xFF", 17, 16},
    {"eight by\xC3\xA9 and more", 19, -1},
};

static void
test_utf8_is_what_the_server_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(utf8_cases); i++) {
        /* Exactly as long as it says, so that a read beyond is seen. */
        char *text = lm_alloc(utf8_cases[i].len);
        size_t offset = 99;
        bool valid;

        memcpy(text, utf8_cases[i].text, utf8_cases[i].len);
        valid = lm_text_is_utf8(text, utf8_cases[i].len, &offset);
        if (valid != (utf8_cases[i].offset < 0))
            fail_msg("case %zu", i);
        if (!valid)
            assert_int_equal(offset, utf8_cases[i].offset);
        free(text);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nearest_name_is_suggested),
        cmocka_unit_test(
            test_a_hit_beats_a_near_miss_and_the_first_of_two_wins),
        cmocka_unit_test(test_words_too_long_to_compare_are_near_nothing),
        cmocka_unit_test(test_utf8_is_what_the_server_accepts),
    };

    return UNIT_RUN(tests);
}
