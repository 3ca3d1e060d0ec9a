"""Passive liveness: simulated attacks, training, and its error rates."""
