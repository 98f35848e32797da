"""``python -m studies.speech sizes``: writes the tables of README.md that need no training."""

from __future__ import annotations

import sys
from pathlib import Path

from studies.markdown import write_between_marks
from studies.speech.sizes import memory_table, size_table

README = Path(__file__).parent / "README.md"
TABLES = {"sizes": size_table, "memory": memory_table}


def main() -> None:
    """Write the tables."""
    if sys.argv[1:] != ["sizes"]:
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    for name, table in TABLES.items():
        write_between_marks(README, name, table())


if __name__ == "__main__":
    main()
