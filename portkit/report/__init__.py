"""Results as text, JSON, JUnit XML, GitHub's annotations and HTML. Reports decide nothing."""
