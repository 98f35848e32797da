"""The compiled kernels and the list of packages; everything else stands in pyproject.toml."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext


class BuildKernels(build_ext):
    """A plain shared library, loaded with ctypes: it has no Python module's entry point.

    It is optional: without a compiler the package installs, and runs on torch alone.
    """

    def get_export_symbols(self, extension: Extension) -> list[str]:
        """Nothing beside the functions themselves (Windows would look for PyInit)."""
        return extension.export_symbols

    def build_extensions(self) -> None:
        """Compile the sources side by side: each takes many seconds."""
        compile_one = self.compiler.compile

        def compile_all(sources: Sequence[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: compile_one([source], **options), sources)
                return [path for paths in made for path in paths]

        self.compiler.compile = compile_all
        super().build_extensions()


NATIVE = Path("autoquant/quantization/native")
SOURCES, HEADERS = (sorted(map(str, NATIVE.glob(pattern))) for pattern in ("*.c", "*.h"))
if not SOURCES or not HEADERS:  # a folder that was moved must not go unnoticed
    raise SystemExit(f"the C kernels must lie in {NATIVE}, got none there")

setup(
    packages=[*find_packages(include=["autoquant", "autoquant.*"]), "autoquant.conf"],
    ext_modules=[
        Extension(
            "autoquant.quantization.native._kernels",
            sources=SOURCES,
            depends=HEADERS,
            extra_compile_args=["-O3", "-g0", "-std=gnu11", "-Wno-psabi"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
