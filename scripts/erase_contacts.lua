-- Erases the personal data of the contacts of one tenant, who has left.
--
-- Teaches: arguments. Without --arg tenant=5 nothing begins, for there is no default that would be
-- safe. The value is a parameter of the query, never part of its text. Each tenant is a run of its
-- own: that 5 is done says nothing about 6. And luamig.NULL, which a table needs to say NULL.
-- Safe: contacts that are erased do not match any more. The address keeps the id, so that the
-- unique constraint holds.
-- First: the tenant cannot sign in any more. Index: contacts_of_tenant.
local luamig = require "luamig"

return {
  args = { tenant = { type = "integer", required = true, desc = "the tenant who has left" } },

  config = { batch_size = 500, throttle_ms = 200 },

  base_query = function(args)
    return "SELECT id FROM contacts WHERE tenant_id = $1 AND NOT erased", args.tenant
  end,

  migrate = function(rows, repo)
    for _, contact in ipairs(rows) do
      repo:update("contacts", { id = contact.id }, {
        name = "erased", email = ("erased-%d@example.invalid"):format(contact.id),
        phone = luamig.NULL, erased = true,
      })
    end
  end,
}
