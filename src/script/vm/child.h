/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VM_CHILD_H
#define LM_SCRIPT_VM_CHILD_H

#include <lua.h>

/*
 * Replaces io.popen and os.execute. They do what Lua's do, but may be called in
 * any thread: the child blocks no signals, though the thread does, and luamig
 * still notices SIGINT while it waits for the child. Also, io.popen flushes
 * standard output alone. [-0, +0, memory]
 */
void lmL_open_children(lua_State *L);

#endif
