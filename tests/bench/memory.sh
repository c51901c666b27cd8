#!/usr/bin/env bash
# Peak memory of the client, and time along the table, at 500,000 and at
# 5,000,000 rows. Usage: memory.sh LUAMIG
set -euo pipefail
luamig=$(realpath "$1")
work=$(mktemp -d /tmp/luamig-memory-XXXXXX)
chmod 755 "$work"
cd "$work"
trap '"$luamig" db stop; cd /; rm -rf "$work"' EXIT

fill() { # TABLE ROWS
    "$luamig" db psql -X -q -v ON_ERROR_STOP=1 <<END
CREATE TABLE $1 (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL, step text);
INSERT INTO $1 (email)
SELECT format('user%s@example.org', n) FROM generate_series(1, $2) n;
VACUUM ANALYZE $1;
END
}

# A lap is 500 batches; the script tells how long each took.
script() { # TABLE
    mkdir -p scripts
    cat >"scripts/$1.lua" <<END
local last
return {
  base_query = "SELECT id, email FROM $1 WHERE step IS NULL",
  config = { batch_size = 1000, throttle_ms = 0 },
  migrate = function(rows, repo, run)
    local ids = {}
    for i, row in ipairs(rows) do ids[i] = row.id end
    repo:execute("UPDATE $1 SET step = 'welcome' WHERE id = ANY (\$1::text::bigint[])",
      "{" .. table.concat(ids, ",") .. "}")
    if run.batch % 500 == 1 then
      local now = repo:scalar "SELECT extract(epoch FROM clock_timestamp())::float8"
      if last then run.log(("batches to %d: %.2f s"):format(run.batch - 1, now - last)) end
      last = now
    end
  end,
}
END
}

measure() { # TABLE
    script "$1"
    /usr/bin/time -f "peak memory: %M KiB, client CPU: %U s user, %S s system" \
        "$luamig" run "scripts/$1.lua" --db embedded
}

echo "command: tests/bench/memory.sh, $(nproc) cores, batches of 1000"
"$luamig" db start >/dev/null
for size in 500000 5000000; do
    fill "rows_$size" "$size"
    echo "== $size rows"
    measure "rows_$size" 2>&1 | sed 's/^luamig: //'
done
