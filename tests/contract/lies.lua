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
    "  return missing ~= nil\nend",
    "  return false\nend",
  },
  {
    "writes", "affected counts one too many", "mock/store",
    "  self:change(one, found, changes)\n  return #found",
    "  self:change(one, found, changes)\n  return #found + 1",
  },
  {
    "writes", "affected counts what ON CONFLICT left alone", "mock/store",
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
    "writes", "of a unique pair one column is enough", "mock/rules",
    "  for i, column in ipairs(columns) do\n    local item, order",
    "  for i, column in ipairs { columns[1] } do\n    local item, order",
  },
  {
    "writes", "ON CONFLICT looks at the primary key only", "mock/store",
    "{ constraints = one.uniques }",
    "{ constraints = { one.uniques[1] } }",
  },
  {
    "writes", "ON CONFLICT updates every column", "mock/store",
    "for _, column in ipairs(conflict.update) do\n        changes",
    "for column in pairs(row) do\n        changes",
  },
  {
    "writes", "a default takes the place of NULL", "mock/rules",
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
    "runs", "a conflict is tried once more than config.retries says", "mock/runner",
    "if self.attempt > self.def.config.retries then",
    "if self.attempt > self.def.config.retries + 1 then",
  },
  {
    "runs", "a conflict ends the run", "mock/runner",
    "[\"40001\"] = \"conflict\",",
    "",
  },
  {
    "runs", "a timeout does not halve the batch", "mock/runner",
    "local is_worth_it = why == \"timeout\" or",
    "local is_worth_it =",
  },
  {
    "runs", "the latch forgets", "mock/transaction",
    "      self.latched = self.latched or err",
    "",
  },
  {
    "runs", "the latch is for the commit only", "mock/transaction",
    "  elseif self.latched then\n    errors.raise",
    "  elseif false then\n    errors.raise",
  },
  {
    "runs", "a savepoint does not roll back", "mock/transaction",
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
    "runs", "a savepoint loses its results", "mock/transaction",
    "return table.unpack(results, 1, results.n)",
    "return true",
  },
  {
    "runs", "an inner savepoint takes the outer one along", "mock/transaction",
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
    "return OF_ROWS[sqlstate] or",
    "return true or",
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
}
