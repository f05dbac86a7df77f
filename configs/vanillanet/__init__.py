"""VanillaNet's rows (supplement, Table 2)."""
