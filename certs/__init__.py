"""The webhook's own TLS material: a certificate authority in a Secret, a leaf per process, the published `caBundle`.

`pem`, `pair`, `authority` and `bundle` are pure: time comes in as an argument. `serving` swaps certificates under a
listening server. `selfmanaged` and `files` are the two ways to get one; both have `start()`, which ends when a
certificate is served, and `run()`, which never ends. Nothing here knows Kubernetes: see `store` for what the caller
brings.

No private key is ever part of a repr, a message or an exception.
"""
