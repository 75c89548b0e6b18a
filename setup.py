"""The one dynamic part of the build: which native extensions there are. All else is in pyproject.toml."""

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    """Native modules to compile: none, because csrc/ holds no sources yet. The first will be `linfair._C`."""
    return []


if __name__ == "__main__":
    setup(ext_modules=extensions())
