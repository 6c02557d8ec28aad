"""Emitted modules of delay equations."""
