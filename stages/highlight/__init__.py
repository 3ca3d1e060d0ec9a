"""Highlights: what is in a video second by second, which moments are worth seeing, and the reel of them."""
