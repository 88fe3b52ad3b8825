"""Tables for terminals, one module a command."""
