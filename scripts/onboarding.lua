-- Gives every user without an onboarding step the first one, "welcome".
--
-- Teaches: the shape of most migrations. The base query returns the rows that are to be done, and
-- `migrate` turns each of them into one that it does not return.
-- Safe: a step that somebody sets after luamig has read the row is not overwritten; the batch
-- begins again (isolation "repeatable read", the default), and that row is not in it any more.
-- First: let new users begin with the step: ALTER TABLE users ALTER onboarding_step SET DEFAULT
-- 'welcome'. Index: users_without_step, or none if most users have no step.
return {
  config = { batch_size = 1000, throttle_ms = 100 },

  base_query = "SELECT id FROM users WHERE onboarding_step IS NULL",

  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { onboarding_step = "welcome" })
    end
  end,
}
