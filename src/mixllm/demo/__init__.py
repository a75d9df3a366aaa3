"""The demo: a playback pool, a real gateway, real HTTP clients, and what comes of them, live."""
