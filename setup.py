"""The compiled kernels; everything else about the package stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class BuildKernels(build_ext):
    """A plain shared library, loaded with ctypes: it has no Python module's entry point.

    It is optional: without a compiler the package installs, and runs on torch alone.
    """

    def get_export_symbols(self, extension: Extension) -> list[str]:
        """Nothing beside the functions themselves (Windows would look for PyInit)."""
        return extension.export_symbols


NATIVE = Path("autoquant/native")

setup(
    ext_modules=[
        Extension(
            "autoquant.native._kernels",
            sources=sorted(map(str, NATIVE.glob("*.c"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
            extra_compile_args=["-O3", "-g0", "-std=gnu11", "-Wno-psabi"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
