"""Devices for tests: a hand-written model, and firmware that runs as a program of this machine."""
