"""Tests of the wing towards the miner."""
