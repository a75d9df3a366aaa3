"""Speed and quality, measured on this machine; every result is stored with the command that made it."""
