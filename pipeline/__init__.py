"""The engine: processes joined by ZeroMQ, pixels in shared memory. It knows nothing of vision."""
