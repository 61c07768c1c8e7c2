"""Running models on arrays, one file a framework."""
