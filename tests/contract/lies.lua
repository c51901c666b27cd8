--- Small lies that a mock might tell: each falsifies one function of one of its modules.
--
-- A list of modules, each with its lies: { spec, name, function, lie }. The function is a local or
-- a field of the module, such as `has_value`, or a field of a table in it, such as `Store.update`.
-- The lie is called in its place, with the function itself and the arguments that are meant for it.
-- tests/lua/lies_spec.lua tells each lie alone, and the spec must notice it.

--- Each lie is told to modules that are loaded anew: their luamig.NULL is not that of this file.
local function is_null(item)
  return tostring(item) == "luamig.NULL"
end

-- What a function returns instead.
local function yes() return true end
local function no() return false end
local function skipped() end
local function first(_, argument) return argument end
local function second(_, _, argument) return argument end

--- Does something with the arguments before the function gets them.
local function before(fn)
  return function(original, ...)
    fn(...)
    return original(...)
  end
end

--- Does something with the arguments after the function has had them.
local function after(fn)
  return function(original, ...)
    local results = table.pack(original(...))
    fn(...)
    return table.unpack(results, 1, results.n)
  end
end

return {
  { module = "mock/value",
    { "raw", "what a query returns is the stub's own", "value.read_row", function(read_row, given)
      local row = read_row(given)
      for name in next, row do
        row[name] = given[name]
      end
      return row
    end },
    { "writes", "1.50 is not 1.5", "value.identity", function(identity, item)
      return require "luamig.decimal".is(item) and tostring(item) or identity(item)
    end },
    { "writes", "documents are never equal", "equal_containers", no },
    { "constraints", "NaN is not itself", "value.equal",
      function(equal, a, b) return a == a and equal(a, b) end },
    { "constraints", "a document equals what has more in it", "equal_containers",
      function(equal, a, b) return equal(a, setmetatable({}, { __index = b })) end },
    { "constraints", "two bytea columns run into each other", "value.identity",
      function(identity, item)
        if type(item) ~= "table" or #item == 0 then
          return identity(item)
        end
        local parts = {}
        for i, inner in ipairs(item) do
          parts[i] = identity(inner)
        end
        return table.concat(parts, "\0")
      end },
    { "pages", "integer keys are sorted as text", "compare_numbers",
      function(compare, a, b) return compare(tostring(a), tostring(b)) end },
    { "pages", "NaN comes first", "compare_numbers",
      function(compare, a, b) return compare(a, b) * ((a ~= a or b ~= b) and -1 or 1) end },
    { "pages", "text is sorted without its case", "compare_bytes",
      function(compare, a, b) return compare(a:lower(), b:lower()) end },
    { "pages", "only the first column of a key counts", "compare_lists",
      function(compare, a, b) return compare({ a[1] }, { b[1] }) end },
  },
  { module = "mock/rules",
    { "writes", "NULL equals NULL in a unique column", "identity",
      function(identity, one, row, columns)
        return identity(one, setmetatable({}, { __index = function(_, name)
          return row[name] == nil and "NULL" or row[name]
        end }), columns)
      end },
    { "inserts", "of a unique pair one column is enough", "identity",
      function(identity, one, row, columns) return identity(one, row, { columns[1] }) end },
    { "inserts", "a partial index is for all rows", "place_in", function(_, one, constraint, row)
      return require "luamig.mock.rules".identity(one, row, constraint.columns)
    end },
    { "inserts", "a partial index is named by its columns alone", "is_arbiter",
      function(is_arbiter, constraint, columns)
        return is_arbiter({ columns = constraint.columns }, columns)
      end },
    { "inserts", "a condition is compared letter by letter", "is_arbiter",
      function(is_arbiter, constraint, columns, where)
        return is_arbiter(constraint, columns, where)
          and (not constraint.where or constraint.where.sql == where)
      end },
    { "inserts", "a condition finds no index that has none", "is_arbiter",
      function(is_arbiter, constraint, columns, where)
        return is_arbiter(constraint, columns, where)
          and (constraint.where ~= nil) == (where ~= nil)
      end },
    { "inserts", "a partial index is not looked at when its condition becomes true", "is_touched",
      function(is_touched, constraint, changes)
        return is_touched({ columns = constraint.columns }, changes)
      end },
    { "writes", "NOT NULL is not looked at", "check_not_null", skipped },
    { "constraints", "CHECK comes before NOT NULL", "check_not_null", skipped },
    { "writes", "a CHECK that cannot say no fails", "breaks",
      function(breaks, one, check, row) return row.n == nil or breaks(one, check, row) end },
    { "writes", "unique constraints are not looked at after an update", "check_unique",
      function(check, one, row, changes) return not changes and check(one, row) end },
    { "inserts", "a default takes the place of NULL", "add_defaults", before(function(one, _, given)
      for column in next, one.defaults do
        given[column] = not is_null(given[column]) and given[column] or nil
      end
    end) },
    { "constraints", "a sequence goes back with its transaction", "add_defaults",
      before(function(one)
        for _, serial in next, one.serials do
          serial.last = #one.rows
        end
      end) },
  },
  { module = "mock/repo",
    { "reads", "get returns the row of the table", "returned", function(_, rows, columns)
      return require "luamig.strict".rows(rows, columns)
    end },
    { "reads", "get returns every column", "wanted_columns", function(wanted, verb, one, opts)
      wanted(verb, one, opts)
      return one.columns
    end },
    { "reads", "a column that is asked for may be missing", "wanted_columns",
      function(_, _, one, opts) return opts and opts.columns or one.columns end },
  },
  { module = "mock/references",
    { "writes", "ON DELETE CASCADE leaves the rows", "orphans_of", function(orphans_of, ...)
      return select(3, ...).on_delete == "cascade" and {} or orphans_of(...)
    end },
    { "writes", "a reference may point to nothing", "check", skipped },
    { "constraints", "SET NULL looks at the other references of the row", "check",
      function(check, store, one, rows) return check(store, one, rows) end },
    { "constraints", "a reference with a NULL in it is looked up", "reference_of",
      function(reference_of, ...) return reference_of(...) or "NULL" end },
  },
  { module = "mock/store",
    { "writes", "a condition with a value finds NULL", "has_value",
      function(has_value, kind, found, wanted)
        return found == nil or has_value(kind, found, wanted)
      end },
    { "writes", "a condition with NULL finds every row", "has_value",
      function(has_value, kind, found, wanted)
        return is_null(wanted) or has_value(kind, found, wanted)
      end },
    { "writes", "a column that does not exist is taken", "Table.type_of",
      before(function(self, column)
        self.types[column] = self.types[column] or self.types.id
      end) },
    { "writes", "affected counts one too many", "Store.update",
      function(update, ...) return update(...) + 1 end },
    { "inserts", "affected counts what ON CONFLICT left alone", "meet_conflict",
      function(meet, ...) return meet(...), 1 end },
    { "inserts", "ON CONFLICT adds to the row that was not inserted", "meet_conflict",
      before(function(_, _, row, conflict)
        for _, column in ipairs(conflict and conflict.add or {}) do
          row[column] = row[column] and 2 * row[column]
        end
      end) },
    { "inserts", "ON CONFLICT ... add overwrites", "read_conflict", function(read, ...)
      local conflict = read(...)
      if conflict and conflict.add then
        conflict.update = table.move(conflict.add, 1, #conflict.add, 1, {})
        conflict.add = {}
      end
      return conflict
    end },
    { "inserts", "ON CONFLICT looks at the primary key only", "read_conflict",
      function(read, one, conflict)
        return read(one, conflict) and { constraints = { one.uniques[1] } }
      end },
    { "inserts", "ON CONFLICT updates every column", "meet_conflict",
      before(function(_, one, _, conflict)
        if conflict and conflict.update then
          conflict.update = one.columns
        end
      end) },
    { "constraints", "ON CONFLICT sets a column twice", "refuse_repeated", skipped },
    { "constraints", "a generated column that is unique is not looked at", "changed_columns",
      second },
  },
  { module = "mock/store",
    { "old_values", "a change sees the changes before it", "Table.apply",
      function(apply, self, row, changes)
        local columns = {}
        for column in next, changes do
          columns[#columns + 1] = column
        end
        table.sort(columns)
        for _, column in ipairs(columns) do
          apply(self, row, { [column] = changes[column] })
        end
      end },
    { "old_values", "columns and sums are not encoded", "encode_change",
      function(_, _, _, given) return given end },
    { "returning", "what on_conflict has updated is not returned", "meet_conflict",
      function(meet, ...)
        local is_met, count = meet(...)
        return is_met, count
      end },
    { "returning", "a conflict returns the row that was not inserted", "meet_conflict",
      function(meet, self, one, row, conflict)
        local is_met, count = meet(self, one, row, conflict)
        return is_met, count, row
      end },
    { "makes", "a table that is absent is there", "Store.table", before(function(self, name)
      if self.tables[name] then
        self.tables[name].absent = nil
      end
    end) },
  },
  { module = "mock/arguments",
    { "writes", "a key may be NULL", "refuse_null_key", skipped },
    { "writes", "missing = ignore is not heard", "check_missing", no },
    { "inserts", "an insert knows no missing = ignore", "check_options",
      function(check, verb, opts, known, ...)
        return check(verb, opts, #known > 1 and { "on_conflict" } or known, ...)
      end },
  },
  { module = "mock/computed",
    { "old_values", "integers have no end", "as_integer",
      function(_, number) return number or 0 end },
    { "old_values", "NULL is zero", "value", function(value, one, old, ...)
      return value(one, setmetatable({}, { __index = function(_, name)
        return old[name] == nil and 0 or old[name]
      end }), ...)
    end },
    { "old_values", "real adds as double precision does", "add_floats",
      function(_, _, a, b) return a + b end },
    { "old_values", "a float becomes infinite", "is_infinite", no },
    { "old_values", "what is added is rounded first", "add_decimals",
      function(add, a, b) return add(a, require "luamig.decimal"(b):round(2)) end },
    { "old_values", "bigint goes on at its other end", "add_integers",
      function(_, _, a, b) return a + b end },
    { "old_values", "half a numeric is rounded to an even integer", "numeric.integer",
      function(_, number) return number:round(0, "half_even"):tointeger() end },
    { "old_values", "half a float is rounded up", "float.integer",
      function(_, number) return math.floor(number + 0.5) end },
    { "old_values", "char(n) becomes text with its padding", "cast",
      function(cast, from, to, item)
        return cast(from == "character" and "text" or from, to, item)
      end },
    { "old_values", "text becomes a number", "is_refused", no },
    { "old_values", "anything becomes anything", "check_cast", skipped },
    { "old_values", "luamig.add is for any type", "check_sum", skipped },
    { "inserts", "anything can be added up", "check_operator", skipped },
    { "old_values", "a column need not be there", "check", skipped },
  },
  { module = "mock/repo",
    { "returning", "an insert returns every column", "returned", function(returned, rows, columns)
      return #rows > 0 and #columns > 0 and require "luamig.strict".rows(rows, columns)
        or returned(rows, columns)
    end },
    { "returning", "an insert returns a row where it wrote none", "returned",
      function(returned, rows, columns)
        return #rows == 0 and returned({ { id = 1 } }, columns) or returned(rows, columns)
      end },
    { "makes", "a table that is made stays absent", "make", skipped },
    { "makes", "a table is made again", "make", before(function(tx, stub)
      tx.store.tables[stub.makes].absent = true
    end) },
    { "makes", "a savepoint keeps the table that was made in it", "make",
      after(function(tx, stub) tx.world.store.tables[stub.makes].absent = nil end) },
  },
  { module = "mock/pages",
    { "makes", "a table that is absent has no rows", "pages.check_table", skipped },
  },
  { module = "mock/pages",
    { "pages", "a batch has one row more", "fetch",
      before(function(_, _, _, _, range) range.size = range.size + 1 end) },
    { "pages", "a page begins with the row at the cursor", "is_after",
      function(is_after, place, cursor)
        return is_after(place, cursor) or not is_after(cursor, place)
      end },
    { "pages", "the bound is left out", "is_within",
      function(is_within, place, bound) return not bound or not is_within(bound, place) end },
    { "pages", "the bound is ignored", "is_within", yes },
    { "pages", "a key that occurs twice is passed over", "check_unique", skipped },
    { "pages", "all keys are compared, not those of the page", "check_unique",
      function(check, items, key) return check(items, key, #items) end },
    { "pages", "the row that the page looks ahead to is not compared", "check_unique",
      function(check, items, key, count) return check(items, key, count - 1) end },
    { "runs", "all workers begin with the first row", "cut", function(cut, ...)
      local ranges = cut(...)
      for _, range in ipairs(ranges) do
        range.cursor = nil
      end
      return ranges
    end },
  },
  { module = "mock/repo",
    { "source", "run.source may write", "at_source", function(at_source, tx)
      local view = at_source(tx)
      view.read_only = false
      return view
    end },
    { "source", "run.source is answered by the world's own stubs", "at_source",
      function(at_source, tx)
        local view = at_source(tx)
        view.stubs = tx.stubs
        return view
      end },
    { "source", "run.source reads the world's own tables", "at_source", function(at_source, tx)
      local view = at_source(tx)
      view.store = tx.store
      return view
    end },
    { "writes", "an update of a missing row passes", "check_count",
      function(check, one, verb, key, count) return check(one, verb, key, math.max(count, 1)) end },
    { "writes", "an update of two rows passes", "check_count",
      function(check, one, verb, key, count, ...)
        return check(one, verb, key, math.min(count, 1), ...)
      end },
    { "writes", "an empty condition means every row", "check_condition",
      function(check, verb, where)
        return (type(where) ~= "table" or next(where)) and check(verb, where)
      end },
    { "writes", "the key of the pages may be changed", "refuse_key_change", skipped },
    { "constraints", "an empty list asks for its table", "insert_rows",
      before(function(tx, name) return tx.store:table(name) end) },
    { "log", "the log has the script's own tables", "copy_or_nil", first },
  },
  { module = "mock/sites",
    { "writes", "a line may lose a column of its key", "Sites.check", skipped },
    { "writes", "each verb of a line has a key of its own", "Sites.check",
      function(check, self, where, verb, ...) return check(self, where .. verb, verb, ...) end },
  },
  { module = "mock/types",
    { "writes", "char(n) is compared with its padding", "ORDERS.character", first },
    { "constraints", "arrays cannot be compared", "array_of", function(array_of, element)
      local found = array_of(element)
      found.has_equality = nil
      return found
    end },
    { "constraints", "json can be compared", "has_equality", yes },
    { "values", "a float is an integer when it has no fraction", "is_integer",
      function(_, given) return math.type(given) and math.tointeger(given) ~= nil end },
    { "values", "an integer is cut to its type", "is_in_range", yes },
    { "values", "numeric(p,s) cuts instead of rounding", "count_up", first },
    { "values", "numeric(p,s) has no end", "is_too_long", no },
    { "values", "varchar(n) cuts in silence", "is_blank_from", yes },
    { "values", "real is as exact as double precision", "ENCODERS.real",
      function(real, given) return real(given) and given + 0.0 end },
    { "values", "a text may hold a NUL byte", "check_text", function(check, given, name)
      return given:find("\0", 1, true) and given or check(given, name)
    end },
    { "values", "arrays need not be rectangular", "fits_shape", yes },
    { "values", "a uuid takes hyphens anywhere", "ENCODERS.uuid", function(uuid, given)
      return uuid(type(given) == "string" and given:gsub("%-", "") or given)
    end },
    { "values", "bpchar is one character long", "parse", function(parse, type_name)
      local name, modifier, is_serial = parse(type_name)
      return name == "bpchar" and "character" or name, modifier, is_serial
    end },
  },
  { module = "mock/times",
    { "values", "an offset is not added to a time", "read_offset", function() return 0 end },
    { "values", "a time zone may be any number of hours away", "out_of_world", skipped },
    { "values", "February has 29 days", "days_in", function() return 31 end },
    { "values", "a century is a leap year", "days_in",
      function(days_in, year, month) return days_in(year % 4, month) end },
  },
  { module = "mock/document",
    { "values", "an empty table is an array", "BY_TYPE.table", function(read, given, ...)
      return read(next(given) == nil and require "luamig".array(given) or given, ...)
    end },
    { "values", "json has no minus zero", "BY_TYPE.number",
      function(read, given, ...) return given == 0 and given * given or read(given, ...) end },
  },
  { module = "decimal",
    { "decimals", "a sum has the lesser scale", "align", function(align, x, y)
      local a, b = align(x, y)
      return a, b, math.min(x.scale, y.scale)
    end },
    { "decimals", "zero may be negative", "to_text", function(to_text, negative, ...)
      local shown, why = to_text(false, ...)
      return negative and shown and "-" .. shown or shown, why
    end },
    { "decimals", "1.50 and 1.5 are not equal", "decimal.__eq",
      function(_, a, b) return tostring(a) == tostring(b) end },
  },
  { module = "mock/stretch",
    { "range", "the last column of a key is missing", "by_column",
      function(by_column, what, key, values)
        return by_column(what, key, { table.unpack(values, 1, #values - 1) })
      end },
    { "range", "a range may be kept", "where",
      function(where, key, types, _, ...) return where(key, types, yes, ...) end },
    { "range", "the range is open at its upper end", "comparison",
      function(comparison, key, types, left, operator, ...)
        return comparison(key, types, left, operator == "<=" and "<" or operator, ...)
      end },
    { "range", "the parameters of a condition always begin at $1", "comparison",
      function(comparison, key, types, left, operator)
        return comparison(key, types, left, operator, 1)
      end },
    { "range", "the key before a range is no parameter", "params_of",
      function(params_of, key, given) return params_of(key, { upto = given.upto }) end },
    { "range", "names of columns are not quoted", "quoted", first },
  },
  { module = "mock/runner",
    { "source", "the base query reads the world's own tables", "Session.read_from", second },
    { "range", "the last range ends at its last row", "Session.migrate",
      before(function(_, range) range.bound = nil end) },
    { "pages", "follow_new is always on", "Session.cut_ranges",
      before(function(self) self.def.config.follow_new = true end) },
    { "pages", "start_after is forgotten", "record_of",
      before(function(_, def) def.start_after = nil end) },
    { "pages", "arguments do not tell runs apart", "record_of",
      before(function(_, def) def.args_json = "" end) },
    { "runs", "a run that is done runs again", "record_of",
      before(function(_, def) def.config.repeatable = true end) },
    { "runs", "on_start is called at every start", "record_of",
      function(record_of, ...)
        local record = record_of(...)
        if record then
          record.started = nil
        end
        return record
      end },
    { "dry", "a dry run goes on where a run was killed", "record_of",
      function(record_of, world, def, opts)
        local _, record = next(world.journal)
        return opts.dry_run and record or record_of(world, def, opts)
      end },
    { "runs", "the bound is read before on_start", "Session.start", function(start, self)
      local store = self.world.store
      start(self)
      self:cut_ranges(store)
    end },
    { "pages", "the limit is one row off", "Session.page_size",
      function(page_size, self) return page_size(self) + (self.opts.limit and 1 or 0) end },
    { "runs", "throttle may write", "Session.transact",
      before(function(_, opts) opts.read_only = false end) },
    { "log", "an empty page is committed", "Session.transact",
      function(transact, self, opts, body)
        return transact(self, opts, function(...) return body(...) or true end)
      end },
    { "runs", "resuming repeats a batch", "Session.advance",
      before(function(self, range, page)
        page.upto = not self.opts.kill and page.upto or range.cursor
      end) },
    { "retries", "the batch stays small", "Session.advance", function(advance, self, ...)
      local size = self.size
      advance(self, ...)
      self.size = size
    end },
    { "retries", "a conflict is tried once more than config.retries says",
      "Session.is_last_attempt",
      function(_, self) return self.attempt > self.def.config.retries + 1 end },
    { "retries", "a timeout does not halve the batch", "Session.shrink",
      function(shrink, self, why)
        return (why ~= "timeout" or self.attempt >= 3) and shrink(self, why)
      end },
    { "runs", "on_complete is called at a limit", "Session.stop_at_limit",
      before(function(self) self:complete() end) },
    { "dry", "a dry run is stopped by its limit", "Session.stop_at_limit",
      after(function(self) self.state = "stopped" end) },
    { "runs", "on_stop hears of no error", "Session.finish",
      before(function(self, _, err) if err then self.def.on_stop = nil end end) },
    { "runs", "throttle is asked once", "Session.throttle",
      function(throttle, self) return self.result.batches == 0 and throttle(self) end },
    { "retries", "throttle is not asked again for a batch that failed", "Session.throttle",
      function(throttle, self) return self.attempt == 1 and throttle(self) end },
    { "retries", "throttle counts attempts of its own", "Session.throttle",
      after(function(self) self.attempt = 1 end) },
    { "retries", "a timeout of throttle halves the batch", "Session.throttle",
      before(function(self) self.in_batch = true end) },
    { "runs", "quarantine never ends", "Session.record_failed_row",
      before(function(self) self.def.config.max_failures = math.huge end) },
    { "retries", "rows set aside count towards the limit", "Session.record_failed_row",
      after(function(self) self.result.rows = self.result.rows + 1 end) },
    { "dry", "a dry run sets rows aside", "Session.find_failing_row",
      before(function(self) self.opts.dry_run = nil end) },
    { "runs", "a row set aside ends done", "Session.complete",
      after(function(self) self.state = "done" end) },
    { "retries", "a lost connection is an attempt", "Session.reconnect",
      after(function(self) self.attempt = self.attempt + 1 end) },
    { "retries", "a lost connection counts as a retry", "Session.reconnect",
      after(function(self) self.result.retries = self.result.retries + 1 end) },
    { "dry", "a dry run survives the end of its session", "Session.may_reconnect",
      function(_, _, why) return why == "lost" end },
    { "dry", "only the first batch of a dry run sees what on_start does",
      "Session.repeat_on_start",
      function(repeat_on_start, self, tx) return tx.batch == 1 and repeat_on_start(self, tx) end },
  },
  { module = "sqlstates",
    { "runs", "a conflict ends the run", "meaning",
      function(meaning, state) return state ~= "40001" and meaning(state) or nil end },
    { "retries", "statements out of date end the run", "meaning",
      function(meaning, state) return state ~= "0A000" and meaning(state) or nil end },
    { "retries", "what the server lacks is given up like a conflict", "meaning",
      function(meaning, state)
        return meaning(state) == "shortage" and "conflict" or meaning(state)
      end },
  },
  { module = "mock/transaction",
    { "source", "a savepoint catches errors of the source", "Transaction.failed",
      function(failed, self, err, where) return failed(self, err, where) end },
    { "runs", "a retry keeps the writes", "begin", function(begin, world, opts)
      local tx = begin(world, opts)
      tx.store = world.store
      return tx
    end },
    { "log", "what throttle asks is committed", "begin",
      before(function(_, opts) opts.is_dry = opts.is_dry and not opts.read_only end) },
    { "runs", "what fails is committed", "Transaction.close",
      after(function(self) self.world.store = self.store end) },
    { "runs", "the latch forgets", "Transaction.latch", skipped },
    { "retries", "the latch is for the commit only", "Transaction.enter",
      function(enter, self, where)
        local latched = self.latched
        self.latched = nil
        enter(self, where)
        self.latched = latched
      end },
    { "runs", "the repo lives on", "Transaction.enter",
      before(function(self) self.is_open = true end) },
    { "errors", "a savepoint does not roll back", "Transaction.roll_back",
      function(roll_back, self, _, ...) return roll_back(self, self.store, ...) end },
    { "errors", "an inner savepoint takes the outer one along", "Transaction.roll_back",
      function(roll_back, self, _, ...) return roll_back(self, self.world.store:copy(), ...) end },
    { "log", "a savepoint that is rolled back is in the log as committed",
      "Transaction.roll_back",
      function(roll_back, self, store) return roll_back(self, store, math.huge) end },
    { "runs", "a savepoint contains everything", "ends_transaction", no },
    { "errors", "a savepoint loses its results", "Transaction.savepoint",
      function(savepoint, ...)
        local ok, err = savepoint(...)
        return ok, not ok and err or nil
      end },
    { "runs", "a savepoint survives a kill", "Transaction.savepoint", function(savepoint, ...)
      local results = table.pack(pcall(savepoint, ...))
      return table.unpack(results, results[1] and 2 or 1, results.n)
    end },
    { "retries", "a savepoint returns what its function had caught", "failure_of",
      function(failure_of, results, latched) return latched or failure_of(results, latched) end },
    { "retries", "what the script raises hides the server's error", "Transaction.failure", second },
    { "runs", "what is killed goes on behind pcall", "Transaction.commit",
      before(function(self) self.is_killed = false end) },
    { "dry", "a dry run commits", "Transaction.commit",
      before(function(self) self.is_dry = false end) },
  },
  { module = "mock/bisection",
    { "runs", "quarantine sets the whole batch aside", "Bisection.failed",
      function(failed, self) return failed(self, 1) end },
    { "runs", "quarantine takes every error", "is_row_error", yes },
    { "retries", "a P0002 of the server is one of the repo", "savepoint_catches",
      function(catches, err) return catches(err) or err.sqlstate == "P0002" end },
    { "retries", "the other half of a batch at fault is not sought", "Bisection.passed",
      after(function(self) self.rows = self.searched > 0 and self.searched or self.rows end) },
  },
  { module = "mock/stubs",
    { "raw", "a stub is for any parameters", "same_params", yes },
    { "raw", "a stub answers more often than it says", "Stubs.why_not_now",
      function(why_not_now, self, stub) return why_not_now(self, { order = stub.order }) end },
    { "raw", "a stub may go unused", "Stubs.unused", function() return {} end },
    { "computed", "a stub's function sees the tables as they were before the batch", "stubs.play",
      function(play, stub, params, tables)
        return play(stub, params, setmetatable({}, { __index = function(_, name)
          for i, row in ipairs(tables[name]) do
            row.n = i * 10
          end
          return tables[name]
        end }))
      end },
    { "computed", "a stub's function cannot fail as the server does", "raised", skipped },
  },
  { module = "mock/views",
    { "computed", "what a function changes is lost", "changes_of", skipped },
    { "computed", "what a function adds is lost", "views.difference", function(difference, view)
      local found = difference(view)
      if found then
        found.added = {}
      end
      return found
    end },
    { "computed", "what a function takes away stays", "views.difference",
      function(difference, view)
        local found = difference(view)
        if found then
          found.removed = {}
        end
        return found
      end },
    { "computed", "a row set to NULL keeps its value", "changes_of", function(changes_of, ...)
      local changes = changes_of(...)
      for column, item in next, changes or {} do
        changes[column] = not is_null(item) and item or nil
      end
      return changes
    end },
  },
  { module = "mock/base",
    { "computed", "a computed column is that of the table", "selected",
      function(selected, self, row)
        return selected({ select = self.select, computed = {} },
          setmetatable({}, { __index = function(_, name) return rawget(row, name) end }))
      end },
    { "computed", "a function that computes rows gets no arguments", "rows_of_function",
      function(rows_of_function, self, tables)
        return rows_of_function(self, tables, { least = 0 })
      end },
  },
  { module = "mock/preparation",
    { "prepare", "a row that has changed is as it was", "contents_of", function(_, rows)
      local contents = {}
      for i = 1, #rows do
        contents[i] = ""
      end
      return contents
    end },
    { "prepare", "NULL is an empty text", "contents_of", function(contents_of, rows)
      local full = { columns = rows.columns }
      for i, row in ipairs(rows) do
        full[i] = {}
        for _, column in ipairs(rows.columns) do
          full[i][column] = rawget(row, column) or ""
        end
      end
      return contents_of(full)
    end },
    { "prepare", "a batch that changes all the time is never halved", "Preparation.may_try_again",
      function(may_try_again, self, page, retries)
        return page.count > 1 or may_try_again(self, page, retries)
      end },
    { "prepare", "all rows come in one call", "Preparation.work", before(function(self)
      self.most = 1000
    end) },
    { "prepare", "a dry run has results", "Preparation.results",
      function(_, self) return self.known.results end },
  },
  { module = "prepared",
    { "prepare", "nothing is kept of a page that is smaller", "keep_others", skipped },
    { "prepare", "each attempt prepares all rows", "Prepared.look", before(function(self)
      self.by_id = {}
    end) },
    { "prepare", "a row of another batch has a result", "find", function(find, self, given)
      return find(self, given == 3 and 1 or given)
    end },
    { "prepare", "all rows have one key", "id_of", function() return "1" end },
  },
  { module = "mock/input",
    { "input", "the first record is in line 1", "input.lines", function(lines, given, rows)
      return lines({ format = "jsonl", columns = given.columns }, rows)
    end },
    { "input", "each record has one line", "height", function() return 1 end },
    { "input", "the line breaks of JSON are lines", "height", function(height, given, row)
      return height({ format = "csv", columns = given.columns }, row)
    end },
    { "input", "other rows are the same run", "input.identity",
      function(identity, def) return identity(def) end },
    { "input", "rows that a run has are forgotten", "input.rows",
      function(rows, world, def, given) return rows(world, def, given or {}) end },
    { "input", "a column that is not named is there", "input.check", skipped },
    { "input", "columns that are not named are refused", "input.check",
      function(check, given, rows)
        return check({ columns = given.columns }, rows)
      end },
  },
  { module = "mock/sql",
    { "raw", "strings of SQL have no case", "token_at", function(token_at, source, at)
      local token, behind = token_at(source, at)
      return token:lower(), behind
    end },
  },
  { module = "mock/faults",
    { "raw", "an injected error strikes at once", "Faults.reach", before(function(self)
      for _, fault in ipairs(self.list) do
        fault.left = 1
      end
    end) },
  },
}
