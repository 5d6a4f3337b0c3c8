"""The wing towards the clients: the event loop, their connections, listening sockets, systemd."""
