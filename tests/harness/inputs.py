"""Scripts that read a file into the table out, and what is left of the file."""

SCRIPT = """local luamig = require "luamig"
return {{
  config = {{ throttle_ms = 0, batch_size = {batch}, {config} }},
  input = {{ {input} }},
  {more}
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      {body}
    end
  end,
}}
"""
INSERT = 'repo:insert("out", { line = row.line, id = row.id, email = row.email })'
CSV = 'format = "csv", columns = { id = "bigint", email = "text" }'
JSONL = 'format = "jsonl", columns = { id = "bigint", email = "text" }'


def script(project, input=CSV, batch=2, config="", more="", body=INSERT,
           name="scripts/x.lua"):
    return project.script(SCRIPT.format(
        batch=batch, config=config, input=input, more=more, body=body), name)


def make_out(db, columns="line bigint, id bigint, email text"):
    """Without a key: what is written twice is there twice."""
    db.execute(f"CREATE TABLE out ({columns})")


def rows_of(db):
    return db.rows("SELECT line, id, email FROM out ORDER BY line, id")


def tables_of(db):
    """The tables of files that are there."""
    return db.column("SELECT c.relname::text FROM pg_class c WHERE c.relkind = 'r'"
                     " AND c.relnamespace = 'luamig'::regnamespace"
                     " AND c.relname LIKE 'input\\_%' ORDER BY 1")


def csv_of(count, wide=0):
    """A file of so many records, and what becomes of them. wide: so many bytes
    more in each, for a file of several blocks."""
    rows = [(n + 1, n, f"u{n}@x" + "y" * wide) for n in range(1, count + 1)]
    return "id,email\n" + "".join(f"{n},{email}\n" for _, n, email in rows), rows
