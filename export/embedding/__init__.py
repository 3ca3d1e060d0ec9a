"""Embedders: people in folders, three ways to learn, and how good they are."""
