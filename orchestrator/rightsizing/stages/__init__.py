"""The steps of a specialist: certified, promoted, audited, demoted."""
