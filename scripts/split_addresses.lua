-- Moves the address of every user into a table of its own.
--
-- Teaches: a marker. addresses gets its row and users.address_moved becomes true in one
-- transaction, so the marker says at any time which of the two holds for a user. One loop for each
-- table, because a foreign key links them: calls in turns could not become one statement.
-- Safe: no address is copied twice, and none that changes meanwhile is lost: the marker is written
-- to the row that was read, so the batch begins again if somebody else has changed that row.
-- First: the application, having locked the user's row, reads and writes what the marker says, and
-- new users have address_moved = true. The old columns go when all is done.
-- Index: users_with_address.
local luamig = require "luamig"

return {
  config = { batch_size = 1000, throttle_ms = 100 },

  base_query = "SELECT id, street, postal_code, city FROM users WHERE NOT address_moved",

  migrate = function(rows, repo)
    for _, user in ipairs(rows) do
      if user.street or user.postal_code or user.city then
        repo:insert("addresses", {
          user_id = user.id, street = luamig.or_null(user.street),
          postal_code = luamig.or_null(user.postal_code), city = luamig.or_null(user.city),
        })
      end
    end
    for _, user in ipairs(rows) do
      repo:update("users", { id = user.id }, { address_moved = true })
    end
  end,
}
