"""chi: an HTTP front end for the CGMiner RPC API."""

__version__ = "1.0.0.dev0"
