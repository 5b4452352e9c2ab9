"""One file per operator; see tinykit.ops.base for what such a file holds."""
