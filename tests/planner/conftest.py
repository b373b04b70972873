"""What the planner's tests run under."""

import pytest


@pytest.fixture(autouse=True)
def _no_profile_of_this_host(tmp_path, monkeypatch):
    """Choices do not depend on a calibration of the machine that runs the tests."""
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path))
