-- Computes the ISBN-13 of every book that has an ISBN-10 only.
--
-- Teaches: what is awkward in SQL is a function in Lua. A number that is wrong is logged and left
-- as it is: the book keeps matching, and luamig's last line says how many do.
-- Safe: an ISBN-13 that is there is never touched, and the result depends on the row alone.
-- First: the application writes isbn13 for new books. Index: books_without_isbn13.

local function is_isbn10(digits)
  if not digits:find "^%d%d%d%d%d%d%d%d%d[%dX]$" then
    return false
  end
  local sum = 0
  for i = 1, 10 do
    sum = sum + (11 - i) * (tonumber(digits:sub(i, i)) or 10)
  end
  return sum % 11 == 0
end

local function to_isbn13(isbn10)
  local digits = "978" .. isbn10:sub(1, 9)
  local sum = 0
  for i = 1, 12 do
    sum = sum + tonumber(digits:sub(i, i)) * (i % 2 == 0 and 3 or 1)
  end
  return digits .. (10 - sum % 10) % 10
end

return {
  config = { batch_size = 2000, throttle_ms = 100 },

  base_query = "SELECT id, isbn10 FROM books WHERE isbn13 IS NULL AND isbn10 IS NOT NULL",

  migrate = function(rows, repo, run)
    for _, book in ipairs(rows) do
      local isbn10 = book.isbn10:gsub("[%s-]", ""):upper()
      if is_isbn10(isbn10) then
        repo:update("books", { id = book.id }, { isbn13 = to_isbn13(isbn10) })
      else
        run.log("not an ISBN-10, left alone", { book = book.id })
      end
    end
  end,
}
