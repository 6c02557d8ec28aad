"""Emitted modules of stochastic differential equations: loops over the steps of several schemes."""
