-- Adds 10 to every temperature read before a date: a sensor was calibrated too low until then.
--
-- Teaches: a job that is not idempotent. Adding 10 twice would be wrong.
-- Safe: a batch's updates commit together with luamig's note of how far it got, so each row is
-- changed exactly once, also when the run is killed and started again. A reading that someone else
-- changes meanwhile makes the batch run again with the fresh value (isolation "repeatable read").
-- Never give it --again or --restart: to luamig that is another run, which adds 10 once more.
-- First: no reading from before the date arrives any more. Index: the primary key.
return {
  args = {
    before = { type = "string", default = "2024-01-01", desc = "first day that is left alone" },
  },

  config = { batch_size = 1000, throttle_ms = 100 },

  base_query = function(args)
    return "SELECT id, temperature FROM readings WHERE taken_at < $1 AND temperature IS NOT NULL",
      args.before
  end,

  migrate = function(rows, repo)
    for _, reading in ipairs(rows) do
      repo:update("readings", { id = reading.id }, { temperature = reading.temperature + 10 })
    end
  end,
}
