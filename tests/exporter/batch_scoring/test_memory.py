"""However large a set is, scoring it takes the memory of a few batches."""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

#: Bytes of a row, of which the larger set has ROWS, the smaller a tenth.
PAYLOAD, ROWS = 40_000, 4_000


def peak(url: str, source: Path, output: Path) -> float:
    command = [sys.executable, str(Path(__file__).with_name("bounded.py")), url, str(source), str(output)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout)


def write(path: Path, rows: int) -> Path:
    payloads = [secrets.token_hex(PAYLOAD // 2) for _ in range(10)]  # other than zeros it does not shrink much
    if path.suffix == ".jsonl":
        with path.open("w") as file:
            for index in range(rows):
                file.write(json.dumps({"text": "ok", "payload": payloads[index % 10]}) + "\n")
        return path
    schema = pa.schema({"text": pa.string(), "payload": pa.string()})
    with parquet.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for start in range(0, rows, 100):
            many = [payloads[index % 10] for index in range(start, start + 100)]
            writer.write_table(pa.table({"text": ["ok"] * 100, "payload": many}, schema))
    return path


@pytest.mark.parametrize("ending", [pytest.param(".jsonl", marks=pytest.mark.slow), ".parquet"])
def test_memory_does_not_grow_with_the_rows(url, tmp_path, ending):
    """Ten times the rows, 160 MB in place of 16, take no more memory than a few batches and a row group."""
    few, many = (write(tmp_path / f"{rows}{ending}", rows) for rows in (ROWS // 10, ROWS))
    assert many.stat().st_size > PAYLOAD * ROWS
    peaks = [peak(url, source, tmp_path / f"out-{source.name}") for source in (few, many)]
    assert peaks[1] - peaks[0] < PAYLOAD * ROWS * 0.9 / 1e6 / 2
