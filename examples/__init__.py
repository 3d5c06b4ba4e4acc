"""Small guests that are shown to work on every runtime, each with its source and its cases."""
