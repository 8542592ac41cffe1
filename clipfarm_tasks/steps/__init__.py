"""One file per task: read, call pure code, write, return a small record."""
