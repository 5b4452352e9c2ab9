"""Signal frontends: what stands between a microphone or an accelerometer and a model's input."""

from tinykit.frontend.audio import AudioFrontend, AudioTables
from tinykit.frontend.emit import frontend_files
from tinykit.frontend.motion import MotionWindow

__all__ = ["AudioFrontend", "AudioTables", "MotionWindow", "frontend_files"]
