-- Moves the projects made from the "trybetunes" template to the module "frontend".
-- There are few of them, so one statement in one transaction does it.
return {
  run = function(repo, run)
    local moved = repo:update_all("projects", { module = "frontend" }, { template = "trybetunes" })
    run.log("projects moved to module frontend", { projects = moved.affected })
  end,
}
