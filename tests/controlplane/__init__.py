"""A real Kubernetes for tests, demo and bench."""
