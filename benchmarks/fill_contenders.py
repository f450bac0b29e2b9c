"""Who is compared in ``fill.py``: the drain, a Scrapy spider, a floor of stock parts; each in a process of its own.

``python benchmarks/fill_contenders.py NAME FILE``, with a JSON file of the job: database, site, which of its pages.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from typing import Any

CONNECTIONS = 64
ROWS_PER_WRITE = 500
PAGES_PER_BATCH = 50
PAGES_TO_READ = 300
FIELDS = ("year", "make", "model", "trim", "mileage", "body", "engine", "fuel", "transmission", "drivetrain", "colour",
          "interior", "doors", "vin")  # fmt: skip
COLUMNS = ("url", "title", "price", "place", "description", "seller", "images", *FIELDS)
NUMBERS = frozenset({"price", "year", "mileage", "doors"})
_TEXT = "text"
_TYPES = {"url": "text PRIMARY KEY", "images": "text[]", **dict.fromkeys(NUMBERS, "int")}
TABLE = f"CREATE TABLE plain_vehicles ({', '.join(f'{name} {_TYPES.get(name, _TEXT)}' for name in COLUMNS)})"
MERGE = f"ON CONFLICT (url) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in COLUMNS[1:])}"
_JSON_LD = re.compile(rb'<script type="application/ld\+json">(.*?)</script>', re.DOTALL)
Job = dict[str, Any]


def run_drain(job: Job) -> None:
    """The real drain over the real queue: one shard."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_network

    from fill_pipeline.drain.drain import drain_queue
    from fill_pipeline.drain.owner import owner
    from fill_pipeline.drain.work import Work
    from fill_pipeline.settings import Settings

    def now() -> datetime:
        return datetime.now(UTC)

    home, database, workers = job["home"], job["database"], job["workers"]
    nets = (ip_network("127.0.0.0/8"),)
    settings = Settings(home=home, allow_nets=nets, workers=workers, database_url=database)
    drain_queue(Work(settings, job["database"], job["cycle_id"], owner(job["shard"]), now, now() + timedelta(hours=1)))


def run_reading(job: Job) -> None:
    """Only reads, as many pages as it is given and nothing else: what the machine's cores can do side by side."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from fill_pipeline.drain.page import RawPage, Reading
    from fill_pipeline.drain.read import read_pages
    from fill_pipeline.settings import Settings

    wanted, now = len(job["urls"]), datetime.now(UTC)
    reading = Reading("bench", None, 0.0, Settings().core_fields)
    pages = [
        replace(RawPage.unkept(url, body, "text/html", now=now), content_encoding="gzip")
        for url, body in _with_pycurl(job["urls"][:PAGES_TO_READ])
    ]
    while wanted > 0:
        read = read_pages(pages[:wanted], {page.source_id: reading for page in pages}, now=now)
        assert all(page.rows for page in read)
        wanted -= len(read)


def run_scrapy(job: Job) -> None:
    """A spider as one writes it: parsel selectors, an item pipeline that writes by executemany."""
    import psycopg
    import scrapy
    from scrapy.crawler import CrawlerProcess

    site = job["site"]

    class Rows:
        """The item pipeline."""

        statement = f"INSERT INTO plain_vehicles VALUES ({', '.join(['%s'] * len(COLUMNS))}) {MERGE}"  # noqa: S608  # constants

        def open_spider(self) -> None:
            self.conn = psycopg.connect(job["database"])
            self.rows: list[list[Any]] = []

        def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
            self.rows.append([item.get(name) for name in COLUMNS])
            if len(self.rows) >= ROWS_PER_WRITE:
                self.write()
            return item

        def close_spider(self) -> None:
            self.write()
            self.conn.close()

        def write(self) -> None:
            with self.conn.cursor() as cursor:
                cursor.executemany(self.statement, self.rows)
            self.conn.commit()
            self.rows = []

    class Cars(scrapy.Spider):
        """The spider."""

        name = "cars"

        async def start(self) -> Any:
            for url in job["urls"]:
                yield scrapy.Request(url)

        def parse(self, response: Any) -> Iterator[dict[str, Any]]:
            item: dict[str, Any] = {
                "url": response.url,
                "title": response.css(f"{site['title']}::text").get(),
                "price": number(response.css(f"{site['price']}::text").get()),
                "place": response.css(f"{site['place']}::text").get(),
                "description": " ".join(response.css(f"{site['description']}::text").getall()),
                "seller": response.css(f"{site['seller']}::text").get(),
                "images": [response.urljoin(src) for src in response.css(f"{site['gallery']}::attr(src)").getall()],
            }
            for row in response.css(site["row"]):
                name = site["labels"].get((row.css(f"{site['label']}::text").get() or "").rstrip(":").lower())
                if name is not None:
                    value = row.css(f"{site['value']}::text").get()
                    item[name] = number(value) if name in NUMBERS else value
            yield item

    settings: dict[str, Any] = {
        "ROBOTSTXT_OBEY": True,
        "CONCURRENT_REQUESTS": CONNECTIONS,
        "CONCURRENT_REQUESTS_PER_DOMAIN": CONNECTIONS,
        "DOWNLOAD_DELAY": 0,
        "AUTOTHROTTLE_ENABLED": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
        "ITEM_PIPELINES": {Rows: 300},
        "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    }
    if job["uvloop"]:
        settings["ASYNCIO_EVENT_LOOP"] = "uvloop.Loop"
    process = CrawlerProcess(settings)
    process.crawl(Cars)
    process.start()


def number(text: str | None) -> int | None:
    """The digits of a text as a number."""
    digits = re.sub(r"\D", "", text or "")
    return int(digits) if digits else None


def run_floor(job: Job) -> None:
    """Stock parts with nothing around them: pycurl multi here, parse and COPY in worker processes."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(job["workers"]):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=_floor_worker, args=(theirs, job["database"]), daemon=True))
        processes[-1].start()
        theirs.close()
        pipes.append(ours)
    batch: list[tuple[str, bytes]] = []
    sent = 0
    for page in _with_pycurl(job["urls"]):
        batch.append(page)
        if len(batch) >= PAGES_PER_BATCH:
            pipes[sent % len(pipes)].send(batch)
            sent, batch = sent + 1, []
    pipes[0].send(batch)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()


def _with_pycurl(urls: list[str]) -> Iterator[tuple[str, bytes]]:
    import pycurl

    multi, waiting = pycurl.CurlMulti(), iter(urls)
    chunks: dict[Any, list[bytes]] = {}
    asked: dict[Any, str] = {}

    def ask(curl: Any) -> None:
        url = next(waiting, None)
        if url is not None:
            asked[curl] = url
            curl.setopt(pycurl.URL, url)
            multi.add_handle(curl)

    for _ in range(CONNECTIONS):
        curl = pycurl.Curl()
        chunks[curl] = []
        curl.setopt(pycurl.WRITEFUNCTION, chunks[curl].append)
        curl.setopt(pycurl.HTTPHEADER, ["Accept-Encoding: gzip"])
        curl.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
        ask(curl)
    while asked:
        multi.perform()
        _, succeeded, failed = multi.info_read()
        if failed:
            raise RuntimeError(str(failed[0]))
        for curl in succeeded:
            body, url = b"".join(chunks[curl]), asked.pop(curl)
            chunks[curl].clear()
            multi.remove_handle(curl)
            ask(curl)
            yield url, body
        if not succeeded:
            multi.select(0.05)


def _floor_worker(pipe: Pipe, database: str) -> None:
    import orjson
    import psycopg
    from isal import isal_zlib
    from selectolax.lexbor import LexborHTMLParser

    types = ["text[]" if c == "images" else "int4" if c in NUMBERS else "text" for c in COLUMNS]
    rows: list[list[Any]] = []
    with psycopg.connect(database) as conn:
        conn.execute("CREATE TEMP TABLE incoming (LIKE plain_vehicles) ON COMMIT DELETE ROWS")

        def write() -> None:
            with conn.cursor() as cursor:
                with cursor.copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(types)
                    for row in rows:
                        copy.write_row(row)
                cursor.execute(f"INSERT INTO plain_vehicles SELECT * FROM incoming {MERGE}")  # noqa: S608  # constants
            conn.commit()
            rows.clear()

        while (batch := pipe.recv()) is not None:
            for url, packed in batch:
                body = isal_zlib.decompress(packed, 31)
                LexborHTMLParser(body)
                found = _JSON_LD.search(body)
                rows.append(_mapped(url, orjson.loads(found[1]) if found is not None else {}))
            if len(rows) >= ROWS_PER_WRITE:
                write()
        write()


def _mapped(url: str, record: dict[str, Any]) -> list[Any]:
    """A row from a schema.org record."""
    offer, engine = record.get("offers") or {}, record.get("vehicleEngine") or {}
    seller = offer.get("seller") or {}
    return [
        url,
        record.get("name"),
        offer.get("price"),
        (seller.get("address") or {}).get("addressLocality"),
        record.get("description"),
        seller.get("name"),
        record.get("image"),
        int(record.get("vehicleModelDate") or 0),
        (record.get("brand") or {}).get("name"),
        record.get("model"),
        record.get("vehicleConfiguration"),
        (record.get("mileageFromOdometer") or {}).get("value"),
        record.get("bodyType"),
        engine.get("name"),
        engine.get("fuelType"),
        record.get("vehicleTransmission"),
        record.get("driveWheelConfiguration"),
        record.get("color"),
        record.get("vehicleInteriorColor"),
        record.get("numberOfDoors"),
        record.get("vehicleIdentificationNumber"),
    ]


RUNS: dict[str, Callable[[Job], None]] = {
    "drain": run_drain,
    "scrapy": run_scrapy,
    "floor": run_floor,
    "reading": run_reading,
}

if stages := os.environ.get("FILL_BENCH_STAGES"):  # here, because worker processes import this file again
    import fill_stages

    fill_stages.watch(stages)

if __name__ == "__main__":
    with open(sys.argv[2]) as file:
        RUNS[sys.argv[1]](json.load(file))
