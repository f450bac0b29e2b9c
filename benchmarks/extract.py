"""CPU time and memory of the extraction, beside parsing alone and other people's tools.

``python benchmarks/extract.py [--corpus DIR] [--mutations N [--first SEED] [--only-mutations]]`` prints a table; its
last line is one JSON object. The detail pages are made here (about 40 KB each, one with JSON-LD, one with a table
only); search pages come from the corpus where it is there, else they are made too.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.extract.page import extract_page

ROOT = Path(__file__).parents[1]
ROUNDS = 5  # the best of so many rounds counts: other work on the machine only ever adds
VIN = "1FTFW1E40KKE46828"
_WORDS = (
    "Service was done on schedule and the paperwork is in the car for you to read. The tires have plenty of tread left "
    "and the brakes were done recently. Everything works: windows, locks, air conditioning and the radio. "
)


def detail_page(structured: bool) -> bytes:
    """A detail page of about 40 KB as a dealer's site shows it: menus, photos, facts, description, similar cars."""
    menu = "".join(
        f'<li class="nav__item"><a class="nav__link" href="/makes/{n}">Make number {n}</a></li>' for n in range(90)
    )
    photos = "".join(
        f'<div class="gallery__slide"><img src="/photos/{n}.jpg" alt="photo {n}" loading="lazy"></div>'
        for n in range(24)
    )
    facts = {
        "Mileage": "42,592 mi",
        "VIN": VIN,
        "Exterior Color": "Gray",
        "Engine": "3.5L V6",
        "Transmission": "Automatic",
        "Drivetrain": "4WD",
        "Fuel": "Gasoline",
        "Body": "Pickup",
        "Stock #": "A17",
        "Doors": "4",
    }
    table = "".join(
        f'<tr class="facts__row"><th class="facts__name">{k}</th><td class="facts__value">{v}</td></tr>'
        for k, v in facts.items()
    )
    features = "".join(f'<li class="features__item">Feature number {n} of this car</li>' for n in range(60))
    similar = "".join(
        f'<div class="tile"><a href="/stock/55500{n}">201{n} Toyota Camry LE</a><span class="price">$1{n},111</span>'
        f"<span>9{n},999 miles</span></div>"
        for n in range(8)
    )
    record = {
        "@context": "https://schema.org",
        "@type": "Car",
        "name": "2019 Ford F-150 XLT",
        "brand": "Ford",
        "model": "F-150",
        "vehicleModelDate": "2019",
        "vehicleIdentificationNumber": VIN,
        "image": [f"/photos/{n}.jpg" for n in range(24)],
        "mileageFromOdometer": {"value": 42592, "unitCode": "SMI"},
        "offers": {"price": 38990, "priceCurrency": "USD"},
    }
    script = f'<script type="application/ld+json">{json.dumps(record)}</script>' if structured else ""
    filler = "".join(f'<p class="legal">{_WORDS}</p>' for _ in range(80))
    return (
        f"<html><head><title>2019 Ford F-150 XLT | Harbor Motors</title>{script}</head><body><nav><ul>{menu}</ul></nav>"
        f'<h1>2019 Ford F-150 XLT</h1><div class="price">$38,990</div><p>Est. $612/mo</p><div>Boston, MA '
        f"02108</div>{photos}"
        f'<table>{table}</table><div class="description">{_WORDS * 6}</div><ul>{features}</ul>'
        f"<section><h2>Similar vehicles</h2>{similar}</section><footer>{filler}</footer></body></html>"
    ).encode()


def search_page(cards: int = 100) -> bytes:
    """A search page of so many cards, each with a picture, a title, a price, a mileage and a place."""
    body = "".join(
        f'<article class="card"><a href="/vehicle/{700100 + n}"><img src="/p/{n}.jpg"></a><h3 class="card__title">'
        f'<a href="/vehicle/{700100 + n}">{2000 + n % 20} Ford F-150 XLT</a></h3><div class="card__price">'
        f"${10_000 + 97 * n:,}</div>"
        f'<ul class="card__facts"><li>{30_000 + 771 * n:,} miles</li><li>Automatic</li><li>Boston, MA</li></ul>'
        f"</article>"
        for n in range(cards)
    )
    return (
        f"<html><body><h1>Used cars</h1><p>1–{cards} of 1,204 results</p>{body}<a href='?page=2'>Next</a></body></html>"
    ).encode()


def cpu_ms(work: Callable[[], Any], times: int) -> float:
    """CPU milliseconds of one call, the best of several rounds."""
    work()
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - begin) / times)
    return round(best * 1_000, 3)


def others(page: bytes) -> dict[str, float | str]:
    """The same page through parsel with ten selectors and through extruct; a tool not installed is said to be."""
    out: dict[str, float | str] = {}
    text = page.decode()
    if importlib.util.find_spec("parsel"):
        from parsel import Selector

        selectors = ("h1::text", "title::text", ".price::text", "td::text", "th::text", "img::attr(src)",
                     ".description::text", "li.features__item::text", "a::attr(href)", "section h2::text")  # fmt: skip
        out["parsel, ten selectors"] = cpu_ms(lambda: [Selector(text).css(css).getall() for css in selectors], 3)
    else:
        out["parsel, ten selectors"] = "not installed"
    if importlib.util.find_spec("extruct"):
        import extruct

        out["extruct, JSON-LD"] = cpu_ms(lambda: extruct.extract(text, syntaxes=["json-ld"]), 3)
        out["extruct, all syntaxes"] = cpu_ms(lambda: extruct.extract(text), 2)
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
            work = _extract(body, "search", structured)
            out[name] = round(cpu_ms(work, 1) / max(1, len(work().listings)), 4)
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


def _extract(body: bytes, kind: str, structured: bool = True) -> Callable[[], Any]:
    return lambda: extract_page(body, url="https://x.example/stock/100200300", kind=kind, structured=structured)


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
    linked, plain, search = detail_page(True), detail_page(False), search_page()
    text = plain.decode()
    figures: dict[str, float | str] = {
        "detail page, KB": round(len(plain) / 1_000),
        "selectolax parse alone": cpu_ms(lambda: LexborHTMLParser(text), 20),
        "detail, JSON-LD": cpu_ms(_extract(linked, "detail"), 20),
        "detail, by sight, all layers": cpu_ms(_extract(plain, "detail"), 20),
        "detail, told from search first": cpu_ms(_extract(plain, "auto"), 10),
        "search by sight, a card": round(cpu_ms(_extract(search, "search"), 3) / 100, 4),
        **others(plain),
    }
    if options.corpus.is_dir():
        figures |= corpus_pages(options.corpus)
        if options.mutations:
            figures |= mutations(options.corpus, options.mutations, options.first)
    figures["peak memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024)
    for name, value in figures.items():
        print(f"{name:40} {value}" + (" ms CPU" if isinstance(value, float) and "MB" not in name else ""))
    print(json.dumps({"benchmark": "extract", "unit": "CPU ms", **figures}))


if __name__ == "__main__":
    main()
