"""Oracle, friction, valuation."""
