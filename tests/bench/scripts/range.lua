-- One statement a batch, which computes the values on the server.
return {
  base_query = "SELECT id FROM users WHERE onboarding_step IS NULL",

  migrate_range = function(range, repo)
    local where, params = range:where "u"
    repo:execute([[UPDATE users AS u SET onboarding_step =
      (ARRAY['welcome', 'profile', 'invite', 'done'])[(id + length(email)) % 4 + 1]
      WHERE onboarding_step IS NULL AND ]] .. where, table.unpack(params))
  end,
}
