"""Vehicles: a VIN has one vehicle, whoever comes first."""

from __future__ import annotations

from datetime import UTC, datetime

from fill_pipeline.db import counters, vehicles
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.vehicles import VehicleRow

NOW = datetime(2025, 12, 24, 18, tzinfo=UTC)


def car(vehicle_id: int, vin: str | None) -> VehicleRow:
    return VehicleRow(id=vehicle_id, vin=vin, created_at=NOW, created_cycle="c", updated_at=NOW, updated_cycle="c")


def test_a_vehicle_whose_vin_is_taken_is_left_out_and_the_others_come_in(conn: Connection) -> None:
    assert vehicles.insert_vehicles(conn, [car(2, "1FTFW1ET5DFC10312"), car(1, None)]) == {1, 2}
    more = [car(3, None), car(4, "1FTFW1ET5DFC10312"), car(5, "1HGCM82633A004352")]
    with conn.transaction():
        assert vehicles.insert_vehicles(conn, more) == {3, 5}
    assert conn.execute("SELECT array_agg(id ORDER BY id) FROM vehicles").fetchone() == ([1, 2, 3, 5],)
    assert counters.totals(conn, ["vehicles"]) == {"vehicles": 4}
