"""``python -m stompy_broker``."""

from stompy_broker.cli import main

if __name__ == "__main__":
    main()
