"""How requests are sent and answers are timed: everything here runs under gevent, and imports no locust."""
