"""New sources: channels, probe, score, trial."""
