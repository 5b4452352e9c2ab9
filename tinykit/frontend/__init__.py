"""Signal frontends: what stands between a microphone or an accelerometer and a model's input."""

from tinykit.frontend.audio import AudioFrontend, AudioTables

__all__ = ["AudioFrontend", "AudioTables"]
