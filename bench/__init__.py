"""Side-by-side measurements against other people's software: `python -m bench.NAME`, ratios from one run."""
