"""Pieces of the mathematics that nobody is meant to import from outside."""
