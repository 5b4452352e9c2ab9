from tests.devices.fixtures import firmware, learner, models, programs

__all__ = ["firmware", "learner", "models", "programs"]
