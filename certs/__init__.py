"""The webhook's own TLS material: a certificate authority in a Secret, a leaf per process, the published `caBundle`.

`pem`, `pair`, `authority` and `bundle` are pure: time is an argument. `serving` replaces the certificate of a listening
server. `selfmanaged` and `files` are the two ways to get one; both have `start()`, which ends when a certificate is
served, and `run()`, which never ends. Nothing here knows Kubernetes: `ports` says what the caller provides.

A private key is never part of a repr, a message or an exception.
"""
