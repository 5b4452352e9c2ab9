"""The `tinykit` command: one file per verb; a verb parses, calls the library and prints."""

from tinykit.cli.app import app, main

__all__ = ["app", "main"]
