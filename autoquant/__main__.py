"""``python -m autoquant`` is ``autoquant``."""

from autoquant.cli.main import main

if __name__ == "__main__":
    main()
