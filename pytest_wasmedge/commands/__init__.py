"""The commands of ``pytest-wasmedge``, one file each: its parser (``add_to``) and what it does (``run``)."""
