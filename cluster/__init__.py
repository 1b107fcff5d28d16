"""The ground: settings, errors, clock, Ray, start-up checks. Imports nothing else of ours."""
