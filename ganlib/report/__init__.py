"""Figures, tables and claims, and the folder they are written to."""
