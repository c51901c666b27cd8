-- The loop of update.lua; each COMMIT waits for the disk.
local steps = { "welcome", "profile", "invite", "done" }

local function step_for(user)
  return steps[(user.id + #user.email) % 4 + 1]
end

return {
  config = { durable_batches = true },
  base_query = "SELECT id, email FROM users WHERE onboarding_step IS NULL",

  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { onboarding_step = step_for(user) })
    end
  end,
}
