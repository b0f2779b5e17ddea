"""Fine-tuning of the models that a user would take instead. Imports nothing of Peephole."""
