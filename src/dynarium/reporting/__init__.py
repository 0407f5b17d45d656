"""Tables, figures, animations, the HTML report."""
