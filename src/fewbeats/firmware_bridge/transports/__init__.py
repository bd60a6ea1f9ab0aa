"""Ways that bytes and records arrive: serial ports, recordings."""
