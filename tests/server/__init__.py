"""Tests of the wing towards the clients."""
