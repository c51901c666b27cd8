std = "lua54"
max_line_length = 100
files["tests/lua"] = { std = "+busted" }
files["tests/cli"] = { std = "+busted" }
-- Declarations of what has its body elsewhere.
files["lua/types"] = { ignore = { "21.", "241" } }
files["tests/contract"] = { std = "+busted" }
