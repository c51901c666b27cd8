-- The loop of update.lua, which also writes down when each batch of each
-- worker was at work.
local steps = { "welcome", "profile", "invite", "done" }

return {
  base_query = "SELECT id, email FROM users WHERE onboarding_step IS NULL",

  migrate = function(rows, repo, run)
    for _, user in ipairs(rows) do
      local step = steps[(user.id + #user.email) % 4 + 1]
      repo:update("users", { id = user.id }, { onboarding_step = step })
    end
    repo:execute("INSERT INTO laps (worker) VALUES ($1)", run.worker)
  end,
}
