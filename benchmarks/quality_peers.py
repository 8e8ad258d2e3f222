"""One peer of the quality benchmark in a process of its own: read the parted table, fit, answer the held-out rows."""

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
    """What the environment of a peer holds, and how many seeds it is asked for; None is all.

    The first package, with its pin, names the environment, so that another version is another one.
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
LEVEL = 0.9


@dataclass(frozen=True)
class Parts:
    """The rows to learn from and those to answer, as pandas reads them; `words` names the columns of text."""

    train: Any
    target: Any
    test: Any
    words: list[str]
    request: Mapping[str, Any]

    @property
    def is_regression(self) -> bool:
        """Whether numbers are to be answered, not levels."""
        return bool(self.request["task"] == "regression")

    def coded(self) -> Parts:
        """Give the same as numbers and categories: moments as seconds, words as levels of the training rows."""
        import pandas as pd

        train, test = self.train.copy(), self.test.copy()
        for name in self.words:
            train[name] = train[name].astype("category")
            test[name] = pd.Categorical(test[name], categories=train[name].cat.categories)
        for frame in (train, test):
            moments = frame.select_dtypes("datetime").columns
            frame[moments] = frame[moments].apply(lambda column: (column - pd.Timestamp(0)).dt.total_seconds())
        return replace(self, train=train, test=test)


def read_parts(request: Mapping[str, Any]) -> Parts:
    """Read the file of a parted table."""
    import pandas as pd

    table = pd.read_parquet(request["path"])
    test = table.pop(request["part_column"]) == "test"
    target = table.pop(request["target"])
    # A truth value with gaps comes as an object, and is a word for everybody.
    words = [name for name in table if table[name].dtype == object or pd.api.types.is_string_dtype(table[name])]
    for name in words:
        table[name] = table[name].map(str, na_action="ignore").astype(object)
    return Parts(table[~test], target[~test], table[test], words, request)


def fit_catboost(parts: Parts) -> Any:
    """CatBoost with its defaults."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    parts = parts.coded()
    train, test = parts.train.copy(), parts.test.copy()
    for frame in (train, test):
        for name in parts.words:
            frame[name] = frame[name].astype(object).fillna("")
    settings = {"random_seed": parts.request["seed"], "thread_count": 1, "allow_writing_files": False, "verbose": False}
    kind = CatBoostRegressor if parts.is_regression else CatBoostClassifier
    model = kind(**settings, cat_features=parts.words).fit(train, parts.target)
    return model.predict(test) if parts.is_regression else by_level(model.predict_proba(test), model.classes_, parts)


def fit_lightgbm(parts: Parts) -> Any:
    """LightGBM with the defaults of its scikit-learn classes."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    parts = parts.coded()
    kind = LGBMRegressor if parts.is_regression else LGBMClassifier
    model = kind(random_state=parts.request["seed"], n_jobs=1, verbose=-1).fit(parts.train, parts.target)
    if parts.is_regression:
        return model.predict(parts.test)
    return by_level(model.predict_proba(parts.test), model.classes_, parts)


def fit_flaml(parts: Parts) -> Any:
    """FLAML's search, within its budget of CPU seconds; it makes numbers of moments and words itself."""
    tick_by_cpu()
    from flaml import AutoML

    task, metric = ("regression", "rmse") if parts.is_regression else ("classification", "log_loss")
    model = AutoML()
    settings = {"time_budget": CPU_SECONDS["flaml"], "n_jobs": 1, "seed": parts.request["seed"], "verbose": 0}
    model.fit(X_train=parts.train, y_train=parts.target, task=task, metric=metric, **settings)
    if parts.is_regression:
        return model.predict(parts.test)
    return by_level(model.predict_proba(parts.test), model.classes_, parts)


def fit_autogluon(preset: str) -> Callable[[Parts], Any]:
    """AutoGluon with a preset, within its budget of CPU seconds."""

    def fit(parts: Parts) -> Any:
        tick_by_cpu()
        from autogluon.tabular import TabularPredictor

        metric = "root_mean_squared_error" if parts.is_regression else "log_loss"
        label = parts.request["target"]
        budget = CPU_SECONDS[parts.request["contestant"]]
        with tempfile.TemporaryDirectory() as folder:
            # A number of few values would be taken for levels.
            kinds = {1: "regression", 2: "binary"}
            n_levels = 1 if parts.is_regression else len(parts.request["levels"])
            kind = kinds.get(n_levels, "multiclass")
            model = TabularPredictor(label, kind, eval_metric=metric, path=f"{folder}/model", verbosity=0)
            train = parts.train.assign(**{label: parts.target})
            model.fit(train, presets=preset, time_limit=budget, num_cpus=1, num_gpus=0)
            if parts.is_regression:
                return model.predict(parts.test).to_numpy()
            return model.predict_proba(parts.test)[parts.request["levels"]].to_numpy()

    return fit


def fit_mapie(parts: Parts) -> Any:
    """MAPIE's CV+ intervals around LightGBM's defaults, 5 folds; rows of answer, low, high."""
    import numpy as np
    from lightgbm import LGBMRegressor
    from mapie.regression import CrossConformalRegressor

    parts = parts.coded()
    places = [parts.train.columns.get_loc(name) for name in parts.words]
    train, test = (coded_matrix(frame, parts.words) for frame in (parts.train, parts.test))
    model = LGBMRegressor(random_state=parts.request["seed"], n_jobs=1, verbose=-1)
    settings = {"confidence_level": LEVEL, "method": "plus", "cv": 5, "random_state": parts.request["seed"]}
    conformal = CrossConformalRegressor(model, **settings)
    conformal.fit_conformalize(train, parts.target.to_numpy(), fit_params={"categorical_feature": places})
    answers, intervals = conformal.predict_interval(test)
    return np.column_stack([answers, intervals[:, :, 0]])


def coded_matrix(frame: Any, words: list[str]) -> Any:
    """Give a frame as floats, with the position of each level and gaps as NaN."""
    codes = {name: frame[name].cat.codes.astype(float).replace(-1.0, float("nan")) for name in words}
    return frame.assign(**codes).to_numpy(float)


def by_level(probabilities: Any, found: Any, parts: Parts) -> Any:
    """Put columns of probabilities into the order of the table's levels."""
    places = {str(level): place for place, level in enumerate(found)}
    return probabilities[:, [places[level] for level in parts.request["levels"]]]


def tick_by_cpu() -> None:
    """Let time.time tell CPU seconds, so that a peer's budget of seconds holds however busy the machine is."""
    began = time.time()

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return began + time.process_time() + children.ru_utime + children.ru_stime

    time.time = now


CHILDREN: dict[str, Callable[[Parts], Any]] = {
    "catboost": fit_catboost,
    "lightgbm": fit_lightgbm,
    "flaml": fit_flaml,
    "autogluon-medium": fit_autogluon("medium_quality"),
    "autogluon-best": fit_autogluon("best_quality"),
    "mapie": fit_mapie,
}


def main() -> None:
    """Answer one request, given as JSON; write the answers where it says."""
    import numpy as np

    warnings.simplefilter("ignore")
    request = json.loads(sys.argv[1])
    np.save(request["answers"], np.asarray(CHILDREN[request["contestant"]](read_parts(request)), dtype=float))
    # The measuring process reads one JSON object.
    print("{}")


if __name__ == "__main__":
    main()
