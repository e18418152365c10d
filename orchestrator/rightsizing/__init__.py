"""Right-sizing: measure, advise, train, certify, promote, audit, demote."""
