"""The matrix: encoders by column, computed by the same graph that serves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.core.task import Task
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.errors import ConfigError
from estimator.features.encoders.calendar import FIELDS, calendar_fields
from estimator.features.matrix import CrossFittedFeatures, EncoderRules, Features
from tests.conftest import read_example


def fitted(name: str, target: str, wants: str, **rules: object) -> tuple[Features, np.ndarray]:
    frame = read_example(name)
    schema = infer_schema(frame, target)
    batch = read_frame(schema, frame)
    goal = np.arange(batch.n_rows, dtype=float)
    features = Features.fit(
        schema, batch, goal, Task("regression"), EncoderRules(wants, **{"max_categories": 50, **rules})
    )
    return features, features.matrix(batch)


def test_standardized_numbers_match_sklearn():
    from sklearn.preprocessing import StandardScaler

    features, matrix = fitted("boston", "MEDV", "scaled")
    raw = read_example("boston").drop("MEDV").cast(pl.Float64)
    expected = StandardScaler().fit_transform(raw.select(features.names).to_numpy())
    assert matrix == pytest.approx(expected, abs=1e-9)


def test_one_hot_matches_sklearn():
    from sklearn.preprocessing import OneHotEncoder

    features, matrix = fitted("penguins", "body_mass_g", "scaled")
    columns = [index for index, name in enumerate(features.names) if name.startswith("island=")]
    expected = OneHotEncoder(sparse_output=False).fit_transform(read_example("penguins")[["island"]].to_numpy())
    assert np.array_equal(matrix[:, columns], expected)


def test_missing_value_is_flagged_for_nets_and_nan_for_trees():
    features, matrix = fitted("penguins", "species", "scaled")
    assert matrix[:, features.names.index("body_mass_g=missing")].sum() == 2
    features, matrix = fitted("penguins", "species", "raw")
    assert np.isnan(matrix[:, features.names.index("body_mass_g")]).sum() == 2


def test_cross_fitting_hides_a_rows_own_label():
    generator = np.random.default_rng(2)
    frame = pl.DataFrame({"code": [f"c{n}" for n in generator.integers(0, 400, 800)], "y": generator.normal(size=800)})
    schema = infer_schema(frame, "y")
    batch, goal = read_frame(schema, frame), frame["y"].to_numpy()
    rules = EncoderRules("scaled", 50, 0.0, {"code": "target_mean"})
    encoding = CrossFittedFeatures.fit(schema, batch, goal, Task("regression"), rules)
    all_rows, half = np.ones(800, dtype=bool), np.arange(800) < 400
    assert np.corrcoef(encoding.matrix[:, 0], goal)[0, 1] > 0.6
    assert abs(np.corrcoef(encoding.training_matrix(all_rows)[:, 0], goal)[0, 1]) < 0.15
    assert abs(np.corrcoef(encoding.validation_matrix(half, ~half)[:, 0], goal[~half])[0, 1]) < 0.15
    assert np.array_equal(encoding.validation_matrix(all_rows, half), encoding.matrix[half])


def test_wide_categories_get_target_means():
    features, _ = fitted("ames", "Sale_Price", "scaled", max_categories=10)
    assert features.kinds["Neighborhood"] == "target_mean"
    assert features.kinds["Street"] == "onehot"


def test_rare_category_is_smoothed_to_the_mean():
    from estimator.features.encoders import EncoderInput
    from estimator.features.encoders.target_mean import TargetMean

    values = np.array(["common"] * 99 + ["rare"], dtype=object)
    target = np.array([0.0] * 99 + [100.0])
    encoder = TargetMean.fit(EncoderInput(values, target, Task("regression"), target_smoothing=20.0))
    overall, spread = target.mean(), target.std()
    expected = ((100.0 + 20.0 * overall) / 21.0 - overall) / spread
    assert encoder.means[encoder.categories.index("rare")][0] == pytest.approx(expected)


def test_named_encoder_must_accept_the_column():
    with pytest.raises(ConfigError, match="does not accept a number"):
        fitted("boston", "MEDV", "scaled", named={"RM": "onehot"})


def test_named_encoder_is_used():
    features, _ = fitted("credit", "Status", "raw", named={"Home": "onehot"})
    assert "Home=owner" in features.names


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime(1600, 1, 1), datetime(2400, 1, 1)))
def test_calendar_fields_match_python(moment):
    exact = moment.replace(tzinfo=UTC, microsecond=0)
    seconds = (exact - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    fields = dict(zip(FIELDS, (float(values[0]) for values in calendar_fields(np.array([seconds]), 0.0)), strict=True))
    expected = {"year": exact.year, "month": exact.month, "day": exact.day}
    expected |= {"weekday": exact.weekday(), "hour": exact.hour, "elapsed_days": seconds / 86400}
    assert fields == pytest.approx(expected)
