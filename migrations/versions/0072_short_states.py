"""What SQL reads of a state says of each category a few words, not an object (`signals.state.queried`).

A trigger writes what the version before still brings in its own form the new way; a later revision may drop it.
"""

from alembic import op

from migrations import traffic

revision = "0072"
down_revision = "0071"
branch_labels = None
depends_on = None

_DAYS = "jsonb_array_elements_text(value -> 'days') WITH ORDINALITY AS told (day, place)"
SHORT = f"""
    CREATE OR REPLACE FUNCTION profile_state_short(whole jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT whole - 'categories' - 'views' || coalesce((
            SELECT jsonb_build_object('bought', jsonb_object_agg(key, concat_ws(' ', value ->> 'n', value ->> 'cents',
                coalesce(value ->> 'interval_days', '-'),
                (SELECT string_agg(day, ' ' ORDER BY place DESC) FROM {_DAYS}))))
            FROM jsonb_each(whole -> 'categories') HAVING count(*) > 0
        ), '{{}}') || coalesce((
            SELECT jsonb_build_object('seen',
                jsonb_object_agg(key, concat_ws(' ', value ->> 'n', value ->> 'last_day')))
            FROM jsonb_each(whole -> 'views') HAVING count(*) > 0
        ), '{{}}')
    $$
"""  # noqa: S608 - of this file's words alone
_WORD = "split_part(value, ' ', {})"
LONG = f"""
    CREATE FUNCTION pg_temp.profile_state_long(short jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT short - 'bought' - 'seen' || coalesce((
            SELECT jsonb_build_object('categories', jsonb_object_agg(key, jsonb_strip_nulls(jsonb_build_object(
                'n', CAST({_WORD.format(1)} AS bigint), 'cents', CAST({_WORD.format(2)} AS bigint),
                'interval_days', CAST(nullif({_WORD.format(3)}, '-') AS numeric),
                'days', (SELECT jsonb_agg(CAST(day AS bigint) ORDER BY place DESC)
                    FROM unnest((string_to_array(value, ' '))[4:]) WITH ORDINALITY AS told (day, place))))))
            FROM jsonb_each_text(short -> 'bought') HAVING count(*) > 0
        ), '{{}}') || coalesce((
            SELECT jsonb_build_object('views', jsonb_object_agg(key, jsonb_build_object(
                'n', CAST({_WORD.format(1)} AS bigint), 'last_day', CAST({_WORD.format(2)} AS bigint))))
            FROM jsonb_each_text(short -> 'seen') HAVING count(*) > 0
        ), '{{}}')
    $$
"""  # noqa: S608 - of this file's words alone
_IS_LONG = "document ?| ARRAY['categories', 'views']"
TRIGGER = (
    """
    CREATE OR REPLACE FUNCTION profile_state_shortened() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.document := profile_state_short(NEW.document);
        RETURN NEW;
    END $$
    """,
    f"""
    CREATE OR REPLACE TRIGGER profile_state_shortened BEFORE INSERT OR UPDATE ON profile_state
    FOR EACH ROW WHEN (NEW.{_IS_LONG}) EXECUTE FUNCTION profile_state_shortened()
    """,
)
# Short as they are, most documents then stand as they are: of one that is compressed, each condition reads it anew.
ROOMY = "ALTER TABLE profile_state SET (toast_tuple_target = 4080)"
SHORTENED = f"""
    UPDATE profile_state SET document = profile_state_short(document)
    WHERE profile_id > :after AND profile_id <= :upto AND {_IS_LONG}
"""  # noqa: S608 - of this file's words alone


def upgrade() -> None:
    traffic.run(ROOMY, SHORT, *TRIGGER)
    traffic.fill("profile_state", SHORTENED, key="profile_id")


def downgrade() -> None:
    op.execute("DROP TRIGGER profile_state_shortened ON profile_state")
    op.execute("DROP FUNCTION profile_state_shortened()")
    op.execute("DROP FUNCTION profile_state_short(jsonb)")
    op.execute(LONG)
    op.execute("UPDATE profile_state SET document = pg_temp.profile_state_long(document)")
    op.execute("ALTER TABLE profile_state RESET (toast_tuple_target)")
