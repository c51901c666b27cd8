-- Moves the projects made from the "trybetunes" template to the module "frontend".
--
-- Teaches: a one-shot. There are few of these projects, so one statement in one transaction does
-- it. For many, locks would be held too long: use a base query and batches.
-- Safe: the change and the journal's note that it is done commit together. Killed before that,
-- nothing has happened; run again after it, nothing happens.
-- First: look how many there are. Index: none; the table is read once.
return {
  run = function(repo, run)
    local moved = repo:update_all("projects", { module = "frontend" }, { template = "trybetunes" })
    run.log("projects moved to module frontend", { projects = moved.affected })
  end,
}
