-- The schema of the first release, run once by migration 0001. Later changes are migrations of their own.
-- Times are TIMESTAMPTZ in UTC, prices whole units of their currency, mileages in the unit beside them.

-- ── The registry ────────────────────────────────────────────────────────────────────────────────

CREATE TABLE scrape_sources (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name           text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_. -]{0,99}$'),
    slug           text GENERATED ALWAYS AS (trim(BOTH '_' FROM lower(regexp_replace(name, '[^a-zA-Z0-9]+', '_', 'g')))) STORED UNIQUE,
    base_url       text NOT NULL CHECK (base_url ~* '^https?://'),
    config         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
    active         boolean NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL DEFAULT now(),
    kind           text NOT NULL DEFAULT 'dealer'
                   CHECK (kind IN ('marketplace', 'classifieds', 'auction_house', 'dealer', 'feed')),
    status         text NOT NULL DEFAULT 'live'
                   CHECK (status IN ('candidate', 'trial', 'live', 'quarantined', 'retired')),
    status_reason  text,
    asset_group    text,
    discovered_via text,
    discovered_at  timestamptz,
    expected_count integer,
    config_version integer NOT NULL DEFAULT 1,
    config_error   text,
    note           text,
    updated_at     timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW sources AS
    SELECT id, name, base_url, config, active, created_at, kind, status, note FROM scrape_sources;

CREATE TABLE source_config_versions (
    source_id      uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
    version        integer NOT NULL,
    config         jsonb NOT NULL,
    made_by        text NOT NULL DEFAULT 'operator',
    reason         text,
    measured_score numeric,
    restored_from  integer,
    live           boolean NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, version)
);
CREATE UNIQUE INDEX source_config_versions_live ON source_config_versions (source_id) WHERE live;

-- What changes with every request or run; narrow, so that pacing never rewrites a config.
CREATE TABLE source_state (
    source_id        uuid PRIMARY KEY REFERENCES scrape_sources (id) ON DELETE CASCADE,
    next_slot_at     timestamptz NOT NULL DEFAULT '-infinity',
    delay_ms         integer NOT NULL DEFAULT 2000,
    max_concurrency  integer NOT NULL DEFAULT 4,
    robots_delay_ms  integer NOT NULL DEFAULT 0,
    breaker          text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    breaker_failures integer NOT NULL DEFAULT 0,
    breaker_opened   integer NOT NULL DEFAULT 0,
    breaker_until    timestamptz,
    budget_day       date,
    budget_used      integer NOT NULL DEFAULT 0,
    daily_requests   integer NOT NULL DEFAULT 100000,
    last_harvest_at  timestamptz,
    last_success_at  timestamptz
) WITH (fillfactor = 50);

CREATE TABLE robots_files (
    origin     text PRIMARY KEY,
    status     integer NOT NULL,
    body       text NOT NULL DEFAULT '',
    fetched_at timestamptz NOT NULL
);

-- A registry written by SQL keeps its history like one written by the program. The program names
-- itself through the settings fill.made_by, fill.reason, fill.score and fill.restored_from.
CREATE FUNCTION version_source_config() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := now();
        IF NEW.config IS NOT DISTINCT FROM OLD.config THEN
            RETURN NEW;
        END IF;
        NEW.config_version := (SELECT coalesce(max(version), 0) + 1 FROM source_config_versions WHERE source_id = NEW.id);
        NEW.config_error := NULL;
        UPDATE source_config_versions SET live = false WHERE source_id = NEW.id AND live;
        INSERT INTO source_config_versions (source_id, version, config, made_by, reason, measured_score, restored_from)
        VALUES (NEW.id, NEW.config_version, NEW.config,
                coalesce(nullif(current_setting('fill.made_by', true), ''), 'operator'),
                nullif(current_setting('fill.reason', true), ''),
                nullif(current_setting('fill.score', true), '')::numeric,
                nullif(current_setting('fill.restored_from', true), '')::integer);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER version_config BEFORE UPDATE ON scrape_sources FOR EACH ROW EXECUTE FUNCTION version_source_config();

CREATE FUNCTION start_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO source_config_versions (source_id, version, config, made_by, reason)
    VALUES (NEW.id, NEW.config_version, NEW.config,
            coalesce(nullif(current_setting('fill.made_by', true), ''), 'operator'),
            nullif(current_setting('fill.reason', true), ''));
    INSERT INTO source_state (source_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER start_source AFTER INSERT ON scrape_sources FOR EACH ROW EXECUTE FUNCTION start_source();

-- ── Cycles and their accounts ───────────────────────────────────────────────────────────────────

CREATE TABLE fill_cycles (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    cycle_id           text UNIQUE NOT NULL,
    started_at         timestamptz NOT NULL,
    completed_at       timestamptz,
    vehicles_added     integer NOT NULL DEFAULT 0,
    vehicles_queued    integer NOT NULL DEFAULT 0,
    sources_active     integer NOT NULL DEFAULT 0,
    sources_discovered integer NOT NULL DEFAULT 0,
    data_quality_score numeric,
    on_target          boolean NOT NULL DEFAULT false,
    next_actions       text[] NOT NULL DEFAULT '{}',
    errors             text[] NOT NULL DEFAULT '{}',
    metadata           jsonb NOT NULL DEFAULT '{}',
    window_start       timestamptz NOT NULL,
    window_end         timestamptz NOT NULL CHECK (window_end > window_start),
    status             text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'missed')),
    target             integer NOT NULL DEFAULT 2000,
    report             json -- not jsonb: its keys keep the order of document 1
);
-- Two cycles never overlap: at most one is open.
CREATE UNIQUE INDEX fill_cycles_one_open ON fill_cycles ((true)) WHERE status = 'open';
CREATE INDEX fill_cycles_window ON fill_cycles (window_start DESC);

CREATE TABLE cycle_actions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cycle_id     text NOT NULL REFERENCES fill_cycles (cycle_id) ON DELETE CASCADE,
    action       text NOT NULL,
    level        integer NOT NULL DEFAULT 0,
    attempt      integer NOT NULL DEFAULT 1,
    reason       text NOT NULL,
    parameters   jsonb NOT NULL DEFAULT '{}',
    status       text NOT NULL DEFAULT 'requested' CHECK (status IN ('requested', 'running', 'done', 'failed')),
    run_id       text,
    requested_at timestamptz NOT NULL,
    started_at   timestamptz,
    finished_at  timestamptz,
    heartbeat_at timestamptz,
    outcome      jsonb NOT NULL DEFAULT '{}',
    error        text,
    UNIQUE (cycle_id, action, level, attempt)
);

-- What one source did in one cycle; every batch adds its part in its own transaction.
CREATE TABLE source_cycle_stats (
    source_id       uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
    cycle_id        text NOT NULL,
    index_pages     integer NOT NULL DEFAULT 0,
    cards_seen      integer NOT NULL DEFAULT 0,
    expected_count  integer,
    queued          integer NOT NULL DEFAULT 0,
    pages_fetched   integer NOT NULL DEFAULT 0,
    pages_unchanged integer NOT NULL DEFAULT 0,
    pages_failed    integer NOT NULL DEFAULT 0,
    pages_empty     integer NOT NULL DEFAULT 0,
    bytes_received  bigint NOT NULL DEFAULT 0,
    found           integer NOT NULL DEFAULT 0,
    new             integer NOT NULL DEFAULT 0,
    updated         integer NOT NULL DEFAULT 0,
    skipped         integer NOT NULL DEFAULT 0,
    quarantined     integer NOT NULL DEFAULT 0,
    delisted        integer NOT NULL DEFAULT 0,
    vehicles_added  integer NOT NULL DEFAULT 0,
    quality_sum     double precision NOT NULL DEFAULT 0,
    quality_count   integer NOT NULL DEFAULT 0,
    harvests        integer NOT NULL DEFAULT 0,
    harvest_complete boolean,
    failures        jsonb NOT NULL DEFAULT '{}',
    notes           text[] NOT NULL DEFAULT '{}',
    first_at        timestamptz,
    last_at         timestamptz,
    PRIMARY KEY (cycle_id, source_id)
);
CREATE INDEX source_cycle_stats_source ON source_cycle_stats (source_id, last_at DESC);

-- Completeness by field and source, summed batch by batch; quality_metrics is computed from it.
CREATE TABLE field_tallies (
    cycle_id   text NOT NULL,
    source_id  uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
    field_name text NOT NULL,
    knowable   integer NOT NULL DEFAULT 0,
    filled     integer NOT NULL DEFAULT 0,
    compared   integer NOT NULL DEFAULT 0,
    agreed     integer NOT NULL DEFAULT 0,
    quarantined integer NOT NULL DEFAULT 0,
    PRIMARY KEY (cycle_id, source_id, field_name)
);

CREATE TABLE source_health (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    source_id          uuid REFERENCES scrape_sources (id) ON DELETE CASCADE,
    cycle_id           text,
    vehicles_extracted integer,
    success_rate       numeric,
    error_rate         numeric,
    avg_quality_score  numeric,
    status             text CHECK (status IN ('healthy', 'degraded', 'failing')),
    last_checked       timestamptz,
    reason             text,
    diagnosis          text,
    UNIQUE (source_id, cycle_id)
);
CREATE INDEX source_health_cycle ON source_health (cycle_id);

CREATE TABLE quality_metrics (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    cycle_id     text,
    field_name   text,
    completeness numeric,
    accuracy     numeric,
    sample_size  integer,
    issues       text[] NOT NULL DEFAULT '{}',
    measured_at  timestamptz,
    source_id    uuid REFERENCES scrape_sources (id) ON DELETE CASCADE,
    UNIQUE NULLS NOT DISTINCT (cycle_id, field_name, source_id)
);

-- Reports as they were written: cycle, daily, weekly, monthly.
CREATE TABLE fill_reports (
    kind       text NOT NULL CHECK (kind IN ('cycle', 'daily', 'weekly', 'monthly')),
    period     text NOT NULL,
    report     json NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (kind, period)
);

CREATE TABLE incidents (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL,
    subject      text NOT NULL DEFAULT '',
    message      text NOT NULL,
    details      jsonb NOT NULL DEFAULT '{}',
    opened_at    timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    closed_at    timestamptz,
    opened_cycle text,
    occurrences  integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX incidents_open ON incidents (kind, subject) WHERE closed_at IS NULL;

-- ── The archive's index ─────────────────────────────────────────────────────────────────────────

CREATE TABLE archive_pages (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id     uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
    cycle_id      text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('index', 'detail')),
    url           text NOT NULL,
    url_hash      uuid NOT NULL,
    fetched_at    timestamptz NOT NULL,
    http_status   smallint NOT NULL,
    content_type  text,
    etag          text,
    last_modified text,
    file          text NOT NULL,
    "offset"      bigint NOT NULL,
    length        integer NOT NULL,
    body_hash     uuid,
    listings      integer NOT NULL DEFAULT 0
);
CREATE INDEX archive_pages_window ON archive_pages (source_id, cycle_id, id);
CREATE INDEX archive_pages_url ON archive_pages (source_id, url_hash, id DESC);

-- ── Vehicles and listings ───────────────────────────────────────────────────────────────────────

CREATE TABLE vehicles (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin            text,
    year           smallint,
    make           text,
    model          text,
    trim           text,
    body_style     text,
    engine         text,
    fuel_type      text,
    transmission   text,
    drivetrain     text,
    exterior_color text,
    interior_color text,
    doors          smallint,
    seats          smallint,
    condition      text,
    price          bigint,
    currency       text,
    price_kind     text,
    mileage        integer,
    mileage_unit   text,
    place          text,
    city           text,
    region         text,
    postal_code    text,
    country        text,
    latitude       double precision,
    longitude      double precision,
    image          text,
    title          text,
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'delisted', 'sold')),
    listing_count  integer NOT NULL DEFAULT 1,
    completeness   real NOT NULL DEFAULT 0,
    confidence     real NOT NULL DEFAULT 0,
    provenance     jsonb NOT NULL DEFAULT '{}',
    block_key      text,
    block_km       integer,
    created_at     timestamptz NOT NULL,
    created_cycle  text NOT NULL,
    updated_at     timestamptz NOT NULL,
    updated_cycle  text NOT NULL
);
CREATE UNIQUE INDEX vehicles_vin ON vehicles (vin) WHERE vin IS NOT NULL;
CREATE INDEX vehicles_block ON vehicles (block_key, block_km) WHERE block_key IS NOT NULL;
CREATE INDEX vehicles_block_without_vin ON vehicles (block_key, block_km) WHERE vin IS NULL AND block_key IS NOT NULL;
CREATE INDEX vehicles_created_cycle ON vehicles (created_cycle);
CREATE INDEX vehicles_updated_cycle ON vehicles (updated_cycle) INCLUDE (completeness);
CREATE INDEX vehicles_make_model_year ON vehicles (make, model, year);

-- One row per advertisement: what the site said. Written only when the content changed.
CREATE TABLE listing_records (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id      uuid NOT NULL REFERENCES scrape_sources (id),
    source         text NOT NULL,
    remote_id      text NOT NULL,
    remote_slug    text,
    url            text NOT NULL,
    title          text,
    price          bigint,
    currency       text,
    price_kind     text CHECK (price_kind IN ('asking', 'sold', 'bid', 'reserve')),
    mileage        integer,
    mileage_unit   text CHECK (mileage_unit IN ('mi', 'km')),
    year           smallint,
    make           text,
    model          text,
    trim           text,
    vin            text,
    vin_status     text,
    condition      text,
    body_style     text,
    engine         text,
    fuel_type      text,
    fuel_economy   text,
    transmission   text,
    drivetrain     text,
    exterior_color text,
    interior_color text,
    doors          smallint,
    seats          smallint,
    place          text,
    city           text,
    region         text,
    postal_code    text,
    country        text,
    latitude       double precision,
    longitude      double precision,
    seller_name    text,
    seller_type    text,
    seller_phone   text,
    images         text[] NOT NULL DEFAULT '{}',
    description    text,
    posted_at      timestamptz,
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'delisted', 'sold')),
    first_seen_at  timestamptz NOT NULL,
    first_cycle    text NOT NULL,
    changed_at     timestamptz NOT NULL,
    changed_cycle  text NOT NULL,
    raw            jsonb NOT NULL DEFAULT '{}',
    raw_payload    jsonb,
    provenance     jsonb NOT NULL DEFAULT '{}',
    quarantine     jsonb NOT NULL DEFAULT '{}',
    completeness   real NOT NULL DEFAULT 0,
    content_hash   uuid NOT NULL,
    archive_id     bigint,
    vehicle_id     bigint REFERENCES vehicles (id) ON DELETE SET NULL,
    UNIQUE (source_id, remote_id)
);
CREATE INDEX listing_records_vehicle ON listing_records (vehicle_id);
-- Who may be missed by a complete harvest.
CREATE INDEX listing_records_active ON listing_records (source_id) WHERE status = 'active';
CREATE INDEX listing_records_changed_cycle ON listing_records (changed_cycle, source_id);

-- What changes at every observation; narrow, so that an unchanged listing touches no wide row.
CREATE TABLE listing_sightings (
    listing_id   bigint PRIMARY KEY REFERENCES listing_records (id) ON DELETE CASCADE,
    source_id    uuid NOT NULL,
    last_seen_at timestamptz NOT NULL,
    last_cycle   text NOT NULL,
    seen_count   integer NOT NULL DEFAULT 1,
    absences     smallint NOT NULL DEFAULT 0,
    absent_cycle text
) WITH (fillfactor = 70);

CREATE VIEW listings AS
    SELECT r.*, s.last_seen_at, s.seen_count, s.absences, s.seen_count = 1 AS is_new
    FROM listing_records r JOIN listing_sightings s ON s.listing_id = r.id;

CREATE TABLE listing_history (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    listing_id   bigint NOT NULL REFERENCES listing_records (id) ON DELETE CASCADE,
    observed_at  timestamptz NOT NULL,
    cycle_id     text NOT NULL,
    price        bigint,
    currency     text,
    price_kind   text,
    mileage      integer,
    mileage_unit text,
    status       text NOT NULL,
    archive_id   bigint
);
CREATE INDEX listing_history_listing ON listing_history (listing_id, observed_at);

CREATE TABLE merge_proposals (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_a   bigint NOT NULL,  -- no foreign keys: a merge takes one of the two away, its proposal stays
    vehicle_b   bigint NOT NULL,
    score       real NOT NULL,
    reasons     jsonb NOT NULL DEFAULT '{}',
    status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'merged', 'rejected', 'undone')),
    created_at  timestamptz NOT NULL,
    decided_at  timestamptz,
    decided_by  text,
    UNIQUE (vehicle_a, vehicle_b),
    CHECK (vehicle_a < vehicle_b)
);

CREATE TABLE vehicle_repairs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_id   bigint NOT NULL,
    field_name   text NOT NULL,
    before_value jsonb,
    after_value  jsonb,
    kind         text NOT NULL CHECK (kind IN ('backfill', 'correct', 'merge', 'unmerge')),
    reason       text NOT NULL,
    evidence     jsonb NOT NULL DEFAULT '{}',
    cycle_id     text,
    repaired_at  timestamptz NOT NULL
);
CREATE INDEX vehicle_repairs_vehicle ON vehicle_repairs (vehicle_id);

-- ── The queue ───────────────────────────────────────────────────────────────────────────────────

CREATE TABLE import_queue (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id        uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
    listing_url      text NOT NULL,
    url_hash         uuid NOT NULL,
    hint             jsonb,
    status           text NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'processing', 'complete', 'failed', 'skipped', 'dead')),
    priority         integer NOT NULL DEFAULT 0,
    attempts         integer NOT NULL DEFAULT 0,
    max_attempts     integer NOT NULL DEFAULT 5,
    not_before       timestamptz NOT NULL DEFAULT '-infinity',
    lease_owner      text,
    lease_expires_at timestamptz,
    failure_category text,
    error_message    text,
    listing_id       bigint REFERENCES listing_records (id) ON DELETE SET NULL,
    cycle_id         text NOT NULL,
    processed_cycle  text,
    discovered_at    timestamptz NOT NULL DEFAULT now(),
    processed_at     timestamptz,
    UNIQUE (source_id, url_hash)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX import_queue_claim ON import_queue (source_id, priority DESC, id) WHERE status = 'pending';
CREATE INDEX import_queue_cycle ON import_queue (cycle_id);
CREATE INDEX import_queue_leases ON import_queue (lease_expires_at) WHERE status = 'processing';
CREATE INDEX import_queue_dead ON import_queue (source_id, processed_at) WHERE status IN ('dead', 'failed');

-- ── Improvement ─────────────────────────────────────────────────────────────────────────────────

CREATE TABLE source_repairs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id     uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
    cycle_id      text,
    diagnosis     text NOT NULL,
    reason        text NOT NULL,
    status        text NOT NULL CHECK (status IN ('diagnosed', 'proposed', 'canary', 'promoted', 'rejected', 'rolled_back')),
    from_version  integer,
    to_version    integer,
    score_before  real,
    score_after   real,
    evidence      jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL,
    finished_at   timestamptz
);
CREATE INDEX source_repairs_source ON source_repairs (source_id, created_at DESC);

CREATE TABLE source_candidates (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain           text NOT NULL UNIQUE,
    url              text NOT NULL,
    channel          text NOT NULL,
    evidence         jsonb NOT NULL DEFAULT '{}',
    evidence_count   integer NOT NULL DEFAULT 1,
    status           text NOT NULL DEFAULT 'found'
                     CHECK (status IN ('found', 'probed', 'trial', 'active', 'rejected')),
    reason           text,
    score            real,
    config           jsonb,
    kind             text,
    source_id        uuid REFERENCES scrape_sources (id) ON DELETE SET NULL,
    found_at         timestamptz NOT NULL,
    probed_at        timestamptz,
    decided_at       timestamptz,
    decided_cycle    text
);
CREATE INDEX source_candidates_status ON source_candidates (status, found_at);

-- How far each discovery channel has read: an archive page id by source, a byte offset by file.
CREATE TABLE discovery_progress (
    channel  text NOT NULL,
    subject  text NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    mark     text NOT NULL DEFAULT '',
    read_at  timestamptz NOT NULL,
    PRIMARY KEY (channel, subject)
);

-- ── Searches and deals ──────────────────────────────────────────────────────────────────────────

CREATE TABLE offerup_searches (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL,
    params     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(params) = 'object'),
    active     boolean NOT NULL DEFAULT true,
    schedule   text NOT NULL DEFAULT '0 */2 * * *',
    created_at timestamptz NOT NULL DEFAULT now(),
    source     text NOT NULL DEFAULT 'offerup',
    time_zone  text NOT NULL DEFAULT 'UTC',
    last_tick  timestamptz
);

CREATE TABLE offerup_jobs (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    search_id        uuid REFERENCES offerup_searches (id) ON DELETE CASCADE,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'finished', 'error')),
    result           jsonb,
    error_message    text,
    run_now          boolean NOT NULL DEFAULT false,
    started_at       timestamptz,
    finished_at      timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    scheduled_for    timestamptz,
    attempts         integer NOT NULL DEFAULT 0,
    lease_owner      text,
    lease_expires_at timestamptz,
    run_id           text,
    CHECK (started_at IS NULL OR started_at >= created_at),
    CHECK (finished_at IS NULL OR finished_at >= started_at),
    UNIQUE (search_id, scheduled_for)
);
CREATE INDEX offerup_jobs_open ON offerup_jobs (created_at) WHERE status IN ('pending', 'running');
CREATE INDEX offerup_jobs_started ON offerup_jobs (started_at DESC);

CREATE TABLE deal_finder_jobs (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'finished', 'error')),
    result           jsonb,
    error_message    text,
    run_now          boolean NOT NULL DEFAULT false,
    started_at       timestamptz,
    finished_at      timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    cycle_id         text,
    lease_owner      text,
    lease_expires_at timestamptz,
    CHECK (finished_at IS NULL OR finished_at >= started_at)
);

CREATE TABLE arbitrage_valuations (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    listing_id       bigint NOT NULL REFERENCES listing_records (id) ON DELETE CASCADE,
    job_id           uuid REFERENCES deal_finder_jobs (id) ON DELETE SET NULL,
    valuation_data   jsonb NOT NULL,
    projected_profit numeric GENERATED ALWAYS AS ((valuation_data ->> 'net_profit')::numeric) STORED,
    valued_at        timestamptz NOT NULL,
    current          boolean NOT NULL DEFAULT true,
    closed_at        timestamptz,
    close_reason     text
);
CREATE UNIQUE INDEX arbitrage_valuations_current ON arbitrage_valuations (listing_id) WHERE current;
CREATE INDEX arbitrage_valuations_profit ON arbitrage_valuations (projected_profit DESC NULLS LAST) WHERE current;
CREATE INDEX arbitrage_valuations_listing ON arbitrage_valuations (listing_id, valued_at DESC);

-- ── Counters ────────────────────────────────────────────────────────────────────────────────────
-- A total is the sum of its deltas. Every statement that changes a counted row adds its delta in its
-- own transaction, so the sum is exact at every commit and no writer waits for another; folding
-- (db/counters.py) keeps the deltas few. Reading a total therefore never scans the table it counts.

CREATE TABLE counters (
    metric text NOT NULL,
    scope  text NOT NULL DEFAULT '',
    n      bigint NOT NULL
);
CREATE INDEX counters_metric ON counters (metric, scope) INCLUDE (n);

CREATE FUNCTION count_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO counters SELECT 'queue.' || status, source_id::text, count(*) FROM new_rows GROUP BY 1, 2;
        INSERT INTO counters SELECT 'cycle.queued', cycle_id, count(*) FROM new_rows GROUP BY 2;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO counters
        SELECT 'queue.' || status, source_id::text, sum(d)
        FROM (SELECT status, source_id, 1 AS d FROM new_rows UNION ALL SELECT status, source_id, -1 FROM old_rows) x
        GROUP BY 1, 2 HAVING sum(d) <> 0;
        INSERT INTO counters
        SELECT 'cycle.queued', cycle_id, sum(d)
        FROM (SELECT cycle_id, 1 AS d FROM new_rows UNION ALL SELECT cycle_id, -1 FROM old_rows) x
        GROUP BY 2 HAVING sum(d) <> 0;
    ELSE
        INSERT INTO counters SELECT 'queue.' || status, source_id::text, -count(*) FROM old_rows GROUP BY 1, 2;
        INSERT INTO counters SELECT 'cycle.queued', cycle_id, -count(*) FROM old_rows GROUP BY 2;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON import_queue REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_queue();
CREATE TRIGGER count_update AFTER UPDATE ON import_queue REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_queue();
CREATE TRIGGER count_delete AFTER DELETE ON import_queue REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_queue();

CREATE FUNCTION count_listings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO counters SELECT 'listings.' || status, source_id::text, count(*) FROM new_rows GROUP BY 1, 2;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO counters
        SELECT 'listings.' || status, source_id::text, sum(d)
        FROM (SELECT status, source_id, 1 AS d FROM new_rows UNION ALL SELECT status, source_id, -1 FROM old_rows) x
        GROUP BY 1, 2 HAVING sum(d) <> 0;
    ELSE
        INSERT INTO counters SELECT 'listings.' || status, source_id::text, -count(*) FROM old_rows GROUP BY 1, 2;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON listing_records REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_listings();
CREATE TRIGGER count_update AFTER UPDATE ON listing_records REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_listings();
CREATE TRIGGER count_delete AFTER DELETE ON listing_records REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_listings();

CREATE FUNCTION count_vehicles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO counters SELECT 'vehicles', '', count(*) FROM new_rows HAVING count(*) > 0;
        INSERT INTO counters SELECT 'cycle.vehicles_added', created_cycle, count(*) FROM new_rows GROUP BY 2;
    ELSE
        INSERT INTO counters SELECT 'vehicles', '', -count(*) FROM old_rows HAVING count(*) > 0;
        INSERT INTO counters SELECT 'cycle.vehicles_added', created_cycle, -count(*) FROM old_rows GROUP BY 2;
        -- A vehicle goes only because it turned out to be another one.
        INSERT INTO counters SELECT 'cycle.vehicles_merged', created_cycle, count(*) FROM old_rows GROUP BY 2;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON vehicles REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_vehicles();
CREATE TRIGGER count_delete AFTER DELETE ON vehicles REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_vehicles();

CREATE FUNCTION count_candidates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO counters SELECT 'candidates.' || status, '', -count(*) FROM old_rows GROUP BY 1;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO counters SELECT 'candidates.' || status, '', count(*) FROM new_rows GROUP BY 1;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON source_candidates REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_candidates();
CREATE TRIGGER count_update AFTER UPDATE ON source_candidates REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_candidates();
CREATE TRIGGER count_delete AFTER DELETE ON source_candidates REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_candidates();
