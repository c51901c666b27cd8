"""The recipes of docs/recipes.md: tables to run them on, and a computation in SQL
of what the tables are to be afterwards."""

from dataclasses import dataclass

from harness.pages import Page

PAGE = Page("recipes.md")
OLD, NEW = "01" * 32, "ab" * 32  # keys
CUSTOMERS = "reason,id\n" + "".join(
    f'"said ""no"", {n}",{n}\n' for n in range(2, 900, 2))


@dataclass(frozen=True)
class Recipe:
    setup: str  # makes tables of so many ROWS, or nearly
    plain: str  # does by SQL what the script does
    shows: tuple  # queries whose answers must be the same
    args: tuple = ()  # of the command line
    source: str = ""  # makes the tables of the other database
    left: object = 0  # rows that match at the end; None: the query has no WHERE

    def tables(self, rows=1000):
        return self.setup.replace("ROWS", str(rows))


RECIPES = {
    "widen_ids": Recipe("""
        CREATE TABLE events (id int PRIMARY KEY, kind text);
        INSERT INTO events SELECT n * 3, 'k' || n
            FROM generate_series(-500, ROWS) n;
        """ + PAGE.block("ALTER TABLE events")
        + "UPDATE events SET kind = 'seen' WHERE id % 7 = 0",
        "UPDATE events SET id_wide = id", ("TABLE events ORDER BY id",)),
    "copy_readings": Recipe("""
        CREATE TABLE readings (id bigint PRIMARY KEY, taken_on date NOT NULL,
            value numeric);
        CREATE TABLE readings_by_day (LIKE readings, PRIMARY KEY (id, taken_on))
            PARTITION BY RANGE (taken_on);
        CREATE TABLE readings_old PARTITION OF readings_by_day
            FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
        CREATE TABLE readings_2024 PARTITION OF readings_by_day
            FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
        INSERT INTO readings SELECT n, date '2023-06-01' + n % 400, n / 8.0
            FROM generate_series(1, ROWS) n;
        INSERT INTO readings_by_day SELECT id, taken_on, -1
            FROM readings WHERE id % 50 = 0""",
        "INSERT INTO readings_by_day SELECT * FROM readings"
        " ON CONFLICT DO NOTHING",
        ("SELECT tableoid::regclass::text, * FROM readings_by_day ORDER BY id",
         "TABLE readings ORDER BY id"), left=None),
    "keep_best": Recipe("""
        CREATE TABLE scores (id bigint PRIMARY KEY, player_id int NOT NULL,
            game text NOT NULL, points int);
        CREATE TABLE records (player_id int NOT NULL, game text NOT NULL,
            points int, closed_on date);
        CREATE UNIQUE INDEX ON records (player_id, game)
            WHERE closed_on IS NULL;
        INSERT INTO scores SELECT n, n % 13, 'g' || n % 4, n * 7919 % 1000
            FROM generate_series(1, ROWS) n;
        INSERT INTO records VALUES (1, 'g1', 5000, NULL), (2, 'g2', 1, NULL),
            (3, 'g3', 9999, '2020-01-01')""",
        """INSERT INTO records SELECT player_id, game, max(points)
            FROM scores GROUP BY 1, 2
            ON CONFLICT (player_id, game) WHERE closed_on IS NULL
            DO UPDATE SET points = greatest(records.points, excluded.points)""",
        ("TABLE records ORDER BY 1, 2, 3",), left=None),
    "merge_people": Recipe("""
        CREATE TABLE people (id bigint PRIMARY KEY, email text NOT NULL);
        CREATE INDEX ON people (lower(email));
        CREATE TABLE orders (id int PRIMARY KEY,
            person_id bigint NOT NULL REFERENCES people);
        CREATE TABLE notes (id int PRIMARY KEY,
            person_id bigint REFERENCES people);
        CREATE TABLE profiles (person_id bigint PRIMARY KEY REFERENCES people,
            bio text);
        CREATE TABLE members (person_id bigint REFERENCES people, club_id int,
            PRIMARY KEY (person_id, club_id));
        INSERT INTO people SELECT n, CASE n % 3 WHEN 0 THEN 'A' ELSE 'a' END
            || n % (ROWS / 3) || '@x' FROM generate_series(1, ROWS) n;
        INSERT INTO orders SELECT n, n * 37 % ROWS + 1
            FROM generate_series(1, ROWS + 100) n;
        INSERT INTO notes SELECT n, n * 91 % ROWS + 1
            FROM generate_series(1, ROWS - 200) n;
        INSERT INTO profiles SELECT n, 'bio ' || n
            FROM generate_series(1, ROWS) n WHERE n % 5 < 2;
        INSERT INTO members SELECT DISTINCT n * 53 % ROWS + 1, n % 6
            FROM generate_series(1, ROWS + 600) n;
        CREATE INDEX ON orders (person_id); CREATE INDEX ON notes (person_id);
        ANALYZE""",
        """CREATE TEMP TABLE heirs AS SELECT id,
            min(id) OVER (PARTITION BY lower(email)) AS heir FROM people;
        UPDATE orders SET person_id = heir FROM heirs h WHERE h.id = person_id;
        UPDATE notes SET person_id = heir FROM heirs h WHERE h.id = person_id;
        CREATE TEMP TABLE bios AS SELECT DISTINCT ON (heir) heir, bio
            FROM profiles JOIN heirs h ON h.id = person_id
            ORDER BY heir, person_id;
        CREATE TEMP TABLE clubs AS SELECT DISTINCT heir, club_id
            FROM members JOIN heirs h ON h.id = person_id;
        DELETE FROM profiles; INSERT INTO profiles SELECT * FROM bios;
        DELETE FROM members; INSERT INTO members SELECT * FROM clubs;
        DELETE FROM people USING heirs h WHERE h.id = people.id
            AND h.heir <> h.id""",
        ("TABLE people ORDER BY id", "TABLE orders ORDER BY id",
         "TABLE notes ORDER BY id", "TABLE profiles ORDER BY person_id",
         "TABLE members ORDER BY 1, 2")),
    "link_tags": Recipe("""
        CREATE TABLE tags (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE, uses bigint NOT NULL DEFAULT 0);
        CREATE TABLE taggings (id bigint PRIMARY KEY, tag text NOT NULL,
            tag_id int REFERENCES tags);
        CREATE INDEX ON taggings (tag_id);
        INSERT INTO tags (name) VALUES ('t1'), ('unused');
        INSERT INTO taggings SELECT n, 't' || n % 1000 * n % 41, NULL
            FROM generate_series(1, ROWS) n;
        UPDATE taggings SET tag_id = 1 WHERE tag = 't1' AND id % 2 = 0""",
        """INSERT INTO tags (name) SELECT DISTINCT tag FROM taggings
            ON CONFLICT DO NOTHING;
        UPDATE taggings SET tag_id = tags.id FROM tags WHERE name = tag;
        UPDATE tags SET uses = (SELECT count(*) FROM taggings
            WHERE tag_id = tags.id)""",
        ("SELECT name, uses FROM tags ORDER BY name",
         "SELECT g.id, t.name, t.name = g.tag FROM taggings g"
         " JOIN tags t ON t.id = g.tag_id ORDER BY 1")),
    "drop_orphans": Recipe("""
        CREATE TABLE orders (id int PRIMARY KEY);
        CREATE TABLE lines (id bigint PRIMARY KEY, order_id int, label text);
        CREATE TABLE lost_lines (LIKE lines);
        INSERT INTO orders SELECT n * 2 FROM generate_series(1, ROWS / 4) n;
        INSERT INTO lines SELECT n, n % (ROWS * 2 / 3), 'l' || n
            FROM generate_series(1, ROWS) n;
        ANALYZE""",
        """WITH gone AS (DELETE FROM lines WHERE NOT EXISTS (SELECT FROM orders
            WHERE orders.id = order_id) RETURNING *)
        INSERT INTO lost_lines SELECT * FROM gone""",
        ("TABLE lines ORDER BY id", "TABLE lost_lines ORDER BY id")),
    "place_categories": Recipe("""
        CREATE TABLE categories (id int PRIMARY KEY, parent_id int,
            slug text NOT NULL, path text);
        INSERT INTO categories SELECT n, nullif(n / 3, 0), 's' || n
            FROM generate_series(1, ROWS) n;
        INSERT INTO categories VALUES (-1, -2, 'a'), (-2, -1, 'b')""",
        """WITH RECURSIVE down AS (
            SELECT id, slug AS path FROM categories WHERE parent_id IS NULL
            UNION ALL SELECT c.id, down.path || '/' || c.slug
            FROM down JOIN categories c ON c.parent_id = down.id)
        UPDATE categories SET path = down.path FROM down
            WHERE down.id = categories.id""",
        ("TABLE categories ORDER BY id",), left=2),
    "lower_logins": Recipe("""
        CREATE TABLE accounts (id int PRIMARY KEY, login text UNIQUE);
        INSERT INTO accounts SELECT n, CASE n % 4 WHEN 0 THEN 'u' || n
            WHEN 1 THEN 'U' || n - 1 ELSE 'U' || n || 'x' END
            FROM generate_series(1, ROWS) n;
        INSERT INTO accounts VALUES (-1, 'bob'), (-2, 'Bob'), (-3, 'BOB'),
            (-4, 'EVE'), (-5, 'Eve'), (-6, 'Ärger')""",
        """CREATE TEMP TABLE twins AS SELECT id, row_number() OVER (
            PARTITION BY lower(login COLLATE "C")
            ORDER BY login <> lower(login COLLATE "C"), id) AS n FROM accounts;
        DELETE FROM accounts USING twins t WHERE t.id = accounts.id AND n > 1;
        UPDATE accounts SET login = lower(login COLLATE "C")""",
        ("TABLE accounts ORDER BY id",)),
    "purge_events": Recipe("""
        CREATE TABLE logged (id bigint PRIMARY KEY, happened_on date);
        INSERT INTO logged SELECT n, date '2020-01-01' + n % 1000
            FROM generate_series(1, ROWS) n""",
        "DELETE FROM logged WHERE happened_on < '2022-01-01'",
        ("TABLE logged ORDER BY id",), args=("--arg", "before=2022-01-01")),
    "fix_payloads": Recipe(r"""
        CREATE TABLE hooks (id int PRIMARY KEY, body text NOT NULL,
            version int NOT NULL);
        INSERT INTO hooks SELECT n, json_build_object('price', n / 100.0,
            'id', 9007199254740993 + n, 'tags', '[]'::json)::text, 1
            FROM generate_series(1, ROWS) n;
        INSERT INTO hooks VALUES (-1, 'no JSON', 1), (-2, '[1]', 2),
            (-3, '{"price": 1.10, "x": {"\u00e4": [null, 1e3]}}', 0)""",
        """UPDATE hooks SET version = 2, body = (body::jsonb - 'price'
            || jsonb_build_object('amount', body::jsonb -> 'price'))::text
        WHERE version < 2 AND body <> 'no JSON'""",
        # Numbers by their value: 1.10 is 1.1.
        ("SELECT id, version, doc - 'amount' - 'x',"
         " (doc ->> 'amount')::float8, (doc #>> '{x,ä,1}')::float8"
         " FROM (SELECT id, version, CASE WHEN body <> 'no JSON'"
         " THEN body::jsonb END AS doc FROM hooks) AS hook ORDER BY id",),
        left=1),
    "hash_emails": Recipe("""
        CREATE TABLE readers (id int PRIMARY KEY, email text NOT NULL,
            email_hash text);
        INSERT INTO readers SELECT n, 'Ü' || n || '@x'
            FROM generate_series(1, ROWS) n""",
        "UPDATE readers SET email_hash ="
        " encode(sha256(convert_to(lower(email), 'UTF8')), 'hex')",
        ("TABLE readers ORDER BY id",)),
    "fold_names": Recipe("""
        CREATE TABLE artists (id int PRIMARY KEY, name text NOT NULL);
        INSERT INTO artists SELECT n, 'ÄRGER İ ' || n
            FROM generate_series(1, ROWS) n;
        INSERT INTO artists VALUES (-1, 'björk'), (-2, 'ΣΊΣΥΦΟΣ')""",
        'UPDATE artists SET name = lower(name COLLATE "en-x-icu")',
        ("TABLE artists ORDER BY id",)),
    "date_visits": Recipe("""
        CREATE TABLE visits (id int PRIMARY KEY, visited_at timestamptz,
            visited_on date);
        INSERT INTO visits SELECT n, timestamptz '2024-03-30 22:30Z'
            + n * interval '7 hours' FROM generate_series(1, ROWS) n;
        INSERT INTO visits VALUES (0, NULL, NULL)""",
        "UPDATE visits SET visited_on ="
        " (visited_at AT TIME ZONE 'Europe/Berlin')::date",
        ("SELECT id, visited_on::text FROM visits ORDER BY id",)),
    "to_cents": Recipe("""
        CREATE TABLE payments (id int PRIMARY KEY, amount numeric(20, 4)
            NOT NULL, cents bigint);
        INSERT INTO payments SELECT n, (n - 500) * 0.0050
            FROM generate_series(1, ROWS) n;
        INSERT INTO payments VALUES (-1, 90071992547409.9350)""",
        # Half to even, of what has four digits.
        """UPDATE payments SET cents = round(amount * 100)
            - CASE WHEN abs(amount * 100) % 1 = 0.5
                   AND round(amount * 100) % 2 <> 0
              THEN sign(amount) ELSE 0 END""",
        ("TABLE payments ORDER BY id",)),
    "rotate_secrets": Recipe(f"""
        CREATE EXTENSION pgcrypto;
        CREATE TABLE tokens (id int PRIMARY KEY, secret bytea NOT NULL,
            key_number int NOT NULL);
        CREATE FUNCTION encrypted(text, key text) RETURNS bytea LANGUAGE sql AS
            $$SELECT start || encrypt_iv(convert_to($1, 'UTF8'),
                decode(key, 'hex'), start, 'aes-cbc')
              FROM (SELECT gen_random_bytes(16)) AS r (start)$$;
        CREATE FUNCTION decrypted(bytea, key text) RETURNS text LANGUAGE sql AS
            $$SELECT convert_from(decrypt_iv(substr($1, 17),
                decode(key, 'hex'), substr($1, 1, 16), 'aes-cbc'), 'UTF8')$$;
        INSERT INTO tokens SELECT n, encrypted('Schlüssel ' || n,
            CASE n % 9 WHEN 0 THEN '{NEW}' ELSE '{OLD}' END),
            CASE n % 9 WHEN 0 THEN 2 ELSE 1 END
            FROM generate_series(1, ROWS) n""",
        f"""UPDATE tokens SET key_number = 2,
            secret = encrypted(decrypted(secret, '{OLD}'), '{NEW}')
            WHERE key_number = 1""",
        (f"SELECT id, key_number, decrypted(secret, '{NEW}') FROM tokens"
         " ORDER BY id",),
        args=("--arg-env", "from=OLD_KEY", "--arg-env", "to=NEW_KEY")),
    "hash_avatars": Recipe("""
        CREATE TABLE avatars (id int PRIMARY KEY, path text, sha256 bytea);
        INSERT INTO avatars SELECT n, '/' || n FROM generate_series(1, LEAST(ROWS, 250)) n;
        INSERT INTO avatars VALUES (-1, '/gone')""",
        "UPDATE avatars SET sha256 = sha256(convert_to('avatar /' || id,"
        " 'UTF8')) WHERE path <> '/gone'",
        ("TABLE avatars ORDER BY id",), left=1),
    "close_customers": Recipe("""
        CREATE TABLE customers (id bigint PRIMARY KEY, closed_for text);
        CREATE TABLE jobs (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind text NOT NULL, customer_id bigint NOT NULL);
        INSERT INTO customers SELECT n, CASE n % 50 WHEN 0 THEN 'before' END
            FROM generate_series(1, LEAST(ROWS, 700)) n""",
        """INSERT INTO jobs (kind, customer_id) SELECT 'tell', id
            FROM customers WHERE id % 2 = 0 AND closed_for IS NULL;
        UPDATE customers SET closed_for = 'said "no", ' || id
            WHERE id % 2 = 0 AND closed_for IS NULL""",
        ("TABLE customers ORDER BY id",
         "SELECT kind, customer_id FROM jobs ORDER BY 2"),
        args=("--input", "customers.csv")),
    "mirror_products": Recipe("""
        CREATE TABLE products (id int PRIMARY KEY, name text, price numeric,
            in_stock bool);
        INSERT INTO products SELECT n * 2, 'before', 0, true
            FROM generate_series(1, 50) n""",
        """INSERT INTO products SELECT n, 'Größe ' || n, n / 7.0, n % 3 > 0
            FROM generate_series(1, 1000) n ON CONFLICT (id) DO UPDATE
            SET name = excluded.name, price = excluded.price,
                in_stock = excluded.in_stock""",
        ("TABLE products ORDER BY id",), left=None, source="""
        CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL,
            price numeric, sold_out bool NOT NULL);
        INSERT INTO products SELECT n, 'Größe ' || n, n / 7.0, n % 3 = 0
            FROM generate_series(1, 1000) n"""),
    "close_tickets": Recipe("""
        CREATE TABLE tickets (id int PRIMARY KEY, tenant_id int, open bool);
        INSERT INTO tickets SELECT n, n % 5, n % 3 > 0
            FROM generate_series(1, ROWS) n""",
        "UPDATE tickets SET open = false WHERE tenant_id = 3",
        ("TABLE tickets ORDER BY id",), args=("--arg", "tenant=3")),
}
