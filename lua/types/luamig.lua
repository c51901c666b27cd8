---@meta luamig

-- What a migration script may say, for the Lua language server. docs/scripting.md tells more.

---A value that a script reads from the database or writes to it. The type of the column or the
---parameter decides which of these it is: numeric is a decimal, json a table or scalar, an array a
---table, dates and times are strings. NULL is read as nil; written, it is `luamig.NULL`.
---@alias luamig.Value nil|boolean|integer|number|string|table|luamig.Decimal|luamig.Mark

---A row: its columns by name. NULL is nil. A column that the query did not return raises.
---@alias luamig.Row table<string, any>

---A list of rows, in the order of the key, or of the query.
---@class luamig.Rows
---@field columns string[] The names of the columns.
---@field [integer] luamig.Row

---What stands for a value that Lua has none for: NULL, a document, bytes.
---@class luamig.Mark

---@alias luamig.ArgType "string"|"integer"|"number"|"boolean"

---What the declaration of an argument says.
---@class luamig.ArgSpec
---@field type luamig.ArgType
---@field required? boolean Refuse to run without it.
---@field default? string|integer|number|boolean What it is when it is not given.
---A text that is stored nowhere and shown as `***`; it comes from `--arg-env NAME=VARIABLE` or
---`--arg-file NAME=PATH`, with each command.
---@field secret? boolean
---@field desc? string For `luamig run SCRIPT --help`.

---The table that a script returns: `base_query` and `migrate`, or `run`.
---@class luamig.Script
---The rows to migrate: one SELECT without ORDER BY and LIMIT that returns the key columns. A
---function gets the arguments and returns the SQL and the values of $1, $2, ...
---@field base_query? string|fun(args: table<string, any>, input?: string): string, ...
---Instead of `base_query`: the rows come from a file, `luamig run --input FILE`. With both,
---`base_query` is a function, and `input` is the name of the table that has the file's records.
---@field input? luamig.Input
---Handles one batch, inside its transaction. It may be called again for the same rows after a
---conflict; the database is rolled back in between.
---@field migrate? fun(rows: luamig.Rows, repo: luamig.Repo, run: luamig.Run)
---Does slow work for rows, outside of any transaction, before `migrate` gets them: returns a table
---of results by key, which `migrate` finds in `run.prepared`. A row that changes meanwhile comes
---again. It may get the rows of a batch in several calls.
---@field prepare? fun(rows: luamig.Rows, run: luamig.Run): table<any, any>
---Instead of `migrate`: handles one batch of which Lua needs no values, by the range of its keys.
---@field migrate_range? fun(range: luamig.Range, repo: luamig.Repo, run: luamig.Run)
---Instead of these: all in one transaction.
---@field run? fun(repo: luamig.Repo, run: luamig.Run)
---@field config? luamig.Config How it runs.
---What the journal calls the script; default: its path. Under another name it is another migration.
---@field name? string
---Arguments of the command line, `--arg NAME=VALUE`; read them as `run.args.NAME`.
---@field args? table<string, luamig.ArgSpec>
---Back-pressure of your own, asked before each batch, in a read-only transaction: true waits for a
---second and asks again, a number waits that many milliseconds, false or nil lets the run continue.
---@field throttle? fun(repo: luamig.Repo, run: luamig.Run): boolean|number|nil
---Called once in the life of a run, before its first batch, in a transaction of its own.
---@field on_start? fun(repo: luamig.Repo, run: luamig.Run)
---Called once, at the end of a run that is done, in the transaction that says so.
---@field on_complete? fun(repo: luamig.Repo, run: luamig.Run)
---Called when the run ends otherwise; there is no repo.
---@field on_stop? fun(run: luamig.Run, reason: "stop"|"pause"|"cancel"|"error")
---@field requires? string `"luamig >= 0.1"`: an older luamig refuses the script.

---The file that a script reads.
---@class luamig.Input
---@field format "csv"|"jsonl" "jsonl": a JSON object in each line.
---@field columns table<string, string> Its columns, and their types as in CREATE TABLE.
---The file may have other columns, which are left out. Default: false, they are an error.
---@field ignore_others? boolean
---@field encoding? string Such as "LATIN1". Default: UTF-8.
---@field delimiter? string CSV: what stands between two fields. Default: ",".
---CSV: a text that stands for NULL, without quotes. Default: an empty field without quotes.
---@field null? string
---@field header? string[] CSV: the names of the columns of a file that has no header.

---The keys between which the rows of a batch lie: after one and up to another.
---@class luamig.Range
---@field after? table<string, any> The key before the range, by column; nil in the first one.
---@field upto table<string, any> The last key of the range, by column.
local Range = {}

---A condition for SQL: is a row in the range? It compares as the pages do, whatever the key is.
---@param columns? string|table<string, string> What stands before the names of the key's columns,
---such as an alias; or SQL for each of them, by name.
---@param first? integer The number of its first parameter. Default: 1.
---@return string sql
---@return luamig.Value[] params For `table.unpack`, the last of the statement's parameters.
function Range:where(columns, first) end

---@class luamig.Config
---Rows in a batch (with `target_ms`: at most), 1 to 1,000,000. Default: 1000.
---@field batch_size? integer
---How long a batch should take; the batches are then as large as fit. Default: none.
---@field target_ms? integer
---@field throttle_ms? integer Pause between batches. Default: 100.
---How many workers share the run, 1 to 64, each with a Lua state of its own; "auto": as many as
---help. Default: 1.
---@field workers? integer|"auto"
---Column, or list of columns, that orders the pages: unique together and never NULL. Default: "id".
---@field key? string|string[]
---@field start_after? luamig.Value|luamig.Value[] Begin after this key.
---Go on to the end of the table instead of ending at the highest key there was at the beginning.
---@field follow_new? boolean
---@field repo? string The database, by its name in luamig.lua. Default: "default".
---The database that the base query and `run.source` read, by its name in luamig.lua. Default: the
---same as that of `repo`.
---@field source? string
---@field isolation? "repeatable read"|"serializable"|"read committed" Default: "repeatable read".
---How often a batch is tried again after a conflict or a timeout. Default: 5.
---@field retries? integer
---"quarantine": set rows at fault aside, and go on. Default: "stop".
---@field on_error? "stop"|"quarantine"
---@field max_failures? integer The run stops after more failed rows than this. Default: 100.
---Keep the columns of a failed row in the journal, not only its key. Default: false.
---@field quarantine_rows? boolean
---@field statement_timeout_ms? integer For each statement; 0: no limit. Default: 30000.
---@field lock_timeout_ms? integer For each wait for a lock; 0: no limit. Default: 1000.
---How long one call of `prepare` may take: then it is ended where Lua runs, and another runner may
---take over. Default: 600000.
---@field prepare_timeout_ms? integer
---Time zone in which timestamps are read and written. Default: the server's.
---@field timezone? string Time zone of timestamps. Default: "UTC".
---@field row_security? boolean Row security may hide rows from the run. Default: false.
---@field durable_batches? boolean Each COMMIT waits for the disk. Default: false.
---The command runs a finished migration again without --again. Default: false.
---@field repeatable? boolean
---false: one statement a call; "always": combine also where triggers could notice. Default: true.
---@field combine? boolean|"always"
---Do not watch a key for duplicates that is not proved unique. Default: false.
---@field assume_unique? boolean
---@field allow_ddl? boolean Allow DDL, TRUNCATE and LOCK in raw SQL. Default: false.
---Allow raw SQL that luamig's grammar does not know. Default: false.
---@field allow_unjudged? boolean
---Thresholds of what a run waits for between batches; false: it waits for nothing.
---@field health? luamig.Health|false

---A number, or false: this signal is not looked at.
---@class luamig.Health
---@field batch_ms? number|false A batch took that long. Default: 2000.
---More sessions than this wait for luamig's locks. Default: 0.
---@field blocked_sessions? number|false
---Bytes of WAL that a standby has not received. Default: 128 MiB.
---@field replica_lag_bytes? number|false
---Bytes of WAL that a standby has not replayed. Default: 128 MiB.
---@field replay_lag_bytes? number|false
---@field slot_wal_bytes? number|false Bytes of WAL that a slot holds back. Default: 10 GiB.
---Bytes of WAL that wait for the archiver. Default: 512 MiB.
---@field archive_backlog_bytes? number|false
---More vacuums than this are at work on the tables of the base query. Default: 0.
---@field vacuums? number|false
---Such a table has so many times the dead rows that make autovacuum begin. Default: 4.
---@field dead_tuple_debt? number|false
---A transaction of this database has held its snapshot for longer. Default: 1800.
---@field snapshot_age_s? number|false
---So many times more sessions are active than usual. Default: 3.
---@field active_sessions_ratio? number|false

---The run at hand.
---@class luamig.Run
---@field args table<string, any> The arguments; one that is not declared raises.
---@field script string The script's name in the journal.
---@field id integer The run's number in the journal.
---In `migrate` the number of the batch, from 1; in `throttle` and `on_stop` how many are done.
---@field batch integer
---@field worker integer The number of the worker that calls, from 1.
---@field attempt integer From 1; more after a conflict.
---@field dry_run boolean Whether all will be rolled back.
---Writes a line to stderr; the fields are shown as JSON.
---@field log fun(message: string, fields?: table<string, any>)
---What `prepare` has returned, by key: the value of a key of one column, or the row. A table is a
---copy for this attempt. Only in `migrate`, of a script that has `prepare`.
---@field prepared? table<any, any>
---A text for a row that is the same however often the run meets it, for services that do nothing
---twice for one text. It does not change with other columns than the key.
---@field key_of fun(row: luamig.Row): string
---Says that a service is away: luamig waits and calls the function again. No row fails by it.
---@field retry fun(message: string)
---Reads in the database of `config.source`; only with it, and not in `on_stop`.
---@field source luamig.Source

---The other database, in a transaction that only reads. It lives as long as the repo.
---@class luamig.Source
local Source = {}

---Runs a SELECT.
---@param sql string
---@param ... any The parameters.
---@return luamig.Rows
function Source:query(sql, ...) end

---The same for at most one row: the row, or nil.
---@param sql string
---@param ... any
---@return luamig.Row?
function Source:one(sql, ...) end

---The first column of that row, or nil.
---@param sql string
---@param ... any
---@return any
function Source:scalar(sql, ...) end

---What a write gives back.
---@class luamig.Handle
---@field affected integer How many rows the statement changed. Reading it waits for the server.
---Of an insert with `returning`: the row that the server wrote; nil if there is none. Reading it
---waits for the server.
---@field row? luamig.Row

---The database, inside the transaction of the batch. It lives as long as the function that it was
---given to.
---@class luamig.Repo
local Repo = {}

---Runs a SELECT, or a statement with RETURNING. `luamig.ALL` before the SQL of this call and the
---next three says that an UPDATE or DELETE is meant to hit every row.
---@param sql string Parameters are $1, $2, ...
---@param ... luamig.Value
---@return luamig.Rows
---@overload fun(self: luamig.Repo, all: luamig.Mark, sql: string, ...: luamig.Value): luamig.Rows
function Repo:query(sql, ...) end

---The row of a query, or nil when there is none. Several are an error.
---@param sql string
---@param ... luamig.Value
---@return luamig.Row?
---@overload fun(self: luamig.Repo, all: luamig.Mark, sql: string, ...: luamig.Value): luamig.Row?
function Repo:one(sql, ...) end

---The first column of the row of a query, or nil.
---@param sql string
---@param ... luamig.Value
---@return any
---@overload fun(self: luamig.Repo, all: luamig.Mark, sql: string, ...: luamig.Value): any
function Repo:scalar(sql, ...) end

---@class luamig.ReadOptions
---@field columns? string[] What to read. Default: all columns.

---The row of a table with that key, or nil. Several are an error.
---@param table string
---@param key table<string, luamig.Value> Columns that are unique together.
---@param opts? luamig.ReadOptions
---@return luamig.Row?
function Repo:get(table, key, opts) end

---The rows of a table that match, in no order.
---@param table string
---@param where table<string, luamig.Value>|luamig.Mark Equalities, with `luamig.NULL` for IS NULL;
---or `luamig.ALL`.
---@param opts? luamig.ReadOptions
---@return luamig.Rows
function Repo:select(table, where, opts) end

---Runs a statement.
---@param sql string
---@param ... luamig.Value
---@return luamig.Handle
---@overload fun(self: luamig.Repo, all: luamig.Mark, sql: string, ...: luamig.Value): luamig.Handle
function Repo:execute(sql, ...) end

---Changes the one row with that key. None, or several, fail the batch. `luamig.column` and
---`luamig.add` compute new values from the old ones.
---@param table string
---@param key table<string, luamig.Value> Columns that are unique together.
---@param changes table<string, luamig.Value>
---@param opts? { missing: "ignore" } Allows that there is no such row.
---@return luamig.Handle
function Repo:update(table, key, changes, opts) end

---Deletes the one row with that key. None, or several, fail the batch.
---@param table string
---@param key table<string, luamig.Value>
---@param opts? { missing: "ignore" }
---@return luamig.Handle
function Repo:delete(table, key, opts) end

---What an insert does when the row is there already: nothing, or update these columns, and add to
---those. `where`: the condition of a partial index, in SQL.
---@alias luamig.OnConflict
---| "nothing"
---| { columns: string[], where: string?, update: string[]?, add: string[]? }

---@class luamig.InsertAllOptions
---@field on_conflict? luamig.OnConflict
---@field missing? "ignore" Allows that a trigger or rule writes no row.

---@class luamig.InsertOptions
---@field on_conflict? luamig.OnConflict
---@field missing? "ignore" Allows that a trigger or rule writes no row.
---@field returning? string[] Columns that the handle's `row` has, as the server wrote them.

---Inserts a row; columns that are left out get their defaults.
---@param table string
---@param row table<string, luamig.Value>
---@param opts? luamig.InsertOptions
---@return luamig.Handle
function Repo:insert(table, row, opts) end

---Inserts a list of rows.
---@param table string
---@param rows table<string, luamig.Value>[]
---@param opts? luamig.InsertAllOptions
---@return luamig.Handle
function Repo:insert_all(table, rows, opts) end

---Changes every row that matches.
---@param table string
---@param changes table<string, luamig.Value>
---@param where table<string, luamig.Value>|string|luamig.Mark Equalities, SQL, or `luamig.ALL`.
---@param ... luamig.Value The parameters of the SQL.
---@return luamig.Handle
function Repo:update_all(table, changes, where, ...) end

---Deletes every row that matches.
---@param table string
---@param where table<string, luamig.Value>|string|luamig.Mark Equalities, SQL, or `luamig.ALL`.
---@param ... luamig.Value The parameters of the SQL.
---@return luamig.Handle
function Repo:delete_all(table, where, ...) end

---Runs the function in a savepoint. Returns true and its results, or false and the error, with what
---it wrote rolled back. Errors that are not in the data fail the batch all the same.
---@param fn fun(...: any): ...
---@param ... any
---@return boolean ok
---@return any ...
function Repo:savepoint(fn, ...) end

---What `pcall` and `repo:savepoint` give of a failure.
---@class luamig.Error
---@field message string
---@field detail? string
---@field hint? string
---@field where? string "file:line"
---@field kind "database"|"script" Who raised it: the server, or luamig.
---@field sqlstate? string
---@field table? string
---@field column? string
---@field constraint? string
---@field sql? string

---An exact decimal number. `+`, `-`, `*` and comparisons with decimals and integers are exact.
---@class luamig.Decimal
---@operator add(luamig.Decimal|integer): luamig.Decimal
---@operator sub(luamig.Decimal|integer): luamig.Decimal
---@operator mul(luamig.Decimal|integer): luamig.Decimal
---@operator unm: luamig.Decimal
local Decimal = {}

---Whether it is the same number. Lua's own == between a decimal and a number is always false.
---@param other luamig.Decimal|integer
---@return boolean
function Decimal:equals(other) end

---Returns -1, 0 or 1, as in less than, equal to, greater than.
---@param other luamig.Decimal|integer
---@return integer
function Decimal:compare(other) end

---How to round: ties away from zero, as the server does it; ties to the even digit; towards zero;
---away from zero.
---@alias luamig.Rounding "half_up"|"half_even"|"down"|"up"

---Rounded to so many digits after the point (0; -2 is hundreds).
---@param scale? integer
---@param mode? luamig.Rounding "half_up" by default.
---@return luamig.Decimal
function Decimal:round(scale, mode) end

---The greatest whole number that is not greater.
---@return luamig.Decimal
function Decimal:floor() end

---The least whole number that is not less.
---@return luamig.Decimal
function Decimal:ceil() end

---The quotient with so many digits after the point.
---@param divisor luamig.Decimal|integer
---@param scale integer
---@param mode? luamig.Rounding "half_up" by default.
---@return luamig.Decimal
function Decimal:div(divisor, scale, mode) end

---The integer, or nil when there is a fraction or it does not fit 64 bits.
---@return integer?
function Decimal:tointeger() end

---The nearest float.
---@return number
function Decimal:tonumber() end

---@class luamig.DecimalModule
---@overload fun(given: string|number|luamig.Decimal): luamig.Decimal
local decimal = {}

---Whether a value is a decimal.
---@param value any
---@return boolean
function decimal.is(value) end

---@class luamig.JsonModule
---@field null luamig.Mark JSON's null, which is not SQL's NULL.
---The value of a JSON text, exactly; for JSON in text columns.
---@field decode fun(text: string): luamig.Value
---The JSON text of a value, keys sorted.
---@field encode fun(value: luamig.Value): string
---@overload fun(text: string): luamig.Mark

---What `require "luamig"` gives to a script.
---@class luamig
---@field version string "major.minor.patch".
---@field NULL luamig.Mark SQL NULL, where a table cannot hold nil: `{ nick = luamig.NULL }`.
---Every row: the condition of `update_all` and `delete_all`, or before the SQL of a raw statement.
---@field ALL luamig.Mark
---Makes an exact decimal number of a string of digits, an integer or a float.
---@field decimal luamig.DecimalModule
---A JSON document given as its text, and JSON's null.
---@field json luamig.JsonModule
local luamig = {}

---The value, or `luamig.NULL` when it is nil.
---@param value any
---@return any
function luamig.or_null(value) end

---Marks a table as a JSON array, also when it is empty.
---@generic T: table
---@param list? T
---@return T
function luamig.array(list) end

---Marks a table as a JSON object, also when it is empty.
---@generic T: table
---@param fields? T
---@return T
function luamig.object(fields) end

---Bytes, where no column says so: a parameter of `base_query`, a key.
---@param bytes string
---@return luamig.Mark
function luamig.bytea(bytes) end

---In the changes of an update: the value that a column of the row had before the call.
---@param name string
---@return luamig.Mark
function luamig.column(name) end

---In the changes of an update: the value that the column had before the call, plus `number`. NULL
---stays NULL.
---@param number integer|number|luamig.Decimal
---@return luamig.Mark
function luamig.add(number) end

---A database of the project file.
---@class luamig.ProjectRepo
---@field url? string
---@field replicas? string[] The run waits until these standbys have replayed.

---What the project file `luamig.lua` returns.
---@class luamig.Project
---@field repos? table<string, string|luamig.ProjectRepo> Databases by name: "default", and others.
---@field scripts? string The folder of the scripts. Default: "scripts".
---@field defaults? luamig.Config For what the scripts' own `config` leaves out.

return luamig
