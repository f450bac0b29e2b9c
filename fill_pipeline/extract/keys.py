"""What the keys of a record mean: schema.org's names, the names APIs use, and their translations."""

from __future__ import annotations

import re
from functools import lru_cache

# Field → keys, folded to lower case letters and digits, the most telling first. A key's place in
# its row sets its confidence, so that "askingPrice" wins over "amount".
_FIELD_KEYS = {
    "vin": "vehicleidentificationnumber vin vinnumber vincode vehiclevin fullvin chassisnumber fahrgestellnummer chassisno",
    "year": "vehiclemodeldate modelyear modeldate year vehicleyear yearofmanufacture caryear productiondate baujahr bouwjaar annee "
    "manufactureyear yr firstregistrationyear registrationyear datevehiclefirstregistered firstregistrationdateraw firstregistration "
    "firstregistrationdate erstzulassung registrationdate",
    "make": "make makename brand brandname manufacturer vehiclemake carmake maker marke merk marque makedisplayname makelabel manufacturername",
    "model": "model modelname vehiclemodel carmodel modelo modell modele modeldisplayname modellabel modelgroup modelline",
    "trim": "trim trimname trimlevel vehicleconfiguration version modelversioninput modelversion variant trimline derivative edition grade "
    "trimdescription submodel series",
    "price": "price askingprice saleprice sellingprice salesprice listingprice advertisedprice currentprice internetprice finalprice "
    "priceraw pricevalue priceamount pricenumeric consumerpricegross consumerprice grossprice totalprice listprice retailprice buynowprice "
    "preis prijs prix precio priceformatted formattedprice displayprice pricedisplay pricetext pricelabel priceincents lowprice",
    "sold_price": "soldprice salepriceamount hammerprice winningbid finalbid pricesold soldfor",
    "bid": "currentbid highbid highestbid bidamount currentbidamount bid",
    "currency": "pricecurrency currency currencycode currencyiso pricecurrencycode",
    "mileage": "mileagefromodometer mileage odometer odometerreading vehiclemiles vehiclemileage odometervalue mileagevalue miles "
    "mileageinkmraw mileageinkm kilometers kilometres kilometerstand kilometrage km milage odometerkm mileagekm odometermiles mileageraw "
    "laufleistung tellerstand kms mileagemi mileageformatted",
    "mileage_unit": "mileageunit odometerunit odometerunits mileageunits unitofmileage distanceunit",
    "title": "name title headline heading listingtitle displayname vehicletitle adtitle listingname subject displaytitle fullname "
    "ymm yearmakemodel vehiclename shorttitle",
    "condition": "itemcondition condition vehiclecondition conditiontext usednew newused newusedflag conditionlabel stocktype offertype",
    "body_style": "bodytype bodystyle body vehiclebodytype bodystylename bodytypename bodyclass bodyshape karosserie carrosserie "
    "karosserieform vehiclebody",
    "engine": "vehicleengine engine enginedescription enginename enginetype enginesize motor enginedisplacement displacement "
    "displacementinccm enginemodel enginecylinders cylinders",
    "fuel_type": "fueltype fuel fuelcategory fueltypename primaryfueltype enginefueltype kraftstoff brandstof carburant fuelname",
    "fuel_economy": "fuelefficiency fueleconomy mpg fuelconsumption combinedmpg",
    "transmission": "vehicletransmission transmission transmissiontype gearbox gearboxtype getriebe transmissionname transmissiondescription "
    "versnelling",
    "drivetrain": "drivewheelconfiguration drivetrain drivetraintype drivetype driveline drive wheeldrive drivenwheels antrieb drivewheel "
    "drivetraindescription drivewheels",
    "exterior_color": "exteriorcolor vehicleexteriorcolor color colour exteriorcolour bodycolor bodycolour bodycolororiginal extcolor "
    "exteriorcolorname colorexterior paintcolor farbe kleur couleur primarycolor genericexteriorcolor basecolor",
    "interior_color": "vehicleinteriorcolor interiorcolor interiorcolour upholsterycolor intcolor interiorcolorname colorinterior "
    "genericinteriorcolor",
    "doors": "numberofdoors doors doorcount numdoors",
    "seats": "vehicleseatingcapacity seatingcapacity numberofseats seats seatcount",
    "place": "locationname place locationtext displaylocation formattedaddress locationlabel formattedlocation locationdisplay "
    "sellerlocation dealerlocation citystate location arealabel",
    "city": "addresslocality city cityname town locality dealercity",
    "region": "addressregion region state province stateorprovince statecode statename provincecode dealerstate stateabbreviation county",
    "postal_code": "postalcode zip zipcode postcode postal dealerzip",
    "country": "addresscountry countrycode country countryiso countrycodealpha2",
    "latitude": "latitude lat",
    "longitude": "longitude lng lon long",
    "seller_name": "sellername dealername dealershipname companyname dealershipdisplayname vendorname storename ownername username",
    "seller_type": "sellertype sellerkind sellercategory isdealer vendortype",
    "seller_phone": "sellerphone dealerphone phonenumber telephone phone contactphone formattednumber callto",
    "images": "images image photos pictures imageurls imageurl photourls photourl mainimage primaryimage primaryphoto primaryphotourl "
    "primaryimageurl gallery media mediagallery largeimageurl thumbnailurl coverimage heroimage imgurl thumbnail picture photo img photolinks",
    "description": "description vehicledescription sellerdescription descriptiontext sellercomments dealercomments sellernotes comments "
    "longdescription body text excerpt summary shortdescription",
    "posted_at": "dateposted datelisted listedat listeddate postedat posteddate postdate publishedat datepublished publicationdate "
    "createdat creationdate datecreated createddate insertedat posted listdate",
    "remote_id": "listingid adid sku vehicleid itemid productid listinguuid offerid advertid stocknumber stockid stockno uuid identifier "
    "auctionid postid id guid",
    "remote_slug": "slug seoslug urlslug",
    "url": "listingurl detailurl detailpageurl vdpurl detailspageurl permalink canonicalurl weburl webpage itemurl vehicleurl clickouturl "
    "producturl absoluteurl url link href relativeurl seourl detaillink path",
    "status": "availability listingstatus adstatus salestatus status auctionstatus issold sold",
}
# Objects whose parts belong to one thing. The rest of the objects are looked through.
CONTAINERS = {
    **dict.fromkeys(
        ["seller", "dealer", "owner", "offeredby", "vendor", "dealership", "provider", "store", "user", "contact", "dealerinfo", "sellerinfo", "account", "author", "sellerprofile", "dealerdetails", "contactinfo", "contactperson"],
        "seller",
    ),
    **dict.fromkeys(["price", "prices", "pricing", "priceinfo", "pricinginfo", "askingprice", "offerprice", "consumerprice", "pricedetails", "pricespecification"], "price"),
    **dict.fromkeys(["mileage", "odometer", "mileagefromodometer", "kilometers", "vehiclemileage"], "mileage"),
}  # fmt: skip
# Objects that speak of other things than this vehicle's own facts.
_FOREIGN = re.compile(
    r"similar|recommend|related|suggest|msrp|oldprice|wasprice|originalprice|previousprice|pricehistory|history|finance|financing|leas(?:e|ing)|"
    r"payment|monthly|loan|insurance|warrant|shipping|deliver|evaluation|rating|review|market|tracking|analytics|seo|breadcrumb|filter|facet|"
    r"sort|search|query|config|translation|label|menu|nav|footer|header|banner|advert|adtarget|targeting|experiment|feature|equipment|option|"
    r"superdeal|dealscore|statistics|estimate|tradein|fees?$|tax|openinghours|logo|avatar|video|theme|cookie|consent|personaliz|superbranding|"
    r"aggregaterating|potentialaction|isrelatedto|mainentityofpage|publisher|spin|bidhistory|comment|highlight|badge|icon|cta|form|kbb|carfax|autocheck"
)
# Keys of a name and value pair in a list of attributes.
PAIR_NAMES = (
    "name",
    "label",
    "key",
    "title",
    "attribute",
    "displayName",
    "propertyID",
    "machineKey",
    "canonicalName",
    "displayLabel",
)
PAIR_VALUES = (
    "value",
    "displayValue",
    "values",
    "text",
    "formatted",
    "formattedValue",
    "content",
    "canonicalValue",
    "description",
)
# The plain value inside an object that stands for one value: {"raw": 12, "formatted": "12 km"}.
VALUE_KEYS = ("name", "value", "raw", "amount", "label", "displayValue", "displayName", "formatted", "text", "title", "canonicalValue",
              "priceRaw", "price", "total", "localized", "display", "url", "en", "consumerPriceGross", "@value", "gross")  # fmt: skip

_FOLD = re.compile(r"[^a-z0-9]+")
_BY_KEY: dict[str, tuple[str, float]] = {}
for _field, _keys in _FIELD_KEYS.items():
    for _rank, _key in enumerate(_keys.split()):
        _BY_KEY.setdefault(_key, (_field, 1.0 - min(_rank, 30) * 0.006))


@lru_cache(maxsize=16384)
def fold_key(key: str) -> str:
    """A key without case, separators, namespace and the affixes of well-known serialisers."""
    if ":" in key or "/" in key:
        key = re.split(r"[:/]", key)[-1]
    return _FOLD.sub("", key.lower())


@lru_cache(maxsize=16384)
def field_of_key(key: str) -> tuple[str, float] | None:
    """The field that a record's key names and how telling it is (0 to 1); None for a key of no field."""
    folded = fold_key(key)
    return _BY_KEY.get(folded) or (_BY_KEY.get(folded[7:]) if folded.startswith("vehicle") else None)


@lru_cache(maxsize=16384)
def container_of_key(key: str) -> str | None:
    """The kind of object that a key holds: "seller", "price", "mileage", a field's name, "foreign", or None."""
    folded = fold_key(key)
    kind = CONTAINERS.get(folded)
    if kind:
        return kind
    if _FOREIGN.search(folded):
        return "foreign"
    return None
