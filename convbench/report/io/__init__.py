"""Files: one reader and one writer a suffix."""
