"""The page and its API: who may see and do what, and where from."""
