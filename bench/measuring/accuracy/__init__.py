"""Accuracy on real tasks: the engine's training beside float32 training with the same plan."""
