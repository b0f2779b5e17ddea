"""Learning from clicks: does it help, is it refused when it must be, and does the index live through it."""
