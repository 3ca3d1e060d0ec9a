"""What the gate moves and whom it tells: doors, brokers, web hooks, files."""
