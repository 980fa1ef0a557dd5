"""The API's paths, a file for each of its parts: `router(state)` gives what `create_app` includes."""
