"""CPU time and memory of the extraction, beside parsing alone and other people's tools.

``python benchmarks/extract.py [--corpus DIR] [--mutations N [--first SEED] [--only-mutations]]`` prints a table; its
last line is one JSON object.
The detail pages are made here: different cars on one site, about 40 KB each, once with JSON-LD, once with a table only.
A page is never read twice in a row, so that what is kept from page to page is what a crawl of one site would keep.
Search pages come from the corpus where it is there, and are made here too.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.extract.charset import decode_body
from fill_pipeline.extract.dom import drop_foreign, drop_menus, parse, read_words, strip_noise
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.finish import finish
from fill_pipeline.extract.labelled import read_labels
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.page import extract_page
from fill_pipeline.extract.scripts import find_scripts, linked_data, without_scripts
from fill_pipeline.extract.vin import check_digit
from fill_pipeline.extract.visible import offer_mileage, offer_place, offer_price, offer_vin

ROOT = Path(__file__).parents[1]
URL = "https://x.example/stock/100200300"
ROUNDS = 9  # the best of so many rounds counts: other work on the machine only ever adds
PAGES = 30
CARS = ("Ford F-150 XLT", "Toyota Camry LE", "Honda Civic EX", "BMW X5 xDrive40i", "Jeep Wrangler Sport", "Kia Soul S")
COLORS = ("Gray", "Black", "Oxford White", "Ruby Red", "Blue")
PLACES = ("Boston, MA 02108", "Omaha, NE 68102", "Dallas, TX 75201", "Reno, NV 89501")
_WORDS = (
    "Service was done on schedule and the paperwork is in the car for you to read. The tires have plenty of tread left "
    "and the brakes were done recently. Everything works: windows, locks, air conditioning and the radio. "
)


def detail_page(structured: bool, number: int = 0) -> bytes:
    """The detail page of one car, about 40 KB, as a dealer's site shows it: menus, photos, facts, description, similar
    cars."""
    chance = random.Random(number)
    make, _, model = chance.choice(CARS).partition(" ")
    year, price, miles = chance.randint(2005, 2024), chance.randint(4_000, 90_000), chance.randint(900, 190_000)
    name, serial = f"{year} {make} {model}", chance.randint(100_000, 999_999)
    vin = f"1FTFW1E4{check_digit(f'1FTFW1E40KK{serial}')}KK{serial}"
    menu = "".join(
        f'<li class="nav__item"><a class="nav__link" href="/makes/{n}">Make number {n}</a></li>' for n in range(90)
    )
    photos = "".join(
        f'<div class="gallery__slide"><img src="/photos/{serial}/{n}.jpg" alt="photo {n}" loading="lazy"></div>'
        for n in range(24)
    )
    facts = {
        "Mileage": f"{miles:,} mi",
        "VIN": vin,
        "Exterior Color": chance.choice(COLORS),
        "Engine": f"{chance.randint(15, 62) / 10}L V{chance.choice((6, 8))}",
        "Transmission": chance.choice(("Automatic", "8-Speed Automatic", "6-Speed Manual")),
        "Drivetrain": chance.choice(("4WD", "FWD", "AWD")),
        "Fuel": "Gasoline",
        "Body": chance.choice(("Pickup", "Sedan", "SUV")),
        "Stock #": f"A{number}7",
        "Doors": "4",
    }
    table = "".join(
        f'<tr class="facts__row"><th class="facts__name">{k}</th><td class="facts__value">{v}</td></tr>'
        for k, v in facts.items()
    )
    features = "".join(f'<li class="features__item">Feature number {chance.randint(1, 300)}</li>' for _ in range(60))
    similar = "".join(
        f'<div class="tile"><a href="/stock/{serial + n}">{chance.randint(2005, 2024)} {chance.choice(CARS)}</a>'
        f'<span class="price">${chance.randint(4_000, 90_000):,}</span>'
        f"<span>{chance.randint(900, 190_000):,} miles</span></div>"
        for n in range(8)
    )
    record = {
        "@context": "https://schema.org",
        "@type": "Car",
        "name": name,
        "brand": make,
        "model": model,
        "vehicleModelDate": str(year),
        "vehicleIdentificationNumber": vin,
        "image": [f"/photos/{serial}/{n}.jpg" for n in range(24)],
        "mileageFromOdometer": {"value": miles, "unitCode": "SMI"},
        "offers": {"price": price, "priceCurrency": "USD"},
    }
    script = f'<script type="application/ld+json">{json.dumps(record)}</script>' if structured else ""
    filler = "".join(f'<p class="legal">{_WORDS}</p>' for _ in range(80))
    return (
        f"<html><head><title>{name} | Harbor Motors</title>{script}</head><body><nav><ul>{menu}</ul></nav>"
        f'<h1>{name}</h1><div class="price">${price:,}</div><p>Est. ${price // 60}/mo</p>'
        f"<div>{chance.choice(PLACES)}</div>{photos}<table>{table}</table>"
        f'<div class="description">This {make} came to us in {year + 1}. {_WORDS * 6}</div><ul>{features}</ul>'
        f"<section><h2>Similar vehicles</h2>{similar}</section><footer>{filler}</footer></body></html>"
    ).encode()


def search_page(number: int = 0, cards: int = 100) -> bytes:
    """A search page of so many cards, each with a picture, a title, a price, a mileage and a place."""
    chance = random.Random(number)
    first = 700_100 + 1_000 * number
    body = "".join(
        f'<article class="card"><a href="/vehicle/{first + n}"><img src="/p/{first + n}.jpg"></a>'
        f'<h3 class="card__title"><a href="/vehicle/{first + n}">{chance.randint(2005, 2024)} {chance.choice(CARS)}</a>'
        f'</h3><div class="card__price">${chance.randint(4_000, 90_000):,}</div>'
        f'<ul class="card__facts"><li>{chance.randint(900, 190_000):,} miles</li><li>Automatic</li>'
        f"<li>{chance.choice(PLACES)}</li></ul></article>"
        for n in range(cards)
    )
    return (
        f"<html><body><h1>Used cars</h1><p>1–{cards} of 1,204 results</p>{body}<a href='?page=2'>Next</a></body></html>"
    ).encode()


def cpu_ms(work: Callable[[Any], Any], inputs: Sequence[Any]) -> float:
    """CPU milliseconds of one call, all inputs in turn; the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for value in inputs:
            work(value)
        best = min(best, (time.process_time() - begin) / len(inputs))
    return round(best * 1_000, 3)


def stages(pages: Sequence[bytes]) -> dict[str, float]:
    """CPU milliseconds a page of the stages that a detail page goes through, the best of several rounds each."""
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        spent: dict[str, float] = {}
        for page in pages:
            laps = [("", time.process_time())]
            text = decode_body(page)
            laps.append(("decode", time.process_time()))
            scripts = find_scripts(text)
            list(linked_data(text, scripts))
            markup = without_scripts(text, scripts)
            laps.append(("scan for scripts, JSON-LD", time.process_time()))
            tree = parse(markup)
            laps.append(("parse", time.process_time()))
            strip_noise(tree)
            drop_menus(tree)
            laps.append(("strip noise and menus", time.process_time()))
            words = read_words([tree.body] if tree.body else [])
            laps.append(("walk", time.process_time()))
            drop_foreign(tree, words)
            laps.append(("similar cars", time.process_time()))
            reading = Reading()
            read_labels(words, reading, URL)
            laps.append(("labels", time.process_time()))
            offer_price(reading, words, 0, Layer.TEXT)
            offer_mileage(reading, words, Layer.TEXT)
            offer_vin(reading, words, Layer.TEXT)
            offer_place(reading, words, Layer.TEXT)
            laps.append(("price, mileage, VIN, place", time.process_time()))
            finish(reading, url=URL)
            laps.append(("merge", time.process_time()))
            for (_, begin), (name, end) in pairwise(laps):
                spent[name] = spent.get(name, 0.0) + end - begin
        for name, seconds in spent.items():
            best[name] = min(best.get(name, float("inf")), seconds)
    return {f"  of it {name}": round(seconds / len(pages) * 1_000, 3) for name, seconds in best.items()}


def others(page: bytes) -> dict[str, float | str]:
    """The same page through parsel with ten selectors and through extruct; a tool not installed is said to be."""
    out: dict[str, float | str] = {}
    text = page.decode()
    if importlib.util.find_spec("parsel"):
        from parsel import Selector

        selectors = ("h1::text", "title::text", ".price::text", "td::text", "th::text", "img::attr(src)",
                     ".description::text", "li.features__item::text", "a::attr(href)", "section h2::text")  # fmt: skip

        def _ten_selectors(page: str) -> list[list[str]]:
            tree = Selector(page)
            return [tree.css(css).getall() for css in selectors]

        out["parsel, ten selectors"] = cpu_ms(_ten_selectors, [text])
    else:
        out["parsel, ten selectors"] = "not installed"
    if importlib.util.find_spec("extruct"):
        import extruct

        out["extruct, JSON-LD"] = cpu_ms(lambda page: extruct.extract(page, syntaxes=["json-ld"]), [text])
        out["extruct, all syntaxes"] = cpu_ms(extruct.extract, [text])
    else:
        out["extruct"] = "not installed"
    return out


def corpus_pages(corpus: Path) -> dict[str, float]:
    """CPU milliseconds a card on real search pages of a hundred cards, with structured data and by sight."""
    out: dict[str, float] = {}
    for path in sorted((corpus / "sites/autotrader-us").glob("*.html.gz"))[5:6]:
        body = gzip.decompress(path.read_bytes())
        for name, structured in (
            ("real search page, structured, a card", True),
            ("real search page, by sight, a card", False),
        ):
            work = _extract("search", structured)
            out[name] = round(cpu_ms(work, [body]) / max(1, len(work(body).listings)), 4)
        out["real search page, KB"] = round(len(body) / 1_000)
    return out


def mutations(corpus: Path, count: int, first: int) -> dict[str, float]:
    """Damaged real pages, ``count`` of them from the seed ``first`` on: the slowest in CPU milliseconds, the one that
    took most memory beyond what the process held before (measured where the kernel lets its mark be reset), and how
    many raised or were given up because something inside did."""
    sys.path.insert(0, str(ROOT))
    from fill_pipeline_tests.extract.mutation import mutate

    pages = [
        path.read_bytes() for path in sorted((corpus / "sites").glob("*/*.htm*.gz")) if path.stat().st_size < 60_000
    ]
    worst, most, slow, raises = 0.0, 0.0, 0, 0
    for number in range(first, first + count):
        chance = random.Random(number)
        body = mutate(gzip.decompress(chance.choice(pages)), chance)
        before = _memory("VmRSS") if _reset_peak() else 0.0
        begin = time.process_time()
        try:
            result = extract_page(
                body,
                url="https://x.example/1",
                structured=number % 3 != 0,
                kind=("auto", "detail", "search")[number % 3],
            )
            raises += (result.reason or "").startswith("the page cannot be read")
        except Exception:  # what the benchmark is to find out
            raises += 1
        took = time.process_time() - begin
        worst, slow = max(worst, took), slow + (took > 1.0)
        most = max(most, _memory("VmHWM") - before) if before else most
    return {
        "mutated pages": count,
        "worst ms": round(worst * 1_000),
        "worst MB": round(most, 1),
        "over one second": slow,
        "raises": raises,
    }


def _reset_peak() -> bool:
    """Set the process's memory mark back to what it holds now; whether the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _memory(name: str) -> float:
    """One figure of the process's memory in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1_024
    return 0.0


def _extract(kind: str, structured: bool = True) -> Callable[[bytes], Any]:
    return lambda body: extract_page(body, url=URL, kind=kind, structured=structured)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=ROOT.parent / "shared" / "corpus")
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="seed of the first mutation")
    parser.add_argument("--only-mutations", action="store_true", help="leave out the timings")
    options = parser.parse_args()
    if options.only_mutations:
        print(json.dumps({"benchmark": "extract", **mutations(options.corpus, options.mutations, options.first)}))
        return
    linked = [detail_page(True, number) for number in range(PAGES)]
    plain = [detail_page(False, number) for number in range(PAGES)]
    search = [search_page(number) for number in range(4)]
    figures: dict[str, float | str] = {
        "detail page, KB": round(len(plain[0]) / 1_000),
        "selectolax parse alone": cpu_ms(LexborHTMLParser, [page.decode() for page in plain]),
        "detail, JSON-LD": cpu_ms(_extract("detail"), linked),
        "detail, JSON-LD, told from search first": cpu_ms(_extract("auto"), linked),
        "detail, by sight, all layers": cpu_ms(_extract("detail"), plain),
        "detail, by sight, told from search first": cpu_ms(_extract("auto"), plain),
        **stages(plain),
        "search by sight, a card": round(cpu_ms(_extract("search"), search) / 100, 4),
        **others(linked[0]),
    }
    if options.corpus.is_dir():
        figures |= corpus_pages(options.corpus)
        if options.mutations:
            figures |= mutations(options.corpus, options.mutations, options.first)
    figures["peak memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024)
    for name, value in figures.items():
        print(f"{name:42} {value}" + (" ms CPU" if isinstance(value, float) and "MB" not in name else ""))
    print(json.dumps({"benchmark": "extract", "unit": "CPU ms", **figures}))


if __name__ == "__main__":
    main()
