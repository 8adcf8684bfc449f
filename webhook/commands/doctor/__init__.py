"""`pullsecret doctor`: why an image cannot be pulled, down to the node."""
