-- Reads behind the asset checks.

-- name: duplicate_vins$
-- Of the vehicles a cycle touched, those whose VIN another vehicle has too. Two index look-ups a vehicle.
SELECT count(*) FROM vehicles v
WHERE v.updated_cycle = :cycle_id AND v.vin IS NOT NULL
  AND EXISTS (SELECT 1 FROM vehicles w WHERE w.vin = v.vin AND w.id <> v.id);
