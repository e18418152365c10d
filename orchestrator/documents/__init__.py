"""Files to the rows of a batch, on the caller's side: `rows.rows_of` is the way in."""
