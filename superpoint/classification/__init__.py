"""The classifier: data, model, objective, metrics, checks and studies in one room."""
