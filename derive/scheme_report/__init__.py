"""Sections of a derivation on a scheme: order, modified equation, stability, geometry, inverse, adjoints.

Every relation is checked by another route: schemes run as maps of truncated power series on random polynomial fields,
or in numbers of 50 digits and more.
"""
