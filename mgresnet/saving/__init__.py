"""Networks in files: what they are made of, their parameters, torch's names of them."""
