"""pytest-tinybird: a pytest run whose results arrive as events."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import requests
from desk import HOST, TOKEN, passes

passes.client("pytest-tinybird", version("pytest-tinybird"))
TESTS = "def test_wren():\n    pass\n\n\ndef test_cat():\n    assert 'cat' in 'garden'\n"

with passes("the results of a test run"), tempfile.TemporaryDirectory() as folder:
    Path(folder, "test_birds.py").write_text(TESTS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--report-to-tinybird", "test_birds.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ
        | {
            "TINYBIRD_URL": HOST,
            "TINYBIRD_TOKEN": TOKEN,
            "TINYBIRD_DATASOURCE": "test_results",
            "TINYBIRD_WAIT": "true",
            "TINYBIRD_TIMEOUT": "60",
        },
    )
    assert run.returncode == 1, run.stdout + run.stderr
    sql = "SELECT test_name, outcome FROM test_results WHERE test_part = 'call' ORDER BY test_name FORMAT JSON"
    answer = requests.get(f"{HOST}/v0/sql", params={"q": sql, "token": TOKEN}, timeout=60).json()
    assert answer["data"] == [
        {"test_name": "test_cat", "outcome": "failed"},
        {"test_name": "test_wren", "outcome": "passed"},
    ], answer
