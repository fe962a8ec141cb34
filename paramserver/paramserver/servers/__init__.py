"""Several averaging servers: what each is, and what the master knows of them and does with them."""
