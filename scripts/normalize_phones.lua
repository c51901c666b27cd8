-- Writes phone numbers the international way: "030 / 1234-56" becomes "+4930123456".
--
-- Teaches: quarantine. An error sets aside the row it is about, and all others are migrated;
-- `luamig failures RUN` lists the rows, and with --retry tries them again, once they are
-- corrected. The message names the contact and not the number: errors are kept in the journal.
-- Safe: a number that is international does not match any more, and a bad one stays as it is.
-- First: the application normalizes what people enter. Index: none; the run reads the table once.
return {
  args = {
    country = { type = "integer", default = 49, desc = "country code of numbers without one" },
  },

  config = {
    batch_size = 1000, throttle_ms = 100, on_error = "quarantine", max_failures = 1000,
  },

  base_query = [[
    SELECT id, phone FROM contacts WHERE phone IS NOT NULL AND phone !~ '^\+[1-9][0-9]{6,14}$']],

  migrate = function(rows, repo, run)
    for _, contact in ipairs(rows) do
      local phone = contact.phone:gsub("[%s./-]", ""):gsub("^00", "+")
      -- "+49 (0)30": the zero is for callers within the country.
      phone = phone:gsub("^(%+%d+)%(0%)", "%1"):gsub("[()]", "")
      phone = phone:gsub("^0", "+" .. run.args.country)
      if not phone:find "^%+[1-9]%d+$" or #phone < 8 or #phone > 16 then
        error(("contact %d has no phone number"):format(contact.id))
      end
      repo:update("contacts", { id = contact.id }, { phone = phone })
    end
  end,
}
