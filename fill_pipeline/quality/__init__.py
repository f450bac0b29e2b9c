"""Completeness, accuracy and the gates that act on them."""
