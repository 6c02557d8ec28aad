"""Normalizing flows: maps and their inverses with log-determinants and derived backwards."""
