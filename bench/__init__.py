"""Measurements that a reader can rerun: `python -m bench NAME`, or `make bench ARGS=NAME`."""
