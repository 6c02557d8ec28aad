"""Systems that are a loop over steps: nets in depth, integrators, explicit systems."""
