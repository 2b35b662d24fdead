"""The file-watch service: hosts the engine for configured and requested watches. In: requests. Out: messages."""
