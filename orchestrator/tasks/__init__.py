"""Tasks: named, versioned kinds of work on documents, and what follows from one for a document. Pure."""
