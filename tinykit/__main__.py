"""`python -m tinykit` is the `tinykit` command."""

from tinykit.cli import main

if __name__ == "__main__":
    main()
