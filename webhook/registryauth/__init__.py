"""The token service of the platform's own registry: it reads pull passwords, and gives out what the registry takes.

It keeps nothing: what a client may do is in its password (webhook/issuers/registry/pullpassword.py), but for the few
who push.
"""
