"""``python -m fewbeats``."""

from fewbeats.cli import main

if __name__ == "__main__":
    main()
