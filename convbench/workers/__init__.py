"""Worker processes: started, asked, watched, ended."""
