"""Broken sources: diagnose, induce rules, prove by replay, promote or roll back."""
