"""The telling: what each chapter makes of its result (figures, tables, claims and ready-made strings)."""
