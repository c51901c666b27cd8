/* SPDX-License-Identifier: MIT */
/* Where a project begins: a tree of folders in /tmp, marked in turn. */

#include "unit.h"

#include "base/project.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[PATH_MAX];
static char deep[PATH_MAX + 16];

static int
set_up(void **state)
{
    char pattern[] = "/tmp/luamig-project-XXXXXX";
    char path[PATH_MAX + 16];

    (void)state;
    if (mkdtemp(pattern) == NULL || realpath(pattern, root) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a", root);
    snprintf(deep, sizeof deep, "%s/a/b", root);
    return mkdir(path, 0700) != 0 || mkdir(deep, 0700) != 0;
}

static int
tear_down(void **state)
{
    char path[PATH_MAX + 16];

    (void)state;
    rmdir(deep);
    snprintf(path, sizeof path, "%s/a", root);
    rmdir(path);
    return rmdir(root);
}

static void
assert_root(const char *start, const char *expected)
{
    char *found = lm_project_root(start);

    assert_string_equal(found, expected);
    free(found);
}

static void
test_each_marker_makes_the_nearest_folder_the_root(void **state)
{
    static const char *const markers[] = {"luamig.lua", ".luamig", ".git"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(markers); i++) {
        char upper[PATH_MAX + 32];
        char lower[PATH_MAX + 32];

        snprintf(upper, sizeof upper, "%s/%s", root, markers[i]);
        assert_return_code(mkdir(upper, 0700), 0);
        assert_root(deep, root);
        assert_root(root, root);
        snprintf(lower, sizeof lower, "%s/%s", deep, markers[i]);
        assert_return_code(close(creat(lower, 0600)), 0);
        assert_root(deep, deep);
        unlink(lower);
        rmdir(upper);
    }
}

static void
test_without_a_marker_the_start_is_the_root(void **state)
{
    (void)state;
    assert_root(deep, deep);
    assert_root("/", "/");
}

static void
test_the_root_is_absolute_and_without_links(void **state)
{
    char here[PATH_MAX];
    char link[PATH_MAX + 16];

    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    assert_return_code(chdir(deep), 0);
    assert_root(NULL, deep);
    assert_root(".", deep);
    assert_root("../../a/./b", deep);
    assert_return_code(chdir(here), 0);
    snprintf(link, sizeof link, "%s/link", root);
    assert_return_code(symlink(deep, link), 0);
    assert_root(link, deep);
    unlink(link);
}

static void
test_a_folder_that_is_not_there_stays_itself(void **state)
{
    (void)state;
    assert_root("/tmp/luamig/is/not/here", "/tmp/luamig/is/not/here");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_marker_makes_the_nearest_folder_the_root),
        cmocka_unit_test(test_without_a_marker_the_start_is_the_root),
        cmocka_unit_test(test_the_root_is_absolute_and_without_links),
        cmocka_unit_test(test_a_folder_that_is_not_there_stays_itself),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
