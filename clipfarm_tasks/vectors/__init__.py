"""Vector tables: decode, fetch, merge, pin, read, maintain."""
