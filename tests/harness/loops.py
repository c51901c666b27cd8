"""The recipes as loops in PL/pgSQL, which commit after each batch: what one writes
by hand, beside what luamig does."""

from harness.recipes import NEW, OLD

BLOCK = """
DO $block$
DECLARE
    low bigint := -10000;
    high bigint;
    names text[];
    twin record;
BEGIN
    LOOP
        SELECT max(id) INTO high FROM (SELECT id FROM (SELECT id FROM {base})
            AS base WHERE id > low ORDER BY id LIMIT {batch}) AS page;
        EXIT WHEN high IS NULL;
        {work}
        COMMIT;
        low := high;
    END LOOP;
END $block$
"""


# What a loop does: the keys of BASE, and for each stretch of them the statements.
LOOPS = {
    "widen_ids": ("events WHERE id_wide IS NULL", """
        UPDATE events SET id_wide = id WHERE id_wide IS NULL AND id > low AND id <= high;"""),
    "copy_readings": ("readings", """
        INSERT INTO readings_by_day SELECT * FROM readings WHERE id > low AND id <= high
            ON CONFLICT DO NOTHING;"""),
    "keep_best": ("scores", """
        INSERT INTO records SELECT player_id, game, max(points)
            FROM scores WHERE id > low AND id <= high GROUP BY 1, 2
            ON CONFLICT (player_id, game) WHERE closed_on IS NULL
            DO UPDATE SET points = greatest(records.points, excluded.points);"""),
    "merge_people": (('people WHERE EXISTS (SELECT FROM people t WHERE '
        'lower(t.email) = lower(people.email) AND t.id < people.id)'), """
        FOR twin IN SELECT id, (SELECT min(t.id) FROM people t
            WHERE lower(t.email) = lower(p.email)) AS heir FROM people p
            WHERE id > low AND id <= high AND EXISTS (SELECT FROM people t
                WHERE lower(t.email) = lower(p.email) AND t.id < p.id)
        LOOP
            UPDATE orders SET person_id = twin.heir WHERE person_id = twin.id;
            UPDATE notes SET person_id = twin.heir WHERE person_id = twin.id;
            IF EXISTS (SELECT FROM profiles WHERE person_id = twin.heir) THEN
                DELETE FROM profiles WHERE person_id = twin.id;
            ELSE
                UPDATE profiles SET person_id = twin.heir
                    WHERE person_id = twin.id;
            END IF;
            INSERT INTO members SELECT twin.heir, club_id FROM members
                WHERE person_id = twin.id ON CONFLICT DO NOTHING;
            DELETE FROM members WHERE person_id = twin.id;
            DELETE FROM people WHERE id = twin.id;
        END LOOP;"""),
    "link_tags": ("taggings WHERE tag_id IS NULL", """
        names := ARRAY(SELECT DISTINCT tag FROM taggings
            WHERE tag_id IS NULL AND id > low AND id <= high);
        INSERT INTO tags (name) SELECT unnest(names) ON CONFLICT DO NOTHING;
        UPDATE taggings SET tag_id = t.id FROM tags t WHERE t.name = tag
            AND tag_id IS NULL AND taggings.id > low AND taggings.id <= high;
        UPDATE tags SET uses = (SELECT count(*) FROM taggings
            WHERE tag_id = tags.id) WHERE name = ANY (names);"""),
    "drop_orphans": (('lines WHERE NOT EXISTS (SELECT FROM orders WHERE orders.id = '
        'order_id)'), """
        WITH gone AS (DELETE FROM lines WHERE id > low AND id <= high AND NOT EXISTS
            (SELECT FROM orders WHERE orders.id = order_id) RETURNING *)
        INSERT INTO lost_lines SELECT * FROM gone;"""),
    "place_categories": ("categories WHERE path IS NULL", """
        UPDATE categories SET path = (
            WITH RECURSIVE up AS (
                SELECT c.parent_id, c.slug AS path, 1 AS depth FROM categories c
                WHERE c.id = categories.id
                UNION ALL SELECT p.parent_id, p.slug || '/' || up.path,
                    up.depth + 1
                FROM up JOIN categories p ON p.id = up.parent_id
                WHERE up.depth < 50)
            SELECT up.path FROM up WHERE up.parent_id IS NULL)
        WHERE path IS NULL AND id > low AND id <= high;"""),
    "lower_logins": ('accounts WHERE login <> lower(login COLLATE "C")', """
        FOR twin IN SELECT id, login FROM accounts WHERE id > low AND id <= high
            AND login <> lower(login COLLATE "C") ORDER BY id
        LOOP
            BEGIN
                UPDATE accounts SET login = lower(login COLLATE "C")
                    WHERE id = twin.id;
            EXCEPTION WHEN unique_violation THEN
                DELETE FROM accounts WHERE id = twin.id;
            END;
        END LOOP;"""),
    "purge_events": ("logged WHERE happened_on < '2022-01-01'", """
        DELETE FROM logged WHERE happened_on < '2022-01-01' AND id > low AND id <= high;"""),
    "fix_payloads": ("hooks WHERE version < 2", """
        UPDATE hooks SET version = 2, body = (body::jsonb - 'price'
            || jsonb_build_object('amount', body::jsonb -> 'price'))::text
        WHERE version < 2 AND body <> 'no JSON' AND id > low AND id <= high;"""),
    "hash_emails": ("readers WHERE email_hash IS NULL", """
        UPDATE readers SET email_hash =
            encode(sha256(convert_to(lower(email), 'UTF8')), 'hex')
        WHERE email_hash IS NULL AND id > low AND id <= high;"""),
    "fold_names": ('artists WHERE name <> lower(name COLLATE "en-x-icu")', """
        UPDATE artists SET name = lower(name COLLATE "en-x-icu")
        WHERE name <> lower(name COLLATE "en-x-icu") AND id > low AND id <= high;"""),
    "date_visits": ("visits WHERE visited_on IS NULL AND visited_at IS NOT NULL", """
        UPDATE visits SET visited_on =
            (visited_at AT TIME ZONE 'Europe/Berlin')::date
        WHERE visited_on IS NULL AND id > low AND id <= high;"""),
    "to_cents": ("payments WHERE cents IS NULL", """
        UPDATE payments SET cents = round(amount * 100)
            - CASE WHEN abs(amount * 100) % 1 = 0.5
                   AND round(amount * 100) % 2 <> 0
              THEN sign(amount) ELSE 0 END
        WHERE cents IS NULL AND id > low AND id <= high;"""),
    "close_tickets": ("tickets WHERE open AND tenant_id = 3", """
        UPDATE tickets SET open = false WHERE open AND tenant_id = 3
            AND id > low AND id <= high;"""),
    "rotate_secrets": ("tokens WHERE key_number = 1", f"""
        UPDATE tokens SET key_number = 2,
            secret = encrypted(decrypted(secret, '{OLD}'), '{NEW}')
        WHERE key_number = 1 AND id > low AND id <= high;"""),
}


def loop(name, batch):
    base, work = LOOPS[name]
    return BLOCK.format(base=base, batch=batch, work=work)
