"""What is read is not held: a Parquet file of one large row group is copied and read in a small part of its memory."""

import os
import random
import subprocess
import sys

import pytest

READ = """
import sys
import pyarrow
from sightline.data.readers import open_data

rows = open_data(sys.argv[1])
assert len(rows[len(rows) - 1].images[0]) > 10_000
assert sum(len(row.images[0]) for row in rows) > 70_000_000
print(pyarrow.default_memory_pool().max_memory())
"""


def test_a_large_row_group_is_never_in_memory_as_a_whole(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    random.seed(0)
    pictures = [random.randbytes(20_000) for _ in range(50)]
    rows = {"image": [pictures[n % 50][n:] + pictures[n % 49][:n] for n in range(4000)], "text": ["A duck."] * 4000}
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(rows), path, row_group_size=10**6, use_dictionary=False)
    command = [sys.executable, "-c", READ, str(path)]
    ran = subprocess.run(
        command, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < path.stat().st_size * 3 / 4
