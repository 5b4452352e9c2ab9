"""`tinykit boards`: the boards that have a manifest."""

from __future__ import annotations
