"""The contract, ``portability.toml``: ceilings, artifact limits, known divergences."""
