--- The version of luamig.

return { full = "0.1.0" }
