"""Write a table of made-up houses, 20 mixed columns with missing values and a skewed price, block by block."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

# A block is one row group, seeded by its number, so memory does not grow with the rows.
BLOCK_ROWS = 2**20
DAYS = 3_650
REGIONS = ("Nordhavn", "Østerlund", "Vale Real", "Côte-Blanche", "Hochmoor", "Midlands", "Lakeside", "São Tomé")
KINDS = ("apartment", "terraced", "semi-detached", "detached", "bungalow", "villa")
HEATING = ("gas", "oil", "electric", "heat pump", "district", "wood")
ENERGY = ("A", "B", "C", "D", "E", "F", "G")
N_CITIES, N_POSTCODES, N_AGENTS = 400, 20_000, 5_000


def write_table(path: Path, n_rows: int) -> None:
    """Write a table of n rows, Parquet or CSV by the path's suffix."""
    blocks = _blocks(n_rows)
    first = next(blocks)
    # A file under its final name is complete.
    unfinished = path.with_name(f"{path.name}.unfinished")
    new_writer = pyarrow.parquet.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
    options = {"compression": "zstd"} if path.suffix == ".parquet" else {}
    with new_writer(unfinished, first.schema, **options) as writer:
        writer.write_table(first)
        for block in blocks:
            writer.write_table(block)
    unfinished.rename(path)


def _blocks(n_rows: int) -> Iterator[pa.Table]:
    for start in range(0, n_rows, BLOCK_ROWS):
        yield _block(start, min(BLOCK_ROWS, n_rows - start))


def _block(start: int, n_rows: int) -> pa.Table:
    rng = np.random.default_rng([0, start // BLOCK_ROWS])
    city = np.minimum(rng.zipf(1.3, n_rows), N_CITIES) - 1
    kind = rng.choice(len(KINDS), n_rows, p=[0.38, 0.2, 0.15, 0.17, 0.06, 0.04])
    area = np.round(np.exp(4.3 + 0.15 * kind + 0.3 * rng.standard_normal(n_rows)), 1)
    rooms = np.clip(np.round(area / 24 + 0.6 * rng.standard_normal(n_rows)), 1, 20)
    built = np.round(2025 - 170 * rng.random(n_rows) ** 1.4)
    distance = np.round(np.exp(1.6 + 0.9 * rng.standard_normal(n_rows)), 2)
    energy = np.clip(np.round((2030 - built) / 22 + rng.standard_normal(n_rows)), 0, 6).astype(int)
    listed = np.datetime64("2015-01-01T00:00:00") + rng.integers(0, DAYS * 86_400, n_rows).astype("timedelta64[s]")
    sold = listed.astype("datetime64[D]") + (3 + rng.exponential(50, n_rows)).astype("timedelta64[D]")
    lot = np.round(np.exp(5.5 + 0.4 * kind + 0.7 * rng.standard_normal(n_rows)))
    log_price = 10 + 0.74 * np.log(area) + 0.1 * kind + 0.2 * np.sin(city) - 0.003 * (2025 - built)
    log_price += -0.1 * np.log1p(distance) - 0.02 * energy + 0.13 * rng.standard_normal(n_rows)
    agents = np.minimum(rng.zipf(1.2, n_rows), N_AGENTS) - 1

    def missing(fraction: float) -> np.ndarray:
        return rng.random(n_rows) < fraction

    columns = {
        "id": pa.array(np.arange(start, start + n_rows)),
        "listed_at": pa.array(listed),
        "sold_on": pa.array(sold, mask=missing(0.01)),
        "region": _texts(city % len(REGIONS), REGIONS),
        "city": _texts(city, [f"City {number}" for number in range(N_CITIES)]),
        "postcode": _texts((city * 50 + rng.integers(0, 50, n_rows)), [f"{code:05}" for code in range(N_POSTCODES)]),
        "agent": _texts(agents, [f"agent-{number:04}" for number in range(N_AGENTS)]),
        "kind": _texts(kind, KINDS),
        "heating": _texts(rng.integers(0, len(HEATING), n_rows), HEATING, mask=missing(0.05)),
        "energy_class": _texts(energy, ENERGY, mask=missing(0.15)),
        "latitude": pa.array(np.round(46 + city % 9 + 0.12 * rng.standard_normal(n_rows), 5)),
        "longitude": pa.array(np.round(city % 20 + 0.18 * rng.standard_normal(n_rows), 5)),
        "area": pa.array(area),
        "lot": pa.array(lot, mask=(kind == 0) | missing(0.04)),
        "rooms": pa.array(rooms.astype(np.int8)),
        "year_built": pa.array(built.astype(np.int16), mask=missing(0.03)),
        "distance": pa.array(distance),
        "garage": pa.array(rng.random(n_rows) < 0.6),
        "pool": pa.array(rng.random(n_rows) < 0.07, mask=missing(0.5)),
        "price": pa.array((np.round(np.exp(log_price) / 100) * 100).astype(np.int64)),
    }
    return pa.table(columns)


def _texts(codes: np.ndarray, names: Sequence[str], *, mask: np.ndarray | None = None) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), pa.array(names)).cast(pa.string())


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), int(sys.argv[2]))
    # The measuring process reads one JSON object from every process that it starts.
    print("{}")
