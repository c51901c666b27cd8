std = "lua54"
max_line_length = 100
files["tests/lua"] = { std = "+busted" }
files["tests/contract"] = { std = "+busted" }
