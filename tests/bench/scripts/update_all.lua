-- One statement a batch. It can only set a constant.
return {
  base_query = "SELECT id, email FROM users WHERE onboarding_step IS NULL",

  migrate = function(rows, repo)
    local ids = {}
    for i, user in ipairs(rows) do
      ids[i] = user.id
    end
    repo:update_all("users", { onboarding_step = "welcome" },
      "id = ANY ($1::text::bigint[])", "{" .. table.concat(ids, ",") .. "}")
  end,
}
