"""The classifier: data, objective, metrics and studies in one room."""
