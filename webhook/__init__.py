"""The admission server. CONTRIBUTING.md has the map; imports go one way and `lint-imports` checks it."""
