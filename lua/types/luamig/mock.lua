---@meta luamig.mock

-- Worlds for specs, for the Lua language server. docs/testing.md tells more.

---A table of a world. What is not declared does not exist: constraints, types, columns that no row
---has.
---@class luamig.MockTable
---@field columns? table<string, string> The columns' types, as in `{ id = "int8" }`.
---@field primary_key? string[] Its columns.
---@field not_null? string[] Columns that may not be NULL.
---Lists of columns that are unique together. A list may have a condition, that of a partial index:
---`{ "email", where = { sql = "deleted_at IS NULL", holds = function(row) ... end } }`.
---@field unique? table<integer|string, any>[]
---What holds for each row, by the constraint's name.
---@field checks? table<string, luamig.MockRule|{ sql: string, holds: luamig.MockRule }>
---@field foreign_keys? luamig.MockForeignKey[]
---A value, a function that gives one, or `{ sql =, value = }` with both, by column.
---@field defaults? table<string, any>
---Columns that are computed from the row. A script cannot write them.
---@field generated? table<string, luamig.MockRule|{ sql: string, value: luamig.MockRule }>
---@field rows? table<string, any>[] What is in it.
---The table is not there yet: a stub with `makes` makes it.
---@field absent? true

---@alias luamig.MockRule fun(row: luamig.Row): any

---@class luamig.MockForeignKey
---@field columns string[] Of this table.
---@field references string The other table.
---@field to? string[] Its columns. Default: its primary key.
---@field on_delete? string "cascade", "set null", ...

---The tables of a world, by name: lists of rows. A function of a stub may change the rows, and add
---and remove some; what it changes are the tables.
---@alias luamig.MockTables table<string, luamig.Rows>

---What stands for the script's base query.
---@class luamig.MockBase
---A table of the world. With `rows`: the table that has the key, if there is one.
---@field from? string
---Its columns: names, and by name functions of the row that compute a column. Default: all columns.
---@field select? table<integer|string, string|luamig.MockRule>
---Which rows it returns. Default: all.
---@field where? fun(row: luamig.Row, args: table<string, any>): any
---Computes the rows, instead of `where`.
---@field rows? luamig.MockQuery

---@alias luamig.MockQuery fun(tables: luamig.MockTables, args: table<string, any>): table[]

---@class luamig.MockSpec
---@field tables table<string, luamig.MockTable> By name, as the repo is given it.
---A script with a base query needs it.
---@field base? luamig.MockBase|luamig.MockQuery
---The tables of the database that `config.source` names; `base` reads them.
---@field source? table<string, luamig.MockTable>

---@class luamig.MockRunOptions
---@field args? table<string, any> The arguments of the command line.
---The records of the file, for a script with `input`. A run that has begun goes on without them.
---@field input? table<string, any>[]
---@field batch_size? integer Rows in a batch, instead of what the script says.
---@field limit? integer Stop after so many rows.
---@field again? boolean Repeat a run that is done.
---@field dry_run? boolean Roll every batch back.
---@field prepare? boolean Call `prepare` in a dry run, too.
---How many workers share the run, each with the script loaded anew. Default: 1. On PostgreSQL there
---is always one.
---@field workers? integer
---Whose turn it is, batch by batch: "round" (the default) for 1, 2, ..., "reverse", a list of
---workers that repeats, or an integer for an order by chance that is the same each time.
---@field order? "round"|"reverse"|integer|integer[]
---Die in that call of the repo in that batch; without `call`, after that batch.
---@field kill? { batch: integer, call: integer? }

---How a run ended; the counts are of this call.
---@class luamig.MockResult
---@field state "done"|"done_with_failures"|"stopped"|"failed"|"killed" "stopped": by the limit.
---@field rows integer Rows that were migrated.
---@field batches integer Batches that were committed.
---@field retries integer Batches that were tried again.
---@field failures integer Failed rows.
---@field error? luamig.Error Why it failed.

---The answer to a raw SQL statement.
---@class luamig.MockStub
---@field params? any[] The parameters that it answers; without them, any.
---@field rows? table<string, any>[] What it returns.
---@field columns? string[] Their columns; default: those of the rows.
---@field affected? integer How many rows it changes.
---@field answer? luamig.MockAnswer Computes the answer, instead of the three.
---@field error? luamig.MockError How it fails.
---@field makes? string The table, declared as absent, that the statement makes.
---@field times? integer How often it is used, exactly. Without it: at least once.
---@field order? integer Stubs with an order are used in ascending order.

---Returns rows, or how many rows the statement affects. `params` has `n`, and NULL is nil.
---@alias luamig.MockAnswer fun(params: any[], tables: luamig.MockTables): table[]|integer

---@class luamig.MockError
---@field sqlstate string Its SQLSTATE,
---@field message string its text,
---@field detail? string and what else the server says.
---@field hint? string What it advises.
---@field table? string The table that it names,
---@field column? string the column,
---@field constraint? string the constraint.

---An error of the server, once.
---@class luamig.MockFault
---@field on string "page", "commit", or a method of the repo.
---@field sqlstate string Its SQLSTATE.
---@field nth? integer The time when it is reached, from here on. Default: 1.
---@field message? string Its text.

---What happened: a call of the repo, a page that was read, a line of `run.log`.
---@class luamig.MockEntry
---@field batch? integer The batch, from 1.
---@field worker? integer The worker, from 1.
---@field attempt? integer From 1; more after a conflict.
---@field verb string The method of the repo, "page", "log", ...
---@field table? string The table that was written.
---@field sql? string The statement, if it is raw SQL.
---@field params? any[] Its parameters.
---@field file? string The script's file,
---@field line? integer and the line of the call.
---@field committed? boolean Whether the batch has been.
---@field source? boolean Whether it was a call of `run.source`.
---@field key? table<string, any> Of `update`, `delete` and `get`.
---@field changes? table<string, any> Of `update` and `update_all`.
---@field row? table<string, any> Of `insert`.
---@field rows? table<string, any>[] Of `insert_all`.
---@field where? any Of `update_all`, `delete_all` and `select`.
---@field message? string Of `run.log`,
---@field fields? table<string, any> and its fields.

---Tables in Lua, and a journal.
---@class luamig.World
---@field log luamig.MockEntry[] What has happened, in its order.
---@field source? luamig.World The database that the script reads; its `stub` and `rows`.
local World = {}

---Declares the answer to a raw SQL statement, which is matched by its tokens. One that is left
---unused fails the spec.
---@param sql string
---@param answer? luamig.MockStub|luamig.MockAnswer
---@return luamig.World
function World:stub(sql, answer) end

---Injects an error of the server, once.
---@param fault luamig.MockFault
---@return luamig.World
function World:fail(fault) end

---What other sessions do between `prepare` and the transaction of its rows: the function may change
---the tables. It is called each time that rows were prepared; `n` counts the calls.
---@param act fun(tables: luamig.MockTables, n: integer)
---@return luamig.World
function World:between(act) end

---Copies of a table's committed rows, by primary key.
---@param name string
---@return luamig.Rows
function World:rows(name) end

---Runs a script, or resumes its unfinished run.
---@param path string
---@param opts? luamig.MockRunOptions
---@return luamig.MockResult
function World:run(path, opts) end

---What `require "luamig.mock"` gives to a spec.
---@class luamig.mock
---@field pure luamig.mock The same, with worlds in Lua also under `luamig test --pg`.
local mock = {}

---The spec that calls this runs on PostgreSQL only. Elsewhere busted leaves it pending.
---@param reason? string
function mock.only_pg(reason) end

---Makes a world.
---@param spec luamig.MockSpec
---@return luamig.World
function mock.new(spec) end

---Killed in each call of the repo and after each batch in turn, and run again, and with each
---transaction tried again after a conflict, does the script leave what it leaves undisturbed?
---@param path string
---@param make_world fun(): luamig.World A fresh one each time.
---@param opts? { args: table<string, any>?, batch_size: integer? }
function mock.assert_resumable(path, make_world, opts) end

---Does the script leave the same in batches of every size?
---@param path string
---@param make_world fun(): luamig.World
---@param opts? { args: table<string, any>?, batch_size: integer? }
function mock.assert_batch_size_independent(path, make_world, opts) end

---Does the script leave the same with several workers, in whatever order their batches come?
---Primary keys from a sequence are not compared. On PostgreSQL, where a run has one worker: does it
---leave the same if no Lua variable outlives a batch?
---@param path string
---@param make_world fun(): luamig.World
---@param opts? { args: table<string, any>?, batch_size: integer? }
function mock.assert_workers_independent(path, make_world, opts) end

---Run once more after it is done, does the script change nothing?
---@param path string
---@param make_world fun(): luamig.World
---@param opts? { args: table<string, any>?, batch_size: integer? }
function mock.assert_idempotent(path, make_world, opts) end

---After a run that is done, does the base query return failed rows only?
---@param path string
---@param make_world fun(): luamig.World
---@param opts? { args: table<string, any>?, batch_size: integer? }
function mock.assert_complete(path, make_world, opts) end

---Does a table hold these rows and no others? Only the columns that a row names are compared.
---Raises what differs.
---@param world luamig.World
---@param name string The table.
---@param rows table<string, any>[] In any order; `luamig.NULL` for NULL.
function mock.assert_rows(world, name, rows) end

return mock
