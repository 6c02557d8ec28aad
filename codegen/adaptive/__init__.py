"""Emitted modules that solve an ODE with steps of their own choice."""
