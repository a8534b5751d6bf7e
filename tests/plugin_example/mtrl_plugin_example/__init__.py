"""An example of a package that adds to mtrl; see its pyproject.toml for how it is found."""
