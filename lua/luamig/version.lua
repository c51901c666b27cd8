--- The version of luamig, in the two forms that others show.

return {
  full = "0.1.0",
  -- What messages call this version.
  short = "0.1",
}
