"""Detectors: labels, training pictures, losses, training, and how good they are."""
