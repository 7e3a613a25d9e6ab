"""What a person sees: colour, width, wrapping, progress, tables. The one way out to a terminal."""
