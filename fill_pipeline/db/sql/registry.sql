-- The registry of sources: what to crawl, how, and how it stands.

-- name: all_sources
SELECT s.id, s.slug, s.name, s.kind, s.base_url, s.config, s.config_version, s.active, s.status, s.status_reason,
       s.config_error, s.asset_group, s.expected_count, s.discovered_via, s.note, s.created_at
FROM scrape_sources s
WHERE (:only_slug::text IS NULL OR s.slug = :only_slug OR s.name = :only_slug)
ORDER BY s.slug;

-- name: upsert_source
-- Declare a source; declaring it again unchanged changes nothing, not even its version.
INSERT INTO scrape_sources AS s (name, base_url, config, active, kind, status, note, asset_group, expected_count, discovered_via, discovered_at)
VALUES (:name, :base_url, :config::jsonb, :active, :kind, :status, :note, :asset_group, :expected_count, :discovered_via, :discovered_at)
ON CONFLICT (name) DO UPDATE
SET base_url = excluded.base_url, config = excluded.config, kind = excluded.kind, note = excluded.note,
    asset_group = excluded.asset_group, expected_count = coalesce(excluded.expected_count, s.expected_count)
WHERE (s.base_url, s.config, s.kind, s.note, s.asset_group)
      IS DISTINCT FROM (excluded.base_url, excluded.config, excluded.kind, excluded.note, excluded.asset_group)
RETURNING s.id, (xmax = 0) AS inserted;

-- name: set_active!
UPDATE scrape_sources SET active = :active WHERE slug = :slug;

-- name: set_status!
UPDATE scrape_sources SET status = :status, status_reason = :reason WHERE id = :source_id;

-- name: set_config!
UPDATE scrape_sources SET config = :config::jsonb WHERE id = :source_id;

-- name: move_source!
-- Give a source another address. Where the configuration stays as it is, `add_version` makes the version.
UPDATE scrape_sources SET base_url = :base_url, config = :config::jsonb WHERE id = :source_id;

-- name: version_of$
SELECT config_version FROM scrape_sources WHERE id = :source_id;

-- name: retire_version!
UPDATE source_config_versions SET live = false WHERE source_id = :source_id AND live;

-- name: add_version!
-- A version with the configuration as it stands.
WITH bumped AS (
    UPDATE scrape_sources s
    SET config_version = (SELECT max(version) + 1 FROM source_config_versions v WHERE v.source_id = s.id)
    WHERE id = :source_id RETURNING id, config, config_version
)
INSERT INTO source_config_versions (source_id, version, config, made_by, reason)
SELECT id, config_version, config, :made_by, :reason FROM bumped;

-- name: set_config_error!
UPDATE scrape_sources SET config_error = :error WHERE id = :source_id AND config_error IS DISTINCT FROM :error;

-- name: is_active$
SELECT active AND status IN ('live', 'trial') FROM scrape_sources WHERE id = :source_id;

-- name: stopped_sources
-- Which of these sources may no longer be crawled.
SELECT id FROM scrape_sources WHERE id = ANY(:source_ids) AND NOT (active AND status IN ('live', 'trial'));

-- name: versions
SELECT version, config, made_by, reason, measured_score::float8, restored_from, live, created_at
FROM source_config_versions WHERE source_id = :source_id ORDER BY version;

-- name: version_config$
SELECT config FROM source_config_versions WHERE source_id = :source_id AND version = :version;

-- name: set_version_config!
UPDATE source_config_versions SET config = :config::jsonb WHERE source_id = :source_id AND version = :version;

-- name: name_author
-- Who changes a config in this transaction, and why; the version it makes carries both.
SELECT set_config('fill.made_by', :made_by, true), set_config('fill.reason', :reason, true),
       set_config('fill.score', :score, true), set_config('fill.restored_from', :restored_from, true);

-- name: note_harvest!
UPDATE source_state SET last_harvest_at = :now WHERE source_id = :source_id;

-- name: note_expected!
UPDATE scrape_sources SET expected_count = :expected WHERE id = :source_id AND expected_count IS DISTINCT FROM :expected;

-- name: robots_of
SELECT status, body, nullif(fetched_at, '-infinity'), failed_status, failed_at FROM robots_files WHERE origin = :origin;

-- name: save_robots!
INSERT INTO robots_files (origin, status, body, fetched_at) VALUES (:origin, :status, :body, :fetched_at)
ON CONFLICT (origin) DO UPDATE
SET status = excluded.status, body = excluded.body, fetched_at = excluded.fetched_at, failed_status = NULL, failed_at = NULL;

-- name: save_robots_failure!
INSERT INTO robots_files (origin, status, body, fetched_at, failed_status, failed_at)
VALUES (:origin, :status, '', '-infinity', :status, :failed_at)
ON CONFLICT (origin) DO UPDATE SET failed_status = excluded.failed_status, failed_at = excluded.failed_at;
