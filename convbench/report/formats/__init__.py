"""One exporter a format: each turns a report into the contents of its files."""
