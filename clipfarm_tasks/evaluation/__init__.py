"""Pure: metrics, ranking and every document of a snapshot."""
