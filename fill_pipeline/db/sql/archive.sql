-- The index of the page archive. Every statement costs what its own rows cost.

-- name: find_page^
-- The latest archived page of a URL of a source, optionally of one kind.
SELECT id, source_id, cycle_id, kind, url, url_hash, fetched_at, http_status, content_type, etag, last_modified,
       file, "offset", length, body_hash, listings, card_number, card_written
FROM archive_pages
WHERE source_id = :source_id AND url_hash = :url_hash AND ((:kind)::text IS NULL OR kind = :kind)
ORDER BY id DESC
LIMIT 1;

-- name: pages_of_cycle
-- A source's pages of one cycle after the given id, in the order they were archived (one index scan).
SELECT id, source_id, cycle_id, kind, url, url_hash, fetched_at, http_status, content_type, etag, last_modified,
       file, "offset", length, body_hash, listings, card_number, card_written
FROM archive_pages
WHERE source_id = :source_id AND cycle_id = :cycle_id AND id > :after_id AND ((:kind)::text IS NULL OR kind = :kind)
ORDER BY id
LIMIT :max_rows;

-- name: cycles_of_window
-- The cycles whose window starts in [window_start, window_end), oldest first.
SELECT cycle_id FROM fill_cycles
WHERE window_start >= :window_start AND window_start < :window_end
ORDER BY window_start;

-- name: take_ids
-- As many new page ids, so that rows can be copied in and their ids known. The sequence is looked up once.
SELECT nextval(s.of_ids)
FROM (SELECT pg_get_serial_sequence('archive_pages', 'id')::regclass AS of_ids OFFSET 0) s, generate_series(1, :how_many);

-- name: known_pages
-- The latest whole answer of each of these pages, where it has a validator, is not older than since, and was read
-- with the source's live configuration.
SELECT k.source_id, k.url_hash, p.etag, p.last_modified, p.listings, p.id, p.file, p."offset", p.length
FROM unnest((:source_ids)::uuid[], (:hashes)::uuid[]) AS k (source_id, url_hash)
JOIN source_config_versions v ON v.source_id = k.source_id AND v.live
CROSS JOIN LATERAL (
    SELECT id, etag, last_modified, fetched_at, listings, file, "offset", length FROM archive_pages
    WHERE source_id = k.source_id AND url_hash = k.url_hash AND http_status = 200 AND kind = :kind
    ORDER BY id DESC
    LIMIT 1
) p
WHERE p.fetched_at >= greatest(v.created_at, :since) AND (p.etag IS NOT NULL OR p.last_modified IS NOT NULL);

-- name: expired_files
-- The archive files that must go, oldest first: those last written to before old, and of each source the oldest until
-- the rest fits into keep_bytes; none that was written to since young. Of cycles before one (reads no row of the
-- others), or of all.
SELECT source_id, file, cycle_id, pages, size
FROM (
    SELECT s.id AS source_id, f.*, sum(f.size) OVER (PARTITION BY s.id ORDER BY f.newest_at DESC, f.file) AS with_newer
    FROM scrape_sources s
    CROSS JOIN LATERAL (
        SELECT file, cycle_id, count(*) AS pages, sum(length) AS size, max(fetched_at) AS newest_at
        FROM archive_pages
        WHERE source_id = s.id AND cycle_id < coalesce((:before)::text, 'z')
        GROUP BY file, cycle_id
    ) f
) sized
WHERE newest_at < :young AND (newest_at < :old OR with_newer > (:keep_bytes)::bigint)
ORDER BY newest_at, file;

-- name: files_before
-- The archive files of cycles before one.
SELECT f.file
FROM scrape_sources s
CROSS JOIN LATERAL (SELECT DISTINCT file FROM archive_pages WHERE source_id = s.id AND cycle_id < :before) f;

-- name: forget_files!
-- Drop the pages of files of one cycle of a source from the index (before the files themselves are deleted).
DELETE FROM archive_pages WHERE source_id = :source_id AND cycle_id = :cycle_id AND file = ANY(:files);
