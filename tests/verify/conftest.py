from tests.devices.fixtures import firmware, learner

__all__ = ["firmware", "learner"]
