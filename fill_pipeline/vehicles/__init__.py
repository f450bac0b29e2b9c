"""Listing to vehicle: normalise, validate, VIN, identity, survivorship, the one writer."""
