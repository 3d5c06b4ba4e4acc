"""The built-in artifacts: recipes that build them, and the one that ships compressed."""
