/* SPDX-License-Identifier: MIT */
/* The entry point; the only place that ends the process by its exit code. */

#include "cli/cli.h"

int
main(int argc, char **argv)
{
    return lm_cli_main(argc, argv);
}
