"""Evidence, raw words and payloads are kept as the text they are written in.

Taking a listing's JSON apart and packing it again was a fifth of what PostgreSQL computed for a new vehicle. No
statement looks into these columns; whoever does by hand reads the view ``listings``, where they are ``jsonb`` as
before. Both tables are written anew once: about five minutes for ten million listings.
"""

from alembic import op

revision = "0019"
down_revision = "0018"

_STATEMENTS = (
    "DROP VIEW listings",
    """
    ALTER TABLE listing_records
        ALTER raw TYPE json, ALTER raw_payload TYPE json, ALTER provenance TYPE json, ALTER quarantine TYPE json
    """,
    "ALTER TABLE vehicles ALTER provenance TYPE json",
    """
    CREATE VIEW listings AS
        SELECT r.id, r.source_id, r.source, r.remote_id, r.remote_slug, r.url, r.title, r.price, r.currency,
               r.price_kind, r.mileage, r.mileage_unit, r.year, r.make, r.model, r.trim, r.vin, r.vin_status,
               r.condition, r.body_style, r.engine, r.fuel_type, r.fuel_economy, r.transmission, r.drivetrain,
               r.exterior_color, r.interior_color, r.doors, r.seats, r.place, r.city, r.region, r.postal_code,
               r.country, r.latitude, r.longitude, r.seller_name, r.seller_type, r.seller_phone, r.images,
               r.description, r.posted_at, r.status, r.first_seen_at, r.first_cycle, r.changed_at, r.changed_cycle,
               r.raw::jsonb AS raw, r.raw_payload::jsonb AS raw_payload, r.provenance::jsonb AS provenance,
               r.quarantine::jsonb AS quarantine, r.completeness, r.content_hash, r.archive_id, r.vehicle_id,
               s.last_seen_at, s.seen_count, s.absences, s.seen_count = 1 AS is_new
        FROM listing_records r JOIN listing_sightings s ON s.listing_id = r.id
    """,
)


def upgrade() -> None:
    """Change the columns' types, and make the view again over them."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
