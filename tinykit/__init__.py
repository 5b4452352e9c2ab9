"""tinykit: small int8 models that keep learning on a microcontroller, proven bit for bit."""

__version__ = "0.1.0"
