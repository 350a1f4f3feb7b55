"""From a finished search to a model: race the finalists, retrain the winner, export it."""
