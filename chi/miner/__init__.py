"""The side towards the miners: requests, wire protocols and replies."""
