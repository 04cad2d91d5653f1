"""The phone's GPU: rules that a file must keep, and runs that prove its numbers."""
