"""Page to listings: one parse, layers of evidence, merged by confidence."""
