"""One module for each command, each with its click command as `command`."""
