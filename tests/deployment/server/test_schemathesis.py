"""The server held against its own description by a program that nobody here wrote."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef"


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["without keys", "with keys"])
def test_every_answer_is_one_that_the_description_names(
    make_bundle, start_server: Any, keys: tuple[str, ...], tmp_path: Path
) -> None:
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("pip install schemathesis")
    server = start_server(make_bundle(), keys=keys)
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    config = Path(__file__).with_name("schemathesis.toml")
    words = [program, "--config-file", config, "run", address, "--checks", "all", "--max-examples", "15", "--seed", "1"]
    headers = [word for key in keys for word in ("--header", f"Authorization: Bearer {key}")]
    done = subprocess.run(
        [*words, "--continue-on-failure", *headers], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert not server.events("fault")
