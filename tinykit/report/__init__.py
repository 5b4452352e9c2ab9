"""Numbers for people and for programs: a report is tables and the same facts as JSON."""

from tinykit.report.report import Column, JsonValue, Report, Table

__all__ = ["Column", "JsonValue", "Report", "Table"]
