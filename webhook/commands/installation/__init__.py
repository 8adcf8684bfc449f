"""`pullsecret doctor cluster`: does the installation work, and before it, can it be made?"""
