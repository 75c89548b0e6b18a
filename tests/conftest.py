"""Property tests draw the same examples everywhere, and no example fails for being slow on a busy machine."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before numpy loads: the workers are the parallelism, threads would fight them

from hypothesis import settings  # noqa: E402

settings.register_profile("linfair", deadline=None, derandomize=True)
settings.load_profile("linfair")
