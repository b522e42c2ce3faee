"""What runs on a server: web pages and interfaces to trained models and to the people who judge them."""
