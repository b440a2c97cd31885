"""Wall times and zones of schedules, recipients' zones, open hours, late joiners, and runs that were missed."""

from zoneinfo import ZoneInfo

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("due_wall", sa.DateTime(), nullable=True))
    op.add_column("campaign", sa.Column("due_zone", sa.Text(), nullable=True))
    op.add_column("campaign", sa.Column("timing", JSONB(), server_default="{}", nullable=False))
    op.add_column("campaign", sa.Column("repeat", JSONB(), nullable=True))
    op.add_column("occurrence", sa.Column("wall", sa.DateTime(), nullable=True))
    op.add_column("occurrence", sa.Column("missed", sa.Text(), nullable=True))
    op.add_column("delivery", sa.Column("zone", sa.Text(), nullable=True))
    op.add_column("delivery", sa.Column("zone_from", sa.Text(), nullable=True))
    tell_walls(op.get_bind())
    op.drop_index("delivery_queued", "delivery")
    op.create_index(
        "delivery_ready",
        "delivery",
        [sa.text("coalesce(not_before, '-infinity'::timestamptz)"), "id"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "open_hours",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "zone", name="pk_open_hours"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_open_hours_campaign_id_campaign"),
    )
    op.create_index("open_hours_closes", "open_hours", ["closes_at"])
    op.create_table(
        "snapshot_member",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "profile_id", name="pk_snapshot_member"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_snapshot_member_campaign_id_campaign"),
    )
    op.create_table(
        "join_entry",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Boolean(), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "profile_id", name="pk_join_entry"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_join_entry_campaign_id_campaign"),
    )


def tell_walls(connection: sa.Connection) -> None:
    """Give what was scheduled before the wall time that its zone's clocks show at its instant."""
    scheduled = "SELECT id, due_at, timezone FROM campaign WHERE due_at IS NOT NULL AND due_wall IS NULL"
    for number, due_at, zone in connection.execute(sa.text(scheduled)).all():
        meant = {
            "id": number,
            "at": due_at,
            "zone": zone,
            "wall": due_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None),
        }
        connection.execute(sa.text("UPDATE campaign SET due_wall = :wall, due_zone = :zone WHERE id = :id"), meant)
        # The run that it was scheduled for; those that follow of themselves have no wall time.
        run = "UPDATE occurrence SET wall = :wall WHERE campaign_id = :id AND due_at = :at AND state = 'due'"
        connection.execute(sa.text(run), meant)


def downgrade() -> None:
    op.drop_table("join_entry")
    op.drop_table("snapshot_member")
    op.drop_table("open_hours")
    op.drop_index("delivery_ready", "delivery")
    op.create_index("delivery_queued", "delivery", ["id"], postgresql_where=sa.text("state = 'queued'"))
    for table, columns in (
        ("delivery", ("zone_from", "zone")),
        ("occurrence", ("missed", "wall")),
        ("campaign", ("repeat", "timing", "due_zone", "due_wall")),
    ):
        for column in columns:
            op.drop_column(table, column)
