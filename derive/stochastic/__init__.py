"""Stochastic Taylor series: iterated integrals, coloured trees, and the orders of schemes that follow from them."""
