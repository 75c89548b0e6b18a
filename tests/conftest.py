"""Property tests draw the same examples everywhere, and no example fails for being slow on a busy machine."""

from hypothesis import settings

settings.register_profile("linfair", deadline=None, derandomize=True)
settings.load_profile("linfair")
