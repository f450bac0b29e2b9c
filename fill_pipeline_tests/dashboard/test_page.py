"""The page in a real browser."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

import pytest

from fill_pipeline.db import incidents, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.incidents import Incident, IncidentKind


def figures(page: Any) -> dict[str, int]:
    shown = page.evaluate("[...document.querySelectorAll('[data-figure]')].map(e => [e.dataset.figure, e.textContent])")
    return {name: int(text.replace(",", "")) for name, text in shown}


def wait_for(page: Any, figure: str, value: int) -> None:
    page.wait_for_function(
        "([f, v]) => document.querySelector(`[data-figure=${f}]`)?.textContent === v", arg=[figure, f"{value:,}"]
    )


def send(page: Any, **said: str) -> None:
    """Say something to the server as a page does that was tampered with."""
    page.evaluate("said => getElement(document.querySelector('section').id.slice(1)).$emit('do', said)", said)


def count(conn: Connection, query: str) -> int:
    row = conn.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


def test_numbers_equal_the_tables_and_move_without_reload(page: Any, rows: Any, conn: Connection) -> None:
    page.evaluate("window.same = true")
    rows.add_vehicles(1234)
    rows.queue("dealer_000", 77)
    rows.queue("dealer_001", 5, "dead")
    wait_for(page, "vehicles_added", 1234)
    wait_for(page, "queue_dead", 5)
    shown = figures(page)
    assert shown["total_vehicles"] == count(conn, "SELECT count(*) FROM vehicles")
    assert shown["vehicles_queued"] == 82
    assert shown["queue_pending"] == count(conn, "SELECT count(*) FROM import_queue WHERE status = 'pending'")
    assert shown["gap"] == 2000 - 1234
    assert shown["sources_active"] == 5
    conn.execute("DELETE FROM vehicles WHERE id <= 234")
    wait_for(page, "vehicles_added", 1000)
    assert page.evaluate("window.same")
    assert page.errors == []


def test_a_hostile_text_does_not_run(page: Any, rows: Any, conn: Connection) -> None:
    hostile = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>`${window.pwned=1}`{{pwned}}"
    rows.add_vehicles(1, title=hostile, image="javascript:window.pwned=1")
    rows.add_vehicles(1, title="picture", image='https://example.com/"onerror="window.pwned=1')
    rows.add_vehicles(1, title="inside", image="http://192.168.1.1/reboot")
    conn.execute("UPDATE vehicles SET make = %s WHERE id = 1", (hostile,))
    conn.execute(
        "INSERT INTO incidents (kind, subject, message, opened_at, updated_at) VALUES (%s, %s, %s, now(), now())",
        (hostile, hostile, hostile),
    )
    conn.execute("UPDATE scrape_sources SET config_error = %s WHERE slug = 'dealer_002'", (hostile,))
    wait_for(page, "vehicles_added", 3)
    page.wait_for_function("document.body.innerText.includes('its configuration cannot be used')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.querySelectorAll('#app [onerror], #app script').length") == 0
    assert page.evaluate("[...document.querySelectorAll('.photo img')].filter(i => i.hasAttribute('src')).length") == 0
    page.click("text=Show photos")  # nobody is asked for a picture before the viewer wants it
    photos = page.evaluate("[...document.querySelectorAll('.photo img')].map(i => [i.src, i.referrerPolicy])")
    assert [policy for _, policy in photos] == ["no-referrer"]
    assert photos[0][0].startswith("https://example.com/")
    assert hostile[:30] in page.inner_text("body")


def test_our_pages_scripts_alone_may_run(page: Any) -> None:
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=1\">')")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned=2'}))"
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None


def test_an_action_without_the_token_is_refused(page: Any, rows: Any, conn: Connection) -> None:
    rows.queue("dealer_001", 5, "dead")
    page.click("[aria-label='Pause Dealer 001']")
    page.fill("dialog input[name=token]", "not the token")
    page.click("dialog button.primary")
    page.wait_for_selector("dialog [role=alert]")
    for deed in ("pause", "requeue", "run_cycle", "roll_back", "dismiss_incident"):
        send(page, do=deed, subject="dealer_001")
        send(page, do="confirm", subject="dealer_001", version="1", why="known")
    send(page, do="confirm", token="")
    page.wait_for_timeout(500)
    assert count(conn, "SELECT count(*) FROM scrape_sources WHERE NOT active") == 0
    assert count(conn, "SELECT count(*) FROM import_queue WHERE status = 'dead'") == 5


def test_who_has_the_token_pauses_requeues_and_rolls_back(page: Any, rows: Any, conn: Connection) -> None:
    source = registry.find_source(conn, "dealer_001")
    assert source is not None
    registry.change_config(conn, source.id, {"index_url": "/new"}, made_by="repair", reason="learnt")
    rows.queue("dealer_001", 5, "dead")
    page.click("[aria-label='Pause Dealer 001']")
    page.fill("dialog input[name=token]", page.token)
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-label='Resume Dealer 001']")
    assert not page.query_selector("dialog")
    paused = registry.find_source(conn, "dealer_001")
    assert paused is not None
    assert not paused.active

    page.click("[aria-label='Requeue the dead pages of Dealer 001']")
    assert page.wait_for_selector("dialog[open]")
    assert not page.query_selector("dialog input[name=token]")  # asked for once
    page.click("dialog button.primary")
    wait_for(page, "queue_dead", 0)
    assert count(conn, "SELECT count(*) FROM import_queue WHERE status = 'pending'") == 5

    page.click("[aria-label='Roll back the configuration of Dealer 001']")
    page.click("dialog button.primary")
    page.wait_for_selector("dialog", state="detached")
    restored = registry.find_source(conn, "dealer_001")
    assert restored is not None
    assert (restored.config, restored.config_version) == ({}, 3)


def test_an_incident_is_dismissed_with_a_reason(page: Any, rows: Any, conn: Connection) -> None:
    incidents.open_incident(
        conn, Incident(IncidentKind.SOURCE_FAILING, "dealer_003", "it fails"), now=datetime.now(UTC)
    )
    page.wait_for_function("() => document.querySelector('.notice')?.innerText.includes('Source failing dealer_003')")
    page.click("[aria-label='Dismiss the incident source failing of dealer_003']")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.activeElement.name") == "why"
    page.fill("dialog [name=why]", "the dealer moves <b>house</b>")
    page.fill("dialog input[name=token]", "not the token")
    page.click("dialog button.primary")
    page.wait_for_selector("dialog [role=alert]")
    assert page.input_value("dialog [name=why]") == "the dealer moves <b>house</b>"  # nobody types it twice
    assert count(conn, "SELECT count(*) FROM incidents WHERE dismissed_at IS NOT NULL") == 0
    page.fill("dialog input[name=token]", page.token)
    page.click("dialog button.primary")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_function("() => document.body.innerText.includes('127.0.0.1 on the dashboard: the dealer moves <b>')")
    assert count(conn, "SELECT count(*) FROM incidents WHERE dismissed_at IS NOT NULL AND closed_at IS NULL") == 1
    assert not page.query_selector("[data-do=dismiss_incident]")
    assert not page.query_selector(".notice")


def test_a_cycle_is_run_at_once(page: Any, conn: Connection) -> None:
    conn.execute("UPDATE fill_cycles SET status = 'closed', completed_at = now() WHERE status = 'open'")
    page.click("text=Run a cycle now")
    page.fill("dialog input[name=token]", page.token)
    page.click("dialog button.primary")
    page.wait_for_selector("dialog", state="detached")
    assert count(conn, "SELECT count(*) FROM fill_cycles WHERE status = 'open' AND cycle_id LIKE '%+2'") == 1


def test_the_table_is_sorted_by_keyboard_and_keeps_the_focus(page: Any, rows: Any) -> None:
    page.focus("[data-key=sort-added]")
    page.keyboard.press("Enter")
    page.wait_for_selector("th[aria-sort=descending] [data-key=sort-added]")
    page.keyboard.press("Enter")
    page.wait_for_selector("th[aria-sort=ascending] [data-key=sort-added]")
    added = page.evaluate("[...document.querySelectorAll('.sources tbody tr')].map(r => +r.children[2].textContent)")
    assert added == sorted(added)
    rows.add_vehicles(9)
    wait_for(page, "vehicles_added", 9)
    assert page.evaluate("document.activeElement.dataset.key") == "sort-added"


def test_escape_leaves_a_dialog_and_gives_the_focus_back(page: Any) -> None:
    page.focus("[aria-label='Pause Dealer 003']")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.activeElement.name") == "token"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Pause Dealer 003"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(browser: Any, address: str, rows: Any, scheme: str) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector(".sources tbody tr")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.close()


def test_links_lead_to_the_asset_and_the_run(page: Any, rows: Any) -> None:
    run = "7f2c1e5a-0b1d-4c5e-9a57-3d1f5c2b8e90"
    rows.act("harvest", "running", run_id=run)
    page.wait_for_selector(f"a[href='http://127.0.0.1:3000/runs/{run}']")
    assert page.query_selector("a[href='http://127.0.0.1:3000/assets/sources/dealer_001']")


def test_a_figure_leads_to_its_rows_and_a_vehicle_to_its_values(page: Any, rows: Any) -> None:
    rows.add_vehicles(7, title="<script>window.pwned=1</script>")
    wait_for(page, "vehicles_added", 7)
    page.click("[data-do=why][data-subject=vehicles_added]")
    page.wait_for_selector("dialog[open]")
    assert figures(page)["why_sum_source"] == figures(page)["why_sum_run"] == 7
    page.click("dialog [data-subject='vehicle:7']")
    page.wait_for_function("() => document.querySelector('dialog h2')?.textContent.startsWith('Vehicle 7')")
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    assert "15000" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    for subject in ("vehicle:8", "vehicle:1e9", "figures", "vehicle:" + "9" * 40):
        send(page, do="why", subject=subject)
        page.wait_for_selector("dialog [role=alert]")
        send(page, do="dismiss")
        page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("window.pwned") is None


def test_pages_of_other_sites_cannot_talk_to_it(address: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{address}/healthz", headers={"Origin": address})) as answer:
        assert answer.status == 200
    for origin in ("http://attacker.example", "null"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{address}/healthz", headers={"Origin": origin}))
        assert refused.value.code == 403
    with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as raw:
        raw.sendall(
            b"GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: "
            + address.partition("://")[2].encode()
            + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nOrigin: http://attacker.example\r\n\r\n"
        )
        assert b" 403 " in raw.recv(200).split(b"\r\n")[0]


def test_metrics_equal_the_tables(address: str, rows: Any) -> None:
    rows.add_vehicles(31)
    rows.queue("dealer_002", 6)
    time.sleep(2.1)  # readings are shared for two seconds
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        text = answer.read().decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples["fill_up"] == "1"
    assert samples["fill_cycle_vehicles_added"] == "31"
    assert samples['fill_queue{status="pending"}'] == "6"
    assert samples['fill_source_pending{source="dealer_002"}'] == "6"
    assert samples["fill_vehicles"] == "31"
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} >= {
        "fill_field_completeness_ratio"
    }


def test_only_loopback_names_are_answered(address: str, rows: Any) -> None:
    request = urllib.request.Request(address, headers={"Host": "attacker.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    with urllib.request.urlopen(f"{address}/healthz") as answer:
        assert json.load(answer) == {"status": "ok"}
        assert "unsafe" not in answer.headers["Content-Security-Policy"].partition("style-src")[0]
