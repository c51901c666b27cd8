/* SPDX-License-Identifier: MIT */

#include "cli/cli.h"

#include "base/log.h"
#include "base/show.h"
#include "base/stop.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct lm_command *const lm_commands[] = {
    &lm_cmd_init,       &lm_cmd_new,     &lm_cmd_test,   &lm_cmd_check,
    &lm_cmd_run,        &lm_cmd_status,  &lm_cmd_watch,  &lm_cmd_wait,
    &lm_cmd_pause,      &lm_cmd_resume,  &lm_cmd_cancel, &lm_cmd_set,
    &lm_cmd_failures,   &lm_cmd_journal, &lm_cmd_db,     &lm_cmd_lua,
    &lm_cmd_lua_path,   &lm_cmd_types,   &lm_cmd_schema, &lm_cmd_version,
    &lm_cmd_completion, &lm_cmd_help};
const size_t lm_command_count = LM_COUNT(lm_commands);

const struct lm_command *
lm_command_find(const char *name)
{
    for (size_t i = 0; i < lm_command_count; i++) {
        if (strcmp(lm_commands[i]->name, name) == 0)
            return lm_commands[i];
    }
    return NULL;
}

int
lm_cli_fail(const struct lm_err *err)
{
    lm_log_err(LM_LOG_ERROR, err);
    return lm_err_exit_code(err->kind);
}

int
lm_cli_usage(const struct lm_command *command, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lm_log(LM_LOG_ERROR, "%s", text);
    lm_log(LM_LOG_INFO, "see \"luamig help%s%s\"", command != NULL ? " " : "",
           command != NULL ? command->name : "");
    return LM_EXIT_USAGE;
}

int
lm_cli_help(const struct lm_command *command)
{
    lm_out_own(command->help);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

int
lm_cli_finish_output(int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return code;
    lm_log(LM_LOG_WARNING, "could not write to standard output: %s",
           strerror(errno));
    return code;
}

bool
lm_cli_number(const char *text, int64_t min, int64_t *out)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < min)
        return false;
    *out = value;
    return true;
}

static int
fail_unknown(const char *name)
{
    const char *names[LM_COUNT(lm_commands)];
    int nearest;

    for (size_t i = 0; i < lm_command_count; i++)
        names[i] = lm_commands[i]->name;
    nearest = lm_text_nearest(name, names, lm_command_count);
    if (nearest >= 0) {
        return lm_cli_usage(NULL,
                            "unknown command \"%s\"; did you mean \"%s\"?",
                            name, names[nearest]);
    }
    return lm_cli_usage(NULL, "unknown command \"%s\"", name);
}

static bool
asks_for_help(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--help") == 0;
}

/* If a standard descriptor is closed, the next file or socket would get its
 * number, and luamig's output would go into it. */
static void
occupy_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1)
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

int
lm_cli_main(int argc, char **argv)
{
    const struct lm_command *command;

    occupy_standard_descriptors();
    lm_stop_install();
    if (argc < 2)
        return lm_cli_usage(NULL, "no command is given");
    if (strcmp(argv[1], "--version") == 0)
        return lm_cmd_version.run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return lm_cmd_help.run(1, argv + 1);
    command = lm_command_find(argv[1]);
    if (command == NULL)
        return fail_unknown(argv[1]);
    if (asks_for_help(argc - 1, argv + 1))
        return lm_cli_help(command);
    return command->run(argc - 1, argv + 1);
}
