"""Recursions as dynamical systems: closed forms, where they go in the long run, fixed points and multipliers."""
