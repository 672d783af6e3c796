"""What each page shows; a view makes its parts, and makes them again while somebody looks."""
