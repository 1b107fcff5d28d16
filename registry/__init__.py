"""Which models exist, where their weights come from, and which version takes traffic."""
