/* SPDX-License-Identifier: MIT */
/*
 * luamig completion: a shell's completion, made of the table of commands and
 * of the options that each of them gives to getopt.
 */

#include "cli/options.h"

#include "base/show.h"

#include <getopt.h>
#include <string.h>

static const char help[] =
    "usage: luamig completion bash\n"
    "\n"
    "Prints what bash needs to complete commands, options and scripts:\n"
    "\n"
    "  source <(luamig completion bash)\n"
    "\n"
    "\"cmake --install\" puts it where bash-completion finds it.\n";

/* Scripts may be loaded inside of a function, hence -g for the tables. */
static const char bash[] =
    "_luamig_complete_files() { # PATTERN: files that match, and folders\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen -f -X \"!$1\" -- \"$cur\"; compgen "
    "-d -- \"$cur\")\n"
    "}\n"
    "\n"
    "_luamig_complete_words() {\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\")\n"
    "}\n"
    "\n"
    "_luamig_complete_value() { # of the option $1\n"
    "    case $1 in\n"
    "    --db) _luamig_complete_words embedded ;;\n"
    "    --log) _luamig_complete_words \"plain json\" ;;\n"
    "    --script) _luamig_complete_files '*.lua' ;;\n"
    "    --schema) _luamig_complete_files '*.sql' ;;\n"
    "    --arg-file= | --input) _luamig_complete_files '*' ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "_luamig() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}\n"
    "    local at=$((COMP_CWORD - 1)) is_pair=0 before\n"
    "\n"
    "    COMPREPLY=()\n"
    "    if [[ $COMP_CWORD -eq 1 ]]; then\n"
    "        _luamig_complete_words \"$_luamig_commands --help --version\"\n"
    "        return\n"
    "    fi\n"
    "    # \"=\" is a word of its own: --db=embedded, --arg-file NAME=PATH.\n"
    "    if [[ $cur == \"=\" ]]; then\n"
    "        cur=\n"
    "        is_pair=1\n"
    "    elif [[ ${COMP_WORDS[at]} == \"=\" ]]; then\n"
    "        at=$((at - 1))\n"
    "        is_pair=1\n"
    "    fi\n"
    "    before=${COMP_WORDS[at]}\n"
    "    if [[ $is_pair -eq 1 && $before != -* ]]; then\n"
    "        before=${COMP_WORDS[at - 1]}=\n"
    "    fi\n"
    "    if [[ \" ${_luamig_values[$command]} \" == *\" ${before%=} \"* ]]; "
    "then\n"
    "        _luamig_complete_value \"$before\"\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        _luamig_complete_words \"${_luamig_options[$command]} --help\"\n"
    "    elif [[ -n ${_luamig_words[$command]+set} ]]; then\n"
    "        [[ $COMP_CWORD -gt 2 ]] ||\n"
    "            _luamig_complete_words \"${_luamig_words[$command]}\"\n"
    "    else\n"
    "        _luamig_complete_files '*.lua'\n"
    "    fi\n"
    "}\n"
    "\n"
    "complete -F _luamig luamig\n";

static void
print_commands(void)
{
    for (size_t i = 0; i < lm_command_count; i++)
        lm_out("%s%s", i > 0 ? " " : "", lm_commands[i]->name);
}

static void
print_options(const struct lm_command *command, bool only_with_value)
{
    const char *separator = "";

    for (const struct lm_option *option = command->options;
         option != NULL && option->name != NULL; option++) {
        if (only_with_value && !lm_option_has_value(option))
            continue;
        lm_out("%s--%s", separator, option->name);
        separator = " ";
    }
}

static void
print_option_table(const char *name, bool only_with_value)
{
    lm_out("declare -gA %s=(\n", name);
    for (size_t i = 0; i < lm_command_count; i++) {
        lm_out("    [%s]=\"", lm_commands[i]->name);
        print_options(lm_commands[i], only_with_value);
        lm_out_own("\"\n");
    }
    lm_out_own(")\n");
}

static void
print_word_table(void)
{
    lm_out_own("declare -gA _luamig_words=(\n");
    for (size_t i = 0; i < lm_command_count; i++) {
        const struct lm_command *command = lm_commands[i];

        if (command->words == NULL)
            continue;
        lm_out("    [%s]=\"%s", command->name, command->words);
        if (command == &lm_cmd_help)
            print_commands();
        lm_out_own("\"\n");
    }
    lm_out_own(")\n");
}

static int
run(int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "bash") != 0)
        return lm_cli_usage(&lm_cmd_completion, "completion takes bash");
    lm_out_own("# bash completion of luamig " LUAMIG_VERSION
               "; \"luamig completion bash\" prints it.\n");
    lm_out_own("_luamig_commands=\"");
    print_commands();
    lm_out_own("\"\n");
    print_option_table("_luamig_options", false);
    print_option_table("_luamig_values", true);
    print_word_table();
    lm_out_own(bash);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

const struct lm_command lm_cmd_completion = {
    "completion", "completion for bash", help, run, .words = "bash"};
