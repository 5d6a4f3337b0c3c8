"""The side towards the clients: event loop, connections, listening sockets, systemd."""
