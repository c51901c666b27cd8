-- Brings the settings of accounts, a jsonb document, to version 3, from whichever they have.
--
-- Teaches: a step for each version, which the next migration extends; documents as Lua tables;
-- JSON's null, which is a value and counts as true in Lua; batches by time, since documents differ
-- in size. Fields that no step names stay as they are.
-- Safe: the version in the document says what is done. If somebody changes a document after luamig
-- has read it, the batch begins again with what they wrote (isolation "repeatable read").
-- First: the application reads all versions and writes 3. Index: accounts_with_old_settings.
local luamig = require "luamig"

local LATEST = 3

local upgrades = {
  -- "mail": true becomes a list of channels.
  [1] = function(settings)
    settings.channels = luamig.array(settings.mail == true and { "mail" } or {})
    settings.mail = nil
  end,
  -- "theme" moves into "display", which is there for everybody.
  [2] = function(settings)
    settings.display = luamig.object { theme = settings.theme }
    settings.theme = nil
  end,
}

return {
  config = { batch_size = 5000, target_ms = 200 },

  -- The oldest documents have no version, and NULL < 3 is not true.
  base_query = [[
    SELECT id, settings FROM accounts WHERE coalesce((settings->>'version')::int, 1) < 3]],

  migrate = function(rows, repo)
    for _, account in ipairs(rows) do
      local settings = account.settings
      for version = tonumber(settings.version) or 1, LATEST - 1 do
        upgrades[version](settings)
      end
      settings.version = LATEST
      repo:update("accounts", { id = account.id }, { settings = settings })
    end
  end,
}
