"""`sightline bench`: our engine, the peer and the machine's limits, measured in one run."""
