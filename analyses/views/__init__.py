"""Pages of an analysis. Each view reads by the person's rights, calls one selector or service."""
