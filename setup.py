"""The one dynamic part of the build: the native extension. All else is in pyproject.toml."""

import filecmp
import json
import os
import shutil
import sys
import time
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "csrc"))

from native_build import SUFFIX, build, record, summary  # noqa: E402 - isolated builds have no path to csrc
from toolchain import BuildError, Switches  # noqa: E402


class BuildNative(build_ext):
    """`build_ext` by ninja: compiles in build/native, then puts the library and its record into the package."""

    def run(self) -> None:
        package, start = (ROOT if self.inplace else Path(self.build_lib)) / "linfair", time.time()
        try:
            library, kept = build(Switches.read(os.environ))
        except BuildError as error:
            place(package, None, record(f"the build failed: {error}"))
            raise CompileError(str(error)) from None
        place(package, library, kept)
        os.utime(package / "_build.json", (start, start))  # a source edited while it compiled is newer than that
        print(f"{summary(kept)} in {time.time() - start:.1f} s", flush=True)
        if library is None:  # without machine code a wheel is for every machine
            self.distribution.ext_modules = []
            if wheel := self.distribution.command_obj.get("bdist_wheel"):
                wheel.root_is_pure = True  # pyright: ignore[reportAttributeAccessIssue]

    def get_source_files(self) -> list[str]:
        return []  # MANIFEST.in lists them

    def get_outputs(self) -> list[str]:
        package = Path(self.build_lib) / "linfair"
        return [] if self.inplace else [str(path) for path in (package / f"_C{SUFFIX}", package / "_build.json")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}  # in place, the files are where an editable install looks for them


def place(package: Path, library: Path | None, kept: dict[str, Any]) -> None:
    """Leave in `package` this library (or none) and its record, and no other library that this Python would load."""
    package.mkdir(parents=True, exist_ok=True)
    target = package / f"_C{SUFFIX}"
    for suffix in EXTENSION_SUFFIXES:
        if library is None or suffix != SUFFIX:
            (package / f"_C{suffix}").unlink(missing_ok=True)
    if library and not (target.exists() and filecmp.cmp(library, target, shallow=False)):
        copy = target.with_name(f"{target.name}.tmp")
        shutil.copy2(library, copy)
        copy.replace(target)
    (package / "_build.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    setup(ext_modules=[Extension("linfair._C", sources=[])], cmdclass={"build_ext": BuildNative})
