"""Results as text and JSON. Reports decide nothing."""
