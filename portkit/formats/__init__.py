"""One file a format: readers and writers, the suffix table, atomic publishing."""
