"""An ad as data: schema.org JSON-LD, the marketplace's API record, and the truth."""

from __future__ import annotations

from typing import Any

from . import wording
from .places import Market
from .sites import Site
from .world import Ad, Stand, World

PHOTOS = 12  # at most, on a detail page


def photo_urls(ad: Ad, base: str, count: int = PHOTOS) -> list[str]:
    """URLs of the ad's photos, at most ``count``."""
    shown = min(count, 4 + ad.wording % (PHOTOS - 3))
    return [f"{base}/photos/{ad.remote_id}/{number}.png" for number in range(1, shown + 1)]


def json_ld(ad: Ad, now: int, base: str) -> dict[str, Any]:
    """The ad as a schema.org Car with its offer."""
    car, p = ad.car, ad.car.pattern
    price = ad.price(now)
    record: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Car",
        "name": wording.title(ad),
        "url": base + ad.path,
        "sku": str(ad.remote_id),
        "vehicleModelDate": str(p.year),
        "brand": {"@type": "Brand", "name": p.make},
        "model": p.model,
        "bodyType": p.body,
        "vehicleEngine": {"@type": "EngineSpecification", "name": p.engine, "fuelType": p.fuel},
        "vehicleTransmission": p.transmission,
        "driveWheelConfiguration": p.drivetrain,
        "color": car.colour,
        "vehicleInteriorColor": car.interior,
        "numberOfDoors": p.doors,
        "itemCondition": "https://schema.org/UsedCondition",
        "image": photo_urls(ad, base),
        "description": wording.description(ad),
    }
    if p.trim:
        record["vehicleConfiguration"] = p.trim
    if ad.vin:
        record["vehicleIdentificationNumber"] = ad.vin
    if ad.miles is not None:
        code = "SMI" if ad.site.market is Market.US else "KMT"
        record["mileageFromOdometer"] = {"@type": "QuantitativeValue", "value": ad.miles, "unitCode": code}
    state = "InStock" if ad.stand(now) is Stand.ACTIVE else "SoldOut"
    offer: dict[str, Any] = {"@type": "Offer", "availability": f"https://schema.org/{state}", "url": base + ad.path}
    if price is not None:
        offer |= {"price": price, "priceCurrency": ad.site.market.currency}
    offer["seller"] = {
        "@type": "Person" if ad.private else "AutoDealer",
        "name": ad.seller,
        "address": {
            "@type": "PostalAddress",
            "addressLocality": ad.place.city,
            "addressRegion": ad.place.region,
            "postalCode": ad.place.postal_code,
            "addressCountry": ad.site.market.value,
        },
    }
    record["offers"] = offer
    return record


def api_record(ad: Ad, now: int, base: str, *, full: bool) -> dict[str, Any]:
    """The ad as the marketplace's API gives it; in a list without description and with one photo."""
    car, p = ad.car, ad.car.pattern
    keys = ad.site.design.keys
    values: dict[str, Any] = {
        "id": ad.remote_id,
        "slug": ad.words,
        "url": base + ad.path,
        "title": wording.title(ad),
        "year": p.year,
        "make": p.make,
        "model": p.model,
        "trim": p.trim or None,
        "vin": ad.vin,
        "price": ad.price(now),
        "currency": ad.site.market.currency,
        "mileage": ad.miles,
        "mileage_unit": ad.site.market.mileage_unit,
        "body": p.body,
        "fuel": p.fuel,
        "transmission": p.transmission,
        "drivetrain": p.drivetrain,
        "colour": car.colour,
        "city": ad.place.city,
        "region": ad.place.region,
        "postal_code": ad.place.postal_code,
        "seller": ad.seller,
        "images": photo_urls(ad, base, PHOTOS if full else 1),
        "posted_at": wording.iso(ad.posted_at),
        "status": ad.stand(now).value,
    }
    if full:
        values |= {"engine": p.engine, "interior": car.interior, "description": wording.description(ad)}
    return {keys[name]: value for name, value in values.items()}


def truth_record(ad: Ad, now: int, base: str) -> dict[str, Any]:
    """What is true of an ad now; the values are those its page states."""
    car, p = ad.car, ad.car.pattern
    return {
        "url": base + ad.path,
        "remote_id": str(ad.remote_id),
        "title": wording.title(ad),
        "vin": ad.vin,
        "year": p.year,
        "make": p.make,
        "model": p.model,
        "trim": p.trim or None,
        "price": ad.price(now),
        "currency": ad.site.market.currency,
        "price_kind": ad.price_kind(now),
        "mileage": ad.miles,
        "mileage_unit": ad.site.market.mileage_unit,
        "body": p.body,
        "engine": p.engine,
        "fuel": p.fuel,
        "transmission": p.transmission,
        "drivetrain": p.drivetrain,
        "exterior_color": car.colour,
        "interior_color": car.interior,
        "city": ad.place.city,
        "region": ad.place.region,
        "postal_code": ad.place.postal_code,
        "seller": ad.seller,
        "posted_at": wording.iso(ad.posted_at),
        "status": ad.stand(now).value,
        "vehicle_key": car.key,
        "car_vin": car.vin,
    }


def site_record(world: World, site: Site, base: str) -> dict[str, Any]:
    """A site as the registry names it."""
    return {
        "slug": site.slug,
        "name": site.name,
        "kind": site.kind.value,
        "layout": site.layout.value if site.plan.share else None,
        "base_url": base,
        "country": site.market.value,
        "open": site.open,
        "live_count": len(world.live(site)),
        "suggested_config": site.suggested_config() if site.plan.share else {},
    }
