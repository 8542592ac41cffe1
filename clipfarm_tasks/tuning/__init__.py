"""The search for better recipes: studies in the bucket, and the preset files that a run may name."""
