"""What right-sizing keeps: labels, audits, stages and certificates, and what a task took and said."""
