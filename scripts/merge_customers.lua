-- Merges customers with the same e-mail address: the oldest stays and gets the orders of the
-- others, which are deleted.
--
-- Teaches: duplicates without regard to batches. Each row is one duplicate and knows by itself who
-- stays, so it does not matter which of its twins are in the same batch, or gone already. The one
-- that stays, which has the lowest id, is never a row.
-- Safe: an order that arrives after luamig has read the rows makes the delete fail (23503, the
-- foreign key). The rows are then tried again in smaller transactions, which see that order; one
-- that fails alone is set aside with all its orders, for `luamig failures RUN --retry`.
-- First: look for other tables that refer to customers, above all with ON DELETE CASCADE, and run
-- the base query by itself: deleted is deleted. At the end, a unique index on lower(email).
-- Indexes: customers_by_email, orders_of_customer.
return {
  config = { batch_size = 200, throttle_ms = 200, on_error = "quarantine" },

  base_query = [[
    SELECT id, (SELECT min(twin.id) FROM customers twin
                WHERE lower(twin.email) = lower(customers.email)) AS keep_id
    FROM customers
    WHERE EXISTS (SELECT FROM customers twin
                  WHERE lower(twin.email) = lower(customers.email) AND twin.id < customers.id)]],

  migrate = function(rows, repo)
    for _, duplicate in ipairs(rows) do
      repo:update_all("orders", { customer_id = duplicate.keep_id },
        { customer_id = duplicate.id })
    end
    for _, duplicate in ipairs(rows) do
      repo:delete("customers", { id = duplicate.id })
    end
  end,
}
