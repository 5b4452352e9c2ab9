"""The pages that the code prints are those that are checked in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykit.report.docs import PAGES, write_pages

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str, tmp_path: Path) -> None:
    write_pages(tmp_path)
    printed = (tmp_path / name).read_text(encoding="utf-8")
    assert (DOCS / name).read_text(encoding="utf-8") == printed, "run `make docs`"
