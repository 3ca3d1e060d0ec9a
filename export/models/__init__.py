"""One network a file, as torch modules."""
