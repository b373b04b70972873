"""What every test runs under: a shared compile cache, and draws that are the same on every machine."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# One cache for all runs, set before attnc is imported: a kernel whose source did not change is not compiled again.
os.environ.setdefault("ATTNC_CACHE_DIR", str(ROOT / ".cache" / "attnc-tests"))

# A first call compiles a kernel, which says nothing about the draw that caused it; hence no deadline.
settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# New draws on every run, and many more of them: HYPOTHESIS_PROFILE=soak make test
settings.register_profile(
    "soak",
    settings.get_profile("steady"),
    derandomize=False,
    max_examples=int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "2000")),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
