"""The file-watch service: hosts watches for an operator's configuration and for runs that ask for one."""
