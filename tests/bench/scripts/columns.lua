-- Reads and writes that many columns of each row.
return {
  args = { columns = { type = "integer", required = true, desc = "how many" } },

  base_query = function(args)
    local names = {}
    for i = 1, args.columns do
      names[i] = "c" .. i
    end
    return "SELECT id, " .. table.concat(names, ", ") .. " FROM wide WHERE NOT done"
  end,

  migrate = function(rows, repo, run)
    for _, row in ipairs(rows) do
      local changes = { done = true }
      for i = 1, run.args.columns do
        local name = "c" .. i
        changes[name] = row[name]:upper()
      end
      repo:update("wide", { id = row.id }, changes)
    end
  end,
}
