"""A gallery on PostgreSQL, for several doors: pip install framewire[postgres]."""
