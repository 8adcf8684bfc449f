"""`make bench`: the webhook beside others that do parts of its work, in one run, on a real API server.

Contenders take turns in short chunks and are compared round by round, because on a shared machine two figures of
different minutes may differ by a factor of two for no reason. README.md says how to read the table."""
