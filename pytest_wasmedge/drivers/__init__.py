"""How a host is driven: in this process, as a command per invocation, or as an HTTP server."""
