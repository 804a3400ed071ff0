"""How it is told: from results to pages."""
