"""File watching: know that results appeared, and act on them. In: a folder. Out: files found, callbacks called."""
