"""The command `pullsecret`: what it is called with, and what it prints. webhook/commands has what it does."""

from webhook.cli.entry import main

__all__ = ["main"]
