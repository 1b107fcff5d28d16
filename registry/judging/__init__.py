"""Whether a new version does harm: two sides' outcomes, weighed so that one may look at any moment."""
