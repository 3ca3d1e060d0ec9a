"""Who is enrolled: the encrypted store, the index over it, and how a photo becomes a template."""
