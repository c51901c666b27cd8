--- Pieces of Lua source: how names, values and lists are written into a file.
--
-- Promises: whatever the name or the text, the result is valid Lua of the same meaning, on lines
-- of at most 96 bytes where it can be broken.

local text = require "luamig.text"

local source = {}

local WIDTH = 96

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

--- A text as a string in double quotes, on one line.
function source.quote(given)
  local shown = given:gsub('[\\"]', "\\%0"):gsub("%c", function(char)
    return ESCAPES[char] or ("\\%03d"):format(char:byte())
  end)
  return '"' .. shown .. '"'
end

--- A field of a constructor: `id`, `["odd name"]`.
function source.field(given)
  return text.is_name(given) and given or "[" .. source.quote(given) .. "]"
end

--- A field of a table that is read: `row.id`, `row["odd name"]`.
function source.index(of, given)
  return text.is_name(given) and of .. "." .. given or of .. "[" .. source.quote(given) .. "]"
end

--- SQL text: quoted as it is shorter to read. Long brackets know no escapes, and read each kind of
-- line break as one.
function source.sql(given)
  local is_plain = not given:find "[^\n\32-\126]"
  if not is_plain or not given:find '["\\\n]' then
    return source.quote(given)
  end
  local level = ""
  while given:find("]" .. level .. "]", 1, true) do
    level = level .. "="
  end
  return ("[%s[%s]%s]"):format(level, given, level)
end

--- A table constructor of items, behind `lead` (`select = `): on one line if there is room, else an
-- item a line. It begins at the end of a line that is indented by `indent`.
function source.list(items, indent, lead)
  local line = "{ " .. table.concat(items, ", ") .. " }"
  if #items == 0 then
    return lead .. "{}"
  elseif #indent + #lead + #line < WIDTH then
    return lead .. line
  end
  local inner = "\n" .. indent .. "  "
  return lead .. "{" .. inner .. table.concat(items, "," .. inner) .. ",\n" .. indent .. "}"
end

--- The names of columns that are NOT NULL without being in a primary key.
function source.not_null(columns, primary_key)
  return text.map(columns, function(column)
    return column.not_null and not text.contains(primary_key, column.name) and column.name or nil
  end)
end

--- Texts with `separator` between them, in as many lines as they need.
function source.wrap(items, separator, indent)
  local lines, line = {}, ""
  for i, item in ipairs(items) do
    local piece = item .. (i < #items and separator or "")
    if line ~= "" and #indent + #line + #piece > WIDTH then
      lines[#lines + 1] = line
      line = ""
    end
    line = line .. (line == "" and piece or " " .. piece)
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. indent)
end

--- The template with each `{{name}}` replaced by the text of that name. A line that holds nothing
-- but the name of an empty text is left out.
function source.fill(template, texts)
  template = template:gsub("[^\n]*\n", function(line)
    local only = line:match "^%s*{{(%w+)}}%s*$"
    return only and texts[only] == "" and "" or nil
  end)
  return (template:gsub("{{(%w+)}}", texts))
end

return source
