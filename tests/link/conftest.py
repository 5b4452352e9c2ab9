from tests.devices.fixtures import models, programs, wire

__all__ = ["models", "programs", "wire"]
