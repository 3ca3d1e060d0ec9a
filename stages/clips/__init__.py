"""Clips of decisions, out of the compressed stream."""
