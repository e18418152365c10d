"""Pictures and sound as their first bytes tell them: kind, size, length, and the tokens they will take. Pure, and without decoding."""
