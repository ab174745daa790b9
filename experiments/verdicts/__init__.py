"""How often the verdict of a run is right: on curves whose truth is known."""
