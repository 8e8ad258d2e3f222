"""What is known of real tables is found, and little else is raised: found, missed and false, table by table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from estimator import verbs
from estimator.verbs.explore import TableReference

Fault = tuple[str, str]

# file -> target, the faults its description names as (rule, column), and what else is rightly raised
KNOWN: dict[str, tuple[str, set[Fault], set[Fault]]] = {
    "king_county/king_county.csv.gz": (
        "price",
        {("groups", "id"), ("order in time", "date"), ("outliers", "bedrooms"), ("collinear", "sqft_living"),
         ("skewed target", "price"), ("code as number", "zipcode")},
        set(),
    ),
    "nyc_flights/reference_2013-01_03.parquet": (
        "arr_late15",
        {("leakage", "arr_delay"), ("future column", "dep_time"),
         ("future column", "dep_delay"), ("future column", "arr_time"), ("future column", "air_time"),
         ("wide category", "dest"), ("many gaps", "wind_gust"), ("order in time", "time_hour"),
         ("many gaps", "plane_speed")},
        set(),
    ),
    "nyc_taxi/reference_2018.parquet": (
        "fare_amount",
        {("leakage", "total_amount"), ("future column", "dropoff_datetime"), ("future column", "tip_amount"),
         ("future column", "tolls_amount"), ("empty", "congestion_surcharge"), ("order in time", "pickup_datetime"),
         ("outliers", "total_amount")},
        set(),
    ),
    "hdb_resale/reference_2017_2018.parquet": (
        "resale_price",
        {("near duplicates", "id"), ("wide category", "street_name"), ("wide category", "block")},
        set(),
    ),
    "elec2/elec2.csv.gz": ("price_up", {("order in time", "timestamp"), ("identifier", "step")}, set()),
    "bank_marketing/bank-additional-full.csv.gz": (
        "y",
        {("sentinel", "pdays"), ("duplicate rows", ""), ("imbalance", "y"), ("sensitive", "age"),
         ("future column", "duration"), ("gap spellings", "job"), ("gap spellings", "education")},
        {("sensitive", "marital")},
    ),
    "hotel_bookings/bookings.csv.gz": (
        "adr",
        {("near duplicates", "booking_id"), ("future column", "assigned_room_type"), ("many gaps", "company"),
         ("future column", "days_in_waiting_list"), ("future column", "booking_changes"), ("wide category", "country"),
         ("code as number", "agent")},
        {("order in time", "booking_date")},
    ),
    "ames_full/ames_full.csv.gz": (
        "price",
        {("identifier", "PID"), ("identifier", "Order"), ("many gaps", "Pool.QC"), ("many gaps", "Alley"),
         ("nearly constant", "Utilities"), ("skewed target", "price"), ("code as number", "MS.SubClass")},
        set(),
    ),
    "california_housing/housing.csv.gz": (
        "median_house_value",
        {("capped target", "median_house_value"), ("collinear", "total_bedrooms")},
        set(),
    ),
    "melbourne/melb_data.csv.gz": (
        "Price",
        {("level spellings", "SellerG"), ("wide category", "Suburb"), ("outliers", "BuildingArea"),
         ("outliers", "Landsize"), ("outliers", "YearBuilt")},
        set(),
    ),
    "bengaluru_raw/Bengaluru_House_Data.csv.gz": (
        "price",
        {("duplicate rows", ""), ("number as text", "total_sqft"), ("level spellings", "location"),
         ("number as text", "size"), ("level spellings", "area_type")},
        {("level spellings", "society")},
    ),
    "ebay_autos_latin1/autos.csv.gz": (
        "price",
        {("number as text", "price"), ("number as text", "odometer"), ("constant", "nrOfPictures"),
         ("nearly constant", "seller"), ("nearly constant", "offerType"), ("outliers", "powerPS"),
         ("outliers", "yearOfRegistration"), ("future column", "lastSeen")},
        set(),
    ),
    "airbnb_munich/listings.csv.gz": (
        "price",
        {("number as text", "price"), ("number as text", "host_response_rate"), ("empty", "description"),
         ("number as text", "host_acceptance_rate"), ("empty", "bathrooms"), ("empty", "bedrooms"),
         ("empty", "calendar_updated"), ("empty", "neighbourhood_group_cleansed")},
        set(),
    ),
    "adult/adult.csv.gz": (
        "income-per-year",
        {("sensitive", "race"), ("sensitive", "sex"), ("duplicate rows", ""), ("sentinel", "capital-gain"),
         ("duplicate columns", "education")},
        {("sensitive", "age"), ("sensitive", "marital-status"), ("sensitive", "native-country")},
    ),
    "telco_churn/Telco-Customer-Churn.csv.gz": (
        "Churn",
        {("identifier", "customerID"), ("sensitive", "gender"), ("redundant level", "OnlineSecurity")},
        {("sensitive", "SeniorCitizen"), ("near duplicates", "customerID")},
    ),
    "credit_default/UCI_Credit_Card.csv.gz": (
        "default.payment.next.month",
        {("sensitive", "SEX"), ("sensitive", "MARRIAGE"), ("sensitive", "AGE"), ("identifier", "ID"),
         ("code as number", "EDUCATION")},
        {("near duplicates", "ID")},
    ),
    "bike_sharing/hour.csv.gz": (
        "cnt",
        {("leakage", "casual"), ("leakage", "registered"), ("identifier", "instant"), ("order in time", "dteday")},
        set(),
    ),
    "wine_quality/winequality.csv": ("quality", {("duplicate rows", "")}, set()),
    "messy_sales/messy_sales.csv.gz": (
        "price",
        {("mixed dates", "sale date"), ("number as text", "price"), ("number as text", "Living Area"),
         ("number as text", "sqft_lot"), ("number as text", "Bedrooms"), ("number as text", "floors"),
         ("number as text", "yr_built"), ("number as text", "lat"), ("code spellings", "zip"),
         ("level spellings", "condition"), ("level spellings", "Agency "), ("nearly constant", "county"),
         ("empty", "tax code"), ("duplicate rows", ""), ("gap spellings", "bathrooms"), ("total line", ""),
         ("near duplicates", "Sale ID")},
        {("number as text", "")},
    ),
    "boston": (
        "MEDV",
        {("sensitive", "B"), ("sensitive", "LSTAT"), ("capped target", "MEDV"), ("collinear", "TAX"),
         ("collinear", "RAD")},
        set(),
    ),
    "ames": ("Sale_Price", {("skewed target", "Sale_Price")}, set()),
}  # fmt: skip
# What is known and not found: neither numbers nor names tell it.
MISSED: set[tuple[str, Fault]] = {
    ("credit_default", ("code as number", "EDUCATION")),
    ("hotel_bookings", ("code as number", "agent")),
    ("hotel_bookings", ("future column", "booking_changes")),
    ("messy_sales", ("near duplicates", "Sale ID")),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_faults_of_real_tables_are_found(name: str, request, tell: Callable[[str], None], tmp_path: Path):
    target, known, rightly = KNOWN[name]
    findings = verbs.explore.explore(
        TableReference(_path(name, request), target), verbs.Context(), page=tmp_path / "p.html"
    ).findings
    raised = {(item.rule, column): item.severity for item in findings for column in item.columns or ("",)}
    missed = sorted(known - raised.keys())
    false = sorted(
        fault for fault, severity in raised.items() if severity in ("high", "medium") and fault not in known | rightly
    )
    words = "".join(f"; {what}: {_listed(faults)}" for what, faults in (("missed", missed), ("false", false)) if faults)
    tell(f"{name.split('/')[0]:20} found {len(known) - len(missed):2} of {len(known):2}, false {len(false)}{words}")
    assert {(name.split("/")[0], fault) for fault in missed} <= MISSED
    assert len(false) <= 1


def _path(name: str, request: pytest.FixtureRequest) -> str:
    from tests.conftest import EXAMPLES

    if "/" not in name:
        return str(next((EXAMPLES / name).glob("*.csv*")))
    tables: Path = request.getfixturevalue("tables")
    return str(tables / name)


def _listed(faults: list[Fault]) -> str:
    return ", ".join(f"{rule} {column}".strip() for rule, column in faults)
