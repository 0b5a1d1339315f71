"""What the starter model is measured on: samples, what counts as right, and scores."""
