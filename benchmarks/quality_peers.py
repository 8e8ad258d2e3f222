"""One peer of the quality benchmark in a process of its own: read the split table, fit, predict the held-out rows."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

# Only the standard library up here: each peer's Python has only that peer's packages.


@dataclass(frozen=True)
class Peer:
    """The packages of a peer's environment, and the number of seeds it is run with, None for all.

    The first package, with its pin, names the environment, so that each version has its own.
    """

    packages: tuple[str, ...]
    n_seeds: int | None = None


PANDAS = ("pandas==3.1.1", "pyarrow==26.0.1", "scikit-learn==1.9.1")
# PyPI's torch drags gigabytes of GPU libraries on Linux, and its xgboost as well: xgboost-cpu is the same without.
AUTOGLUON = ("autogluon.tabular[lightgbm,catboost]==1.6.3", "xgboost-cpu==3.2.0")
FLAML = ("flaml==2.7.0", "lightgbm==4.7.0", "xgboost-cpu==2.1.4", "catboost==1.2.10", "pandas==2.3.3", *PANDAS[1:])
PEERS = {
    "catboost": Peer(("catboost==1.2.10", *PANDAS[:2])),
    "lightgbm": Peer(("lightgbm==4.7.0", *PANDAS)),
    "flaml": Peer(FLAML),
    "autogluon-medium": Peer(AUTOGLUON),
    "autogluon-best": Peer(AUTOGLUON, n_seeds=1),
    "mapie": Peer(("mapie==1.6.0", "lightgbm==4.7.0", *PANDAS)),
}
CPU_SECONDS = {"flaml": 30, "autogluon-medium": 3600, "autogluon-best": 120}
COVERAGE = 0.9


@dataclass(frozen=True)
class SplitData:
    """The training rows and the held-out rows, as pandas reads them; `text_columns` names the columns of text."""

    train: Any
    target: Any
    test: Any
    text_columns: list[str]
    request: Mapping[str, Any]

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number, not a class."""
        return bool(self.request["task"] == "regression")

    def coded(self) -> SplitData:
        """Return the same as numbers and categories: times as seconds, text as categories of the training rows."""
        import pandas as pd

        train, test = self.train.copy(), self.test.copy()
        for name in self.text_columns:
            train[name] = train[name].astype("category")
            test[name] = pd.Categorical(test[name], categories=train[name].cat.categories)
        for frame in (train, test):
            times = frame.select_dtypes("datetime").columns
            frame[times] = frame[times].apply(lambda column: (column - pd.Timestamp(0)).dt.total_seconds())
        return replace(self, train=train, test=test)


def read_data(request: Mapping[str, Any]) -> SplitData:
    """Read the file of a split table."""
    import pandas as pd

    table = pd.read_parquet(request["path"])
    test = table.pop(request["part_column"]) == "test"
    target = table.pop(request["target"])
    table = table.drop(columns=request["left_out"])
    # A boolean column with missing values comes as objects, and is text for all peers.
    text_columns = [name for name in table if table[name].dtype == object or pd.api.types.is_string_dtype(table[name])]
    for name in text_columns:
        table[name] = table[name].map(str, na_action="ignore").astype(object)
    return SplitData(table[~test], target[~test], table[test], text_columns, request)


def fit_catboost(data: SplitData) -> Any:
    """CatBoost with its defaults."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    data = data.coded()
    train, test = data.train.copy(), data.test.copy()
    for frame in (train, test):
        for name in data.text_columns:
            frame[name] = frame[name].astype(object).fillna("")
    settings = {"random_seed": data.request["seed"], "thread_count": 1, "allow_writing_files": False, "verbose": False}
    kind = CatBoostRegressor if data.is_regression else CatBoostClassifier
    model = kind(**settings, cat_features=data.text_columns).fit(train, data.target)
    return (
        model.predict(test) if data.is_regression else in_class_order(model.predict_proba(test), model.classes_, data)
    )


def fit_lightgbm(data: SplitData) -> Any:
    """LightGBM with the defaults of its scikit-learn classes."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    data = data.coded()
    kind = LGBMRegressor if data.is_regression else LGBMClassifier
    model = kind(random_state=data.request["seed"], n_jobs=1, verbose=-1).fit(data.train, data.target)
    if data.is_regression:
        return model.predict(data.test)
    return in_class_order(model.predict_proba(data.test), model.classes_, data)


def fit_flaml(data: SplitData) -> Any:
    """FLAML's search, within its budget of CPU seconds; it encodes times and text itself."""
    count_cpu_seconds()
    from flaml import AutoML

    task, metric = ("regression", "rmse") if data.is_regression else ("classification", "log_loss")
    model = AutoML()
    settings = {"time_budget": CPU_SECONDS["flaml"], "n_jobs": 1, "seed": data.request["seed"], "verbose": 0}
    model.fit(X_train=data.train, y_train=data.target, task=task, metric=metric, **settings)
    if data.is_regression:
        return model.predict(data.test)
    return in_class_order(model.predict_proba(data.test), model.classes_, data)


def fit_autogluon(preset: str) -> Callable[[SplitData], Any]:
    """AutoGluon with a preset, within its budget of CPU seconds."""

    def fit(data: SplitData) -> Any:
        count_cpu_seconds()
        from autogluon.tabular import TabularPredictor

        metric = "root_mean_squared_error" if data.is_regression else "log_loss"
        label = data.request["target"]
        budget = CPU_SECONDS[data.request["competitor"]]
        with tempfile.TemporaryDirectory() as folder:
            # Numbers of few distinct values would be taken for classes.
            kinds = {1: "regression", 2: "binary"}
            n_classes = 1 if data.is_regression else len(data.request["classes"])
            kind = kinds.get(n_classes, "multiclass")
            model = TabularPredictor(label, kind, eval_metric=metric, path=f"{folder}/model", verbosity=0)
            train = data.train.assign(**{label: data.target})
            model.fit(train, presets=preset, time_limit=budget, num_cpus=1, num_gpus=0)
            if data.is_regression:
                return model.predict(data.test).to_numpy()
            return model.predict_proba(data.test)[data.request["classes"]].to_numpy()

    return fit


def fit_mapie(data: SplitData) -> Any:
    """MAPIE's CV+ intervals around LightGBM's defaults, 5 folds; of shape (rows, 3): prediction, low, high."""
    import numpy as np
    from lightgbm import LGBMRegressor
    from mapie.regression import CrossConformalRegressor

    data = data.coded()
    positions = [data.train.columns.get_loc(name) for name in data.text_columns]
    train, test = (coded_matrix(frame, data.text_columns) for frame in (data.train, data.test))
    model = LGBMRegressor(random_state=data.request["seed"], n_jobs=1, verbose=-1)
    settings = {"confidence_level": COVERAGE, "method": "plus", "cv": 5, "random_state": data.request["seed"]}
    conformal = CrossConformalRegressor(model, **settings)
    conformal.fit_conformalize(train, data.target.to_numpy(), fit_params={"categorical_feature": positions})
    predictions, intervals = conformal.predict_interval(test)
    return np.column_stack([predictions, intervals[:, :, 0]])


def coded_matrix(frame: Any, text_columns: list[str]) -> Any:
    """Return a frame as floats, with the code of each category, NaN where missing."""
    codes = {name: frame[name].cat.codes.astype(float).replace(-1.0, float("nan")) for name in text_columns}
    return frame.assign(**codes).to_numpy(float)


def in_class_order(probabilities: Any, classes: Any, data: SplitData) -> Any:
    """Return columns of probabilities in the order of the table's classes."""
    positions = {str(class_name): position for position, class_name in enumerate(classes)}
    return probabilities[:, [positions[class_name] for class_name in data.request["classes"]]]


def count_cpu_seconds() -> None:
    """Let time.time count CPU seconds, so that a peer's budget of seconds holds however busy the machine is."""
    began = time.time()

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return began + time.process_time() + children.ru_utime + children.ru_stime

    time.time = now


CHILDREN: dict[str, Callable[[SplitData], Any]] = {
    "catboost": fit_catboost,
    "lightgbm": fit_lightgbm,
    "flaml": fit_flaml,
    "autogluon-medium": fit_autogluon("medium_quality"),
    "autogluon-best": fit_autogluon("best_quality"),
    "mapie": fit_mapie,
}


def main() -> None:
    """Run one request, given as JSON; write the predictions to the path in it."""
    import numpy as np

    warnings.simplefilter("ignore")
    request = json.loads(sys.argv[1])
    np.save(request["predictions"], np.asarray(CHILDREN[request["competitor"]](read_data(request)), dtype=float))
    # The measuring process reads one JSON object.
    print("{}")


if __name__ == "__main__":
    main()
