"""Version of the package, also in the files that it writes."""

__version__ = "0.1.0"
