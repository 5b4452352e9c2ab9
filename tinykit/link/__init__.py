"""The wire between host and device: frames, messages, client."""

from tinykit.link.client import Client, Evaluation
from tinykit.link.messages import Counters, Hello, Step

__all__ = ["Client", "Counters", "Evaluation", "Hello", "Step"]
