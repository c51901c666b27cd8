-- Fills total_cents, an integer, from total, a numeric, for the invoices of all tenants.
--
-- Teaches: a key of two columns. Numbers begin at 1 for each tenant, so only both together tell
-- invoices apart, and the pages follow both: (1, 1), (1, 2), (2, 1). And exact arithmetic: a
-- numeric is read as a decimal, never as a float.
-- Safe: invoices that have total_cents are left alone. What is no whole number of cents is not
-- rounded; it stops the run, which goes on after somebody has corrected that invoice.
-- First: the application writes both columns. Index: the primary key (tenant_id, id).
return {
  config = { key = { "tenant_id", "id" }, batch_size = 2000, throttle_ms = 100 },

  base_query = [[
    SELECT tenant_id, id, total FROM invoices WHERE total IS NOT NULL AND total_cents IS NULL]],

  migrate = function(rows, repo)
    for _, invoice in ipairs(rows) do
      local cents = (invoice.total * 100):tointeger()
      if not cents then
        error(("invoice %d of tenant %d has a total of %s, which cannot be cents")
          :format(invoice.id, invoice.tenant_id, invoice.total))
      end
      repo:update("invoices", { tenant_id = invoice.tenant_id, id = invoice.id },
        { total_cents = cents })
    end
  end,
}
