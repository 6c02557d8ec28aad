"""Emission of equilibrium models."""
