-- Gives every user without an onboarding step the first one, "welcome".
return {
  config = { batch_size = 1000, throttle_ms = 100 },

  base_query = "SELECT id FROM users WHERE onboarding_step IS NULL",

  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { onboarding_step = "welcome" })
    end
  end,
}
