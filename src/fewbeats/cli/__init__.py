"""The command line: thin verbs over the parts, each imported when it is called."""

from fewbeats.cli.app import main

__all__ = ["main"]
