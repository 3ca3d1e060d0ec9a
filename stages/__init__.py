"""The stages: one a file; a stage is a callable class, built once in its own process."""
