"""Labels that people read, in English, German, Dutch and French, and the fields they name."""

from __future__ import annotations

import re
from functools import lru_cache

_FIELD_LABELS = {
    "vin": "vin|vin number|vin #|vin no|vehicle identification number|vehicle vin|chassis|chassis number|chassis no|chassis #|serial number|fin|"
    "fahrgestellnummer|fahrzeug-identifizierungsnummer|chassisnummer|numéro de série|numéro de châssis|n° de série|niv|vin/serial number|serial",
    "year": "year|model year|vehicle year|year of manufacture|year of construction|baujahr|modelljahr|erstzulassung|bouwjaar|modeljaar|année|"
    "année modèle|mise en circulation|1ère mise en circulation|first registration|first registered|reg year|erste zulassung|"
    "eerste registratie|date of registration|jahr|année-modèle|datum eerste toelating|manufacture year|yr|registration year",
    "make": "make|manufacturer|brand|marke|hersteller|merk|marque|fabricant|constructeur|maker",
    "model": "model|modell|modèle|model name|vehicle model",
    "make_model": "make/model|make & model|make and model|marke/modell|merk/model|year/make/model|vehicle|fahrzeug",
    "trim": "trim|trim level|version|variante|variant|ausführung|uitvoering|finition|ausstattungslinie|ausstattungsvariante|edition|series|sub-model|"
    "trim/package|type/uitvoering|submodel",
    "price": "price|asking price|our price|sale price|sales price|selling price|internet price|list price|cash price|special price|preis|kaufpreis|"
    "verkaufspreis|händlerpreis|barpreis|vraagprijs|prijs|verkoopprijs|prix|prix de vente|prix comptant|final price|dealer price|advertised price|"
    "asking|buy it now|buy now|buy now price|no haggle price|retail price|today's price|market price|price (usd)|price (cad)|your price|total price|"
    "endpreis|gesamtpreis|prix ttc|internet special|our best price|e-price|one price|value price|no-haggle price",
    "msrp": "msrp|base msrp|starting msrp|starting price|starting at|rrp|uvp|catalogusprijs",
    "sold_price": "sold price|sold for|sold|winning bid|hammer price|final bid|price realized|verkauft für|sale result|price sold",
    "bid": "current bid|high bid|highest bid|bid|bid to|aktuelles gebot|gebot|huidig bod|last bid|top bid|bidding",
    "mileage": "mileage|miles|odometer|odometer reading|odo|kilometers|kilometres|kilometer|km|kilometerstand|km-stand|laufleistung|tellerstand|"
    "km stand|kilométrage|kilometrage|kms|mileage (mi)|mileage (km)|actual mileage|milage|vehicle mileage|total mileage|indicated mileage|"
    "gelaufene kilometer|tachostand|km teller|miles (tmu)|mls|current mileage|mileage shown",
    "condition": "condition|vehicle condition|zustand|fahrzeugzustand|staat|état|type of vehicle|new/used|stock type|used/new|fahrzeugart",
    "body_style": "body|body style|body type|bodystyle|body class|karosserie|karosserieform|aufbau|carrosserie|carrosserievorm|type de carrosserie|"
    "vehicle type|kategorie|fahrzeugtyp|vehicle class|bodytype|body shape|body/style",
    "engine": "engine|engine size|engine type|motor|engine description|motorisierung|motorinhoud|moteur|hubraum|cylindrée|cilinderinhoud|cylinders|"
    "engine cylinders|displacement|engine displacement|engine details|motortyp|cilinders|cylindres|zylinder|engine cyl|engine/cylinders|"
    "engine capacity|number of cylinders|cyl|powertrain",
    "fuel_type": "fuel|fuel type|kraftstoff|kraftstoffart|treibstoff|antriebsart|brandstof|carburant|type de carburant|énergie|fuel system|"
    "brandstofsoort|fueltype",
    "fuel_economy": "mpg|fuel economy|epa fuel economy|gas mileage|mpg city/hwy|city/highway|city/hwy mpg|fuel efficiency|fuel consumption|"
    "kraftstoffverbrauch|verbrauch|verbruik|consommation|city/hwy|mpg (city/hwy)|est mpg|economy",
    "transmission": "transmission|transmission type|gearbox|trans|getriebe|getriebeart|transmissie|versnellingsbak|boîte|boîte de vitesse|"
    "boîte de vitesses|schaltung|versnelling|type de boîte|gears|trans type",
    "drivetrain": "drivetrain|drive|drive type|drive train|driveline|wheel drive|drive wheels|antrieb|aandrijving|transmission aux roues|"
    "roues motrices|type de transmission|wheels driven|drivewheels",
    "exterior_color": "exterior color|exterior colour|ext. color|ext color|exterior|color|colour|paint|paint color|body color|farbe|außenfarbe|"
    "lackierung|kleur|buitenkleur|couleur|couleur extérieure|exterior paint|ext. colour|ext|hersteller-farbbezeichnung|carrosseriekleur",
    "interior_color": "interior color|interior colour|int. color|int color|interior|innenfarbe|innenausstattung|farbe der innenausstattung|"
    "interieurkleur|kleur interieur|couleur intérieure|intérieur|upholstery color|upholstery|int. colour|int|bekleding|trim color",
    "doors": "doors|number of doors|türen|anzahl türen|türenanzahl|deuren|aantal deuren|portes|nombre de portes|no. of doors",
    "seats": "seats|seating|number of seats|seating capacity|sitze|sitzplätze|anzahl sitzplätze|zitplaatsen|aantal zitplaatsen|places|"
    "nombre de places|passenger capacity|seat count|passengers",
    "place": "location|vehicle location|car location|city|standort|ort|fahrzeugstandort|locatie|plaats|standplaats|localisation|lieu|ville|"
    "located in|item location|seller location|city, state|area|car is located in|dealer location|town",
    "seller_name": "seller|sold by|dealer|dealership|verkäufer|anbieter|händler|verkoper|aanbieder|vendeur|seller name|listed by|offered by|"
    "dealer name|presented by|store",
    "seller_type": "seller type|private party or dealer|verkäufertyp|type verkoper|type de vendeur|type of seller|ad type|for sale by",
    "seller_phone": "phone|telephone|tel|call|telefon|telefoon|téléphone|phone number|contact number",
    "remote_id": "stock|stock number|stock #|stock no|stock no.|stock id|listing id|ad id|reference|ref|lot|lot #|lot number|anzeigennummer|"
    "angebotsnummer|advertentienummer|id|listing number|ad number|post id|annonce n°|interne nummer|referentienummer|stk|stk #|listing #|item #|"
    "vehicle id|fahrzeugnummer|kenmerk|référence|stocknummer|inventory #|inventory number",
    "posted_at": "posted|date posted|listed|date listed|listed on|posted on|added|eingestellt am|inserat online seit|geplaatst op|publiée le|"
    "listing date|date added|online seit",
    "status": "status|availability|verfügbarkeit|beschikbaarheid|disponibilité|sale status",
    "title": "title|listing title",
    # Labels that are known so that their neighbours are not misread; their values are not kept.
    "": "title status|monthly payment|est. payment|estimated payment|payment|market price|invoice price|warranty|owners|previous owners|vorbesitzer|"
    "power|leistung|vermogen|puissance|horsepower|weight|emissions|co2|features|options|equipment|safety|history|description|details|specs|"
    "specifications|top speed|torque|wheelbase|registration|hp|fees|tax|zip code|distance|radius|search|email|name|views|time left|ends in|ends|"
    "savings|discount|beschreibung|ausstattung|hu|nächste hu|schadstoffklasse|umweltplakette|title type|carfax|wheels|tires|size|cylinder|bedrooms|"
    "apk|kenteken|gewicht|overview|basic warranty|j.d power initial quality rating|cost to own|market value|original msrp|number of owners|"
    "emission class|audio|brakes|suspension|length|width|height|bed length|cab|package|options package",
}
_BY_LABEL: dict[str, str] = {}
for _field, _labels in _FIELD_LABELS.items():
    for _label in _labels.split("|"):
        _BY_LABEL.setdefault(_label, _field)
_EDGES = re.compile(r"^[\s•·*\-–—>|.]+|[\s:*.?•·\-–—|]+$")
_SPACES = re.compile(r"\s+")


@lru_cache(maxsize=16384)
def field_of_label(text: str) -> str | None:
    """The field a label names ("Mileage:" → "mileage"); "" for a label of no field of ours; None for no label."""
    if len(text) > 48:
        return None
    return _BY_LABEL.get(_SPACES.sub(" ", _EDGES.sub("", text.lower())))
