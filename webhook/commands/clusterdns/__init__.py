"""`pullsecret doctor dns`: the addresses of a registry, in the DNS of the cluster."""
