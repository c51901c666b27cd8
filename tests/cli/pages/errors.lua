-- Does one thing that fails, and tells what came of it: what pcall gave, whether the batch is lost,
-- and whether a savepoint catches it.

local CASES = {
  condition = function(repo) repo:delete_all("plans", {}) end,
  option = function(repo) repo:insert("plans", { id = 8 }, { on_conflct = "nothing" }) end,
  type = function(repo) repo:update("plans", { id = 7 }, { uses = "3" }) end,
  range = function(repo) repo:update("plans", { id = 7 }, { uses = 1 << 40 }) end,
  no_row = function(repo) return repo:update("plans", { id = 9 }, { uses = 1 }).affected end,
  two_rows = function(repo) return repo:delete("plans", { uses = 0 }).affected end,
  duplicate = function(repo) return repo:insert("plans", { id = 7 }).affected end,
  null = function(repo) return repo:insert("plans", { uses = 1 }).affected end,
  key = function(repo) return repo:update("users", { id = 1 }, { id = 2 }).affected end,
  column = function(repo) return repo:update("plans", { id = 7 }, { used = 1 }).affected end,
  lua = function() error "no plan" end,
}

return {
  args = { case = { type = "string", required = true } },
  base_query = "SELECT id FROM users",

  migrate = function(_, repo, run)
    local case = CASES[run.args.case]
    local is_caught = select(2, pcall(repo.savepoint, repo, case, repo)) == false
    local ok, err = pcall(case, repo)
    local goes_on, after = pcall(function()
      return repo:update("plans", { id = 7 }, { uses = 5 }).affected
    end)
    local is_error = type(err) == "table"
    run.log("failed", {
      ok = ok, kind = is_error and err.kind or type(err), sqlstate = is_error and err.sqlstate,
      is_lost = not goes_on, is_caught = is_caught,
      after = not goes_on
        and { message = after.message, kind = after.kind, sqlstate = after.sqlstate } or nil,
    })
    error "enough"
  end,
}
