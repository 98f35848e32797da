"""``python -m autoquant`` is ``autoquant``."""

from autoquant.cli import main

if __name__ == "__main__":
    main()
