"""Being written by the helper for unit and property tests."""
