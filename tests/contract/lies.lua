--- Small lies that a mock might tell: each a change of one of its modules.
--
-- A lie is { spec, name, module below luamig, text, what stands there instead }. The text must
-- occur exactly once. tests/lua/lies_spec.lua tells each one alone, and the spec must notice.

return {
  -- NULL and equality
  {
    "writes", "NULL equals NULL in a unique column", "mock/rules",
    "    if item == nil then\n      return nil\n    end",
    "    if item == nil then\n      item = luamig.NULL\n    end",
  },
  {
    "writes", "a condition with a value finds NULL", "mock/store",
    "    elseif found == nil then\n      return false",
    "    elseif found == nil then\n      return true",
  },
  {
    "writes", "a condition with NULL finds every row", "mock/store",
    "      if found ~= nil then\n        return false",
    "      if found ~= nil then\n        return true",
  },
  {
    "writes", "a key may be NULL", "mock/repo",
    "if key[column] == luamig.NULL then",
    "if false then",
  },
  {
    "writes", "NOT NULL is not looked at", "mock/rules",
    "    if row[column] == nil then\n      errors.raise",
    "    if false then\n      errors.raise",
  },
  {
    "writes", "1.50 is not 1.5", "mock/value",
    "return \"n\" .. (shown:find(\"%.\") and shown:gsub(\"%.?0+$\", \"\") or shown)",
    "return \"n\" .. shown",
  },
  {
    "writes", "char(n) is compared with its padding", "mock/types",
    "local ORDERS = { character = without_padding,",
    "local ORDERS = {",
  },
  {
    "writes", "documents are never equal", "mock/value",
    "  for key, item in next, a do\n    if not value.equal",
    "  for key, item in next, a do\n    if true or not value.equal",
  },
  {
    "constraints", "NaN is not itself", "mock/value",
    "if a == b or (a ~= a and b ~= b) then",
    "if a == b then",
  },
  {
    "constraints", "arrays cannot be compared", "mock/types",
    "    has_equality = element.has_equality,\n",
    "",
  },
  {
    "constraints", "json can be compared", "mock/types",
    "has_equality = name ~= \"json\",",
    "has_equality = true,",
  },
  {
    "constraints", "a document equals what has more in it", "mock/value",
    "    if a[key] == nil then\n      return false",
    "    if a[key] == nil then\n      return true",
  },
  {
    "constraints", "two bytea columns run into each other", "mock/rules",
    "  return value.identity(items)",
    "  for i, item in ipairs(items) do items[i] = value.identity(item) end\n  return "
      .. "table.concat(items, \"\\0\")",
  },

  -- order and pages
  {
    "pages", "integer keys are sorted as text", "mock/value",
    "elseif kind == \"number\" then\n    return compare_numbers(a, b)",
    "elseif kind == \"number\" then\n    return compare_bytes(tostring(a), tostring(b))",
  },
  {
    "pages", "NaN comes first", "mock/value",
    "return a ~= a and (b ~= b and 0 or 1) or -1",
    "return a ~= a and (b ~= b and 0 or -1) or 1",
  },
  {
    "pages", "text is sorted without its case", "mock/value",
    "    return compare_bytes(a, b)",
    "    return compare_bytes(a:lower(), b:lower())",
  },
  {
    "pages", "only the first column of a key counts", "mock/value",
    "  for i = 1, #a do\n    local order",
    "  for i = 1, 1 do\n    local order",
  },
  {
    "pages", "a batch has one row more", "mock/pages",
    "math.min(range.size, #items)",
    "math.min(range.size + 1, #items)",
  },
  {
    "pages", "a page begins with the row at the cursor", "mock/pages",
    "value.compare_lists(item.place, low) > 0",
    "value.compare_lists(item.place, low) >= 0",
  },
  {
    "pages", "the bound is left out", "mock/pages",
    "value.compare_lists(item.place, high) <= 0",
    "value.compare_lists(item.place, high) < 0",
  },
  {
    "pages", "the bound is ignored", "mock/pages",
    "if is_after and is_within then",
    "if is_after then",
  },
  {
    "pages", "follow_new is always on", "mock/runner",
    "and not def.config.follow_new then",
    "and false then",
  },
  {
    "pages", "start_after is forgotten", "mock/runner",
    "key = key, cursor = def.start_after",
    "key = key, cursor = nil",
  },
  {
    "pages", "the limit is one row off", "mock/runner",
    "math.min(size, limit - self.result.rows)",
    "math.min(size, limit - self.result.rows + 1)",
  },
  {
    "pages", "a key that occurs twice is passed over", "mock/pages",
    "  if not range.assume_unique then",
    "  if false then",
  },
  {
    "writes", "a row of the page is the row of the table", "mock/pages",
    "item.row[column] = value.copy_item(row[column])",
    "item.row = row",
  },
  {
    "pages", "all keys are compared, not those of the page", "mock/pages",
    "check_unique(items, key, range.size + 1)",
    "check_unique(items, key, #items)",
  },
  {
    "pages", "the row that the page looks ahead to is not compared", "mock/pages",
    "check_unique(items, key, range.size + 1)",
    "check_unique(items, key, range.size)",
  },

  -- statements
  {
    "writes", "an update of a missing row passes", "mock/repo",
    "if count == 1 or count == 0 and is_optional then",
    "if count <= 1 then",
  },
  {
    "writes", "an update of two rows passes", "mock/repo",
    "if count == 1 or count == 0 and is_optional then",
    "if count >= 1 or is_optional then",
  },
  {
    "writes", "missing = ignore is not heard", "mock/repo",
    "  return opts.missing ~= nil\nend",
    "  return false\nend",
  },
  {
    "inserts", "an insert knows no missing = ignore", "mock/repo",
    'if name ~= "on_conflict" and name ~= "missing" then',
    'if name ~= "on_conflict" then',
  },
  {
    "writes", "affected counts one too many", "mock/store",
    "  self:change(one, found, changes)\n  return #found",
    "  self:change(one, found, changes)\n  return #found + 1",
  },
  {
    "inserts", "affected counts what ON CONFLICT left alone", "mock/store",
    "      return true, 0",
    "      return true, 1",
  },
  {
    "writes", "an empty condition means every row", "mock/repo",
    "  if next(where) == nil then\n    misuse",
    "  if false then\n    misuse",
  },
  {
    "writes", "a column that does not exist is taken", "mock/store",
    "  local found = self.types[column]\n  if found then",
    "  local found = self.types[column] or self.types.id\n  if found then",
  },
  {
    "writes", "unique constraints are not looked at after an update", "mock/store",
    "    rules.check_unique(one, row, changed)",
    "",
  },
  {
    "inserts", "of a unique pair one column is enough", "mock/rules",
    "  for i, column in ipairs(columns) do\n    local item, order",
    "  for i, column in ipairs { columns[1] } do\n    local item, order",
  },
  {
    "inserts", "ON CONFLICT looks at the primary key only", "mock/store",
    "{ constraints = one.uniques }",
    "{ constraints = { one.uniques[1] } }",
  },
  {
    "inserts", "ON CONFLICT updates every column", "mock/store",
    "for _, column in ipairs(conflict.update) do\n        changes",
    "for column in pairs(row) do\n        changes",
  },
  {
    "inserts", "a default takes the place of NULL", "mock/rules",
    "  for column, default in next, one.defaults do\n    if given[column] == nil then",
    "  for column, default in next, one.defaults do\n    if given[column] == nil or "
      .. "given[column] == luamig.NULL then\n      given[column] = nil",
  },
  {
    "writes", "a CHECK that cannot say no fails", "mock/rules",
    "check.holds, row) == false then",
    "check.holds, row) ~= true or row.n == nil then",
  },
  {
    "writes", "ON DELETE CASCADE leaves the rows", "mock/references",
    "        store:remove(one, orphans)\n",
    "        break\n",
  },
  {
    "writes", "a reference may point to nothing", "mock/references",
    "if wanted and not is_there(store, key, wanted) then\n        raise",
    "if false then\n        raise",
  },
  {
    "writes", "the key of the pages may be changed", "mock/repo",
    "    if protected.columns[column] then",
    "    if false then",
  },
  {
    "writes", "a line may lose a column of its key", "mock/sites",
    "  if missing then",
    "  if false then",
  },
  {
    "constraints", "ON CONFLICT sets a column twice", "mock/store",
    "    if changes[column] then\n",
    "    if false then\n",
  },
  {
    "constraints", "SET NULL looks at the other references of the row", "mock/references",
    "rules.is_touched(key, changes) and rows or {}",
    "rows",
  },
  {
    "constraints", "a reference with a NULL in it is looked up", "mock/references",
    "    local wanted = reference_of(one, key, row)\n    if wanted and not "
      .. "is_there(store, key, wanted) then\n      found",
    "    local wanted = reference_of(one, key, row)\n    if not is_there(store, key, "
      .. "wanted) then\n      found",
  },
  {
    "constraints", "CHECK comes before NOT NULL", "mock/rules",
    "  check_not_null(one, row)\n  for _, check in ipairs(one.row_checks) do",
    "  for _, check in ipairs(one.row_checks) do",
  },
  {
    "constraints", "a generated column that is unique is not looked at", "mock/store",
    "local changed = next(one.generated) == nil and changes or nil",
    "local changed = changes",
  },
  {
    "constraints", "a sequence goes back with its transaction", "mock/rules",
    "      serial.last = serial.last + 1\n      row[column] = serial.last",
    "      row[column] = serial.last + #one.rows",
  },
  {
    "writes", "each verb of a line has a key of its own", "mock/sites",
    "local id = where .. \"\\0\" .. what",
    "local id = where .. verb .. what",
  },
  {
    "constraints", "an empty list asks for its table", "mock/repo",
    "  if #rows == 0 then",
    "  if false then",
  },

  -- values
  {
    "values", "a float is an integer when it has no fraction", "mock/types",
    "if math.type(given) ~= \"integer\" then",
    "if not math.tointeger(given) then",
  },
  {
    "values", "an integer is cut to its type", "mock/types",
    "elseif given < range[1] or given > range[2] then",
    "elseif false then",
  },
  {
    "values", "numeric(p,s) cuts instead of rounding", "mock/types",
    ":find \"[5-9]\" then",
    ":find \"x\" then",
  },
  {
    "values", "numeric(p,s) has no end", "mock/types",
    "if #digits:gsub(\"^0+\", \"\") > precision then",
    "if false then",
  },
  {
    "values", "varchar(n) cuts in silence", "mock/types",
    "if kept:find(\"[^ ]\", rest) then",
    "if false then",
  },
  {
    "values", "real is as exact as double precision", "mock/types",
    "  return shortest(single)\nend",
    "  return wide\nend",
  },
  {
    "values", "a text may hold a NUL byte", "mock/types",
    "if nul and (is_valid or nul < at) then",
    "if false then",
  },
  {
    "values", "an offset is not added to a time", "mock/times",
    "(offsets and read_offset(name, given, offset) or 0)",
    "0",
  },
  {
    "values", "February has 29 days", "mock/times",
    "days_in(year, month) then",
    "31 then",
  },
  {
    "values", "an empty table is an array", "mock/document",
    "if is_list and length == 0 and not mark then",
    "if false then",
  },
  {
    "values", "arrays need not be rectangular", "mock/types",
    "  if not is_even then",
    "  if false then",
  },
  {
    "values", "a uuid takes hyphens anywhere", "mock/types",
    "groups:sub(5):gsub(\"^%-\", \"\", 1)",
    "groups:sub(5):gsub(\"%-\", \"\")",
  },
  {
    "values", "json has no minus zero", "mock/document",
    "above.type_name == \"jsonb\" and given * given or given",
    "given * given or given",
  },
  {
    "values", "a time zone may be any number of hours away", "mock/times",
    "if hours > 15 or minutes > 59 then",
    "if minutes > 59 then",
  },
  {
    "values", "a century is a leap year", "mock/times",
    "(year % 100 ~= 0 or year % 400 == 0)",
    "true",
  },
  {
    "values", "bpchar is one character long", "mock/types",
    "  if name == \"bpchar\" and modifier then",
    "  if name == \"bpchar\" then",
  },
  {
    "decimals", "a sum has the lesser scale", "decimal",
    "local scale = math.max(x.scale, y.scale)",
    "local scale = math.min(x.scale, y.scale)",
  },
  {
    "decimals", "zero may be negative", "decimal",
    "return negative and digits:find \"[1-9]\" and \"-\" .. digits or digits",
    "return negative and \"-\" .. digits or digits",
  },
  {
    "decimals", "1.50 and 1.5 are not equal", "decimal",
    "return x ~= nil and y ~= nil and compare(x, y) == 0",
    "return x ~= nil and y ~= nil and tostring(a) == tostring(b)",
  },

  -- runs
  {
    "runs", "a retry keeps the writes", "mock/transaction",
    "store = world.store:copy(), entries",
    "store = world.store, entries",
  },
  {
    "runs", "what fails is committed", "mock/runner",
    "  tx:close()\n",
    "  tx:close() self.world.store = tx.store\n",
  },
  {
    "runs", "resuming repeats a batch", "mock/runner",
    "record.cursor, record.batches = page.last, number",
    "record.cursor, record.batches = self.opts.kill and record.cursor or page.last, number",
  },
  {
    "runs", "a run that is done runs again", "mock/runner",
    "if is_done and not (opts.again or def.config.repeatable) then",
    "if false then",
  },
  {
    "pages", "arguments do not tell runs apart", "mock/runner",
    "local identity = def.name .. \"\\0\" .. def.args_json",
    "local identity = def.name",
  },
  {
    "retries", "a conflict is tried once more than config.retries says", "mock/runner",
    "if self.attempt > self.def.config.retries then",
    "if self.attempt > self.def.config.retries + 1 then",
  },
  {
    "runs", "a conflict ends the run", "sqlstates",
    "{ \"40001\", \"conflict\" },",
    "",
  },
  {
    "retries", "a timeout does not halve the batch", "mock/runner",
    "local is_worth_it = why == \"timeout\" or",
    "local is_worth_it =",
  },
  {
    "runs", "the latch forgets", "mock/transaction",
    "      self.latched = self.latched or err",
    "",
  },
  {
    "retries", "the latch is for the commit only", "mock/transaction",
    "  elseif self.latched then\n    errors.raise",
    "  elseif false then\n    errors.raise",
  },
  {
    "errors", "a savepoint does not roll back", "mock/transaction",
    "  self.store = before\n",
    "",
  },
  {
    "runs", "a savepoint contains everything", "mock/transaction",
    "  elseif self.latched and not bisection.may_catch(self.latched) then\n    "
      .. "error(self.latched, 0)\n",
    "",
  },
  {
    "errors", "a savepoint loses its results", "mock/transaction",
    "return table.unpack(results, 1, results.n)",
    "return true",
  },
  {
    "errors", "an inner savepoint takes the outer one along", "mock/transaction",
    "  self.store = before:copy()\n",
    "  self.outer = self.outer or before; before = self.outer; self.store = "
      .. "self.store:copy()\n",
  },
  {
    "runs", "the repo lives on", "mock/transaction",
    "  if not self.is_open then\n    errors.raise",
    "  if false then\n    errors.raise",
  },
  {
    "runs", "on_start is called at every start", "mock/runner",
    "  record.started = true\n",
    "",
  },
  {
    "runs", "the bound is read before on_start", "mock/runner",
    "  if def.on_start then\n",
    "  record.bound = pages.highest(world.base, world.store, def.config.key, "
      .. "def.args)\n  def.config.follow_new = true\n  if def.on_start then\n",
  },
  {
    "runs", "on_complete is called at a limit", "mock/runner",
    "self.state = self.opts.dry_run and \"done\" or \"stopped\"",
    "self:complete() self.state = \"stopped\"",
  },
  {
    "runs", "on_stop hears of no error", "mock/runner",
    "failed = \"error\"",
    "",
  },
  {
    "runs", "throttle may write", "mock/runner",
    "read_only = true",
    "read_only = false",
  },
  {
    "runs", "throttle is asked once", "mock/runner",
    "    self:throttle()\n",
    "    if self.result.batches == 0 then self:throttle() end\n",
  },
  {
    "runs", "quarantine sets the whole batch aside", "mock/bisection",
    "  if count == 1 then",
    "  if true then",
  },
  {
    "runs", "quarantine takes every error", "mock/bisection",
    "return sqlstates.meaning(err.sqlstate) == \"row\"",
    "return true",
  },
  {
    "runs", "quarantine never ends", "mock/runner",
    "  if #record.failures >= max then",
    "  if false then",
  },
  {
    "runs", "a row set aside ends done", "mock/runner",
    "#self.record.failures == 0 and \"done\" or \"done_with_failures\"",
    "\"done\"",
  },
  {
    "runs", "what is killed goes on behind pcall", "mock/transaction",
    "  self.is_open = false\n  if self.is_killed then",
    "  self.is_open = false\n  if false then",
  },
  {
    "runs", "a savepoint survives a kill", "mock/transaction",
    "  if self.is_killed then\n    error(faults.KILL, 0)\n  elseif self.latched and not bisection",
    "  if self.latched and not bisection",
  },
  {
    "retries", "a lost connection is an attempt", "mock/runner",
    "    self.pages_done = false -- another connection: no attempt, but a look at what "
      .. "is there\n    return\n",
    "    self.attempt = self.attempt + 1\n",
  },
  {
    "retries", "a lost connection counts as a retry", "mock/runner",
    "but a look at what is there\n    return\n",
    "but a look at what is there\n",
  },
  {
    "retries", "what the server lacks is given up like a conflict", "sqlstates",
    "{ \"53\", \"shortage\" },",
    "{ \"53\", \"conflict\" },",
  },
  {
    "retries", "statements out of date end the run", "sqlstates",
    "{ \"0A000\", \"stale\" },",
    "",
  },
  {
    "retries", "throttle is not asked again for a batch that failed", "mock/runner",
    "    self:throttle()\n",
    "    if self.attempt == 1 then self:throttle() end\n",
  },
  {
    "retries", "throttle counts attempts of its own", "mock/runner",
    "  else\n    self:throttle()\n",
    "  else\n    self:throttle() self.attempt = 1\n",
  },
  {
    "retries", "a timeout of throttle halves the batch", "mock/runner",
    "self.page, self.asked, self.in_batch = nil, nil, false",
    "self.page, self.asked, self.in_batch = nil, nil, true",
  },
  {
    "retries", "the batch stays small", "mock/runner",
    "self.size = math.min(2 * self.size, self.def.config.batch_size)",
    "self.size = self.size",
  },
  {
    "retries", "what the script raises hides the server's error", "mock/transaction",
    "return not self.is_killed and self.latched or err",
    "return err",
  },
  {
    "retries", "a savepoint returns what its function had caught", "mock/transaction",
    "  if not results[1] then\n    err = results[2]",
    "  if not results[1] and not err then\n    err = results[2]",
  },
  {
    "retries", "a P0002 of the server is one of the repo", "mock/bisection",
    "or err.kind == \"script\" and OF_REPO[err.sqlstate]",
    "or OF_REPO[err.sqlstate]",
  },
  {
    "retries", "rows set aside count towards the limit", "mock/runner",
    "  record.cursor = page.last\n  self.result.failures",
    "  record.cursor = page.last\n  self.result.rows = self.result.rows + 1\n  "
      .. "self.result.failures",
  },
  {
    "retries", "the other half of a batch at fault is not sought", "mock/bisection",
    "self.rows = math.max(self.suspects // 2, 1)",
    "self.rows = self.suspects",
  },
  {
    "log", "an empty page is committed", "mock/runner",
    "    return page.count > 0\n",
    "    return true\n",
  },
  {
    "log", "a savepoint that is rolled back is in the log as committed", "mock/transaction",
    "    self.entries[i] = nil\n",
    "",
  },
  {
    "log", "the log has the script's own tables", "mock/repo",
    "and value.copy_row(map) or map",
    "and map or map",
  },
  {
    "log", "what throttle asks is committed", "mock/runner",
    "opts.is_dry = self.opts.dry_run or opts.read_only",
    "opts.is_dry = self.opts.dry_run",
  },
  {
    "raw", "a stub is for any parameters", "mock/stubs",
    "    if not value.equal(expected, given[i]) then",
    "    if false then",
  },
  {
    "raw", "a stub answers more often than it says", "mock/stubs",
    "stub.used >= stub.times and",
    "false and",
  },
  {
    "raw", "a stub may go unused", "mock/stubs",
    "    if stub.used < (stub.times or 1) then",
    "    if false then",
  },
  {
    "raw", "strings of SQL have no case", "mock/sql",
    "  return source:sub(at, to), to + 1",
    "  return source:sub(at, to):lower(), to + 1",
  },
  {
    "raw", "what a query returns is the stub's own", "mock/stubs",
    "rows[i][name] = value.copy_item(item)",
    "rows[i][name] = item",
  },
  {
    "raw", "an injected error strikes at once", "mock/faults",
    "due = due or fault.left <= 0 and fault or nil",
    "due = due or fault",
  },

  -- dry runs
  {
    "dry", "a dry run commits", "mock/transaction",
    "  if self.is_dry then",
    "  if false then",
  },
  {
    "dry", "a dry run goes on where a run was killed", "mock/runner",
    "  if opts.dry_run then\n    return {",
    "  if opts.dry_run and not record then\n    return {",
  },
  {
    "dry", "only the first batch of a dry run sees what on_start does", "mock/runner",
    "    if self.opts.dry_run and not opts.read_only then",
    "    if self.opts.dry_run and opts.batch == 1 then",
  },
  {
    "dry", "a dry run survives the end of its session", "mock/runner",
    "why == \"lost\" and not self.opts.dry_run",
    "why == \"lost\"",
  },
  {
    "dry", "a dry run sets rows aside", "mock/runner",
    "~= \"quarantine\" or self.opts.dry_run or not page",
    "~= \"quarantine\" or not page",
  },
  {
    "dry", "a dry run is stopped by its limit", "mock/runner",
    "self.opts.dry_run and \"done\" or \"stopped\"",
    "\"stopped\"",
  },
}
