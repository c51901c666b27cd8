-- The loop of update.lua over few rows of a large table.
local steps = { "welcome", "profile", "invite", "done" }

return {
  base_query = "SELECT id, email FROM users WHERE onboarding_step IS NULL AND id % 1000 = 7",

  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      local step = steps[(user.id + #user.email) % 4 + 1]
      repo:update("users", { id = user.id }, { onboarding_step = step })
    end
  end,
}
