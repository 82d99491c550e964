"""Can a scan go through the whole chain? Here reading, imaging and anatomy meet."""
