-- Reads behind the asset checks. Each costs what its sample, or the registry, costs.

-- name: sample_vehicles
-- Every so many-th vehicle of those a cycle touched, through the cycle's own index.
SELECT id, vin, year, make, model, price, currency, price_kind, mileage, mileage_unit, body_style, fuel_type,
       transmission, drivetrain, condition, place, city, region, postal_code, latitude, image
FROM vehicles WHERE updated_cycle = :cycle_id AND mod(id, :step) = 0 LIMIT :most;

-- name: silences
-- Each source in work with the hours since it last answered; one that never did counts from its registration.
SELECT s.slug, extract(epoch FROM :now - coalesce(st.last_success_at, s.created_at))::float8 / 3600
FROM scrape_sources s JOIN source_state st ON st.source_id = s.id
WHERE s.active AND s.status IN ('live', 'trial') ORDER BY s.slug;
