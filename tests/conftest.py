"""What every test may use."""

from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # the first example imports what all others have
hypothesis.settings.load_profile("untimed")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, photos and model files; tests that need it are skipped where it is not."""
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return DATA
