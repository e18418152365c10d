"""What the API says of itself: the OpenAPI document. Nothing here runs when a request is answered."""
