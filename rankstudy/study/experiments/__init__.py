"""The study: one module per chapter, frozen config -> result."""
