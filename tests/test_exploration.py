"""The profile of a table against exact numbers, and findings against the known faults of real tables."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from estimator.config.editor import write_edits
from estimator.data.schema.inference import infer_schema
from estimator.data.schema.sketches import DistinctCount
from estimator.data.sources.opener import open_files
from estimator.exploration import Profile, profile_table
from estimator.exploration.accumulators import Numbers, Repeats, Sample
from estimator.exploration.associations import correlation_ratio, cramers_v, variance_inflation
from estimator.exploration.findings import Finding, run_rules
from estimator.exploration.findings.edits import category_edit, date_edit, number_edit
from estimator.exploration.page import exploration_page
from tests.conftest import EXAMPLES


def explored(
    path: Path, target: str, *, sensitive: tuple[str, ...] = (), model: str = "", **options: str
) -> tuple[Profile, list[Finding]]:
    source = open_files(str(path), **options)
    frame = source.frame()
    schema = infer_schema(frame, target)
    profile = profile_table(schema, source.batches(rows=1000))
    return profile, run_rules(schema, profile, frame, sensitive=sensitive, model=model)


@pytest.fixture(scope="module")
def ames() -> Profile:
    return explored(EXAMPLES / "ames" / "ames.csv.gz", "Sale_Price")[0]


@pytest.fixture(scope="module")
def ames_frame() -> pl.DataFrame:
    return pl.read_csv(EXAMPLES / "ames" / "ames.csv.gz", infer_schema_length=None)


def test_moments_are_exact_to_nine_digits(ames, ames_frame):
    for name in ("Sale_Price", "Lot_Area", "Longitude", "Year_Built"):
        numbers, exact = ames.column(name).statistics, ames_frame[name].cast(pl.Float64)
        assert numbers["mean"] == pytest.approx(exact.mean(), rel=1e-9)
        assert numbers["std"] == pytest.approx(exact.std(), rel=1e-9)
        assert numbers["skewness"] == pytest.approx(exact.skew(), rel=1e-7)
        assert numbers["kurtosis"] == pytest.approx(exact.kurtosis(), rel=1e-7)
        assert (numbers["min"], numbers["max"]) == (exact.min(), exact.max())
        assert numbers["zeros"] == (exact == 0).sum()


def test_correlations_are_exact_to_six_digits(ames, ames_frame):
    names = [name for name in ames.numeric if ames_frame[name].dtype.is_numeric()]
    exact = np.corrcoef(ames_frame.select(names).to_numpy(), rowvar=False)
    indices = [ames.numeric.index(name) for name in names]
    assert ames.pearson[np.ix_(indices, indices)] == pytest.approx(exact, abs=1e-6)


def test_correlations_use_the_rows_where_both_are_known():
    generator = np.random.default_rng(0)
    table = generator.standard_normal((5000, 3)) @ generator.standard_normal((3, 3)) * [1, 1e3, 1e-3] + [0, 1e6, 5]
    table[generator.random((5000, 3)) < 0.2] = np.nan
    numbers = Numbers.like(list(table[:1000].T))
    for start in range(0, 5000, 1000):
        numbers.add(list(table[start : start + 1000].T))
    correlations = numbers.correlations()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = ~np.isnan(table[:, i]) & ~np.isnan(table[:, j])
        assert correlations[i, j] == pytest.approx(np.corrcoef(table[both, i], table[both, j])[0, 1], abs=1e-6)


def test_vif_matches_the_inverse_correlations():
    generator = np.random.default_rng(1)
    table = generator.standard_normal((400, 3))
    table[:, 2] = table[:, 0] + 0.3 * generator.standard_normal(400)
    exact = np.diag(np.linalg.inv(np.corrcoef(table, rowvar=False)))
    assert variance_inflation(np.corrcoef(table, rowvar=False), [0, 1, 2]) == pytest.approx(exact, rel=1e-6)


def test_sum_of_columns_has_infinite_vif():
    table = np.random.default_rng(2).standard_normal((300, 3))
    table[:, 2] = table[:, 0] + table[:, 1]
    assert np.isinf(variance_inflation(np.corrcoef(table, rowvar=False), [0, 1, 2])).all()


def test_distinct_counts_are_exact_then_close():
    few, many = DistinctCount(), DistinctCount()
    for start in range(0, 100_000, 10_000):
        few.add(pl.Series(np.arange(10_000) % 1500).hash().to_numpy())
        many.add(pl.Series(np.arange(start, start + 10_000)).hash().to_numpy())
    assert (few.count, few.is_exact) == (1500, True)
    assert many.count == pytest.approx(100_000, rel=0.07)


def test_duplicate_rows_are_counted_then_estimated(monkeypatch):
    generator = np.random.default_rng(5)
    rows = generator.integers(0, 2**63, 40_000, dtype=np.uint64) * np.uint64(2)
    table = np.concatenate([rows, rows[:8000]])
    exact, estimated = Repeats(), Repeats()
    exact.add(table)
    monkeypatch.setattr("estimator.exploration.accumulators.MAX_HASHES", 10_000)
    for part in np.array_split(table, 10):
        estimated.add(part)
    assert (exact.count, exact.is_exact) == (8000, True)
    assert not estimated.is_exact
    assert estimated.count == pytest.approx(8000, rel=0.1)


def test_categorical_batches_count_like_text():
    rows = ["red", "blue", "red", "green", "blue", "red", "green", "blue"]
    schema = infer_schema(pl.DataFrame({"x": rows, "y": [1.5, 2.5] * 4}), "y")
    parts = [pl.DataFrame({"x": part, "y": [1.5, 2.5, 1.5, 2.5]}) for part in (rows[:4], rows[4:])]
    kinds = [pl.Categorical(), pl.Enum(["green", "red", "blue"]), pl.String()]
    text = profile_table(schema, parts)
    for kind in kinds:
        assert profile_table(schema, [part.cast({"x": kind}) for part in parts]).column("x") == text.column("x")
    assert [(name, count) for name, count, _ in text.column("x").top_categories] == [
        ("blue", 3),
        ("red", 3),
        ("green", 2),
    ]


def test_spellings_of_a_category_count_as_one():
    rows = pl.DataFrame({"x": ["Red", "red ", "RED", "blue"] * 25, "y": ["yes", "YES", "yes", "no"] * 25})
    schema = infer_schema(rows, "y")
    folded = {
        column.name: replace(column, kind="category", ignore_case=True) for column in (*schema.columns, schema.target)
    }
    schema = replace(schema, columns=(folded["x"],), target=folded["y"])
    profile = profile_table(schema, [rows])
    assert profile.target_association["x"] == ("Cramer's V", pytest.approx(1.0, abs=0.03))
    assert sorted(set(profile.row_targets.tolist())) == [0.0, 1.0]


def test_quantiles_of_a_small_table_are_exact(ames, ames_frame):
    for name in ("Sale_Price", "Lot_Area"):
        profile, exact = ames.column(name), ames_frame[name].to_numpy()
        for quantile, value in profile.quantiles.items():
            assert value == pytest.approx(np.quantile(exact, float(quantile)))
        edges, counts = profile.histogram
        assert counts == np.histogram(exact, bins=edges)[0].tolist()


def test_categories_are_counted_with_target_means(ames, ames_frame):
    exact = ames_frame.group_by("Neighborhood").agg(pl.len().alias("n"), pl.col("Sale_Price").mean().alias("mean"))
    for name, count, mean in ames.column("Neighborhood").top_categories:
        row = exact.filter(pl.col("Neighborhood") == name)
        assert (count, mean) == (row["n"][0], pytest.approx(row["mean"][0]))


def test_tsne_is_drawn_only_on_request(run, tmp_path):
    page = tmp_path / "page.html"
    command = ("explore", EXAMPLES / "penguins" / "penguins.csv", "--target", "species", "--page", page)
    assert run(*command)[0] == 0
    assert "t-SNE" not in page.read_text()
    assert run(*command, "--tsne")[0] == 0
    assert "Neighbors (t-SNE)" in page.read_text()


def test_sample_is_uniform():
    sample = Sample(np.random.default_rng(3))
    for start in range(0, 400_000, 50_000):
        sample.add(pl.DataFrame({"row": np.arange(start, start + 50_000)}))
    rows = sample.rows()["row"].to_numpy()
    assert len(rows) == 50_000
    assert np.histogram(rows, bins=8)[0] == pytest.approx(np.full(8, 6250), rel=0.05)
    assert (np.diff(rows) > 0).all()


def test_unrelated_categories_have_no_association():
    generator = np.random.default_rng(4)
    categories = pl.Series(generator.choice(list("abcdef"), 2000))
    assert correlation_ratio(categories, generator.standard_normal(2000)) < 0.08
    codes = np.array(["abcdef".index(name) for name in categories], dtype=float)
    assert correlation_ratio(categories, codes) == pytest.approx(1)
    assert cramers_v(categories, categories) == pytest.approx(1, abs=0.01)
    assert cramers_v(categories, pl.Series(generator.choice(list("xyz"), 2000))) < 0.08


def rules(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(item.rule, name) for item in findings for name in item.columns or ("",)}


def test_boston_has_its_known_faults():
    _, findings = explored(EXAMPLES / "boston" / "boston.csv", "MEDV", sensitive=("B", "LSTAT"), model="linear")
    reported = rules(findings)
    assert {
        ("sensitive attribute", "B"),
        ("sensitive attribute", "LSTAT"),
        ("capped target", "MEDV"),
        ("collinearity", "TAX"),
        ("collinearity", "RAD"),
    } <= reported
    assert next(item for item in findings if item.rule == "capped target").evidence == {"value": 50.0, "rows": 16}
    assert len(findings) <= 7


def test_clean_tables_have_few_findings(tables):
    california = (tables / "california_housing" / "housing.csv.gz", "median_house_value")
    for path, target in ((EXAMPLES / "ames" / "ames.csv.gz", "Sale_Price"), california):
        _, findings = explored(path, target)
        assert len([item for item in findings if item.severity in ("high", "medium")]) <= 1


def test_explore_prints_findings_and_writes_a_page(run, tmp_path):
    page = tmp_path / "page.html"
    code, result, _ = run("explore", EXAMPLES / "boston" / "boston.csv", "--target", "MEDV", "--page", page, "--json")
    assert code == 0
    assert [item["number"] for item in result["findings"]] == list(range(1, len(result["findings"]) + 1))
    text = page.read_text()
    assert len(text) < 150_000
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize("name", ["boston", "credit"])
def test_config_with_accepted_edits_trains(run, tmp_path, name):
    folder = Path(shutil.copytree(EXAMPLES / name, tmp_path / name))
    conf = next(folder.glob("config.*"))
    command = ("explore", "--conf", conf, "--page", tmp_path / "page.html", "--json")
    numbers = [item["number"] for item in run(*command)[1]["findings"] if item["rule"] == "sensitive attribute"]
    code, result, _ = run(*command, "--accept", ",".join(map(str, numbers)))
    assert (code, result["accepted"]) == (0, numbers)
    if name == "credit":
        assert "# 4,454 loans" in conf.read_text()
    assert not [item for item in run(*command)[1]["findings"] if item["rule"] == "sensitive attribute"]
    assert run("train", "--conf", conf, "--store", tmp_path / "models", "--set", "training.epochs=2")[0] == 0


def test_unknown_finding_cannot_be_accepted(run, tmp_path):
    conf = Path(shutil.copytree(EXAMPLES / "boston", tmp_path / "b")) / "config.json"
    before = conf.read_text()
    code, _, err = run("explore", "--conf", conf, "--page", tmp_path / "p.html", "--accept", "99")
    assert (code, "no finding with an edit" in err) == (1, True)
    assert conf.read_text() == before


def test_edit_keeps_comments(tmp_path):
    conf = tmp_path / "c.yml"
    conf.write_text("# mine\ndata:\n  path: a.csv   # the rows\n  target: y\n  drop: [id]\n")
    write_edits(conf, {"data.drop": ["id", "b"], "schema.columns.emp.var.rate.na_values": ["999"]})
    text = conf.read_text()
    assert "# mine" in text
    assert "# the rows" in text
    assert "drop: [id, b]" in text
    assert "emp.var.rate:" in text


@pytest.mark.parametrize("frame", [
    pl.DataFrame({"x": [1.0], "y": [2.0]}),
    pl.DataFrame({"x": [None, None], "y": [1, 2]}, schema={"x": pl.String, "y": pl.Int64}),
    pl.DataFrame({"x": [1, 1, 1], "y": [5, 5, 5]}),
    pl.DataFrame({"x": ["a", "b", None], "y": ["u", "v", "u"]}),
    pl.DataFrame({"y": [1, 2, 3]}),
    pl.DataFrame({f"n{i}": [float(i), 2.0, 3.0, 1e300] for i in range(300)} | {"y": [1, 2, 3, 4]}),
    pl.DataFrame({"x": [0.3, 0.1 + 0.2] * 20, "y": [1e18, 1e18 + 256] * 20}),
    pl.DataFrame({"x": [-1.7e308, 1.7e308, 5e-324, 3.0] * 10, "z": [5e-324, 1e-323] * 20, "y": [1e300, 1.1e300] * 20}),
], ids=["one row", "all missing", "constant", "text", "one column", "huge", "ulps", "whole range"])  # fmt: skip
def test_extreme_tables_are_profiled(frame):
    schema = infer_schema(frame, "y")
    profile = profile_table(schema, [frame])
    exploration_page(profile, run_rules(schema, profile, frame), name="extreme")
    json.dumps(profile.to_data(), allow_nan=False)
    histograms = [(column.histogram[1], column.count) for column in profile.columns if column.histogram]
    assert all(sum(counts) == known for counts, known in histograms)


M2 = 10.7639104167
COUNTED = [
    ({"$1,200": 1, "$85": 1, "$3,000.50": 1}, {"strip": ["$"], "thousands": ","}),
    ({"150,000km": 1, "5,000km": 1, "10,000km": 1}, {"strip": ["km"], "thousands": ","}),
    ({"95%": 1, "100%": 1, "7%": 1}, {"strip": ["%"]}),
    ({"1.234,5": 1, "2,5": 1, "12.000": 1}, {"thousands": ".", "decimal": ","}),
    ({"3,5": 1, "2,25": 1, "7": 1}, {"decimal": ","}),
    ({"47.68": 9, "47.125": 9, "47,685": 1, "47,61": 1}, {"decimal": ","}),
    ({"USD 1\u00a0200": 1, "$1,300": 1}, {"strip": ["USD", "$"], "thousands": ","}),
    ({"three": 4, "2": 9, "Four": 1}, {"replace": {"three": "3", "Four": "4"}}),
    ({"1900": 50, "2100": 50, "2,000 sq ft": 40, "190 m2": 30},
     {"strip": ["sq ft"], "units": {"m2": M2}, "thousands": ","}),
    ({"1 floors": 30, "2 floors": 30, "1": 90, "2": 99}, {"strip": ["floors"]}),
    ({"34.46 Sq. Meter": 1, "1200 kg": 1, "3 perch": 1}, None),
    ({"2100 - 2850": 1, "1200": 1, "3000": 1}, None),
    ({"150 km": 1, "200": 1, "300": 1}, None),
    ({"1 km": 50, "200": 50, "300": 50}, None),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "expected"), COUNTED, ids=lambda item: str(item)[:30])
def test_number_edit_reads_every_text_or_is_none(counts, expected):
    edit = number_edit("x", counts)
    settings = None if edit is None else {key.rpartition(".")[2]: value for key, value in edit.items()}
    assert settings == (None if expected is None else {"kind": "number", **expected})


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["2014-09-02", "09/21/2014", "02.09.2014", "06-Mar-15"], ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%b-%y"]),
        (["September 02, 2014", "20140902T000000"], ["%B %d, %Y", "%Y%m%dT%H%M%S"]),
        (["01/02/2014", "2014-02-01"], None),
        (["01/02/2014", "2014-02-01", "13/02/2014"], ["%d/%m/%Y", "%Y-%m-%d"]),
        (["2014-02-01", "soon"], None),
    ],
)
def test_date_edit_is_never_ambiguous(texts, formats):
    edit = date_edit("d", texts)
    assert (edit and sorted(edit["schema.columns.d.date_formats"])) == (formats and sorted(formats))


def test_typos_become_the_category_they_resemble():
    counts = {"Average": 900, "average ": 40, "Aveerage": 9, "Good": 300, "Food": 20, "Fair 1": 90, "Fair 11": 9}
    edit, variants = category_edit("c", counts)
    assert edit == {
        "schema.columns.c.kind": "category",
        "schema.columns.c.ignore_case": True,
        "schema.columns.c.replace": {"aveerage": "average"},
    }
    assert variants == [["Average", "average "], ["aveerage", "average"]]


def test_accepted_finding_turns_money_into_numbers(run, tables, tmp_path):
    conf = tmp_path / "c.yml"
    table = tables / "airbnb_munich" / "listings.csv.gz"
    conf.write_text(f"name: rooms\ndata: {{path: {table}, target: price}}\n")
    command = ("explore", "--conf", conf, "--page", tmp_path / "p.html", "--json")
    numbers = [item["number"] for item in run(*command)[1]["findings"] if item["rule"] == "number as text"]
    assert run(*command, "--accept", ",".join(map(str, numbers)))[0] == 0
    small = (
        "--set",
        "evaluation.importance_repeats=0",
        "--set",
        "model.kind=boosting",
        "--set",
        "model.n_estimators=60",
    )
    code, made, _ = run("train", "--conf", conf, "--store", tmp_path / "m", *small, "--json")
    assert (code, made["task"]) == (0, "regression")
    assert made["metrics"]["mae"]["value"] < made["baseline"]["mae"]["value"]
