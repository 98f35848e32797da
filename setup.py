"""The compiled kernels; everything else about the package stands in pyproject.toml."""

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class BuildKernels(build_ext):
    """A plain shared library, loaded with ctypes: it has no Python module's entry point.

    It is optional: without a compiler the package installs, and runs on torch alone.
    """

    def get_export_symbols(self, extension: Extension) -> list[str]:
        """Nothing beside the functions themselves (Windows would look for PyInit)."""
        return extension.export_symbols


SOURCES = ("machine", "portable", "avx2", "avx512")
HEADERS = (
    "backward core functions infer lanes linear matrix pack pointwise recurrence tile"  # in no order
).split()

setup(
    ext_modules=[
        Extension(
            "autoquant.native._kernels",
            sources=[f"autoquant/native/{name}.c" for name in SOURCES],
            depends=[f"autoquant/native/{name}.h" for name in HEADERS],
            extra_compile_args=["-O3", "-std=gnu11", "-Wno-psabi"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
