"""A run on Kubernetes, as plain objects: nothing here talks to a cluster."""
