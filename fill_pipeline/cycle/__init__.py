"""The brain: assessed state, plan (state to actions), accounting, report."""
