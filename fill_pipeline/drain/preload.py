"""Imported by the process that workers are forked from: reads a page there, so that what loads at its first use (the
decoder of VINs, vocabularies, gazetteers) loads once and is shared."""

from __future__ import annotations

from datetime import UTC, datetime

from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import read_page

_PAGE = b"""<html><title>2019 Honda Civic EX for sale</title><h1>2019 Honda Civic EX</h1>
<script type="application/ld+json">{"@type": "Car", "name": "2019 Honda Civic EX", "brand": "Honda", "model": "Civic",
"vehicleIdentificationNumber": "2HGFC2F52KH500001", "color": "Blue", "offers": {"price": 15000, "priceCurrency": "USD",
"seller": {"name": "Cars", "address": {"addressLocality": "Dayton", "addressRegion": "OH"}}}}</script>
<table><tr><th>Mileage</th><td>41,000 mi</td></tr><tr><th>Fuel</th><td>Gasoline</td></tr></table></html>"""
_NOW = datetime(2020, 1, 1, tzinfo=UTC)

read_page(RawPage.unkept("https://cars.example/1", _PAGE, "text/html", now=_NOW), Reading("", None, 0.0, ()), now=_NOW)
