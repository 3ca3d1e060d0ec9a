"""Side-by-side measurements: each prints a table, with what it compares measured in the same run."""
