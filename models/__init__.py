"""Import paths of the design document; the code is in `src/sightline`."""
