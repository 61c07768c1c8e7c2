"""How good a model's answers are, on data that ships with portkit."""
